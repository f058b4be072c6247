"""The network, its loss and its predictions."""

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

LOWEST = -1e4  # No feature comes near it, and bfloat16 holds it.


class Net(keras.Model):
    """Embeddings of the words, residual convolutions over them, mean and maximum, a linear layer.

    What stands where a text is padded changes nothing: it is zero before each convolution, and
    neither mean nor maximum takes it in. So a text has the same output in any batch. Every layer
    has a name of its own, since a checkpoint knows the weights by these names.

    Args:
        parameters: the sizes of the layers.
        dataset: the vocabulary and the classes.
    """

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__(name="net")
        self.dropout = parameters.dropout
        # Row 0 is not used: a text is padded there. Row 1 stands for every unknown word.
        self.embedding = keras.layers.Embedding(
            len(dataset.vocabulary) + 2,
            parameters.width,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.1),
            name="embedding",
        )
        self.blocks = [
            Block(parameters.width, parameters.dropout, name=f"block{number}")
            for number in range(parameters.blocks)
        ]
        # In float32, so that rounding does not decide between two classes.
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype="float32", name="norm")
        # From zero: so it begins by saying that every class is as likely as another.
        self.classifier = keras.layers.Dense(
            len(dataset.classes), kernel_initializer="zeros", dtype="float32", name="classifier"
        )

    def call(self, inputs: dict[str, tf.Tensor], seed: tf.Tensor | None = None) -> tf.Tensor:
        """Return logits.

        Args:
            inputs: "tokens" (B, words) int32, 0 where a text is padded.
            seed: (2,) int64, of dropout in training; None in evaluation.

        Returns:
            (B, classes) float32
        """
        tokens = inputs["tokens"]
        there = (tokens > 0)[..., None]  # (B, words, 1)
        x = drop(self.embedding(tokens), self.dropout, seed, 0)  # (B, words, width)
        for number, block in enumerate(self.blocks):
            x = block(x, there, None if seed is None else tf.random.fold_in(seed, number + 2))
        x = tf.cast(x, tf.float32)
        count = tf.maximum(tf.reduce_sum(tf.cast(there, tf.float32), axis=1), 1.0)
        mean = tf.reduce_sum(tf.where(there, x, 0.0), axis=1) / count
        most = tf.reduce_max(tf.where(there, x, LOWEST), axis=1)
        x = self.norm(tf.concat([mean, most], axis=1))  # (B, 2 * width)
        return self.classifier(drop(x, self.dropout, seed, 1))


class Block(keras.layers.Layer):
    """Adds to its input what two convolutions over three words each make of it.

    Args:
        width: features of a word.
        dropout: probability of dropping one between the convolutions.
        name: of the block.
    """

    def __init__(self, width: int, dropout: float, name: str) -> None:
        super().__init__(name=name)
        self.dropout = dropout
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.first = keras.layers.Conv1D(width, 3, padding="same", activation="relu", name="first")
        self.second = keras.layers.Conv1D(width, 3, padding="same", name="second")

    def call(self, x: tf.Tensor, there: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Return (B, words, width).

        Args:
            x: (B, words, width)
            there: (B, words, 1) bool, false where a text is padded.
            seed: (2,) int64, of dropout in training; None in evaluation.
        """
        kept = tf.cast(there, x.dtype)
        change = drop(self.first(self.norm(x) * kept), self.dropout, seed, 0)
        return x + self.second(change * kept)


def drop(x: tf.Tensor, probability: float, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Set some features to zero in training, and scale the others up to the same mean.

    Args:
        x: any shape.
        probability: of dropping a feature.
        seed: (2,) int64, in training; None in evaluation.
        place: in the network, so that no two places drop the same.
    """
    if seed is None:
        return x
    folded = tf.random.fold_in(seed, place)
    return tf.nn.experimental.stateless_dropout(x, probability, folded)


def losses(
    logits: tf.Tensor,
    targets: dict[str, tf.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> tf.Tensor:
    """Return the cross-entropy of each example, in nats.

    Args:
        logits: (B, classes) float32
        targets: "labels" (B,) int64.
        dataset: what is learned.
        parameters: in training: `label_smoothing` is the probability taken off the label and
            spread over all classes (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567,
            section 7). None in evaluation: no smoothing.

    Returns:
        (B,)
    """
    classes = len(dataset.classes)
    smoothing = parameters.label_smoothing if parameters else 0.0
    shares = tf.one_hot(targets["labels"], classes) * (1 - smoothing) + smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(shares, logits)


def predict(logits: tf.Tensor, dataset: "Dataset") -> dict[str, tf.Tensor]:
    """Return the predictions for each example: "probabilities" (B, classes) float32."""
    del dataset  # Its classes are those of the logits.
    return {"probabilities": tf.nn.softmax(logits)}
