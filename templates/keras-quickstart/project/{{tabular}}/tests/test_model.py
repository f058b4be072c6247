"""What to check by hand before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math
from typing import Any

import keras
import numpy as np
import pytest

import backend
from build_dataset import Dataset
from machinery.arrays import Array
from model import net
from model.parameters import ModelParameters

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


def make_model(dataset: Dataset, **changes: float) -> keras.Model:
    keras.utils.set_random_seed(0)
    parameters = ModelParameters.model_validate({"width": 16, **changes})
    return net.build_model(parameters, dataset, seed=0)


def predict(model: keras.Model, inputs: Arrays, dataset: Dataset) -> Arrays:
    return backend.to_numpy(net.predict(model(inputs), dataset))


@pytest.mark.parametrize(
    ("kind", "numbers", "categories"),
    [*((kind, 3, 2) for kind in KINDS), ("binary", 1, 0), ("binary", 0, 1)],
)
def test_shapes(kind: str, numbers: int, categories: int) -> None:
    dataset = make_dataset(kind, numbers, categories)
    inputs, targets = make_batch(dataset)
    outputs = make_model(dataset)(inputs)
    assert net.losses(outputs, backend.to_tensors(targets), dataset).shape == (8,)
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
    losses = net.losses(make_model(dataset)(inputs), backend.to_tensors(targets), dataset)
    assert backend.to_numpy(losses) == pytest.approx(expected.get(kind, math.log(3)))


@pytest.mark.parametrize("kind", KINDS)
def test_overfits_a_few_examples(kind: str) -> None:
    """It does, and `fit` minimises the mean of what `losses` returns."""
    dataset = make_dataset(kind)
    inputs, targets = make_batch(dataset)
    model = make_model(dataset, dropout=0.0)
    jit = keras.backend.backend() == "jax"  # Its operations are slow one by one.
    model.compile(keras.optimizers.AdamW(2e-2), net.loss(dataset), jit_compile=jit)
    first, *_, last = model.fit(inputs, targets, epochs=60, verbose=0).history["loss"]
    assert last < 0.1 < first
    losses = net.losses(model(inputs), backend.to_tensors(targets), dataset)
    measured = model.evaluate(inputs, targets, verbose=0, return_dict=True)["loss"]
    assert backend.to_numpy(losses).mean() == pytest.approx(measured, rel=1e-3)


def test_examples_do_not_mix() -> None:
    """What one row holds changes the output of that row alone."""
    dataset = make_dataset()
    model, (inputs, _) = make_model(dataset), make_batch(dataset)
    model.get_layer("target").kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    changed = {**inputs, "numbers": inputs["numbers"].copy()}
    changed["numbers"][3] += 5
    before, after = (predict(model, each, dataset)["probabilities"] for each in (inputs, changed))
    moved = np.abs(after - before).max(axis=1) > 1e-4
    assert moved.tolist() == [number == 3 for number in range(8)]


def test_a_missing_number_is_seen_and_a_far_one_is_bent() -> None:
    dataset = make_dataset(numbers=1, categories=0)
    model = make_model(dataset)
    model.get_layer("target").kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    numbers = np.array([[10], [np.nan], [0], [1e6], [1e30]], np.float32)
    found = predict(model, {"numbers": numbers}, dataset)["probabilities"]
    mean, missing, zero, far, farther = found
    assert np.abs(mean - missing).max() > 1e-4
    assert np.abs(zero - missing).max() > 1e-4
    assert far == pytest.approx(farther, abs=1e-4)


def test_an_unknown_category_adds_nothing() -> None:
    dataset = make_dataset(numbers=0)
    categories = keras.ops.convert_to_tensor(np.array([[0, 1], [1, 0], [3, 3]]))
    embedded = backend.to_numpy(net.embed(categories, ModelParameters(), dataset))
    embedded = embedded.reshape(3, 2, ModelParameters().embedding)
    assert (np.abs(embedded).max(axis=2) > 0).tolist() == [[False, True], [True, False], [True] * 2]
