"""The network, its loss and its predictions."""

from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

IGNORED = 255  # The value of a mask where the class is not known: no loss, no metric.


class Net(keras.Model):
    """A U-Net (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597), which keeps the size.

    Stages of two convolutions halve the image and double the channels. Then others double the
    image again, each beside the output of the first kind that has its size. Takes images as they
    are stored, uint8, and normalises them in the graph. Every layer has a name of its own, since a
    checkpoint knows the weights by these names.

    Args:
        parameters: the sizes of the layers.
        dataset: the shape and the normalisation of the images, and the classes.
    """

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__(name="net")
        self.mean = np.array(dataset.mean, np.float32)
        self.std = np.array(dataset.std, np.float32)
        self.dropout = parameters.dropout
        self.height, self.width, _ = dataset.image_shape
        self.down, self.up, self.merge = [], [], []
        for stage in range(parameters.stages):
            width = parameters.width * 2**stage
            self.down.append(TwoConvolutions(width, f"down{stage}"))
            self.up.append(keras.layers.Conv2DTranspose(width, 2, strides=2, name=f"up{stage}"))
            self.merge.append(TwoConvolutions(width, f"merge{stage}"))
        self.bottom = TwoConvolutions(parameters.width * 2**parameters.stages, "bottom")
        # In float32, so that rounding does not decide between two classes.
        self.classifier = keras.layers.Conv2D(
            len(dataset.classes), kernel_size=1, dtype="float32", name="classifier"
        )

    def call(self, inputs: dict[str, tf.Tensor], seed: tf.Tensor | None = None) -> tf.Tensor:
        """Return logits.

        Args:
            inputs: "images" (B, height, width, channels) uint8.
            seed: (2,) int64, of dropout in training; None in evaluation.

        Returns:
            (B, height, width, classes) float32
        """
        training = seed is not None
        x = (tf.cast(inputs["images"], tf.float32) - self.mean) / self.std
        x = tf.cast(x, self.compute_dtype)  # (B, H, W, C)
        # Up to a size that can be halved in each stage: with 0, which is the mean.
        divisor = 2 ** len(self.down)
        below, right = -self.height % divisor, -self.width % divisor
        x = tf.pad(x, ((0, 0), (0, below), (0, right), (0, 0)))
        skipped = []
        for stage in self.down:
            x = stage(x, training=training)
            skipped.append(x)  # (B, H / 2**stage, W / 2**stage, width * 2**stage)
            x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
        x = self.bottom(x, training=training)
        if training:
            x = tf.nn.experimental.stateless_dropout(x, self.dropout, seed)
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(tf.concat([skipped.pop(), up(x)], axis=-1), training=training)
        return self.classifier(x)[:, : self.height, : self.width]


class TwoConvolutions(keras.layers.Layer):
    """Two convolutions of 3 x 3, each with its norm and a ReLU.

    Args:
        width: channels of the output.
        name: of the layer; the names of those in it begin with it.
    """

    def __init__(self, width: int, name: str) -> None:
        super().__init__(name=name)
        self.convolutions, self.norms = [], []
        for part in (f"{name}_a", f"{name}_b"):
            self.convolutions.append(
                keras.layers.Conv2D(
                    width, 3, padding="same", use_bias=False, name=f"{part}_convolution"
                )
            )
            self.norms.append(
                keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{part}_norm")
            )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return (B, H, W, width) of (B, H, W, channels)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = tf.nn.relu(norm(convolution(x), training=training))
        return x


def losses(
    logits: tf.Tensor,
    targets: dict[str, tf.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> tf.Tensor:
    """Return the mean cross-entropy over the known pixels of each example, in nats.

    In training, `balance` weighs a pixel by its class: see class_weights.

    Args:
        logits: (B, height, width, classes) float32
        targets: "masks" (B, height, width) uint8, class numbers, and 255 where it is not known.
        dataset: what is learned.
        parameters: in training. None in evaluation: all pixels weigh the same.

    Returns:
        (B,), 0 for an example without a known pixel
    """
    masks = tf.cast(targets["masks"], tf.int32)
    known = tf.cast(masks != IGNORED, tf.float32)
    masks = tf.where(masks == IGNORED, 0, masks)
    of_pixels = known * tf.nn.sparse_softmax_cross_entropy_with_logits(masks, logits)
    if parameters and parameters.balance:
        of_pixels *= tf.gather(tf.constant(class_weights(dataset, parameters.balance)), masks)
    count = tf.maximum(tf.reduce_sum(known, axis=(1, 2)), 1)
    return tf.reduce_sum(of_pixels, axis=(1, 2)) / count


def class_weights(dataset: "Dataset", balance: float) -> list[float]:
    """Return the weight of each class: a power of its share of the training pixels.

    A share**-balance, such that the mean over the training pixels is 1. With a balance of 1, all
    classes count the same, however rare; 0.5 lies between that and 0, where all pixels do.

    Returns:
        for each class, 0 for one that no training pixel has
    """
    shares = dataset.shares["train"]
    weights = [share**-balance if share else 0.0 for share in shares]
    mean = sum(share * weight for share, weight in zip(shares, weights, strict=True))
    return [weight / mean for weight in weights]


def predict(logits: tf.Tensor, dataset: "Dataset") -> dict[str, tf.Tensor]:
    """Return the predictions for each example.

    The most probable class of each pixel, "masks" (B, height, width) uint8, and the mean of its
    probability over the image, "confidence" (B,) float32.
    """
    del dataset  # Its classes are those of the logits.
    probabilities = tf.reduce_max(tf.nn.softmax(logits), axis=-1)
    masks = tf.cast(tf.argmax(logits, axis=-1), tf.uint8)
    return {"masks": masks, "confidence": tf.reduce_mean(probabilities, axis=(1, 2))}
