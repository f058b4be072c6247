"""The network, its loss and its predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

Tensors = dict[str, Any]  # Tensors of the backend, by name.

LARGEST = 3.0  # Standard deviations to which a number is bent, however far out it lies.


def build_model(parameters: "ModelParameters", dataset: "Dataset", seed: int) -> keras.Model:
    """Residual layers over the numbers, what is missing of them, and embeddings of the categories.

    Args:
        parameters: sizes.
        dataset: columns and their normalisation, what is predicted.
        seed: of the dropout.

    Returns:
        From "numbers" (B, columns) float32, NaN where missing, and "categories" (B, columns) int64,
        0 where not known, as far as the table has them, to {"target": (B, classes)}, logits, or for
        regression (B, 1), the number in standard deviations from the mean. An output is named
        after the target that it predicts.
    """
    layers = keras.layers
    inputs = {}
    for name in dataset.inputs:
        array = dataset.arrays[name]
        inputs[name] = keras.Input(array.shape, dtype=array.dtype, name=name)
    features = []
    if "numbers" in inputs:
        features += normalize(inputs["numbers"], dataset)
    if "categories" in inputs:
        features.append(embed(inputs["categories"], parameters, dataset))
    x = layers.Concatenate()(features) if len(features) > 1 else features[0]
    x = layers.Dense(parameters.width)(x)
    for layer in range(parameters.layers):
        change = layers.LayerNormalization(epsilon=1e-5)(x)
        change = layers.Dense(2 * parameters.width, activation="relu")(change)
        change = layers.Dropout(parameters.dropout, seed=seed + 2 * layer)(change)
        change = layers.Dense(parameters.width)(change)
        change = layers.Dropout(parameters.dropout, seed=seed + 2 * layer + 1)(change)
        x = layers.Add()([x, change])
    x = layers.ReLU()(layers.LayerNormalization(epsilon=1e-5)(x))
    # From zero: so it begins by saying the mean, or that every class is as likely as another.
    last = layers.Dense(
        len(dataset.classes) or 1, kernel_initializer="zeros", dtype="float32", name="target"
    )
    return keras.Model(inputs, {"target": last(x)})


def normalize(numbers: Any, dataset: "Dataset") -> list[Any]:
    """Return the numbers in standard deviations from their mean, and which are missing.

    Args:
        numbers: (B, columns) float32, NaN where missing.
        dataset: mean and standard deviation of each column.

    Returns:
        two of (B, columns) float32
    """
    ops = keras.ops
    x = (numbers - np.array(dataset.mean, np.float32)) / np.array(dataset.std, np.float32)
    missing = ops.isnan(x)
    # What is missing is taken for the mean. A number far out is bent back smoothly: one outlier
    # would otherwise drown the other columns.
    x = LARGEST * ops.tanh(ops.where(missing, 0.0, x) / LARGEST)
    return [x, ops.cast(missing, "float32")]


def embed(categories: Any, parameters: "ModelParameters", dataset: "Dataset") -> Any:
    """Return the embeddings of categories, (B, columns * embedding); zero where not known.

    Args:
        categories: (B, columns) int64, 0 where not known.
        parameters: the size of an embedding.
        dataset: the levels of each column.
    """
    levels = [len(names) for names in dataset.category_columns.values()]
    # One table of embeddings for all columns. Its row 0 is not used: nothing is known.
    starts = np.cumsum([0, *levels[:-1]])
    known = categories > 0
    rows = keras.ops.where(known, categories + starts, 0)
    embedded = keras.layers.Embedding(1 + sum(levels), parameters.embedding)(rows)
    embedded = embedded * keras.ops.cast(known, embedded.dtype)[..., None]
    return keras.layers.Flatten()(embedded)


class SquaredError(keras.losses.Loss):
    """Squared error of numbers (B,), in variances of the target, and outputs (B, 1).

    Args:
        mean: of the target.
        std: of the target.
        options: of every loss in Keras, such as `reduction`.
    """

    def __init__(self, mean: float, std: float, **options: Any) -> None:
        super().__init__(**options)
        self.mean, self.std = mean, std

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example, (B,); calling the object applies the reduction."""
        return keras.ops.square(y_pred[:, 0] - (y_true - self.mean) / self.std)


class BalancedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of class numbers (B,) and logits (B, classes) with weights, in nats.

    Args:
        weights: what an example of each class counts, (classes,).
        options: of every loss in Keras, such as `reduction`.
    """

    def __init__(self, weights: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self.weights = weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example, (B,); calling the object applies the reduction."""
        labels = keras.ops.cast(y_true, "int32")
        each = keras.losses.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        return each * keras.ops.take(keras.ops.array(self.weights, each.dtype), labels)


def loss(
    dataset: "Dataset", parameters: "ModelParameters | None" = None, **options: Any
) -> dict[str, keras.losses.Loss]:
    """Return the loss of each output, as `compile` takes it: the mean over a batch.

    Args:
        dataset: what is learned.
        parameters: in training: with `balance`, examples of rare classes count for more.
        options: of every loss in Keras, such as `reduction`.
    """
    if dataset.kind == "regression":
        return {"target": SquaredError(dataset.target_mean, dataset.target_std, **options)}
    if dataset.kind == "multilabel":  # The mean over the labels.
        return {"target": keras.losses.BinaryCrossentropy(from_logits=True, **options)}
    if parameters and parameters.balance:
        return {
            "target": BalancedCrossEntropy(dataset.class_weights(parameters.balance), **options)
        }
    return {"target": keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)}


def losses(
    outputs: Tensors,
    targets: Tensors,
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> Any:
    """Return the loss of each example, (B,).

    Args:
        outputs: of the network, "target" (B, classes), or for regression (B, 1).
        targets: "target": (B,) float32, (B,) int64, or for labels (B, classes) float32.
        dataset: what is learned.
        parameters: in training: with `balance`, examples of rare classes count for more.
    """
    each = loss(dataset, parameters, reduction=None)["target"]
    return each(targets["target"], outputs["target"])


def predict(outputs: Tensors, dataset: "Dataset") -> Tensors:
    """Return what the network says of each example.

    Returns:
        For regression "values" (B,) float32, in units of the target; else "probabilities"
        (B, classes) float32.
    """
    output = outputs["target"]
    if dataset.kind == "regression":
        return {"values": output[:, 0] * dataset.target_std + dataset.target_mean}
    if dataset.kind == "multilabel":
        return {"probabilities": keras.ops.sigmoid(output)}
    return {"probabilities": keras.ops.softmax(output)}
