"""What an exported model takes and gives: its signatures.

    serving_default   images (N, height, width, channels) uint8, of the size in dataset.json

It gives masks (N, height, width) uint8, the number of the most probable class of each pixel,
confidence (N,) float32, the mean of its probability over the image, and shares (N, classes)
float32, the part of the pixels that each class has. All names, in the order of the numbers, are in
export.json. From Python:

    import numpy as np
    import tensorflow as tf
    from PIL import Image

    segment = tf.saved_model.load("exports/saved_model/1").signatures["serving_default"]
    image = np.asarray(Image.open("scene.png"))[None, :, :, None]  # Grey, of the stored size.
    print(segment(images=tf.constant(image))["masks"].numpy())
"""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from model import net

if TYPE_CHECKING:
    from build_dataset import Dataset


class Served(tf.Module):
    """The network and what callers need around it: class numbers of pixels, shares of classes.

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
        return {"serving_default": tf.function(self.segment, [images], autograph=False)}

    def segment(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return masks, confidence and shares of images (N, H, W, C) uint8."""
        predictions = net.predict(self.model({"images": images}), self.dataset)
        of_class = tf.one_hot(predictions["masks"], len(self.dataset.classes))
        return {**predictions, "shares": tf.reduce_mean(of_class, axis=(1, 2))}
