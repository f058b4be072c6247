"""What check_data.py compares of images: their light, colour and detail, and the files' sizes."""

from collections.abc import Mapping

import numpy as np

from machinery.features import Described


class ImageFeatures(Described):
    """A dataset of images."""

    def describe(
        self, inputs: Mapping[str, np.ndarray], originals: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return the features of images as they are stored, each (N,) float64, in grey levels.

        Args:
            inputs: "images" (N, height, width, channels) uint8.
            originals: (N, 2), width and height of the files; None: they are not known.
        """
        images = inputs["images"].astype(np.float32)
        features = {
            "brightness": images.mean(axis=(1, 2, 3)),
            "contrast": images.std(axis=(1, 2, 3)),
            "detail": np.abs(np.diff(images, axis=2)).mean(axis=(1, 2, 3)),  # of neighbours
        }
        if images.shape[-1] == 3:
            for place, name in enumerate(("red", "green", "blue")):
                features[name] = images[..., place].mean(axis=(1, 2))
            features["colour"] = np.ptp(images, axis=-1).mean(axis=(1, 2))  # of grey images 0
        if originals is not None:
            features |= {
                "width of the file": originals[:, 0],
                "height of the file": originals[:, 1],
            }
        return {name: values.astype(np.float64) for name, values in features.items()}
