"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math

import keras
import numpy as np
import pytest

import backend
from build_dataset import Dataset
from machinery.arrays import Array
from model import net
from model.parameters import ModelParameters

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


def make_model(**changes: float) -> keras.Model:
    """Return a network whose last layer is not zero."""
    keras.utils.set_random_seed(0)
    parameters = ModelParameters.model_validate({"width": 8, **changes})
    model = net.build_model(parameters, make_dataset(), seed=0)
    kernel = model.get_layer("labels").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    return model


def make_batch() -> tuple[Arrays, Arrays]:
    tokens = np.random.default_rng(0).integers(1, 22, (8, 7), np.int32)
    there = np.arange(7) < np.array(LENGTHS)[:, None]
    return {"tokens": tokens * there}, {"labels": np.arange(8) % 3}


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_shapes(blocks: int) -> None:
    inputs, targets = make_batch()
    outputs = make_model(blocks=blocks)(inputs)
    assert outputs["labels"].shape == (8, 3)
    losses = net.losses(outputs, backend.to_tensors(targets), make_dataset())
    assert losses.shape == (8,)
    probabilities = backend.to_numpy(net.predict(outputs, make_dataset()))["probabilities"]
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(8))


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    inputs, targets = make_batch()
    model = net.build_model(ModelParameters(), make_dataset(), seed=0)
    losses = net.losses(model(inputs), backend.to_tensors(targets), make_dataset())
    assert backend.to_numpy(losses) == pytest.approx(np.full(8, math.log(3)))


def test_padding_changes_nothing() -> None:
    """A text has the same output alone and beside a longer one."""
    model, tokens = make_model(blocks=2), make_batch()[0]["tokens"]
    together = backend.to_numpy(model({"tokens": tokens})["labels"])
    for row in (0, 2, 5):
        alone = model({"tokens": tokens[row : row + 1, : LENGTHS[row]]})["labels"]
        assert backend.to_numpy(alone)[0] == pytest.approx(together[row], abs=1e-4)


@pytest.mark.parametrize("parameters", [None, ModelParameters(label_smoothing=0.3)])
def test_fit_minimises_the_mean_of_the_losses(parameters: ModelParameters | None) -> None:
    """The loss of `compile` and the function `losses` agree."""
    inputs, targets = make_batch()
    model, dataset = make_model(), make_dataset()
    outputs, tensors = model(inputs), backend.to_tensors(targets)
    losses = backend.to_numpy(net.losses(outputs, tensors, dataset, parameters))
    model.compile(loss=net.loss(dataset, parameters), jit_compile=False)
    mean = model.evaluate(inputs, targets, verbose=0, return_dict=True)["loss"]
    assert mean == pytest.approx(losses.mean(), rel=1e-5)


def test_label_smoothing() -> None:
    """The loss of a smoothed label is the mean over the classes, by their shares of the label."""
    logits = np.array([[2.0, -1.0, 0.5]], np.float32)
    each = [
        net.losses({"labels": logits}, {"labels": np.array([label])}, make_dataset())
        for label in range(3)
    ]
    by_class = np.array([backend.to_numpy(loss)[0] for loss in each])
    parameters = ModelParameters(label_smoothing=0.3)
    smoothed = net.losses({"labels": logits}, {"labels": np.array([2])}, make_dataset(), parameters)
    expected = 0.7 * by_class[2] + 0.3 * by_class.mean()
    assert backend.to_numpy(smoothed)[0] == pytest.approx(expected, rel=1e-5)


def test_overfits_a_few_examples() -> None:
    inputs, targets = make_batch()
    model = make_model(dropout=0.0, width=32)
    jit = keras.backend.backend() == "jax"  # Its operations are slow one by one.
    model.compile(keras.optimizers.AdamW(1e-2), net.loss(make_dataset()), jit_compile=jit)
    loss = model.fit(inputs, targets, epochs=50, verbose=0).history["loss"]
    assert loss[-1] < 0.1 < loss[0]


def test_examples_do_not_mix() -> None:
    """What one text says changes the output of that text alone."""
    model, (inputs, _) = make_model(), make_batch()
    changed = inputs["tokens"].copy()
    changed[3, :4] = (2, 3, 4, 5)
    before, after = (
        backend.to_numpy(model({"tokens": tokens})["labels"])
        for tokens in (inputs["tokens"], changed)
    )
    moved = np.abs(after - before).max(axis=1) > 1e-4
    assert moved.tolist() == [number == 3 for number in range(8)]
