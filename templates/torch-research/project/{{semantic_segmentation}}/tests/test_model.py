"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import pytest
import torch

from build_dataset import Dataset
from machinery.arrays import Array
from machinery.errors import InputError
from model import net
from model.parameters import ModelParameters
from model.report import initial_loss

Shape = tuple[int, int, int]
Batch = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


def make_dataset(
    image_shape: Shape = (8, 8, 1), shares: tuple[float, ...] = (0.8, 0.1, 0.1)
) -> Dataset:
    channels = image_shape[2]
    return Dataset(
        task="semantic-segmentation",
        source="test",
        examples={"train": 8, "val": 8, "test": 8},
        arrays={
            "images": Array(dtype="uint8", shape=image_shape),
            "masks": Array(dtype="uint8", shape=image_shape[:2]),
        },
        arrays_folder="arrays-1",
        fingerprint="test",
        classes=["a", "b", "c"],
        values=["0", "1", "2"],
        shares={"train": list(shares)},
        mean=[128.0] * channels,
        std=[64.0] * channels,
    )


def make_batch(image_shape: Shape = (8, 8, 1)) -> Batch:
    """Bright pixels are of class 1, the rest of class 0, and of some it is not known."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, *image_shape), dtype=torch.uint8, generator=generator)
    masks = (images[..., 0] > 127).to(torch.uint8)
    masks[:, 0] = net.IGNORED
    return {"images": images}, {"masks": masks}


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (24, 24, 1), (33, 20, 3), (5, 7, 3)])
def test_shapes(image_shape: Shape) -> None:
    """Sizes that cannot be halved come out as they went in."""
    dataset = make_dataset(image_shape)
    model = net.Net(ModelParameters(stages=2, width=4), dataset).eval()
    inputs, targets = make_batch(image_shape)
    logits = model(inputs)
    height, width, _ = image_shape
    assert logits.shape == (8, 3, height, width)
    assert net.losses(logits, targets, dataset).shape == (8,)
    predictions = net.predict(logits, dataset)
    assert predictions["masks"].shape == (8, height, width)
    assert predictions["masks"].dtype == torch.uint8
    assert torch.equal(predictions["masks"].long(), logits.argmax(dim=1))
    assert ((predictions["confidence"] > 1 / 3) & (predictions["confidence"] <= 1)).all()


def test_too_many_stages() -> None:
    ModelParameters(stages=2).check_data(make_dataset())
    with pytest.raises(InputError, match="at most 2"):
        ModelParameters(stages=3).check_data(make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    torch.manual_seed(0)
    dataset = make_dataset()
    model = net.Net(ModelParameters(stages=2), dataset).eval()
    inputs, targets = make_batch()
    loss = net.losses(model(inputs), targets, dataset).mean()
    assert loss.item() == pytest.approx(initial_loss(dataset), abs=0.2)


def test_loss_is_a_mean_over_known_pixels() -> None:
    """Whatever the network says where the class is not known."""
    dataset, (_, targets) = make_dataset(), make_batch()
    logits = torch.randn(8, 3, 8, 8)
    losses = net.losses(logits, targets, dataset)
    known = logits[:, :, 1:].log_softmax(dim=1)
    masks = targets["masks"][:, None, 1:].long()
    assert torch.allclose(losses, -known.gather(1, masks).mean(dim=(1, 2, 3)), atol=1e-6)
    logits[:, :, 0] = 100 * torch.randn(8, 3, 8)
    assert torch.equal(net.losses(logits, targets, dataset), losses)


def test_without_a_known_pixel_there_is_no_loss() -> None:
    masks = torch.full((2, 4, 4), net.IGNORED, dtype=torch.uint8)
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    losses = net.losses(logits, {"masks": masks}, make_dataset(), ModelParameters())
    losses.mean().backward()
    assert losses.tolist() == [0, 0]
    assert logits.grad is not None
    assert not logits.grad.any()


def test_rare_classes_weigh_more_in_training() -> None:
    weights = net.class_weights(make_dataset(), balance=1.0)
    assert weights == pytest.approx([1 / 2.4, 1 / 0.3, 1 / 0.3])
    assert net.class_weights(make_dataset(shares=(0.5, 0.5, 0)), 0.5) == pytest.approx([1, 1, 0])
    dataset, logits = make_dataset(), torch.zeros(1, 3, 1, 1)
    targets = {"masks": torch.ones(1, 1, 1, dtype=torch.uint8)}
    plain = net.losses(logits, targets, dataset)
    assert torch.equal(net.losses(logits, targets, dataset, ModelParameters(balance=0)), plain)
    weighted = net.losses(logits, targets, dataset, ModelParameters(balance=1))
    assert weighted.item() == pytest.approx(plain.item() / 0.3)


def test_overfits_a_few_examples() -> None:
    torch.manual_seed(0)
    dataset, parameters = make_dataset(), ModelParameters(stages=1, dropout=0)
    model = net.Net(parameters, dataset)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, targets = make_batch()
    for _ in range(50):
        optimizer.zero_grad()
        net.losses(model(inputs), targets, dataset, parameters).mean().backward()
        optimizer.step()
    predicted = net.predict(model(inputs), dataset)["masks"]
    assert torch.equal(predicted[:, 1:], targets["masks"][:, 1:])


def test_examples_do_not_mix() -> None:
    """The gradient of one example's output reaches that example alone."""
    model = net.Net(ModelParameters(stages=2), make_dataset()).eval()
    images = make_batch()[0]["images"].float().requires_grad_()
    model({"images": images})[3].sum().backward()
    assert images.grad is not None
    reached = images.grad.abs().sum(dim=(1, 2, 3)) > 0
    assert reached.tolist() == [number == 3 for number in range(8)]
