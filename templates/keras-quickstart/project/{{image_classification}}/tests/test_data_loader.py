"""Batches are a function of (seed, epoch, index): what exact resuming rests on."""

import numpy as np
import pytest

from model.data_loader import Split, TrainingBatches, shift_and_flip
from model.parameters import DataParameters


@pytest.fixture
def split() -> Split:
    """Ten images of 4 x 5 pixels, each pixel of another grey."""
    return Split(np.arange(200, dtype=np.uint8).reshape(10, 4, 5, 1), np.eye(10, dtype=np.float32))


def make_batches(split: Split, seed: int = 0, batch_size: int = 4) -> TrainingBatches:
    data = DataParameters(batch_size=batch_size, shift=1, flip=True)
    return TrainingBatches(split, data, seed)


def collect(batches: TrainingBatches) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the batches of three epochs."""
    collected = []
    for epoch in range(3):
        batches.start(epoch * batches.steps_per_epoch)
        collected += [batches[index] for index in range(len(batches))]
    return collected


def test_an_epoch_has_every_example_once(split: Split) -> None:
    labels = [targets.argmax(axis=1) for _, targets in collect(make_batches(split))]
    assert [len(batch) for batch in labels] == [4, 3, 3] * 3
    for epoch in (labels[:3], labels[3:6], labels[6:]):
        assert sorted(np.concatenate(epoch)) == list(range(10))


def test_epochs_and_seeds_differ(split: Split) -> None:
    orders = set()
    for seed in (0, 1):
        labels = [targets.argmax(axis=1) for _, targets in collect(make_batches(split, seed))]
        orders |= {tuple(np.concatenate(labels[i : i + 3])) for i in (0, 3, 6)}
    assert len(orders) == 6


def test_an_epoch_can_be_begun_at_any_step(split: Split) -> None:
    batches = make_batches(split)
    whole = collect(batches)
    for step in range(len(whole)):
        batches.start(step)
        assert len(batches) == 3 - step % 3
        for index in range(len(batches)):
            pair = zip(batches[index], whole[step + index], strict=True)
            assert all(np.array_equal(part, same) for part, same in pair)


def test_augmentation_of_an_example_does_not_depend_on_its_batch(split: Split) -> None:
    by_label = []
    for size in (1, 10):
        batches = collect(make_batches(split, batch_size=size))
        images, targets = map(np.concatenate, zip(*batches, strict=True))
        by_label.append(images[:10][targets[:10].argmax(axis=1).argsort()])
    assert np.array_equal(*by_label)


def test_shift_and_flip() -> None:
    image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8).reshape(1, 2, 3, 1)
    shifts = np.array([[0, 0], [0, 0], [1, 0], [0, -1]])
    flips = np.array([False, True, False, True])
    moved = shift_and_flip(image.repeat(4, axis=0), shifts, flips, reach=1)[..., 0]
    assert moved[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert moved[1].tolist() == [[3, 2, 1], [6, 5, 4]]
    assert moved[2].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert moved[3].tolist() == [[2, 1, 0], [5, 4, 0]]
