"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math

import pytest
import torch

from build_dataset import Dataset
from machinery.arrays import Array
from model import net
from model.parameters import ModelParameters

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 7)


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


def make_batch() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 22, (8, 7), dtype=torch.int32, generator=generator)
    there = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
    return {"tokens": tokens * there}, {"labels": torch.arange(8) % 3}


def make_net(**parameters: float) -> net.Net:
    """Return a network whose last layer is not zero."""
    torch.manual_seed(0)
    model = net.Net(ModelParameters(**parameters), make_dataset())  # ty: ignore[invalid-argument-type]
    torch.nn.init.normal_(model.classifier.weight)
    return model


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_shapes(blocks: int) -> None:
    dataset = make_dataset()
    inputs, targets = make_batch()
    logits = make_net(blocks=blocks).eval()(inputs)
    assert logits.shape == (8, 3)
    assert net.losses(logits, targets, dataset).shape == (8,)
    probabilities = net.predict(logits, dataset)["probabilities"]
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1] * 8)


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    dataset = make_dataset()
    inputs, targets = make_batch()
    losses = net.losses(net.Net(ModelParameters(), dataset)(inputs), targets, dataset)
    assert losses.tolist() == pytest.approx([math.log(3)] * 8)


def test_padding_changes_nothing() -> None:
    """A text has the same output alone and beside a longer one."""
    model = make_net(blocks=2).eval()
    tokens = make_batch()[0]["tokens"]
    together = model({"tokens": tokens})
    for row, length in enumerate(LENGTHS):
        alone = model({"tokens": tokens[row : row + 1, :length]})
        assert torch.allclose(alone[0], together[row], atol=1e-5)


def test_the_order_of_words_matters() -> None:
    model = make_net(blocks=1).eval()
    tokens = torch.tensor([[2, 3, 4, 5], [5, 3, 2, 4]], dtype=torch.int32)
    first, second = model({"tokens": tokens})
    assert not torch.allclose(first, second, atol=1e-3)


def test_label_smoothing_is_for_training_alone() -> None:
    dataset, targets = make_dataset(), {"labels": torch.tensor([0])}
    logits = torch.tensor([[50.0, 0.0, 0.0]])
    assert net.losses(logits, targets, dataset).item() == pytest.approx(0)
    smoothed = net.losses(logits, targets, dataset, ModelParameters(label_smoothing=0.3))
    assert smoothed.item() == pytest.approx(0.3 * 50 * 2 / 3)


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
    """The gradient of one example's output reaches the words of that example alone."""
    model = make_net().eval()
    seen: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, arguments: object, output: torch.Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    model.embedding.register_forward_hook(keep)
    model(make_batch()[0])[3].square().sum().backward()
    assert seen[0].grad is not None
    reached = seen[0].grad.abs().sum(dim=(1, 2)) > 0
    assert reached.tolist() == [number == 3 for number in range(8)]
