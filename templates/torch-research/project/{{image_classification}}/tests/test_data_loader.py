"""Batches are a function of (seed, epoch, index): what exact resuming rests on."""

import pytest
import torch

from model.data_loader import Split, flip, shift, training_batches
from model.parameters import DataParameters
from model.sampling import BatchSampler


@pytest.fixture
def split() -> Split:
    """Ten images of 4 x 5 pixels, each pixel of another grey."""
    return Split(torch.arange(200, dtype=torch.uint8).view(10, 4, 5, 1), torch.arange(10))


def collect(
    split: Split, seed: int = 0, first_step: int = 0, batch_size: int = 4, workers: int = 0
) -> list:
    """Return the batches of three epochs from `first_step` on."""
    data = DataParameters(batch_size=batch_size, shift=1, flip=True, workers=workers)
    last_step = 3 * -(-len(split.labels) // batch_size)
    cpu = torch.device("cpu")
    return list(training_batches(split, data, seed, first_step, last_step, cpu))


def assert_same(batches: list, others: list) -> None:
    for batch, other in zip(batches, others, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))


def test_an_epoch_has_every_example_once(split: Split) -> None:
    labels = [labels for _, labels in collect(split)]
    assert [len(batch) for batch in labels] == [4, 3, 3] * 3
    for epoch in (labels[:3], labels[3:6], labels[6:]):
        assert torch.cat(epoch).sort().values.tolist() == list(range(10))


def test_epochs_and_seeds_differ(split: Split) -> None:
    orders = set()
    for seed in (0, 1):
        labels = [labels for _, labels in collect(split, seed)]
        orders |= {tuple(torch.cat(labels[i : i + 3]).tolist()) for i in (0, 3, 6)}
    assert len(orders) == 6


@pytest.mark.parametrize("first_step", range(9))
def test_starting_later_gives_the_same_batches(split: Split, first_step: int) -> None:
    assert_same(collect(split, first_step=first_step), collect(split)[first_step:])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_batches(split: Split, workers: int) -> None:
    assert_same(collect(split, workers=workers), collect(split))


def test_augmentation_of_an_example_does_not_depend_on_its_batch(split: Split) -> None:
    by_label = {}
    for size in (1, 10):
        images, labels = map(torch.cat, zip(*collect(split, batch_size=size), strict=True))
        by_label[size] = images[:10][labels[:10].argsort()]
    assert torch.equal(by_label[1], by_label[10])


def test_shift_and_flip() -> None:
    image = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.uint8).view(1, 2, 3, 1)
    images = image.repeat(4, 1, 1, 1)
    shifts = torch.tensor([[0, 0], [0, 0], [1, 0], [0, -1]])
    flips = torch.tensor([False, True, False, True])
    moved = shift(flip(images, flips), shifts, reach=1)[..., 0]
    assert moved[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert moved[1].tolist() == [[3, 2, 1], [6, 5, 4]]
    assert moved[2].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert moved[3].tolist() == [[2, 1, 0], [5, 4, 0]]


def test_sampler_length() -> None:
    assert len(BatchSampler(10, batch_size=4, seed=0, first_step=2, last_step=9)) == 7
