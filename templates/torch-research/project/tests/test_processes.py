"""Several processes share every batch out, agree with each other, and refuse what differs."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from framework.buffer_means import BufferMeans
from framework.processes import NAMES, flatten, join, unflatten
from machinery.errors import InputError, ResourceError
from machinery.sampling import BatchSampler, examples_of_batch
from machinery.share import Share, share_out
from machinery.shared_run import FollowingRun, refuse_different_trainings
from machinery.stopping import StopRequest
from parameters import Parameters


def test_tensors_keep_their_memory_layout() -> None:
    """The fused optimizer requires it, and a norm is summed in its order."""
    permuted = torch.randn(2, 4, 5, 3).permute(0, 3, 1, 2)
    tensors = [permuted, torch.tensor(3.0), torch.randn(2).double()]
    for tensor, copy in zip(tensors, unflatten(flatten(tensors), tensors), strict=True):
        assert torch.equal(tensor, copy)
        assert (tensor.dtype, tensor.stride()) == (copy.dtype, copy.stride())


@pytest.mark.parametrize(("processes", "parts"), [(2, 2), (3, 3), (7, 7), (2, 4), (2, 6), (3, 6)])
def test_the_shares_of_a_batch_are_the_batch(processes: int, parts: int) -> None:
    """Also where a batch is no multiple of them, part by part."""
    whole = [*BatchSampler(63, 16, seed=3, first_step=0, last_step=8)]
    shares = [Share(number, processes, parts) for number in range(processes)]
    each = [[*BatchSampler(63, 16, 3, 0, 8, share)] for share in shares]
    for step, (epoch, rows) in enumerate(whole):
        assert examples_of_batch(63, 4, step) == len(rows)
        assert all(batches[step][0] == epoch for batches in each)
        found = [np.array_split(b[step][1], parts // processes) for b in each]
        expected = np.array_split(rows, parts)
        for part, other in zip([p for parts in found for p in parts], expected, strict=True):
            assert part.tolist() == other.tolist()


@pytest.mark.parametrize(("processes", "batches"), [(1, 3), (2, 4), (2, 5), (3, 1)])
def test_turns_cover_an_evaluation_with_equally_many_each(processes: int, batches: int) -> None:
    turns = [[*Share(number, processes).turns(batches)] for number in range(processes)]
    in_order = [batch for each in zip(*turns, strict=True) for batch in each]
    assert in_order[:batches] == [*range(batches)]
    assert {*in_order[batches:]} <= {batches - 1}


@pytest.mark.parametrize(
    ("accumulate", "processes", "parts"), [(1, 3, 3), (6, 3, 6), (6, 6, 6), (6, 4, 0), (1, 40, 0)]
)
def test_who_computes_what(accumulate: int, processes: int, parts: int) -> None:
    class Data:
        examples: ClassVar = {"train": 100}

    values = {"data": {"batch_size": 32}, "training": {"accumulate": accumulate}}
    parameters = Parameters.model_validate(values)
    if parts:
        assert share_out(parameters, Data, 0, processes) == Share(0, processes, parts)
    else:
        with pytest.raises(InputError, match="processes"):
            share_out(parameters, Data, 0, processes)


def test_a_launcher_that_says_too_little_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"LOCAL_RANK, LOCAL_WORLD_SIZE, .*: not set"):
        join("cpu")
    for name in NAMES:
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="--device: got auto, expected cpu"):
        join("auto")


class NoStop(StopRequest):
    def __init__(self) -> None:
        """Handle no signals."""


class OtherProcesses:
    """What a following process hears, instead of a group."""

    number, processes, is_launched = 1, 2, True

    def __init__(self, *told: object) -> None:
        self.told = [*told]

    def largest(self, value: int) -> int:
        return value

    def broadcast(self, value: object) -> object:
        return self.told.pop(0)


def test_processes_that_would_train_different_things_are_refused() -> None:
    training = {"data": "abc", "training.epochs": 3}
    refuse_different_trainings(OtherProcesses(training), training)  # ty: ignore
    with pytest.raises(InputError, match=r"not train the same: training.epochs \(3 -> 4\)"):
        refuse_different_trainings(
            OtherProcesses(training),  # ty: ignore
            {**training, "training.epochs": 4},
        )


def test_a_follower_that_is_short_of_memory_says_what_to_try() -> None:
    class Data:
        examples: ClassVar = {"train": 100}

    parameters = Parameters.model_validate({"data": {"batch_size": 32}})
    words = (Path("wide"), parameters, Data, Path("data"), NoStop())
    follower = FollowingRun(OtherProcesses(), *words)  # ty: ignore
    with pytest.raises(ResourceError, match=r"--training\.accumulate 4 "):
        follower.__exit__(None, RuntimeError("CUDA out of memory"), None)


def test_buffers_change_by_the_mean_of_what_parts_change() -> None:
    """So batch norm forgets as slowly as with a whole batch; infinity and whole numbers stay."""
    network = nn.BatchNorm1d(3)
    network.register_buffer("limits", torch.tensor([0.0, -torch.inf]))
    network(torch.randn(8, 3))  # Not what it begins with.
    means = BufferMeans(network)
    buffers = dict(network.named_buffers())
    before = buffers["running_mean"].clone()
    batch = torch.randn(12, 3)
    sums = [torch.zeros(3), torch.zeros(3)]
    for number, part in enumerate(batch.chunk(3)):
        means.start(is_first=number == 0)
        network(part)
        sums = [a + b for a, b in zip(sums, means.changes(), strict=True)]
    means.finish(sums, 3)
    expected = 0.9 * before + 0.1 * batch.mean(dim=0)
    torch.testing.assert_close(buffers["running_mean"], expected)
    assert buffers["num_batches_tracked"] == 2
    assert buffers["limits"].tolist() == [0, -torch.inf]
