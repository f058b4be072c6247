"""The network, its loss and its predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

Tensors = dict[str, Any]  # Tensors of the backend, by name.


def build_model(parameters: "ModelParameters", dataset: "Dataset", seed: int) -> keras.Model:
    """Return the network: stages of two convolutions, an average over the image, a linear layer.

    A pretrained network may take the place of the stages: see model/backbone.py.

    Args:
        parameters: the sizes of the layers, or the pretrained network.
        dataset: the shape and the normalisation of the images, and the classes.
        seed: of the dropout.

    Returns:
        A network that takes {"images": (B, height, width, channels)}, uint8 as they are stored, and
        returns the logits {"labels": (B, classes)}. An output has the name of its target.
    """
    layers = keras.layers
    images = keras.Input(dataset.image_shape, dtype="uint8", name="images")
    # Normalised and averaged in float32, as bfloat16 keeps only three digits.
    variance = np.square(dataset.std)
    if parameters.backbone:
        from model import backbone  # Only here, as it imports more than the framework.

        x = backbone.make(parameters, dataset.image_shape)(images)
    else:
        x = layers.Normalization(mean=dataset.mean, variance=variance, dtype="float32")(images)
        for stage in range(parameters.stages):
            for _ in range(2):
                width = parameters.width * 2**stage
                x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
                x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
                x = layers.ReLU()(x)
            x = layers.MaxPooling2D(2, padding="same")(x)  # An image of odd size keeps its edge.
    x = layers.GlobalAveragePooling2D(dtype="float32")(x)  # (B, features)
    x = layers.Dropout(parameters.dropout, seed=seed, dtype="float32")(x)
    logits = layers.Dense(len(dataset.classes), dtype="float32", name="labels")(x)
    return keras.Model({"images": images}, {"labels": logits})


class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of class numbers (B,) and logits (B, classes), in nats.

    Args:
        label_smoothing: probability taken off the label and spread over all classes
            (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7).
        weights: what an example of each class counts, (classes,); empty: all the same.
        options: those of every loss in Keras, such as `reduction`.
    """

    def __init__(
        self, label_smoothing: float, weights: Sequence[float] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self.label_smoothing, self.weights = label_smoothing, weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example, (B,); calling the object applies the reduction."""
        # Keras's loss for class numbers, SparseCategoricalCrossentropy, has no label smoothing.
        labels = keras.ops.cast(y_true, "int32")
        each = keras.losses.categorical_crossentropy(
            keras.ops.one_hot(labels, y_pred.shape[-1]),
            y_pred,
            from_logits=True,
            label_smoothing=self.label_smoothing,
        )
        if not self.weights:
            return each
        return each * keras.ops.take(keras.ops.array(self.weights, each.dtype), labels)


def loss(
    dataset: "Dataset", parameters: "ModelParameters | None" = None, **options: Any
) -> dict[str, keras.losses.Loss]:
    """Return the loss of each output as `compile` takes it: the mean over a batch.

    Args:
        dataset: what is learned.
        parameters: in training. None in evaluation: no smoothing, no balance of the classes.
        options: those of every loss in Keras, such as `reduction`.
    """
    smoothing = parameters.label_smoothing if parameters else 0.0
    if dataset.multilabel:  # The mean over the labels; smoothed over the two answers of each.
        return {
            "labels": keras.losses.BinaryCrossentropy(
                from_logits=True, label_smoothing=smoothing, **options
            )
        }
    balance = parameters.balance if parameters else 0.0
    weights = dataset.class_weights(balance) if balance else ()
    return {"labels": CrossEntropy(smoothing, weights, **options)}


def losses(
    outputs: Tensors,
    targets: Tensors,
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> Any:
    """Return the loss of each example, (B,).

    Args:
        outputs: of the network, "labels" (B, classes).
        targets: "labels" (B,) int64, or for labels (B, classes) float32.
        dataset: what is learned.
        parameters: in training. None in evaluation: no smoothing, no balance of the classes.
    """
    cross_entropy = loss(dataset, parameters, reduction=None)["labels"]
    return cross_entropy(targets["labels"], outputs["labels"])


def predict(outputs: Tensors, dataset: "Dataset") -> Tensors:
    """Return the predictions for each example: "probabilities" (B, classes) float32.

    Those of classes add up to 1; those of labels are independent of each other.
    """
    activation = keras.ops.sigmoid if dataset.multilabel else keras.ops.softmax
    return {"probabilities": activation(outputs["labels"])}
