"""What to check by hand before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math
from typing import Any

import pytest
import torch

from build_dataset import Dataset
from machinery.arrays import Array
from model import net
from model.parameters import ModelParameters

KINDS = ("regression", "binary", "multiclass", "multilabel")


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


def make_batch(dataset: Dataset) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    numbers = 10 + 2 * torch.randn(8, len(dataset.number_columns), generator=generator)
    columns = len(dataset.category_columns)
    categories = torch.randint(0, 4, (8, columns), generator=generator)
    inputs = {"numbers": numbers, "categories": categories}
    if dataset.kind == "regression":
        target = 100 + 5 * (torch.arange(8) % 2 * 2.0 - 1)  # One standard deviation off.
    elif dataset.kind == "multilabel":
        target = (torch.rand(8, 3, generator=generator) < 0.5).float()
    else:
        target = torch.arange(8) % len(dataset.classes)
    return {name: inputs[name] for name in dataset.inputs}, {"target": target}


@pytest.mark.parametrize(
    ("kind", "numbers", "categories"),
    [*((kind, 3, 2) for kind in KINDS), ("binary", 1, 0), ("binary", 0, 1)],
)
def test_shapes(kind: str, numbers: int, categories: int) -> None:
    dataset = make_dataset(kind, numbers, categories)
    inputs, targets = make_batch(dataset)
    outputs = net.Net(ModelParameters(), dataset)(inputs)
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
    outputs = net.Net(ModelParameters(), dataset)(inputs)
    expected = {"regression": 1.0, "binary": math.log(2), "multilabel": math.log(2)}
    losses = net.losses(outputs, targets, dataset)
    assert losses.tolist() == pytest.approx([expected.get(kind, math.log(3))] * 8)


@pytest.mark.parametrize("kind", KINDS)
def test_overfits_a_few_examples(kind: str) -> None:
    torch.manual_seed(0)
    dataset = make_dataset(kind)
    inputs, targets = make_batch(dataset)
    model = net.Net(ModelParameters(dropout=0), dataset)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        net.losses(model(inputs), targets, dataset).mean().backward()
        optimizer.step()
    predictions = net.predict(model(inputs), dataset)
    if kind == "regression":
        assert predictions["values"].tolist() == pytest.approx(targets["target"].tolist(), abs=1)
    elif kind == "multilabel":
        assert ((predictions["probabilities"] > 0.5) == targets["target"]).all()
    else:
        assert (predictions["probabilities"].argmax(1) == targets["target"]).all()


def test_examples_do_not_mix() -> None:
    """The gradient of one example's output reaches that example alone."""
    dataset = make_dataset()
    torch.manual_seed(0)
    model = net.Net(ModelParameters(), dataset)
    torch.nn.init.normal_(model.last.weight)
    inputs, _ = make_batch(dataset)
    numbers = inputs["numbers"].requires_grad_()
    model(inputs)[3].square().sum().backward()
    assert numbers.grad is not None
    reached = numbers.grad.abs().sum(dim=1) > 0
    assert reached.tolist() == [number == 3 for number in range(8)]


def test_a_missing_number_is_seen_and_a_far_one_is_bent() -> None:
    dataset = make_dataset(numbers=1, categories=0)
    torch.manual_seed(0)
    model = net.Net(ModelParameters(), dataset).eval()
    torch.nn.init.normal_(model.last.weight)
    numbers = torch.tensor([[10.0], [torch.nan], [0.0], [1e6], [1e30]])
    mean, missing, zero, far, farther = model({"numbers": numbers})
    assert not torch.allclose(mean, missing)
    assert not torch.allclose(zero, missing)
    assert far.isfinite().all()
    assert torch.allclose(far, farther, atol=1e-4)


def test_every_level_has_an_embedding_and_an_unknown_one_is_zero() -> None:
    model = net.Net(ModelParameters(), make_dataset(numbers=0))
    assert (model.embedding.weight[0] == 0).all()
    assert model.embedding.weight.shape == (1 + 3 + 3, ModelParameters().embedding)
    seen = []
    model.embedding.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model({"categories": torch.tensor([[0, 1], [1, 0], [3, 3]])})
    assert seen[0].tolist() == [[0, 4], [1, 0], [3, 6]]
