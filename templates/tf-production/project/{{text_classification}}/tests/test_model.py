"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from backend import make_model
from build_dataset import Dataset
from machinery.arrays import Array
from model import net
from model.parameters import ModelParameters
from parameters import Parameters

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 7)
Arrays = dict[str, np.ndarray]


def make_dataset() -> Dataset:
    return Dataset(
        task="text-classification",
        source="test",
        examples={"train": 8, "val": 8, "test": 8},
        arrays={
            "tokens": Array(dtype="int32", shape=(None,), longest=7),
            "labels": Array(dtype="int64", shape=()),
        },
        arrays_folder="arrays-1",
        fingerprint="test",
        classes=["a", "b", "c"],
        vocabulary=[f"word{number}" for number in range(20)],
        text_column="",
    )


def make_net(precision: str = "float32", **parameters: float) -> net.Net:
    """Return a network whose last layer is not zero."""
    model = ModelParameters.model_validate({"width": 8, **parameters})
    made = make_model(Parameters(model=model), make_dataset(), precision)
    kernel = made.classifier.kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    return made


def make_batch() -> tuple[Arrays, Arrays]:
    tokens = np.random.default_rng(0).integers(1, 22, (8, 7), np.int32)
    there = np.arange(7) < np.array(LENGTHS)[:, None]
    return {"tokens": tokens * there}, {"labels": np.arange(8) % 3}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_shapes(blocks: int, precision: str) -> None:
    inputs, targets = make_batch()
    logits = make_net(precision, blocks=blocks)(inputs)
    assert logits.shape == (8, 3)
    assert logits.dtype == tf.float32
    assert net.losses(logits, targets, make_dataset()).shape == (8,)
    probabilities = net.predict(logits, make_dataset())["probabilities"].numpy()
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    inputs, targets = make_batch()
    model = make_model(Parameters(), make_dataset(), "float32")
    losses = net.losses(model(inputs), targets, make_dataset())
    assert losses.numpy() == pytest.approx(np.full(8, math.log(3)))


def test_padding_changes_nothing() -> None:
    """A text has the same output alone and beside a longer one."""
    model, tokens = make_net(blocks=2), make_batch()[0]["tokens"]
    together = model({"tokens": tokens}).numpy()
    for row, length in enumerate(LENGTHS):
        alone = model({"tokens": tokens[row : row + 1, :length]}).numpy()
        assert np.allclose(alone[0], together[row], atol=1e-5)


def test_label_smoothing() -> None:
    """The lowest loss is the entropy of the smoothed label, where the network is not certain."""
    shares = np.array([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    logits = tf.constant(np.log(shares)[None], tf.float32)
    smoothed = ModelParameters(label_smoothing=0.1)
    lowest = net.losses(logits, {"labels": tf.constant([0])}, make_dataset(), smoothed)
    assert float(lowest[0]) == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)


def test_overfits_a_few_examples() -> None:
    model, dataset = make_net(dropout=0, width=32), make_dataset()
    optimizer = keras.optimizers.AdamW(1e-2)
    inputs, targets = make_batch()
    optimizer.build(model.trainable_variables)  # Or the step would be traced twice.

    @tf.function(autograph=False)
    def train_step(step: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = model(inputs, seed=tf.stack([0, step]))
            loss = tf.reduce_mean(net.losses(logits, targets, dataset))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    for step in tf.range(50):
        train_step(step)
    assert np.array_equal(tf.argmax(model(inputs), axis=1), targets["labels"])


def test_dropout_is_a_function_of_its_seed() -> None:
    model, (inputs, _) = make_net(dropout=0.5), make_batch()
    logits = [model(inputs, seed=tf.constant([0, step])).numpy() for step in (1, 1, 2)]
    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_examples_do_not_mix() -> None:
    """Another example in the batch leaves an example's output as it is."""
    model, (inputs, _) = make_net(), make_batch()
    other = inputs["tokens"].copy()
    other[3, :4] = (2, 3, 4, 5)
    changed = np.abs(model(inputs) - model({"tokens": other})).sum(axis=1) > 0
    assert changed.tolist() == [number == 3 for number in range(8)]
