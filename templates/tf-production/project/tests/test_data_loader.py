"""Batches are a function of (seed, epoch, index): what exact resuming rests on."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from build_dataset import prepare_default, read_dataset
from machinery.arrays import Ragged
from machinery.parameter_file import change
from machinery.share import ALONE, Share
from model import augmentation
from model.data_loader import Split, evaluation_batches, load_split, training_batches
from parameters import Parameters


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The examples of val that come with the project, each with its row number beside."""
    folder = tmp_path_factory.mktemp("data")
    prepare_default(folder)
    split = load_split(folder, read_dataset(folder), "val")
    assert isinstance(split, Split)
    return split._replace(inputs={**split.inputs, "row": np.arange(split.examples)})


def collect(
    split: Split,
    seed: int = 0,
    first_step: int = 0,
    batches: int = 3,
    workers: int = 0,
    share: Share = ALONE,
) -> list[dict[str, np.ndarray]]:
    """Return the batches of three epochs from `first_step` on, inputs and targets as one."""
    size = -(-split.examples // batches)
    values = {"seed": seed, "data.batch_size": size, "data.workers": workers}
    parameters = change(Parameters(), values)
    found = training_batches(split, parameters, first_step, 3 * batches, share=share)
    each = itertools.islice(found, (3 * batches - first_step) * share.devices)
    return [tf.nest.map_structure(np.asarray, {**inputs, **targets}) for inputs, targets in each]


def rows(batches: Iterable[dict[str, np.ndarray]]) -> list[int]:
    return np.concatenate([batch["row"] for batch in batches]).tolist()


def assert_same(batches: list[Any], others: list[Any]) -> None:
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        assert all(np.array_equal(batch[name], other[name]) for name in batch)


def test_an_epoch_has_every_example_once(split: Split) -> None:
    batches = collect(split)
    sizes = [len(batch["row"]) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    for epoch in (batches[:3], batches[3:6], batches[6:]):
        assert sorted(rows(epoch)) == list(range(split.examples))


@pytest.mark.parametrize(("processes", "devices", "parts"), [(2, 1, 2), (2, 1, 6), (2, 2, 4)])
def test_the_shares_of_several_processes_are_the_batches_of_one(
    split: Split, processes: int, devices: int, parts: int
) -> None:
    """A process yields a batch for each of its devices, one after the other."""
    shares = [Share(number, processes, parts, devices) for number in range(processes)]
    found = [collect(split, share=share) for share in shares]
    for step, batch in enumerate(collect(split)):
        each = slice(step * devices, (step + 1) * devices)
        assert rows([part for batches in found for part in batches[each]]) == rows([batch])


def test_epochs_and_seeds_differ(split: Split) -> None:
    orders = set()
    for seed in (0, 1):
        batches = collect(split, seed)
        orders |= {tuple(rows(batches[i : i + 3])) for i in (0, 3, 6)}
    assert len(orders) == 6


@pytest.mark.parametrize("first_step", [1, 2, 3, 4, 8])
def test_starting_later_gives_the_same_batches(split: Split, first_step: int) -> None:
    assert_same(collect(split, first_step=first_step), collect(split)[first_step:])


def test_starting_later_does_not_read_what_came_before(split: Split) -> None:
    taken = []

    class Counted(Split):
        def take(self, rows: np.ndarray) -> tuple[dict, dict]:
            taken.extend(rows)
            return super().take(rows)

    batches = collect(Counted(*split), first_step=7)
    assert len(batches) == 2
    assert len(taken) == len(rows(batches)) + 1  # One to see the shapes.


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_the_same_batches(split: Split, workers: int) -> None:
    assert_same(collect(split, workers=workers), collect(split))


def test_augmentation_of_an_example_does_not_depend_on_its_batch(split: Split) -> None:
    by_row = []
    for batches in (1, 5):
        epoch = collect(split, batches=batches)[:batches]
        order = np.argsort(rows(epoch))
        by_row.append({k: np.concatenate([batch[k] for batch in epoch])[order] for k in epoch[0]})
    assert_same(by_row[:1], by_row[1:])


def test_every_epoch_draws_its_own_augmentation(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = set()
    monkeypatch.setattr(augmentation, "draw", lambda *given: drawn.add(given[2:]) or {})
    collect(split, seed=7)
    assert drawn == {(7, 0), (7, 1), (7, 2)}


def test_evaluation_keeps_the_order(split: Split) -> None:
    batches = [{**inputs, **targets} for inputs, targets in evaluation_batches(split)]
    assert rows(batches) == list(range(split.examples))
    for name, array in {**split.inputs, **split.targets}.items():
        found = np.concatenate([batch[name] for batch in batches])
        assert np.array_equal(found, array.take(np.arange(split.examples), axis=0))


def test_ragged_arrays_are_padded(split: Split) -> None:
    lengths = 1 + np.arange(split.examples) % 5
    words = Ragged.join([np.full(length, length, np.int32) for length in lengths], fill=-1)
    ragged = split._replace(inputs={**split.inputs, "words": words})
    for batch in collect(ragged):
        assert batch["words"].shape == (len(batch["row"]), 5)
        for row, found in zip(batch["row"], batch["words"], strict=True):
            length = lengths[row]
            assert found.tolist() == [length] * length + [-1] * (5 - length)
