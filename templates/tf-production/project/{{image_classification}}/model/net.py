"""The network, its loss and its metrics."""

import keras
import numpy as np
import tensorflow as tf

import utils
from build_dataset import Dataset
from model.parameters import ModelParameters


class Net(keras.Model):
    """Stages of two convolutions, an average over the image, and one linear layer.

    Takes images as they are stored, uint8, and normalises them itself, in the graph. Every layer
    has a name of its own, since a checkpoint knows the weights by their names.

    Raises:
        InputError: there are more stages than the images can be halved.
    """

    def __init__(self, parameters: ModelParameters, dataset: Dataset) -> None:
        super().__init__(name="net")
        side = max(dataset.image_shape[:2])
        if 2 ** (parameters.stages - 1) > side:
            raise utils.InputError(
                f"model.stages: got {parameters.stages}, expected at most {side.bit_length()} for "
                f"images of {side} pixels: each stage halves them. Change it in a new experiment."
            )
        self.mean = np.array(dataset.mean, np.float32)
        self.std = np.array(dataset.std, np.float32)
        self.dropout = parameters.dropout
        self.convolutions, self.norms = [], []
        for stage in range(parameters.stages):
            for name in (f"stage{stage}_a", f"stage{stage}_b"):
                self.convolutions.append(
                    keras.layers.Conv2D(
                        filters=parameters.width * 2**stage,
                        kernel_size=3,
                        padding="same",
                        use_bias=False,
                        name=f"{name}_convolution",
                    )
                )
                self.norms.append(
                    keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")
                )
        # In float32, so that rounding does not decide between two classes.
        self.classifier = keras.layers.Dense(
            len(dataset.classes), dtype="float32", name="classifier"
        )

    def call(self, images: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Return logits.

        Args:
            images: (batch, height, width, channels) uint8.
            seed: (2,) int64, of dropout, in training; None in evaluation.

        Returns:
            (batch, classes) float32
        """
        training = seed is not None
        x = (tf.cast(images, tf.float32) - self.mean) / self.std
        x = tf.cast(x, self.compute_dtype)  # (B, H, W, C)
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            x = tf.nn.relu(norm(convolution(x), training=training))
            if number % 2:  # The second of a stage. An odd image keeps its edge: "SAME".
                x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME")
        x = tf.reduce_mean(x, axis=(1, 2))  # (B, width * 2**(stages - 1))
        if training:
            x = tf.nn.experimental.stateless_dropout(x, self.dropout, seed)
        return self.classifier(x)


def loss(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Mean cross-entropy, in nats.

    Args:
        logits: (batch, classes)
        labels: (batch,) int64
        label_smoothing: probability taken off the label and spread over all classes
            (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7).
    """
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes) * (1 - label_smoothing) + label_smoothing / classes
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def accuracy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Share of examples whose largest logit is at the label."""
    return tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == labels, tf.float32))


# What evaluate.py reports beside the loss, computed over all examples of a split at once.
metrics = {"accuracy": accuracy}
