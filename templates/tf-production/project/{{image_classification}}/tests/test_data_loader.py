"""Batches are a function of (seed, epoch, index): what exact resuming rests on."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import utils
from build_dataset import build_digits, read_dataset
from build_records import Records, write_records
from model.data_loader import (
    Split,
    evaluation_batches,
    load_split,
    shift_and_flip,
    training_batches,
)
from model.parameters import DataParameters
from model.sampling import BatchSampler

IMAGES = np.arange(200, dtype=np.uint8).reshape(10, 4, 5, 1)  # each pixel of another grey


@pytest.fixture
def split() -> Split:
    """Ten images of 4 x 5 pixels."""
    return Split(IMAGES, np.arange(10))


def collect(
    split: Split, seed: int = 0, first_step: int = 0, batch_size: int = 4, workers: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the batches of three epochs from `first_step` on."""
    data = DataParameters(batch_size=batch_size, shift=1, flip=True, workers=workers)
    last_step = 3 * -(-len(split.labels) // batch_size)
    batches = training_batches(split, data, seed, first_step, last_step)
    return list(batches.as_numpy_iterator())


def assert_same(batches: list, others: list) -> None:
    for batch, other in zip(batches, others, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(batch, other, strict=True))


def test_an_epoch_has_every_example_once(split: Split) -> None:
    labels = [labels for _, labels in collect(split)]
    assert [len(batch) for batch in labels] == [4, 3, 3] * 3
    for epoch in (labels[:3], labels[3:6], labels[6:]):
        assert sorted(np.concatenate(epoch)) == list(range(10))


def test_epochs_and_seeds_differ(split: Split) -> None:
    orders = set()
    for seed in (0, 1):
        labels = [labels for _, labels in collect(split, seed)]
        orders |= {tuple(np.concatenate(labels[i : i + 3]).tolist()) for i in (0, 3, 6)}
    assert len(orders) == 6


@pytest.mark.parametrize("first_step", range(9))
def test_starting_later_gives_the_same_batches(split: Split, first_step: int) -> None:
    assert_same(collect(split, first_step=first_step), collect(split)[first_step:])


class CountedImages(Records):
    """Images that count how many of them were taken."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.shape, self.taken = images, images.shape, 0

    def take(self, indices: np.ndarray, axis: int = 0) -> np.ndarray:
        self.taken += len(indices)
        return self.images.take(indices, axis)


def test_starting_later_does_not_read_what_came_before(split: Split) -> None:
    counted = CountedImages(IMAGES)
    assert len(collect(Split(counted, split.labels), first_step=7)) == 2
    assert counted.taken == 6


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_the_same_batches(split: Split, workers: int) -> None:
    assert_same(collect(split, workers=workers), collect(split))


def test_augmentation_of_an_example_does_not_depend_on_its_batch(split: Split) -> None:
    by_label = {}
    for size in (1, 10):
        images, labels = map(np.concatenate, zip(*collect(split, batch_size=size), strict=True))
        by_label[size] = images[:10][labels[:10].argsort()]
    assert np.array_equal(by_label[1], by_label[10])


def test_without_augmentation_images_are_as_stored(split: Split) -> None:
    data = DataParameters(batch_size=4, shift=0, flip=False)
    for images, labels in training_batches(split, data, 0, 0, 3).as_numpy_iterator():
        assert np.array_equal(images, IMAGES[labels])


def test_shift_and_flip() -> None:
    images = tf.constant([[[1, 2, 3], [4, 5, 6]]] * 4, tf.uint8)[..., None]  # (4, 2, 3, 1)
    shifts = tf.constant([[0, 0], [0, 0], [1, 0], [0, -1]], tf.int64)
    flips = tf.constant([False, True, False, True])
    moved = shift_and_flip(images, shifts, flips, reach=1).numpy()[..., 0]
    assert moved[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert moved[1].tolist() == [[3, 2, 1], [6, 5, 4]]
    assert moved[2].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert moved[3].tolist() == [[2, 1, 0], [5, 4, 0]]


def test_sampler_length() -> None:
    assert len(BatchSampler(10, batch_size=4, seed=0, first_step=2, last_step=9)) == 7


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as arrays and, in records/, as records."""
    folder = tmp_path_factory.mktemp("digits")
    build_digits(folder)
    write_records(folder, folder / "records", shards=3)
    return folder


def test_records_give_the_same_batches_as_arrays(digits: Path) -> None:
    dataset = read_dataset(digits / "records")
    assert dataset == read_dataset(digits)
    for name in ("train", "val", "test"):
        arrays, records = (load_split(path, dataset, name) for path in (digits, digits / "records"))
        assert_same(collect(records, batch_size=64), collect(arrays, batch_size=64))
        assert_same(list(evaluation_batches(records)), list(evaluation_batches(arrays)))


def test_records_are_what_tensorflow_reads(digits: Path) -> None:
    paths = sorted(str(path) for path in digits.glob("records/val-*.tfrecord"))
    features = {"image": tf.string, "label": tf.int64, "id": tf.string}
    records = tf.data.TFRecordDataset(paths).batch(1000)
    parsed = tf.io.parse_example(
        records.get_single_element(),
        {name: tf.io.FixedLenFeature((), dtype) for name, dtype in features.items()},
    )
    images = tf.io.decode_raw(parsed["image"], tf.uint8).numpy()
    assert np.array_equal(images, np.load(digits / "val_images.npy").reshape(len(images), -1))
    assert np.array_equal(parsed["label"], np.load(digits / "val_labels.npy"))
    assert parsed["id"][0].numpy().decode() == np.load(digits / "val_ids.npy")[0]


def test_records_that_were_cut_short_are_refused(digits: Path, tmp_path: Path) -> None:
    write_records(digits, tmp_path, shards=2)
    path = tmp_path / "train-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(utils.InputError, match=r"train-00001-of-00002\.tfrecord: got .* bytes"):
        load_split(tmp_path, read_dataset(tmp_path), "train")
    write_records(digits, tmp_path, shards=1)
    assert len(load_split(tmp_path, read_dataset(tmp_path), "train").images) == 1257
    path = tmp_path / "train-00000-of-00001.tfrecord"
    path.unlink()
    with pytest.raises(utils.InputError, match=r"build_records\.py --records .* --overwrite"):
        load_split(tmp_path, read_dataset(tmp_path), "train")
