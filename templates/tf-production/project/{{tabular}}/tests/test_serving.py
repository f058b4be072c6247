"""What callers of an exported model get: for numbers of categories, and for texts."""

import numpy as np
import pytest
import tensorflow as tf
from test_model import KINDS, make_batch, make_dataset, make_net

from model.serving import Served


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_the_categories(kind: str) -> None:
    dataset = make_dataset(kind)
    inputs, _ = make_batch(dataset)
    inputs["numbers"][0, 0] = np.nan
    model = make_net(dataset)
    model.last.kernel.assign(np.random.default_rng(0).normal(size=model.last.kernel.shape))
    signatures = Served(model, dataset).signatures()
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    outputs = signatures["serving_default"](**tensors)
    texts = np.array(["never seen", "a", "b", "c"])[inputs["categories"]]
    again = signatures["texts"](numbers=tensors["numbers"], texts=tf.constant(texts))
    assert outputs.keys() == again.keys()
    for name, output in outputs.items():
        assert np.array_equal(output, again[name])
    if kind in ("binary", "multiclass"):
        numbers = outputs["probabilities"].numpy().argmax(axis=1)
        names = outputs["classes"].numpy().astype(str)
        assert names.tolist() == [f"class {number}" for number in numbers]


def test_a_table_of_numbers_alone_has_one_signature() -> None:
    dataset = make_dataset(categories=0)
    signatures = Served(make_net(dataset), dataset).signatures()
    assert signatures.keys() == {"serving_default"}
    numbers = tf.constant(make_batch(dataset)[0]["numbers"])
    assert signatures["serving_default"](numbers=numbers)["probabilities"].shape == (8, 3)
