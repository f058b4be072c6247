"""Batches are a function of (seed, epoch, index): what exact resuming rests on."""

import numpy as np
import pytest

from model.data_loader import Split, TrainingBatches, shift_and_flip
from model.parameters import DataParameters


@pytest.fixture
def split() -> Split:
    """Ten images of 4 x 5 pixels, each pixel of another grey."""
    return Split(np.arange(200, dtype=np.uint8).reshape(10, 4, 5, 1), np.eye(10, dtype=np.float32))


def collect(split: Split, seed: int = 0, segment: int = 3, batch_size: int = 4) -> list:
    """Return the batches of three epochs, asked for in segments of so many steps."""
    data = DataParameters(batch_size=batch_size, shift=1, flip=True)
    steps = -(-len(split.images) // batch_size)
    batches = []
    for epoch in range(3):
        for first in range(epoch * steps, (epoch + 1) * steps, segment):
            last = min(first + segment, (epoch + 1) * steps)
            part = TrainingBatches(split, data, seed, first, last)
            assert part.examples == sum(len(part[index][0]) for index in range(len(part)))
            batches += [part[index] for index in range(len(part))]
    return batches


def test_an_epoch_has_every_example_once(split: Split) -> None:
    labels = [targets.argmax(axis=1) for _, targets in collect(split)]
    assert [len(batch) for batch in labels] == [4, 3, 3] * 3
    for epoch in (labels[:3], labels[3:6], labels[6:]):
        assert sorted(np.concatenate(epoch)) == list(range(10))


def test_epochs_and_seeds_differ(split: Split) -> None:
    orders = set()
    for seed in (0, 1):
        labels = [targets.argmax(axis=1) for _, targets in collect(split, seed)]
        orders |= {tuple(np.concatenate(labels[i : i + 3])) for i in (0, 3, 6)}
    assert len(orders) == 6


@pytest.mark.parametrize("segment", [1, 2])
def test_segments_give_the_same_batches(split: Split, segment: int) -> None:
    for part, whole in zip(collect(split, segment=segment), collect(split), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(part, whole, strict=True))


def test_augmentation_of_an_example_does_not_depend_on_its_batch(split: Split) -> None:
    by_label = []
    for size in (1, 10):
        images, targets = map(np.concatenate, zip(*collect(split, batch_size=size), strict=True))
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
