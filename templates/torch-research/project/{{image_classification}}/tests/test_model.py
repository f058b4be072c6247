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


def make_dataset(
    image_shape: tuple[int, int, int] = (8, 8, 1), multilabel: bool = False
) -> Dataset:
    channels = image_shape[2]
    return Dataset(
        task="image-classification",
        source="test",
        examples={"train": 8, "val": 8, "test": 8},
        arrays={
            "images": Array(dtype="uint8", shape=image_shape),
            "labels": Array(dtype="float32", shape=(3,))
            if multilabel
            else Array(dtype="int64", shape=()),
        },
        arrays_folder="arrays-1",
        fingerprint="test",
        classes=["a", "b", "c"],
        multilabel=multilabel,
        mean=[128.0] * channels,
        std=[64.0] * channels,
    )


def make_batch(
    image_shape: tuple[int, int, int] = (8, 8, 1),
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, *image_shape), dtype=torch.uint8, generator=generator)
    return {"images": images}, {"labels": torch.arange(8) % 3}


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (28, 28, 1), (33, 20, 3), (1, 1, 3)])
def test_shapes(image_shape: tuple[int, int, int]) -> None:
    dataset = make_dataset(image_shape)
    model = net.Net(ModelParameters(stages=1), dataset).eval()
    inputs, targets = make_batch(image_shape)
    logits = model(inputs)
    assert logits.shape == (8, 3)
    assert net.losses(logits, targets, dataset).shape == (8,)
    probabilities = net.predict(logits, dataset)["probabilities"]
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1] * 8)


def test_too_many_stages() -> None:
    ModelParameters(stages=3).check_data(make_dataset())
    with pytest.raises(InputError, match="at most 3"):
        ModelParameters(stages=4).check_data(make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    torch.manual_seed(0)
    dataset = make_dataset()
    model = net.Net(ModelParameters(), dataset).eval()
    inputs, targets = make_batch()
    loss = net.losses(model(inputs), targets, dataset).mean()
    assert loss.item() == pytest.approx(math.log(3), abs=0.2)


def test_label_smoothing_is_for_training_alone() -> None:
    dataset, targets = make_dataset(), {"labels": torch.tensor([0])}
    logits = torch.tensor([[50.0, 0.0, 0.0]])
    assert net.losses(logits, targets, dataset).item() == pytest.approx(0)
    smoothed = net.losses(logits, targets, dataset, ModelParameters(label_smoothing=0.3))
    assert smoothed.item() == pytest.approx(0.3 * 50 * 2 / 3)


MARKS = torch.tensor([[1.0, 0, 1], [0, 0, 0]])


def test_labels_are_independent_of_each_other() -> None:
    """A network that knows nothing pays ln 2 for each; one that is certain and right, nothing."""
    dataset, targets = make_dataset(multilabel=True), {"labels": MARKS}
    nothing = torch.zeros(2, 3)
    assert net.losses(nothing, targets, dataset).tolist() == pytest.approx([math.log(2)] * 2)
    assert net.losses(100 * MARKS - 50, targets, dataset).tolist() == pytest.approx([0, 0])
    assert net.predict(nothing, dataset)["probabilities"].tolist() == [[0.5] * 3] * 2


def test_smoothed_labels() -> None:
    """Half of what is taken off a label goes to its other answer."""
    dataset, parameters = make_dataset(multilabel=True), ModelParameters(label_smoothing=0.3)
    losses = net.losses(100 * MARKS - 50, {"labels": MARKS}, dataset, parameters)
    assert losses.tolist() == pytest.approx([0.15 * 50] * 2)


def test_overfits_a_few_examples() -> None:
    torch.manual_seed(0)
    dataset, parameters = make_dataset(), ModelParameters(dropout=0)
    model = net.Net(parameters, dataset)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, targets = make_batch()
    for _ in range(50):
        optimizer.zero_grad()
        net.losses(model(inputs), targets, dataset, parameters).mean().backward()
        optimizer.step()
    predicted = net.predict(model(inputs), dataset)["probabilities"].argmax(dim=1)
    assert torch.equal(predicted, targets["labels"])


def test_examples_do_not_mix() -> None:
    """The gradient of one example's output reaches that example alone."""
    model = net.Net(ModelParameters(), make_dataset()).eval()
    images = make_batch()[0]["images"].float().requires_grad_()
    model({"images": images})[3].sum().backward()
    assert images.grad is not None
    reached = images.grad.abs().sum(dim=(1, 2, 3)) > 0
    assert reached.tolist() == [number == 3 for number in range(8)]
