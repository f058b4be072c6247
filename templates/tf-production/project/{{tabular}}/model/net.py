"""The network, its loss and its predictions."""

from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

LARGEST = 3.0  # Standard deviations to which a number is bent, however far out it lies.


class Net(keras.Model):
    """Residual layers over the numbers, what is missing of them, and embeddings of the categories.

    Takes numbers as they are stored and normalises them itself, in the graph. Every layer has a
    name of its own, since a checkpoint knows the weights by their names.

    Args:
        parameters: sizes.
        dataset: columns and their normalisation, what is predicted.
    """

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__(name="net")
        self.mean = np.array(dataset.mean, np.float32)
        self.std = np.array(dataset.std, np.float32)
        levels = [len(names) for names in dataset.category_columns.values()]
        if levels:
            # One table of embeddings for all columns. Its row 0 is not used: nothing is known.
            self.starts = np.cumsum([0, *levels[:-1]])
            rows = 1 + sum(levels)
            self.embedding = keras.layers.Embedding(rows, parameters.embedding, name="embedding")
        self.first = keras.layers.Dense(parameters.width, name="first")
        self.hidden = [
            Layer(parameters.width, parameters.dropout, name=f"layer{number}")
            for number in range(parameters.layers)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")
        # From zero: so it begins by saying the mean, or that every class is as likely as another.
        # In float32, so that rounding does not decide between two classes.
        self.last = keras.layers.Dense(
            len(dataset.classes) or 1, kernel_initializer="zeros", dtype="float32", name="last"
        )

    def call(self, inputs: dict[str, tf.Tensor], seed: tf.Tensor | None = None) -> tf.Tensor:
        """Return logits, or for regression the number in standard deviations from the mean.

        Args:
            inputs: "numbers" (B, columns) float32, NaN where missing; "categories" (B, columns)
                int64, 0 where not known. One of them may be absent, as in the table.
            seed: (2,) int64, of dropout, in training; None in evaluation.

        Returns:
            (B, classes) float32, or for regression (B, 1)
        """
        features = []
        if "numbers" in inputs:
            x = (inputs["numbers"] - self.mean) / self.std
            missing = tf.math.is_nan(x)
            # What is missing is taken for the mean. A number far out is bent back smoothly: one
            # outlier would otherwise drown the other columns.
            x = LARGEST * tf.tanh(tf.where(missing, 0.0, x) / LARGEST)
            features += [tf.cast(x, self.compute_dtype), tf.cast(missing, self.compute_dtype)]
        if "categories" in inputs:
            known = inputs["categories"] > 0
            embedded = self.embedding(tf.where(known, inputs["categories"] + self.starts, 0))
            embedded *= tf.cast(known, embedded.dtype)[..., None]  # (B, columns, embedding)
            width = embedded.shape[1] * embedded.shape[2]
            features.append(tf.reshape(embedded, (-1, width)))
        x = self.first(tf.concat(features, axis=1))  # (B, width)
        for number, layer in enumerate(self.hidden):
            folded = None if seed is None else tf.random.fold_in(seed, number)
            x = layer(x, folded)
        return self.last(tf.nn.relu(self.norm(x)))


class Layer(keras.layers.Layer):
    """Adds to its input what two linear layers make of it, (B, width) to (B, width)."""

    def __init__(self, width: int, dropout: float, name: str) -> None:
        super().__init__(name=name)
        self.dropout = dropout
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.wide = keras.layers.Dense(2 * width, activation="relu", name="wide")
        self.narrow = keras.layers.Dense(width, name="narrow")

    def call(self, x: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Return (B, width); `seed` is that of dropout, in training."""
        change = self.wide(self.norm(x))
        if seed is not None:
            change = drop(change, self.dropout, tf.random.fold_in(seed, 0))
        change = self.narrow(change)
        if seed is not None:
            change = drop(change, self.dropout, tf.random.fold_in(seed, 1))
        return x + change


def drop(x: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Set some features to zero, and scale the others up to the same mean."""
    return tf.nn.experimental.stateless_dropout(x, probability, seed)


def losses(
    outputs: tf.Tensor,
    targets: dict[str, tf.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> tf.Tensor:
    """Return the loss of each example.

    Regression: the squared error, in variances of the target. Classes: the cross-entropy, in nats;
    labels: the mean over them.

    Args:
        outputs: (B, classes), or for regression (B, 1)
        targets: "target": (B,) float32, (B,) int64, or for labels (B, classes) float32.
        dataset: what is learned.
        parameters: in training: with `balance`, examples of rare classes count for more.

    Returns:
        (B,)
    """
    target = targets["target"]
    if dataset.kind == "regression":
        return (outputs[:, 0] - (target - dataset.target_mean) / dataset.target_std) ** 2
    if dataset.kind == "multilabel":
        each = tf.nn.sigmoid_cross_entropy_with_logits(target, outputs)
        return tf.reduce_mean(each, axis=1)
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(target, outputs)
    if parameters and parameters.balance:
        each *= tf.gather(dataset.class_weights(parameters.balance), target)
    return each


def predict(outputs: tf.Tensor, dataset: "Dataset") -> dict[str, tf.Tensor]:
    """Return what the network says of each example.

    Returns:
        For regression "values" (B,) float32, in units of the target; else "probabilities"
        (B, classes) float32.
    """
    if dataset.kind == "regression":
        return {"values": outputs[:, 0] * dataset.target_std + dataset.target_mean}
    if dataset.kind == "multilabel":
        return {"probabilities": tf.sigmoid(outputs)}
    return {"probabilities": tf.nn.softmax(outputs)}
