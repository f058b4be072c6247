"""Batches are a function of (seed, epoch, index): what exact resuming rests on."""

from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset, prepare_default, read_dataset
from machinery.arrays import Ragged
from model import augmentation
from model.data_loader import (
    Batch,
    Split,
    TrainingBatches,
    evaluation_batches,
    feed,
    load_split,
)
from parameters import Parameters

EPOCHS = 3


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The training examples of the default data; the input "row" tells them apart."""
    folder = tmp_path_factory.mktemp("data")
    prepare_default(folder)
    split = load_split(folder, read_dataset(folder), "train")
    return split._replace(inputs={**split.inputs, "row": np.arange(split.examples)})


def make_batches(split: Split, seed: int = 0, parts: int = 4, workers: int = 0) -> TrainingBatches:
    """Return the training batches, so many in an epoch."""
    data = {"batch_size": -(-split.examples // parts), "workers": workers}
    return TrainingBatches(split, Parameters.model_validate({"seed": seed, "data": data}))


def collect(batches: TrainingBatches) -> list[Batch]:
    """Return the batches of three epochs."""
    collected = []
    for epoch in range(EPOCHS):
        batches.start(epoch * batches.steps_per_epoch)
        collected += [batches[index] for index in range(len(batches))]
    return collected


def rows_of(batches: list[Batch]) -> np.ndarray:
    """Return which examples are in some batches."""
    return np.concatenate([inputs["row"] for inputs, _ in batches])


def assert_same(batches: list[Batch], others: list[Batch]) -> None:
    for batch, other in zip(batches, others, strict=True):
        for part, same in zip(batch, other, strict=True):
            assert part.keys() == same.keys()
            assert all(np.array_equal(part[name], same[name]) for name in part)


def test_an_epoch_has_every_example_once(split: Split) -> None:
    batches = collect(make_batches(split))
    assert len(batches) == 4 * EPOCHS
    for epoch in range(EPOCHS):
        rows = rows_of(batches[4 * epoch : 4 * epoch + 4])
        assert sorted(rows) == list(range(split.examples))


def test_targets_stay_with_their_inputs(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "draw", lambda *_: {})  # It may change targets, too.
    for inputs, targets in collect(make_batches(split)):
        expected = split.take(inputs["row"])[1]
        assert all(np.array_equal(targets[name], expected[name]) for name in expected)


def test_epochs_and_seeds_differ(split: Split) -> None:
    orders = set()
    for seed in (0, 1):
        batches = collect(make_batches(split, seed))
        orders |= {tuple(rows_of(batches[first : first + 4])) for first in (0, 4, 8)}
    assert len(orders) == 2 * EPOCHS


@pytest.mark.parametrize("first_step", range(4 * EPOCHS))
def test_an_epoch_can_be_begun_at_any_step(split: Split, first_step: int) -> None:
    batches = make_batches(split)
    whole = collect(batches)[first_step:][: 4 - first_step % 4]
    batches.start(first_step)
    assert_same([batches[index] for index in range(len(batches))], whole)


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_give_the_same_batches(split: Split, workers: int) -> None:
    assert_same(collect(make_batches(split, workers=workers)), collect(make_batches(split)))


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_are_those_of_the_whole_batches(
    split: Split, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Augmentation gets whole batches: it may mix their examples."""

    def augment(inputs: Any, targets: Any, *_: Any) -> Any:
        return {**inputs, "before": np.roll(inputs["row"], 1)}, targets

    monkeypatch.setattr(augmentation, "draw", lambda *_: {"any": np.zeros(split.examples)})
    monkeypatch.setattr(augmentation, "augment", augment)
    whole = make_batches(split, workers=workers)
    changed = whole.parameters.training.model_copy(update={"accumulate": 3})
    parts = TrainingBatches(split, whole.parameters.model_copy(update={"training": changed}))
    assert len(parts) == 3 * len(whole)
    for number in range(len(whole)):
        inputs, targets, weights = zip(
            *(parts[3 * number + part] for part in range(3)), strict=True
        )
        for arrays, of_parts in zip(whole[number], (inputs, targets), strict=True):
            for name, array in arrays.items():
                joined = np.concatenate([part[name] for part in of_parts])
                assert np.array_equal(joined, array), name
        for part in weights:  # Keras takes the mean over the parts, each a mean.
            assert part == pytest.approx(3 * len(part) / len(whole.rows[number]))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_devices_get_equally_many_examples_that_count_once(split: Split, accumulate: int) -> None:
    """What is there again has a weight of 0, and the sum of the losses is that of the batch."""
    whole = make_batches(split)
    changed = whole.parameters.training.model_copy(update={"accumulate": accumulate})
    parameters = whole.parameters.model_copy(update={"training": changed})
    shared, counted = TrainingBatches(split, parameters, devices=8), 0
    for number, rows in enumerate(whole.rows):
        parts = [shared[accumulate * number + part] for part in range(accumulate)]
        assert all(len(weights) % 8 == 0 for *_, weights in parts)
        found = [x["row"][weights > 0] for x, _, weights in parts]
        assert np.array_equal(np.concatenate(found), whole[number][0]["row"])
        # Keras takes the mean over a part, whatever the weights, and then that over the parts.
        means = [(weights * (x["row"] + 1.0)).mean() for x, _, weights in parts]
        assert np.mean(means) == pytest.approx((rows + 1.0).mean(), rel=1e-6)
        counted += sum(len(weights) for *_, weights in parts)
        if number + 1 < len(whole.rows):
            other = TrainingBatches(split, parameters, devices=8)
            other.start(number + 1)
            assert other.counted == counted


def test_what_an_example_becomes_does_not_depend_on_its_batch(split: Split) -> None:
    by_row = []
    for parts in (1, 7):
        batches = collect(make_batches(split, parts=parts))[:parts]
        order = rows_of(batches).argsort()
        names = batches[0][0].keys()
        by_row.append({n: np.concatenate([inputs[n] for inputs, _ in batches]) for n in names})
        by_row[-1] = {name: array[order] for name, array in by_row[-1].items()}
    assert all(np.array_equal(by_row[0][name], by_row[1][name]) for name in by_row[0])


def test_every_epoch_draws_its_own_augmentation(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = set()
    monkeypatch.setattr(augmentation, "draw", lambda *given: drawn.add(given[2:]) or {})
    collect(make_batches(split, seed=7))
    assert drawn == {(7, epoch) for epoch in range(EPOCHS)}


def test_fit_reads_the_same_batches(split: Split) -> None:
    """TensorFlow reads them through a tf.data.Dataset."""
    batches = make_batches(split)
    fed = feed(batches)
    read = fed.as_numpy_iterator() if fed is not batches else map(batches.__getitem__, range(4))
    assert_same(list(read), collect(batches)[:4])


def test_evaluation_has_every_example_in_order(split: Split) -> None:
    assert rows_of(list(evaluation_batches(split))).tolist() == list(range(split.examples))


def test_examples_of_different_lengths_are_padded() -> None:
    tokens = Ragged.join([np.arange(length) + 1 for length in (3, 1, 2)], fill=0)
    dataset = Dataset.model_construct(examples={"train": 3})
    split = Split({"tokens": tokens}, {"length": np.array([3, 1, 2])}, 3, dataset)
    inputs, targets = split.take(np.array([2, 0]))
    assert inputs["tokens"].tolist() == [[1, 2, 0], [1, 2, 3]]
    assert targets["length"].tolist() == [2, 3]
