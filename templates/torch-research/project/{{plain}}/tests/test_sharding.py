"""A network whose weights are shared out has the same outputs, gradients and checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

import backend
from framework.sharding import EXPECTED, ShardedState, is_on, large_layers, shard
from machinery.errors import InputError
from machinery.share import ALONE, Share

CPU, HERE = torch.device("cpu"), Path("last.safetensors")


@pytest.fixture
def _group() -> Iterator[None]:
    """This process, in a group of its own."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def make(seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    first = torch.nn.Linear(6, 8, bias=False)
    first.weight.data = first.weight.data.t().contiguous().t()  # Its rows do not lie together.
    return torch.nn.Sequential(first, torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 40))


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    inputs = torch.arange(4 * 6).reshape(4, 6).sin()
    model(inputs).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.usefixtures("_group")
def test_it_trains_and_goes_on_as_a_whole_one_does() -> None:
    """Loaded from the checkpoint of a whole one, after a step that began from other weights."""
    whole, shards = make(1), make(2)
    shard(shards, CPU, smallest=200)
    assert type(shards[0]) is torch.nn.Linear  # Too small to be gathered by itself.
    assert "FSDP" in type(shards[2]).__name__
    optimizers = [torch.optim.AdamW(each.parameters(), fused=True) for each in (whole, shards)]
    train(whole, optimizers[0])
    train(shards, optimizers[1])
    run: Any = SimpleNamespace(share=ALONE)
    states = (backend.State(whole, optimizers[0]), ShardedState(run, shards, optimizers[1]))
    states[1].load(states[0].to_arrays(), HERE)
    assert states[1].initial_arrays().keys() == states[0].to_arrays().keys()
    for _ in range(3):
        train(whole, optimizers[0])
        train(shards, optimizers[1])
    expected, found = (state.to_arrays() for state in states)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.usefixtures("_group")
def test_a_checkpoint_of_another_network_is_refused() -> None:
    shards = make(1)
    shard(shards, CPU)
    state = ShardedState(
        SimpleNamespace(share=ALONE),  # ty: ignore[invalid-argument-type]
        shards,
        torch.optim.AdamW(shards.parameters(), fused=True),
    )
    arrays = {**state.to_arrays(), "model.2.weight": np.zeros((40, 9), np.float32)}
    with pytest.raises(InputError, match=r"2\.weight"):
        state.load(arrays, HERE)


@pytest.mark.usefixtures("_group")
def test_a_network_that_pytorch_cannot_share_out_is_refused() -> None:
    network = make(1)
    network.scale = torch.nn.Parameter(torch.tensor(1.0))  # No row to share out.
    with pytest.raises(InputError, match="PyTorch cannot share out the network"):
        shard(network, CPU)


def test_lists_and_what_stands_twice_are_no_layers_of_their_own() -> None:
    layer = torch.nn.Linear(8, 8)
    inner = torch.nn.ModuleList([layer, torch.nn.Sequential(torch.nn.Linear(8, 8))])
    network = torch.nn.ModuleDict({"first": torch.nn.ModuleList([inner, layer])})
    names = [name for name, _ in large_layers(network, smallest=60)]
    assert names == ["first.0.1.0", "first.0.1", "first.1"]


@pytest.mark.parametrize(
    ("changes", "dtype", "expected"),
    [
        ({"average": 0.9}, torch.float32, r"training\.average: got 0\.9, expected 0 "),
        ({"accumulate": 2}, torch.float32, r"training\.accumulate: got 2, expected 1 "),
        ({"compile": True}, torch.float32, r"training\.compile: got True, expected False"),
        ({}, torch.float16, r"training\.precision: got auto, which is float16"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    changes: dict[str, Any], dtype: torch.dtype, expected: str
) -> None:
    training = SimpleNamespace(**{**EXPECTED, "sharding": "full", "precision": "auto", **changes})
    run: Any = SimpleNamespace(parameters=SimpleNamespace(training=training), share=Share(0, 2, 2))
    with pytest.raises(InputError, match=expected):
        is_on(run, dtype)
