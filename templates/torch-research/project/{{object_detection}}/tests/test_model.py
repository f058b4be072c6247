"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math

import pytest
import torch

from build_dataset import Dataset
from machinery.arrays import Array
from machinery.errors import InputError
from model import net
from model.parameters import ModelParameters

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


def make_batch(
    image_shape: Shape = (16, 16, 1),
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return eight images; the first has no box, and each of the others a dark and a bright one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(100, 150, (8, *image_shape), dtype=torch.uint8, generator=generator)
    boxes = torch.full((8, 3, 5), -1.0)
    for row in range(1, 8):
        left, top = row % 3, row % 4
        images[row, top : top + 5, left : left + 4] = 250
        images[row, 9:15, 8:12] = 10
        boxes[row, 0] = torch.tensor([row % 2, left, top, left + 4, top + 5])
        images[row, top + 2, left + 2] = 120 * (row % 2)
        boxes[row, 1] = torch.tensor([2, 8, 9, 12, 15])
    return {"images": images}, {"boxes": boxes}


@pytest.mark.parametrize("image_shape", [(16, 16, 1), (33, 20, 3), (20, 33, 3), (4, 4, 1)])
@pytest.mark.parametrize("stages", [1, 2])
def test_shapes(image_shape: Shape, stages: int) -> None:
    dataset = make_dataset(image_shape)
    model = net.Net(ModelParameters(stages=stages), dataset).eval()
    images = torch.zeros((8, *image_shape), dtype=torch.uint8)
    outputs = model({"images": images})
    rows, columns = (math.ceil(side / 2**stages) for side in image_shape[:2])
    assert outputs["classes"].shape == (8, rows, columns, 3)
    assert outputs["places"].shape == (8, rows, columns, 4)
    assert net.cell_size(dataset, rows, columns) == 2**stages
    targets = {"boxes": torch.tensor([[[1.0, 0, 0, 4, 4], [-1.0] * 5]]).repeat(8, 1, 1)}
    assert net.losses(outputs, targets, dataset).shape == (8,)
    predictions = net.predict(outputs, dataset)
    count = min(net.CANDIDATES, rows * columns * 3)
    assert predictions["boxes"].shape == (8, count, 4)
    assert predictions["scores"].shape == predictions["classes"].shape == (8, count)
    height, width, _ = image_shape
    assert (predictions["boxes"] >= 0).all()
    assert (predictions["boxes"] <= torch.tensor([width, height, width, height])).all()


def test_too_many_stages() -> None:
    ModelParameters(stages=4).check_data(make_dataset())
    with pytest.raises(InputError, match="at most 4"):
        ModelParameters(stages=5).check_data(make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing takes each class in each cell for as rare as FREQUENCY says."""
    torch.manual_seed(0)
    dataset = make_dataset()
    model = net.Net(ModelParameters(), dataset).eval()
    inputs, _ = make_batch()
    nothing = {"boxes": torch.full((8, 3, 5), -1.0)}
    loss = net.losses(model(inputs), nothing, dataset).mean()
    expected = -4 * 4 * 3 * math.log(1 - net.FREQUENCY)
    assert loss.item() == pytest.approx(expected, rel=0.5)


def right_outputs(targets: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what a perfect network with cells of 4 pixels gives out for images of 16 x 16."""
    classes, places = torch.full((8, 4, 4, 3), -30.0), torch.zeros((8, 4, 4, 4))
    for image, boxes in enumerate(targets["boxes"].tolist()):
        for number, left, top, right, bottom in boxes:
            if number >= 0:
                across, down = (left + right) / 8, (top + bottom) / 8
                row, column = int(down), int(across)
                classes[image, row, column, int(number)] = 30
                sizes = math.log((right - left) / 4), math.log((bottom - top) / 4)
                place = (across - column - 0.5, down - row - 0.5, *sizes)
                places[image, row, column] = torch.tensor(place)
    return {"classes": classes, "places": places}


def test_what_is_right_has_no_loss_and_is_predicted() -> None:
    dataset, (_, targets) = make_dataset(), make_batch()
    outputs = right_outputs(targets)
    assert net.losses(outputs, targets, dataset).tolist() == pytest.approx([0] * 8, abs=1e-5)
    predictions = net.predict(outputs, dataset)
    for row, boxes in enumerate(targets["boxes"]):
        boxes = boxes[boxes[:, 0] >= 0]
        certain = predictions["scores"][row] > 0.5
        found = torch.cat(
            [predictions["classes"][row, certain, None], predictions["boxes"][row, certain]], dim=1
        )
        found, expected = (x[x[:, 1].argsort()] for x in (found, boxes))  # from left to right
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_weight_of_places_is_for_training_alone() -> None:
    dataset, (_, targets) = make_dataset(), make_batch()
    outputs = right_outputs(targets)
    outputs["places"] += 0.25  # Four numbers, each a quarter off.
    expected = [0.0] + [1.0] * 7
    assert net.losses(outputs, targets, dataset).tolist() == pytest.approx(expected, abs=1e-5)
    double = ModelParameters(box_weight=2)
    found = net.losses(outputs, targets, dataset, double).tolist()
    assert found == pytest.approx([2 * loss for loss in expected], abs=1e-5)


def test_two_boxes_of_a_class_in_a_cell_are_one_answer() -> None:
    dataset = make_dataset()
    box = [1.0, 4, 4, 7, 7]
    outputs = {"classes": torch.full((1, 4, 4, 3), -30.0), "places": torch.zeros((1, 4, 4, 4))}
    outputs["classes"][0, 1, 1, 1] = 30
    targets = {"boxes": torch.tensor([[box, box, [-1.0] * 5]])}
    unweighted = ModelParameters(box_weight=0)
    assert net.losses(outputs, targets, dataset, unweighted).item() == pytest.approx(0, abs=1e-5)


def test_a_box_that_another_covers_has_no_score() -> None:
    dataset = make_dataset()
    outputs = {"classes": torch.full((1, 4, 4, 3), -9.0), "places": torch.zeros((1, 4, 4, 4))}
    outputs["classes"][0, 1, 1, 0], outputs["classes"][0, 1, 2, 0] = 3, 2
    outputs["classes"][0, 1, 2, 1] = 1  # The same place, another class.
    outputs["places"][0, 1, 1, 0] = 1  # It lies over its neighbour.
    predictions = net.predict(outputs, dataset)
    assert predictions["classes"][0, :3].tolist() == [0, 0, 1]
    assert (predictions["scores"][0, :3] > 0).tolist() == [True, False, True]


def test_overfits_a_few_examples() -> None:
    """Also those without a box."""
    torch.manual_seed(0)
    dataset, parameters = make_dataset(), ModelParameters(dropout=0)
    model = net.Net(parameters, dataset)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, targets = make_batch()
    for _ in range(150):
        optimizer.zero_grad()
        net.losses(model(inputs), targets, dataset, parameters).mean().backward()
        optimizer.step()
    predictions = net.predict(model(inputs), dataset)
    found = (predictions["scores"] > 0.5).sum(dim=1).tolist()
    assert found == [0] + [2] * 7


def test_examples_do_not_mix() -> None:
    """The gradient of one example's output reaches that example alone."""
    model = net.Net(ModelParameters(), make_dataset()).eval()
    images = make_batch()[0]["images"].float().requires_grad_()
    outputs = model({"images": images})
    (outputs["classes"][3].sum() + outputs["places"][3].sum()).backward()
    assert images.grad is not None
    reached = images.grad.abs().sum(dim=(1, 2, 3)) > 0
    assert reached.tolist() == [number == 3 for number in range(8)]
