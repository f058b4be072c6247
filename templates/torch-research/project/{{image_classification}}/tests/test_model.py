"""What to check by hand before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math

import pytest
import torch

import utils
from build_dataset import Dataset
from model import net
from model.parameters import ModelParameters


def make_dataset(image_shape: tuple[int, int, int] = (8, 8, 1)) -> Dataset:
    channels = image_shape[2]
    return Dataset(
        task="image-classification",
        source="test",
        classes=["a", "b", "c"],
        image_shape=image_shape,
        examples={"train": 8, "val": 8, "test": 8},
        mean=[128.0] * channels,
        std=[64.0] * channels,
        fingerprint="test",
    )


def make_batch(image_shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, *image_shape), dtype=torch.uint8, generator=generator)
    return images, torch.arange(8) % 3


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (28, 28, 1), (33, 20, 3), (1, 1, 3)])
def test_shapes(image_shape: tuple[int, int, int]) -> None:
    model = net.Net(ModelParameters(stages=1), make_dataset(image_shape)).eval()
    images, _ = make_batch(image_shape)
    assert model(images).shape == (8, 3)


def test_too_many_stages() -> None:
    net.Net(ModelParameters(stages=4, width=1), make_dataset())
    with pytest.raises(utils.InputError, match="at most 4"):
        net.Net(ModelParameters(stages=5), make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    torch.manual_seed(0)
    model = net.Net(ModelParameters(), make_dataset()).eval()
    images, labels = make_batch((8, 8, 1))
    assert net.loss(model(images), labels).item() == pytest.approx(math.log(3), abs=0.2)


def test_overfits_a_few_examples() -> None:
    torch.manual_seed(0)
    model = net.Net(ModelParameters(dropout=0), make_dataset())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    images, labels = make_batch((8, 8, 1))
    for _ in range(50):
        optimizer.zero_grad()
        net.loss(model(images), labels).backward()
        optimizer.step()
    assert net.accuracy(model(images), labels) == 1


def test_examples_do_not_mix() -> None:
    """The gradient of one example's output reaches that example alone."""
    model = net.Net(ModelParameters(), make_dataset()).eval()
    images = make_batch((8, 8, 1))[0].float().requires_grad_()
    model(images)[3].sum().backward()
    assert images.grad is not None
    reached = images.grad.abs().sum(dim=(1, 2, 3)) > 0
    assert reached.tolist() == [number == 3 for number in range(8)]


def test_accuracy() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    assert net.accuracy(logits, torch.tensor([0, 1, 1])).item() == pytest.approx(2 / 3)
