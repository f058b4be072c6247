"""What to check by hand before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math
from typing import Any

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

KINDS = ("regression", "binary", "multiclass", "multilabel")
Arrays = dict[str, np.ndarray]


def make_dataset(kind: Any = "multiclass", numbers: int = 3, categories: int = 2) -> Dataset:
    classes = {"regression": 0, "binary": 2}.get(kind, 3)
    shapes = {"numbers": numbers, "categories": categories}
    dtypes = {"numbers": "float32", "categories": "int64"}
    return Dataset(
        task="tabular",
        source="test",
        inputs=tuple(name for name, columns in shapes.items() if columns),
        kind=kind,
        number_columns=[f"n{i}" for i in range(numbers)],
        mean=[10.0] * numbers,
        std=[2.0] * numbers,
        category_columns={f"c{i}": ["a", "b", "c"] for i in range(categories)},
        target_columns=["y"],
        classes=[f"class {i}" for i in range(classes)],
        target_mean=100.0 if kind == "regression" else 0.0,
        target_std=5.0 if kind == "regression" else 1.0,
        examples={"train": 8, "val": 8, "test": 8},
        arrays={
            name: Array(dtype=dtypes[name], shape=(columns,))
            for name, columns in shapes.items()
            if columns
        },
        arrays_folder="arrays-1",
        fingerprint="test",
    )


def make_batch(dataset: Dataset) -> tuple[Arrays, Arrays]:
    generator = np.random.default_rng(0)
    columns = len(dataset.number_columns), len(dataset.category_columns)
    numbers = 10 + 2 * generator.normal(size=(8, columns[0]))
    inputs = {
        "numbers": numbers.astype(np.float32),
        "categories": generator.integers(0, 4, (8, columns[1])),
    }
    target = np.arange(8) % (len(dataset.classes) or 2)
    if dataset.kind == "regression":
        target = (100 + 5 * (target * 2 - 1)).astype(np.float32)  # One standard deviation off.
    elif dataset.kind == "multilabel":
        target = (generator.random((8, 3)) < 0.5).astype(np.float32)
    return {name: inputs[name] for name in dataset.inputs}, {"target": target}


def make_net(dataset: Dataset, precision: str = "float32", **changes: float) -> net.Net:
    model = ModelParameters.model_validate({"width": 16, **changes})
    return make_model(Parameters(model=model), dataset, precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kind", "numbers", "categories"),
    [*((kind, 3, 2) for kind in KINDS), ("binary", 1, 0), ("binary", 0, 1)],
)
def test_shapes(kind: str, numbers: int, categories: int, precision: str) -> None:
    dataset = make_dataset(kind, numbers, categories)
    inputs, targets = make_batch(dataset)
    outputs = make_net(dataset, precision)(inputs)
    assert outputs.dtype == tf.float32
    assert net.losses(outputs, targets, dataset).shape == (8,)
    predictions = net.predict(outputs, dataset)
    if kind == "regression":
        assert predictions["values"].shape == (8,)
    else:
        assert predictions["probabilities"].shape == (8, len(dataset.classes))


@pytest.mark.parametrize("kind", KINDS)
def test_loss_at_the_start(kind: str) -> None:
    """A network that knows nothing says the mean, or that all classes are alike."""
    dataset = make_dataset(kind)
    inputs, targets = make_batch(dataset)
    expected = {"regression": 1.0, "binary": math.log(2), "multilabel": math.log(2)}
    losses = net.losses(make_net(dataset)(inputs), targets, dataset)
    assert losses.numpy() == pytest.approx(expected.get(kind, math.log(3)))


@pytest.mark.parametrize("kind", KINDS)
def test_overfits_a_few_examples(kind: str) -> None:
    dataset = make_dataset(kind)
    model, (inputs, targets) = make_net(dataset, dropout=0), make_batch(dataset)
    optimizer = keras.optimizers.AdamW(2e-2)
    optimizer.build(model.trainable_variables)  # Or the step would be traced twice.

    @tf.function(autograph=False)
    def train_step(step: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = model(inputs, seed=tf.stack([0, step]))
            loss = tf.reduce_mean(net.losses(outputs, targets, dataset))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    first, *_, last = [float(train_step(step)) for step in tf.range(60)]
    assert last < 0.1 < first


def test_dropout_is_a_function_of_its_seed() -> None:
    dataset = make_dataset()
    model, (inputs, _) = make_net(dataset, dropout=0.5), make_batch(dataset)
    model.last.kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    logits = [model(inputs, seed=tf.constant([0, step])).numpy() for step in (1, 1, 2)]
    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_bfloat16_takes_numbers_in_full() -> None:
    dataset = make_dataset(numbers=1, categories=0)
    model = make_net(dataset, "bfloat16")
    model.last.kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    # In bfloat16, both would be 10.0625.
    first, second = model({"numbers": np.array([[10.04], [10.08]], np.float32)}).numpy()
    assert not np.array_equal(first, second)


def test_examples_do_not_mix() -> None:
    """What one row holds changes the output of that row alone."""
    dataset = make_dataset()
    model, (inputs, _) = make_net(dataset), make_batch(dataset)
    model.last.kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    other = {**inputs, "numbers": inputs["numbers"].copy()}
    other["numbers"][3] += 5
    moved = np.abs(model(inputs) - model(other)).max(axis=1) > 1e-4
    assert moved.tolist() == [number == 3 for number in range(8)]


def test_a_missing_number_is_seen_and_a_far_one_is_bent() -> None:
    dataset = make_dataset(numbers=1, categories=0)
    model = make_net(dataset)
    model.last.kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    numbers = np.array([[10], [np.nan], [0], [1e6], [1e30]], np.float32)
    mean, missing, zero, far, farther = model({"numbers": numbers}).numpy()
    assert np.abs(mean - missing).max() > 1e-4
    assert np.abs(zero - missing).max() > 1e-4
    assert far == pytest.approx(farther, abs=1e-4)


def test_an_unknown_category_adds_nothing() -> None:
    """Whatever the row of the table holds that stands for it."""
    dataset = make_dataset(numbers=0)
    model = make_net(dataset)
    model.last.kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    inputs = {"categories": np.array([[0, 1], [1, 0], [3, 3]])}
    before = model(inputs).numpy()
    table = model.embedding.embeddings
    table.assign(tf.concat([table[:1] + 7, table[1:]], axis=0))
    assert np.array_equal(model(inputs).numpy(), before)
