"""Batches are a function of (seed, epoch, index): what exact resuming rests on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from build_dataset import Dataset, prepare_default, read_dataset
from machinery.arrays import Ragged
from model import augmentation
from model.data_loader import Batch, Split, evaluation_batches, load_split, training_batches
from parameters import Parameters

CPU = torch.device("cpu")
EXAMPLES = 10


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Ten examples of the data that comes with the project; the input "row" names each."""
    folder: Path = tmp_path_factory.mktemp("data")
    prepare_default(folder)
    whole = load_split(folder, read_dataset(folder), "train", CPU)
    rows = {"row": torch.arange(whole.examples)}
    return whole._replace(inputs={**whole.inputs, **rows}, examples=EXAMPLES)


def collect(
    split: Split, seed: int = 0, first_step: int = 0, batch_size: int = 4, workers: int = 0
) -> list[Batch]:
    """Return the batches of three epochs from `first_step` on."""
    values = {"seed": seed, "data": {"batch_size": batch_size, "workers": workers}}
    last_step = 3 * -(-EXAMPLES // batch_size)
    parameters = Parameters.model_validate(values)
    return list(training_batches(split, parameters, first_step, last_step, CPU))


def rows_of(batches: Iterable[Batch]) -> list[int]:
    return torch.cat([inputs["row"] for inputs, _ in batches]).tolist()


def assert_same(batches: list[Batch], others: list[Batch]) -> None:
    for batch, other in zip(batches, others, strict=True):
        for part, other_part in zip(batch, other, strict=True):
            assert part.keys() == other_part.keys()
            assert all(torch.equal(part[name], other_part[name]) for name in part)


def test_an_epoch_has_every_example_once(split: Split) -> None:
    batches = collect(split)
    assert [len(inputs["row"]) for inputs, _ in batches] == [4, 3, 3] * 3
    for epoch in (batches[:3], batches[3:6], batches[6:]):
        assert sorted(rows_of(epoch)) == list(range(EXAMPLES))


def test_an_example_keeps_its_targets(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "draw", lambda *_: {})  # It may change targets, too.
    for inputs, targets in collect(split):
        _, expected = split.take(inputs["row"].numpy())
        assert all(torch.equal(targets[name], expected[name]) for name in expected)


def test_epochs_and_seeds_differ(split: Split) -> None:
    orders = {tuple(rows_of(collect(split, seed)[i : i + 3])) for seed in (0, 1) for i in (0, 3, 6)}
    assert len(orders) == 6


@pytest.mark.parametrize("first_step", range(9))
def test_starting_later_gives_the_same_batches(split: Split, first_step: int) -> None:
    assert_same(collect(split, first_step=first_step), collect(split)[first_step:])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_batches(split: Split, workers: int) -> None:
    assert_same(collect(split, workers=workers), collect(split))


def test_augmentation_of_an_example_does_not_depend_on_its_batch(split: Split) -> None:
    by_row = {}
    for size in (1, EXAMPLES):
        first_epoch = [inputs for inputs, _ in collect(split, batch_size=size)[: EXAMPLES // size]]
        order = torch.cat([inputs["row"] for inputs in first_epoch]).argsort()
        by_row[size] = {
            name: torch.cat([inputs[name] for inputs in first_epoch])[order]
            for name in split.inputs
        }
    for name, array in by_row[1].items():
        assert torch.equal(array, by_row[EXAMPLES][name])


def test_every_epoch_draws_its_own_augmentation(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(augmentation, "draw", lambda *given: drawn.append(given[2:]) or {})
    collect(split, seed=7)
    assert drawn == [(7, 0), (7, 1), (7, 2)]


def test_evaluation_has_every_example_in_order(split: Split) -> None:
    assert rows_of(evaluation_batches(split)) == list(range(EXAMPLES))


@pytest.mark.parametrize("workers", [0, 1])
def test_examples_of_different_lengths_are_padded(split: Split, workers: int) -> None:
    tokens = Ragged.join([np.arange(row) for row in range(EXAMPLES)], fill=-1)
    batches = collect(split._replace(inputs={**split.inputs, "tokens": tokens}), workers=workers)
    for inputs, _ in batches:
        for row, padded in zip(inputs["row"].tolist(), inputs["tokens"].tolist(), strict=True):
            assert padded == [*range(row), *[-1] * (tokens.longest - row)]


def test_a_ragged_array_keeps_its_whole_split_off_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers and pinned memory cannot take a batch of which a part is on the GPU."""
    arrays = {
        "tokens": Ragged.join([np.arange(length) for length in (3, 1, 2)]),
        "length": np.array([3, 1, 2]),
    }
    monkeypatch.setattr(Dataset, "read_split", lambda *_: arrays)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**40, 2**40))
    dataset = Dataset.model_construct(
        inputs=("tokens",), targets=("length",), examples={"train": 3}
    )
    split = load_split(Path(), dataset, "train", torch.device("cuda"))
    inputs, targets = split.take(np.array([2, 0]))
    assert inputs["tokens"].tolist() == [[0, 1, 0], [0, 1, 2]]
    assert targets["length"].device == CPU
