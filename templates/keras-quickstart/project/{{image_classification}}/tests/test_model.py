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
from machinery.errors import InputError
from model import net
from model.parameters import ModelParameters

Shape = tuple[int, int, int]


def make_dataset(image_shape: Shape = (8, 8, 1), multilabel: bool = False) -> Dataset:
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


def make_model(image_shape: Shape = (8, 8, 1), **changes: float) -> keras.Model:
    keras.utils.set_random_seed(0)
    parameters = ModelParameters.model_validate({"width": 8, **changes})
    return net.build_model(parameters, make_dataset(image_shape), seed=0)


def make_batch(image_shape: Shape = (8, 8, 1)) -> tuple[dict, dict]:
    images = np.random.default_rng(0).integers(0, 256, (8, *image_shape), np.uint8)
    return {"images": images}, {"labels": np.arange(8) % 3}


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (33, 20, 3), (1, 1, 3)])
def test_shapes(image_shape: Shape) -> None:
    inputs, targets = make_batch(image_shape)
    outputs = make_model(image_shape, stages=1)(inputs)
    assert outputs["labels"].shape == (8, 3)
    losses = net.losses(outputs, backend.to_tensors(targets), make_dataset(image_shape))
    assert losses.shape == (8,)
    probabilities = backend.to_numpy(net.predict(outputs, make_dataset()))["probabilities"]
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(8))


def test_too_many_stages() -> None:
    ModelParameters(stages=3).check_data(make_dataset())
    with pytest.raises(InputError, match="at most 3"):
        ModelParameters(stages=4).check_data(make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    inputs, targets = make_batch()
    losses = net.losses(make_model()(inputs), backend.to_tensors(targets), make_dataset())
    assert backend.to_numpy(losses).mean() == pytest.approx(math.log(3), abs=0.2)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("parameters", [None, ModelParameters(label_smoothing=0.3)])
def test_fit_minimises_the_mean_of_the_losses(
    parameters: ModelParameters | None, multilabel: bool
) -> None:
    """The loss of `compile` and the function `losses` agree."""
    inputs, targets = make_batch()
    if multilabel:
        targets = {"labels": np.eye(3, dtype=np.float32)[targets["labels"]]}
    model, dataset = make_model(), make_dataset(multilabel=multilabel)
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


MARKS = np.array([[1, 0, 1], [0, 0, 0]], np.float32)


def losses_of_labels(logits: np.ndarray, parameters: ModelParameters | None = None) -> np.ndarray:
    dataset = make_dataset(multilabel=True)
    targets = backend.to_tensors({"labels": MARKS})
    return backend.to_numpy(net.losses({"labels": logits}, targets, dataset, parameters))


def test_labels_are_independent_of_each_other() -> None:
    """A network that knows nothing pays ln 2 for each; one that is certain and right, nothing."""
    nothing = np.zeros((2, 3), np.float32)
    assert losses_of_labels(nothing) == pytest.approx(np.full(2, math.log(2)))
    assert losses_of_labels(100 * MARKS - 50) == pytest.approx(np.zeros(2))
    predicted = net.predict({"labels": backend.to_tensors(nothing)}, make_dataset(multilabel=True))
    assert (backend.to_numpy(predicted)["probabilities"] == 0.5).all()


def test_smoothed_labels() -> None:
    """Half of what is taken off a label goes to its other answer."""
    losses = losses_of_labels(100 * MARKS - 50, ModelParameters(label_smoothing=0.3))
    assert losses == pytest.approx(np.full(2, 0.15 * 50))


def test_overfits_a_few_examples() -> None:
    inputs, targets = make_batch()
    model = make_model(dropout=0.0)
    jit = keras.backend.backend() == "jax"  # Its operations are slow one by one.
    model.compile(keras.optimizers.AdamW(1e-2), net.loss(make_dataset()), jit_compile=jit)
    loss = model.fit(inputs, targets, epochs=50, verbose=0).history["loss"]
    assert loss[-1] < 0.1 < loss[0]


def test_examples_do_not_mix() -> None:
    """What one image shows changes the output of that image alone."""
    model, (inputs, _) = make_model(), make_batch()
    changed = inputs["images"].copy()
    changed[3] = 255 - changed[3]
    before, after = (
        keras.ops.convert_to_numpy(model({"images": images})["labels"])
        for images in (inputs["images"], changed)
    )
    moved = np.abs(after - before).max(axis=1) > 1e-4
    assert moved.tolist() == [number == 3 for number in range(8)]
