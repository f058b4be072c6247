"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math
from typing import Any

import keras
import numpy as np
import pytest

import backend
from backend import to_numpy
from build_dataset import Dataset
from machinery.arrays import Array
from model import net
from model.parameters import ModelParameters

Arrays = dict[str, np.ndarray]
Shape = tuple[int, int, int]


def make_dataset(image_shape: Shape = (16, 16, 1)) -> Dataset:
    channels = image_shape[2]
    return Dataset(
        task="object-detection",
        source="test",
        examples={"train": 8, "val": 8, "test": 8},
        arrays={
            "images": Array(dtype="uint8", shape=image_shape),
            "boxes": Array(dtype="float32", shape=(None, 5), longest=3, fill=-1),
        },
        arrays_folder="arrays-1",
        fingerprint="test",
        classes=["a", "b", "c"],
        mean=[128.0] * channels,
        std=[64.0] * channels,
    )


def make_model(image_shape: Shape = (16, 16, 1)) -> keras.Model:
    keras.utils.set_random_seed(0)
    return net.build_model(ModelParameters(width=8), make_dataset(image_shape), seed=0)


def to_array(tensor: Any) -> np.ndarray:
    return backend.to_numpy({"": tensor})[""]


def make_batch(image_shape: Shape = (16, 16, 1)) -> tuple[Arrays, Arrays]:
    """Return eight images; the first has no box, and each of the others a dark and a bright one."""
    images = np.random.default_rng(0).integers(100, 150, (8, *image_shape), np.uint8)
    boxes = np.full((8, 3, 5), -1, np.float32)
    for row in range(1, 8):
        left, top = row % 3, row % 4
        images[row, top : top + 5, left : left + 4] = 250
        images[row, 9:15, 8:12] = 10
        boxes[row, 0] = row % 2, left, top, left + 4, top + 5
        images[row, top + 2, left + 2] = 120 * (row % 2)
        boxes[row, 1] = 2, 8, 9, 12, 15
    return {"images": images}, {"boxes": boxes}


def right_outputs(targets: Arrays) -> Arrays:
    """Return what a perfect network with cells of 4 pixels gives out for images of 16 x 16."""
    classes, places = np.full((8, 4, 4, 3), -30, np.float32), np.zeros((8, 4, 4, 4), np.float32)
    for image, boxes in enumerate(targets["boxes"]):
        for number, left, top, right, bottom in boxes[boxes[:, 0] >= 0].tolist():
            across, down = (left + right) / 8, (top + bottom) / 8
            row, column = int(down), int(across)
            classes[image, row, column, int(number)] = 30
            sizes = math.log((right - left) / 4), math.log((bottom - top) / 4)
            places[image, row, column] = across - column - 0.5, down - row - 0.5, *sizes
    return {"classes": classes, "places": places}


def merge(outputs: Arrays) -> dict[str, Any]:
    """Return the outputs as the network has them."""
    boxes = np.concatenate([outputs["classes"], outputs["places"]], axis=3)
    return backend.to_tensors({"boxes": boxes})


@pytest.mark.parametrize("image_shape", [(16, 16, 1), (33, 20, 3), (20, 33, 3)])
def test_shapes(image_shape: Shape) -> None:
    dataset, images = make_dataset(image_shape), np.zeros((8, *image_shape), np.uint8)
    outputs = make_model(image_shape)({"images": images})
    rows, columns = (math.ceil(side / 4) for side in image_shape[:2])
    assert outputs["boxes"].shape == (8, rows, columns, 7)
    assert net.cell_size(image_shape, rows, columns) == 4
    targets = {"boxes": np.array([[[1, 0, 0, 4, 4], [-1] * 5]] * 8, np.float32)}
    assert net.losses(outputs, backend.to_tensors(targets), dataset).shape == (8,)
    predictions = to_numpy(net.predict(outputs, dataset))
    count = min(net.CANDIDATES, rows * columns * 3)
    assert predictions["boxes"].shape == (8, count, 4)
    assert predictions["scores"].shape == predictions["classes"].shape == (8, count)
    height, width, _ = image_shape
    assert (predictions["boxes"] >= 0).all()
    assert (predictions["boxes"] <= [width, height, width, height]).all()


def test_loss_at_the_start() -> None:
    """A network that knows nothing takes each class in each cell for as rare as FREQUENCY says."""
    nothing = {"boxes": np.full((8, 3, 5), -1, np.float32)}
    outputs = make_model()(make_batch()[0])
    losses = to_array(net.losses(outputs, backend.to_tensors(nothing), make_dataset()))
    assert losses.mean() == pytest.approx(-4 * 4 * 3 * math.log(1 - net.FREQUENCY), rel=0.5)


def test_what_is_right_has_no_loss_and_is_predicted() -> None:
    """An image without a box too."""
    dataset, (_, targets) = make_dataset(), make_batch()
    outputs = merge(right_outputs(targets))
    losses = to_array(net.losses(outputs, backend.to_tensors(targets), dataset))
    assert losses == pytest.approx(np.zeros(8), abs=1e-5)
    predictions = to_numpy(net.predict(outputs, dataset))
    for row, boxes in enumerate(targets["boxes"]):
        expected = boxes[boxes[:, 0] >= 0]
        certain = predictions["scores"][row] > 0.5
        numbers, corners = predictions["classes"][row, certain], predictions["boxes"][row, certain]
        found = np.concatenate([numbers[:, None], corners], axis=1)
        found, expected = (x[x[:, 1].argsort()] for x in (found, expected))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_weight_of_places_is_for_training_alone() -> None:
    dataset, (_, targets) = make_dataset(), make_batch()
    outputs = right_outputs(targets)
    outputs["places"] += 0.25  # Four numbers, each a quarter off.
    for parameters, weight in ((None, 1), (ModelParameters(box_weight=2), 2)):
        found = net.losses(merge(outputs), backend.to_tensors(targets), dataset, parameters)
        assert to_array(found) == pytest.approx(np.array([0] + [weight] * 7), abs=1e-5)


def test_two_boxes_of_a_class_in_a_cell_are_one_answer() -> None:
    box = [1, 4, 4, 7, 7]
    outputs = {"classes": np.full((1, 4, 4, 3), -30, np.float32)}
    outputs["places"] = np.zeros((1, 4, 4, 4), np.float32)
    outputs["classes"][0, 1, 1, 1] = 30
    targets = backend.to_tensors({"boxes": np.array([[box, box, [-1] * 5]], np.float32)})
    unweighted = ModelParameters(box_weight=0)
    loss = to_array(net.losses(merge(outputs), targets, make_dataset(), unweighted))
    assert loss == pytest.approx([0], abs=1e-5)


def test_a_box_that_another_covers_has_no_score() -> None:
    outputs = {"classes": np.full((1, 4, 4, 3), -9, np.float32)}
    outputs["places"] = np.zeros((1, 4, 4, 4), np.float32)
    outputs["classes"][0, 1, 1, 0], outputs["classes"][0, 1, 2, 0] = 3, 2
    outputs["classes"][0, 1, 2, 1] = 1  # The same place, another class.
    outputs["places"][0, 1, 1, 0] = 1  # It lies over its neighbour.
    predictions = to_numpy(net.predict(merge(outputs), make_dataset()))
    assert predictions["classes"][0, :3].tolist() == [0, 0, 1]
    assert (predictions["scores"][0, :3] > 0).tolist() == [True, False, True]


def test_fit_minimises_the_mean_of_the_losses() -> None:
    """The loss of `compile` and the function `losses` agree."""
    inputs, targets = make_batch()
    model, dataset, parameters = make_model(), make_dataset(), ModelParameters(box_weight=2)
    outputs, tensors = model(inputs), backend.to_tensors(targets)
    losses = to_array(net.losses(outputs, tensors, dataset, parameters))
    model.compile(loss=net.loss(dataset, parameters), jit_compile=False)
    mean = model.evaluate(inputs, targets, verbose=0, return_dict=True)["loss"]
    assert mean == pytest.approx(losses.mean(), rel=1e-5)


def test_overfits_a_few_examples() -> None:
    inputs, targets = make_batch()
    model = make_model()
    jit = keras.backend.backend() == "jax"  # Its operations are slow one by one.
    model.compile(keras.optimizers.AdamW(1e-2), net.loss(make_dataset()), jit_compile=jit)
    loss = model.fit(inputs, targets, epochs=60, verbose=0).history["loss"]
    assert loss[-1] < loss[0] / 10


def test_examples_do_not_mix() -> None:
    """What one image shows changes the output of that image alone."""
    model, (inputs, _) = make_model(), make_batch()
    other = inputs["images"].copy()
    other[3] = 255 - other[3]
    before, after = (to_numpy(model({"images": images})) for images in (inputs["images"], other))
    moved = np.abs(after["boxes"] - before["boxes"]).max(axis=(1, 2, 3)) > 1e-4
    assert moved.tolist() == [number == 3 for number in range(8)]
