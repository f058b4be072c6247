"""What an exported model takes and gives: its signatures.

    serving_default   numbers (N, columns) float32 and categories (N, columns) int64, as far as the
                      table has such columns
    texts             the same with texts (N, columns), what the cells of the categories say

Columns stand in the order of number_columns and category_columns of the dataset in
export.json. A missing number is NaN; a missing category is 0, or any text that no
training row had, such as an empty one.

Both give values (N,) for regression; else probabilities (N, classes) float32, and classes (N,), the
name of the most probable class, unless the classes are labels of which several may hold. All names
are in export.json, in the order of the probabilities. From Python:

    import tensorflow as tf

    predict = tf.saved_model.load("exports/saved_model/1").signatures["texts"]
    outputs = predict(numbers=tf.constant([[1.5, float("nan")]]), texts=tf.constant([["Paris"]]))

Over HTTP, from TensorFlow Serving:

    curl http://localhost:8501/v1/models/model:predict -d '{"signature_name": "texts",
        "instances": [{"numbers": [1.5, NaN], "texts": ["Paris"]}]}'
"""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from model import net

if TYPE_CHECKING:
    from build_dataset import Dataset


class Served(tf.Module):
    """The network with what a caller needs around it: levels of categories, probabilities, names.

    Args:
        model: the network, with its weights.
        dataset: the columns, the classes.
    """

    def __init__(self, model: net.Net, dataset: "Dataset") -> None:
        super().__init__()
        self.model, self.dataset = model, dataset

    def signatures(self) -> dict[str, Any]:
        """Return the functions that callers find, by name.

        serving_default takes the inputs under the names that they have in dataset.json, and gives
        what net.predict does, and more. export.py compares it. The others are this task's own.
        """
        arrays = {name: self.dataset.arrays[name] for name in self.dataset.inputs}
        specs = {
            name: tf.TensorSpec((None, *array.shape), array.dtype, name=name)
            for name, array in arrays.items()
        }
        predict = tf.function(self.predict, autograph=False)
        found = {"serving_default": predict.get_concrete_function(**specs)}
        if "categories" in specs:
            columns = len(self.dataset.category_columns)
            specs.pop("categories")
            specs["texts"] = tf.TensorSpec((None, columns), tf.string, name="texts")
            predict = tf.function(self.predict_texts, autograph=False)
            found["texts"] = predict.get_concrete_function(**specs)
        return found

    def predict(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what the network says of rows, with the names of the classes."""
        predictions = net.predict(self.model(inputs), self.dataset)
        if self.dataset.kind not in ("binary", "multiclass"):
            return predictions
        most_probable = tf.argmax(predictions["probabilities"], axis=1)
        names = tf.gather(tf.constant(self.dataset.classes), most_probable)
        return {**predictions, "classes": names}

    def predict_texts(self, texts: tf.Tensor, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Do so for categories as texts, (N, columns)."""
        columns = []
        for column, levels in enumerate(self.dataset.category_columns.values()):
            is_level = texts[:, column, None] == tf.constant(levels)  # (N, levels)
            numbers = tf.range(1, len(levels) + 1, dtype=tf.int64)
            columns.append(tf.reduce_sum(tf.where(is_level, numbers, 0), axis=1))
        return self.predict(categories=tf.stack(columns, axis=1), **inputs)
