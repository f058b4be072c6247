"""What an exported model returns for numbers of words, and for texts."""

import numpy as np
import tensorflow as tf
from test_model import make_batch, make_dataset, make_net

from machinery import words
from machinery.docstrings import read_docstrings
from model.serving import Served, split_words

TEXTS = [
    "Don't PANIC, it's 4.2e-3!",
    "Größe ÄRGER naïve İstanbul ΟΔΥΣΣΕΥΣ ǅ ß ﬁ",
    "很好。great电影 東京タワー 안녕 세상 हिन्दी में। مرحبا، عالم؟ ภาษาไทย",
    "super👍🏽 ❤️ \u3000\u00a0\u2003 x\u200by",
    "... ?!",
    "",
]


def test_both_signatures_agree() -> None:
    dataset, tokens = make_dataset(), make_batch()[0]["tokens"]
    signatures = Served(make_net(), dataset).signatures()
    outputs = signatures["serving_default"](tokens=tf.constant(tokens))
    assert outputs["probabilities"].shape == (8, 3)
    names = outputs["classes"].numpy().astype(str).tolist()
    assert names == ["abc"[number] for number in outputs["probabilities"].numpy().argmax(axis=1)]
    known = np.array(["", "something", *dataset.vocabulary])
    texts = [", ".join(known[row[row > 0]]).upper() for row in tokens]
    again = signatures["texts"](texts=tf.constant([*texts, texts[-1] + " and more"]))
    probabilities = outputs["probabilities"].numpy()
    np.testing.assert_allclose(
        again["probabilities"], [*probabilities, probabilities[-1]], atol=1e-6
    )


def test_the_graph_cuts_texts_as_python_does() -> None:
    texts = [*TEXTS, *(docstring.text for docstring in read_docstrings())]
    found = split_words(tf.constant(texts)).to_list()
    assert [[word.decode() for word in row] for row in found] == [*map(words.split_words, texts)]


def test_a_text_without_words_gives_probabilities() -> None:
    served = Served(make_net(), make_dataset())
    outputs = served.signatures()["texts"](texts=tf.constant(["", "?!"]))
    np.testing.assert_allclose(outputs["probabilities"].numpy().sum(axis=1), 1, atol=1e-6)
