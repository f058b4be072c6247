"""The network, its loss and its predictions."""

from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters


class Net(keras.Model):
    """Stages of two convolutions, an average over the image, and one linear layer.

    Takes images as they are stored, uint8, and normalises them in the graph. Every layer has a name
    of its own, since a checkpoint knows the weights by these names.

    A pretrained network may take the place of the stages: see model/backbone.py.

    Args:
        parameters: the sizes of the layers, or the pretrained network.
        dataset: the normalisation of the images, and the classes.
    """

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__(name="net")
        self.mean = np.array(dataset.mean, np.float32)
        self.std = np.array(dataset.std, np.float32)
        self.dropout = parameters.dropout
        self.convolutions, self.norms = [], []
        self.backbone = None
        if parameters.backbone:
            from model import backbone  # Only here, as it imports more than the framework.

            self.backbone = backbone.make(parameters, dataset.image_shape)
        for stage in range(0 if self.backbone else parameters.stages):
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

    def call(self, inputs: dict[str, tf.Tensor], seed: tf.Tensor | None = None) -> tf.Tensor:
        """Return logits.

        Args:
            inputs: "images" (B, height, width, channels) uint8.
            seed: (2,) int64, of dropout in training; None in evaluation.

        Returns:
            (B, classes) float32
        """
        training = seed is not None
        if self.backbone:
            x = self.backbone(inputs["images"], training=training)
        else:
            x = (tf.cast(inputs["images"], tf.float32) - self.mean) / self.std
            x = tf.cast(x, self.compute_dtype)  # (B, H, W, C)
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            x = tf.nn.relu(norm(convolution(x), training=training))
            if number % 2:  # The second of a stage. "SAME": an image of odd size keeps its edge.
                x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME")
        x = tf.reduce_mean(x, axis=(1, 2))  # (B, features)
        if training:
            x = tf.nn.experimental.stateless_dropout(x, self.dropout, seed)
        return self.classifier(x)


def losses(
    logits: tf.Tensor,
    targets: dict[str, tf.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> tf.Tensor:
    """Return the cross-entropy of each example, in nats; of labels, the mean over them.

    Args:
        logits: (B, classes) float32
        targets: "labels" (B,) int64, or for labels (B, classes) float32.
        dataset: what is learned.
        parameters: in training: `label_smoothing` is the probability taken off the label and
            spread over all classes (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567,
            section 7), or over the two answers of each label; with `balance`, examples of rare
            classes count for more. None in evaluation: neither.

    Returns:
        (B,)
    """
    classes, labels = len(dataset.classes), targets["labels"]
    smoothing = parameters.label_smoothing if parameters else 0.0
    if dataset.multilabel:
        shares = labels * (1 - smoothing) + smoothing / 2
        each = tf.nn.sigmoid_cross_entropy_with_logits(shares, logits)
        return tf.reduce_mean(each, axis=1)
    shares = tf.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
    each = tf.nn.softmax_cross_entropy_with_logits(shares, logits)
    if parameters and parameters.balance:
        each *= tf.gather(dataset.class_weights(parameters.balance), labels)
    return each


def predict(logits: tf.Tensor, dataset: "Dataset") -> dict[str, tf.Tensor]:
    """Return the predictions for each example: "probabilities" (B, classes) float32.

    Those of classes add up to 1; those of labels are independent of each other.
    """
    return {"probabilities": tf.sigmoid(logits) if dataset.multilabel else tf.nn.softmax(logits)}
