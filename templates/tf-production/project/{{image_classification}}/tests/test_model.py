"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import utils
from backend import make_model
from build_dataset import Dataset
from machinery.arrays import Array
from model import net
from model.parameters import ModelParameters
from parameters import Parameters


def make_dataset(
    image_shape: tuple[int, int, int] = (8, 8, 1), multilabel: bool = False
) -> Dataset:
    channels = image_shape[2]
    return Dataset(
        task="image-classification",
        source="test",
        classes=["a", "b", "c"],
        multilabel=multilabel,
        examples={"train": 8, "val": 8, "test": 8},
        arrays={
            "images": Array(dtype="uint8", shape=image_shape),
            "labels": Array(dtype="float32", shape=(3,))
            if multilabel
            else Array(dtype="int64", shape=()),
        },
        arrays_folder="arrays-1",
        mean=[128.0] * channels,
        std=[64.0] * channels,
        fingerprint="test",
    )


def make_net(
    image_shape: tuple[int, int, int] = (8, 8, 1), precision: str = "float32", **parameters: float
) -> net.Net:
    model = ModelParameters.model_validate(parameters)
    return make_model(Parameters(model=model), make_dataset(image_shape), precision)


Arrays = dict[str, np.ndarray]


def make_batch(image_shape: tuple[int, int, int] = (8, 8, 1)) -> tuple[Arrays, Arrays]:
    images = np.random.default_rng(0).integers(0, 256, (8, *image_shape), np.uint8)
    return {"images": images}, {"labels": np.arange(8) % 3}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("image_shape", [(8, 8, 1), (28, 28, 1), (33, 20, 3), (1, 1, 3)])
def test_shapes(image_shape: tuple[int, int, int], precision: str) -> None:
    inputs, targets = make_batch(image_shape)
    logits = make_net(image_shape, precision, stages=1)(inputs)
    assert logits.shape == (8, 3)
    assert logits.dtype == tf.float32
    assert net.losses(logits, targets, make_dataset()).shape == (8,)
    probabilities = net.predict(logits, make_dataset())["probabilities"].numpy()
    assert probabilities.shape == (8, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_too_many_stages() -> None:
    ModelParameters(stages=3).check_data(make_dataset())
    with pytest.raises(utils.InputError, match="at most 3"):
        ModelParameters(stages=4).check_data(make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    inputs, targets = make_batch()
    losses = net.losses(make_net()(inputs), targets, make_dataset())
    assert losses.numpy().mean() == pytest.approx(math.log(3), abs=0.3)


def test_label_smoothing() -> None:
    """The lowest loss is the entropy of the smoothed label, where the network is not certain."""
    shares = np.array([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    logits = tf.constant(np.log(shares)[None], tf.float32)
    smoothed = ModelParameters(label_smoothing=0.1)
    lowest = net.losses(logits, {"labels": tf.constant([0])}, make_dataset(), smoothed)
    assert float(lowest[0]) == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)


MARKS = np.array([[1, 0, 1], [0, 0, 0]], np.float32)


def test_labels_are_independent_of_each_other() -> None:
    """A network that knows nothing pays ln 2 for each; one that is certain and right, nothing."""
    dataset, targets = make_dataset(multilabel=True), {"labels": tf.constant(MARKS)}
    nothing = tf.zeros((2, 3))
    assert net.losses(nothing, targets, dataset).numpy() == pytest.approx(math.log(2))
    certain = net.losses(tf.constant(100 * MARKS - 50), targets, dataset)
    assert certain.numpy() == pytest.approx(0)
    assert (net.predict(nothing, dataset)["probabilities"].numpy() == 0.5).all()


def test_smoothed_labels() -> None:
    """Half of what is taken off a label goes to its other answer."""
    dataset, parameters = make_dataset(multilabel=True), ModelParameters(label_smoothing=0.3)
    targets = {"labels": tf.constant(MARKS)}
    losses = net.losses(tf.constant(100 * MARKS - 50), targets, dataset, parameters)
    assert losses.numpy() == pytest.approx(0.15 * 50)


def test_overfits_a_few_examples() -> None:
    model, dataset = make_net(dropout=0), make_dataset()
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
    logits = model(inputs, seed=tf.constant([0, 0]))
    assert np.array_equal(tf.argmax(logits, axis=1), targets["labels"])


def test_dropout_is_a_function_of_its_seed() -> None:
    model, (inputs, _) = make_net(dropout=0.5), make_batch()
    logits = [model(inputs, seed=tf.constant([0, step])).numpy() for step in (1, 1, 2)]
    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_examples_do_not_mix() -> None:
    """Another example in the batch leaves an example's output as it is."""
    model, (inputs, _) = make_net(), make_batch()
    other = inputs["images"].copy()
    other[3] = 255 - other[3]
    changed = np.abs(model(inputs) - model({"images": other})).sum(axis=1) > 0
    assert changed.tolist() == [number == 3 for number in range(8)]
