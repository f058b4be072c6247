"""What an exported model takes and gives: its signatures.

    serving_default   tokens (N, words) int32, numbers of words as build_dataset.py writes them
    texts             texts (N,), strings in UTF-8, which the graph cuts into words by the same rule

Both give probabilities (N, classes) float32 and classes (N,), the name of the most probable class.
All names, in the order of the probabilities, are in export.json. From Python:

    import tensorflow as tf

    classify = tf.saved_model.load("exports/saved_model/1").signatures["texts"]
    outputs = classify(texts=tf.constant(["Fit a line to noisy points."]))
    print(outputs["classes"].numpy(), outputs["probabilities"].numpy())

Over HTTP, from TensorFlow Serving:

    curl http://localhost:8501/v1/models/model:predict -d '{"signature_name": "texts",
        "instances": ["Fit a line to noisy points."]}'

A text that holds no word, which build_dataset.py refuses, gives probabilities that say nothing. In
lower case, TensorFlow (by ICU) and Python may differ in characters that are newer than one of them.
"""

import re
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from machinery.words import BETWEEN, SINGLE, UNKNOWN
from model import net

if TYPE_CHECKING:
    from build_dataset import Dataset


def to_re2(characters: str) -> str:
    r"""Return ranges of characters as RE2 writes them: \x{3040}, where Python has \u3040."""
    return re.sub(r"\\u(\w{4})|\\U(\w{8})", r"\\x{\1\2}", characters)


class Served(tf.Module):
    """The network and what callers need around it: words, probabilities, names of classes.

    Args:
        model: the network, with its weights.
        dataset: the vocabulary, and the classes.
    """

    def __init__(self, model: net.Net, dataset: "Dataset") -> None:
        super().__init__()
        self.model, self.dataset = model, dataset
        words = tf.constant(dataset.vocabulary, tf.string)
        numbers = tf.range(len(dataset.vocabulary), dtype=tf.int32) + (UNKNOWN + 1)
        self.numbers = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(words, numbers), UNKNOWN
        )

    def signatures(self) -> dict[str, Any]:
        """Return the functions that callers find, by name.

        serving_default takes the inputs under their names in dataset.json and gives what
        net.predict does, and more; export.py compares its predictions. The task adds the others.
        """
        tokens = tf.TensorSpec((None, None), tf.int32, name="tokens")
        texts = tf.TensorSpec((None,), tf.string, name="texts")
        return {
            "serving_default": tf.function(self.classify, [tokens], autograph=False),
            "texts": tf.function(self.classify_texts, [texts], autograph=False),
        }

    def classify(self, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return probabilities (N, classes) and class names (N,) of tokens (N, words) int32."""
        predictions = net.predict(self.model({"tokens": tokens}), self.dataset)
        most_probable = tf.argmax(predictions["probabilities"], axis=1)
        names = tf.gather(tf.constant(self.dataset.classes), most_probable)
        return {**predictions, "classes": names}

    def classify_texts(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the same for texts (N,)."""
        return self.classify(self.number(texts))

    def number(self, texts: tf.Tensor) -> tf.Tensor:
        """Return the numbers of the words of texts (N,), (N, words) int32, padded with 0."""
        longest = self.dataset.arrays["tokens"].longest
        numbers = self.numbers.lookup(split_words(texts))
        return numbers[:, :longest].to_tensor(shape=(None, longest))


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Return the words of texts (N,), as machinery/words.py does."""
    spaced = tf.strings.lower(texts, encoding="utf-8")
    spaced = tf.strings.regex_replace(spaced, f"[{to_re2(BETWEEN)}]+", " ")
    return tf.strings.split(tf.strings.regex_replace(spaced, f"[{to_re2(SINGLE)}]", r" \0 "))
