"""What an exported model takes and gives: its signature.

    serving_default   images (N, height, width, channels) uint8, of the size in dataset.json

It gives boxes (N, K, 4) float32: left, top, right, bottom in pixels of these images; scores (N, K)
float32, 0 for a box that another covers; classes (N, K) int32, and names (N, K), those of the
classes. All names, in the order of the numbers, are in export.json. From Python:

    import tensorflow as tf

    detect = tf.saved_model.load("exports/saved_model/1").signatures["serving_default"]
    outputs = detect(images=images)
    certain = outputs["scores"][0] > 0.3
    print(outputs["names"][0][certain].numpy(), outputs["boxes"][0][certain].numpy())
"""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from model import net

if TYPE_CHECKING:
    from build_dataset import Dataset


class Served(tf.Module):
    """The network and what callers need around it: boxes, and names of classes.

    Args:
        model: the network, with its weights.
        dataset: the shape of the images, and the classes.
    """

    def __init__(self, model: net.Net, dataset: "Dataset") -> None:
        super().__init__()
        self.model, self.dataset = model, dataset

    def signatures(self) -> dict[str, Any]:
        """Return the functions that callers find, by name.

        serving_default takes the inputs under their names in dataset.json and gives what
        net.predict does, and more; export.py compares its predictions.
        """
        images = tf.TensorSpec((None, *self.dataset.image_shape), tf.uint8, name="images")
        return {"serving_default": tf.function(self.detect, [images], autograph=False)}

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return boxes (N, K, 4), scores, classes and names (N, K) of images (N, H, W, C) uint8."""
        predictions = net.predict(self.model({"images": images}), self.dataset)
        names = tf.gather(tf.constant(self.dataset.classes), predictions["classes"])
        return {**predictions, "names": names}
