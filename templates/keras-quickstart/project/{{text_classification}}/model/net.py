"""The network, its loss and its predictions."""

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

Tensors = dict[str, Any]  # Tensors of the backend, by name.

LOWEST = -1e4  # No feature comes near it, and bfloat16 holds it.


def build_model(parameters: "ModelParameters", dataset: "Dataset", seed: int) -> keras.Model:
    """Return the network: embeddings of the words, residual convolutions over them, mean and
    maximum, a linear layer.

    What stands where a text is padded changes nothing: it is zero before each convolution, and
    neither mean nor maximum takes it in. So a text has the same output in any batch.

    Args:
        parameters: the sizes of the layers.
        dataset: the vocabulary and the classes.
        seed: of the dropout.

    Returns:
        A network that takes {"tokens": (B, words)}, int32, 0 where a text is padded, and returns
        the logits {"labels": (B, classes)}. An output has the name of its target.
    """
    layers, ops = keras.layers, keras.ops
    width, dropout = parameters.width, parameters.dropout
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    # Row 0 is not used: a text is padded there. Row 1 stands for every unknown word.
    x = layers.Embedding(
        len(dataset.vocabulary) + 2,
        width,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=0.1),
    )(tokens)  # (B, words, width)
    there = ops.expand_dims(tokens > 0, -1)  # (B, words, 1)
    x = layers.Dropout(dropout, seed=seed)(x)
    for block in range(parameters.blocks):
        change = layers.LayerNormalization(epsilon=1e-5)(x)
        change = ops.where(there, change, 0)
        change = layers.Conv1D(width, 3, padding="same", activation="relu")(change)
        change = layers.Dropout(dropout, seed=seed + 2 + block)(change)
        change = ops.where(there, change, 0)
        x = layers.Add()([x, layers.Conv1D(width, 3, padding="same")(change)])
    # The mean and what follows it in float32, as bfloat16 keeps only three digits.
    x = ops.cast(x, "float32")
    count = ops.maximum(ops.sum(ops.cast(there, "float32"), axis=1), 1.0)
    mean = ops.sum(ops.where(there, x, 0.0), axis=1) / count
    most = ops.max(ops.where(there, x, LOWEST), axis=1)
    x = layers.Concatenate(dtype="float32")([mean, most])  # (B, 2 * width)
    x = layers.LayerNormalization(epsilon=1e-5, dtype="float32")(x)
    x = layers.Dropout(dropout, seed=seed + 1, dtype="float32")(x)
    # From zero: so it begins by saying that every class is as likely as another.
    logits = layers.Dense(
        len(dataset.classes), kernel_initializer="zeros", dtype="float32", name="labels"
    )(x)
    return keras.Model({"tokens": tokens}, {"labels": logits})


class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of class numbers (B,) and logits (B, classes), in nats.

    Args:
        label_smoothing: probability taken off the label and spread over all classes
            (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7).
        options: those of every loss in Keras, such as `reduction`.
    """

    def __init__(self, label_smoothing: float, **options: Any) -> None:
        super().__init__(**options)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example, (B,); calling the object applies the reduction."""
        # Keras's loss for class numbers, SparseCategoricalCrossentropy, has no label smoothing.
        labels = keras.ops.cast(y_true, "int32")
        return keras.losses.categorical_crossentropy(
            keras.ops.one_hot(labels, y_pred.shape[-1]),
            y_pred,
            from_logits=True,
            label_smoothing=self.label_smoothing,
        )


def loss(
    dataset: "Dataset", parameters: "ModelParameters | None" = None, **options: Any
) -> dict[str, keras.losses.Loss]:
    """Return the loss of each output as `compile` takes it: the mean over a batch.

    Args:
        dataset: what is learned.
        parameters: in training. None in evaluation: no smoothing.
        options: those of every loss in Keras, such as `reduction`.
    """
    del dataset  # Its classes are those of the logits.
    smoothing = parameters.label_smoothing if parameters else 0.0
    return {"labels": CrossEntropy(smoothing, **options)}


def losses(
    outputs: Tensors,
    targets: Tensors,
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> Any:
    """Return the loss of each example, (B,).

    Args:
        outputs: of the network, "labels" (B, classes).
        targets: "labels" (B,) int64.
        dataset: what is learned.
        parameters: in training. None in evaluation: no smoothing.
    """
    cross_entropy = loss(dataset, parameters, reduction=None)["labels"]
    return cross_entropy(targets["labels"], outputs["labels"])


def predict(outputs: Tensors, dataset: "Dataset") -> Tensors:
    """Return the predictions for each example: "probabilities" (B, classes) float32."""
    del dataset  # Its classes are those of the logits.
    return {"probabilities": keras.ops.softmax(outputs["labels"])}
