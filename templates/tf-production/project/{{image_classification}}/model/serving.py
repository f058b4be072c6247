"""What an exported model takes and gives: its signatures.

    serving_default   images (N, height, width, channels) uint8, of the size in dataset.json
    encoded           image_bytes (N,), the content of PNG, JPEG, BMP or GIF files

Both give probabilities (N, classes) float32 and, unless they are of labels of which several may
hold, classes (N,), the name of the most probable class. All names, in the order of the
probabilities, are in export.json. From Python:

    import tensorflow as tf

    classify = tf.saved_model.load("exports/saved_model/1").signatures["encoded"]
    with open("digit.png", "rb") as file:
        outputs = classify(image_bytes=tf.constant([file.read()]))
    print(outputs["classes"].numpy(), outputs["probabilities"].numpy())

Over HTTP, from TensorFlow Serving:

    curl http://localhost:8501/v1/models/model:predict -d '{"signature_name": "encoded",
        "instances": [{"image_bytes": {"b64": "'"$(base64 < digit.png | tr -d '\\n')"'"}}]}'
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from model import net

if TYPE_CHECKING:
    from build_dataset import Dataset

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601, as Pillow's "L" has it


class Served(tf.Module):
    """The network and what callers need around it: decoding, probabilities, names of classes.

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
        net.predict does, and more; export.py compares its predictions. The task adds the others.
        """
        shape = self.dataset.image_shape
        images = tf.TensorSpec((None, *shape), tf.uint8, name="images")
        image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
        return {
            "serving_default": tf.function(self.classify, [images], autograph=False),
            "encoded": tf.function(self.classify_encoded, [image_bytes], autograph=False),
        }

    def classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return probabilities (N, classes) and class names (N,) of images (N, H, W, C) uint8.

        Of labels there are no names, as several may hold.
        """
        predictions = net.predict(self.model({"images": images}), self.dataset)
        if self.dataset.multilabel:
            return predictions
        most_probable = tf.argmax(predictions["probabilities"], axis=1)
        names = tf.gather(tf.constant(self.dataset.classes), most_probable)
        return {**predictions, "classes": names}

    def classify_encoded(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the same for the content of image files (N,)."""
        image = tf.TensorSpec(self.dataset.image_shape, tf.uint8)
        return self.classify(tf.map_fn(self.decode, image_bytes, fn_output_signature=image))

    def decode(self, content: tf.Tensor) -> tf.Tensor:
        """Return the image (H, W, C) uint8 of a file, cropped and scaled as build_dataset.py does.

        An image that has this size already stays as it is. Others differ by some grey levels from
        those of Pillow, which build_dataset.py uses, and are not turned upright.
        """
        height, width, channels = self.dataset.image_shape
        image = tf.cast(tf.io.decode_image(content, expand_animations=False), tf.float32)
        stored = tf.shape(image)[2]  # 1: grey, 2: with alpha, 3: RGB, 4: with alpha
        colours = stored - (stored + 1) % 2
        alpha = tf.where(colours < stored, image[..., -1:] / 255, 1.0)
        image = image[..., :colours] * alpha + 255 * (1 - alpha)  # On white.
        image += tf.zeros(3)  # Grey becomes RGB.
        if channels == 1:
            image = tf.reduce_sum(image * np.array(LUMA, np.float32), axis=2, keepdims=True)
        image = tf.round(image)
        size = tf.shape(image)[:2]
        scale = tf.reduce_min(size / tf.constant((height, width)))
        crop = tf.cast(tf.round(scale * (height, width)), tf.int32)
        top, left = tf.unstack((size - crop) // 2)
        image = image[top : top + crop[0], left : left + crop[1]]
        image = tf.image.resize(image, (height, width), antialias=True)
        image = tf.cast(tf.round(image), tf.uint8)
        return tf.ensure_shape(image, (height, width, channels))
