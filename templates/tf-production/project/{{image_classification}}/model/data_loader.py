"""How images reach the network: whole batches by index, in an order that depends on the seed.

Everything random is a function of (seed, epoch, index), so a batch can be had without reading
the ones before it: from the arrays of build_dataset.py, or from the records of build_records.py.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from build_dataset import Dataset, read_arrays
from build_records import Records, has_records, read_records
from model.parameters import DataParameters
from model.sampling import BatchSampler, draw_augmentation

EVALUATION_BATCH_SIZE = 256


class Split(NamedTuple):
    """The examples of train, val or test."""

    images: np.ndarray | Records  # (N, height, width, channels) uint8, of which one takes rows
    labels: np.ndarray  # (N,) int64


def load_split(folder: Path, dataset: Dataset, split: str) -> Split:
    """Map a split from disk into memory: records where the folder has them, else arrays.

    Raises:
        InputError: the files are missing or are not what dataset.json says.
    """
    read = read_records if has_records(folder) else read_arrays
    return Split(*read(folder, dataset, split))


def training_batches(
    split: Split, parameters: DataParameters, seed: int, first_step: int, last_step: int
) -> tf.data.Dataset:
    """Return the batches of the steps from `first_step` to `last_step`, over all epochs.

    Each is images (B, height, width, channels) uint8 and labels (B,) int64. Only indices are
    drawn for the steps before; `workers` of the parameters are threads here.
    """
    examples = len(split.labels)
    sampler = BatchSampler(examples, parameters.batch_size, seed, first_step, last_step)
    shape = split.images.shape[1:]

    @functools.lru_cache(2)  # Two, as threads work on either side of an epoch's end.
    def draw(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return draw_augmentation(examples, parameters, seed, epoch)

    def fetch(epoch: int, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        shifts, flips = draw(int(epoch))
        images = split.images.take(indices, axis=0)
        return images, split.labels[indices], shifts[indices], flips[indices]

    @tf.autograph.experimental.do_not_convert  # Converting takes time, and there is no loop in it.
    def load(epoch: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        types = (tf.uint8, tf.int64, tf.int64, tf.bool)
        images, labels, shifts, flips = tf.numpy_function(fetch, (epoch, indices), types)
        images = tf.ensure_shape(images, (None, *shape))
        labels = tf.ensure_shape(labels, (None,))
        if parameters.shift or parameters.flip:
            shifts, flips = tf.ensure_shape(shifts, (None, 2)), tf.ensure_shape(flips, (None,))
            images = shift_and_flip(images, shifts, flips, parameters.shift)
        return images, labels

    signature = (tf.TensorSpec((), tf.int64), tf.TensorSpec((None,), tf.int64))
    indices = tf.data.Dataset.from_generator(lambda: sampler, output_signature=signature)
    if parameters.workers:
        return indices.map(load, num_parallel_calls=parameters.workers).prefetch(2)
    return indices.map(load)


def shift_and_flip(images: tf.Tensor, shifts: tf.Tensor, flips: tf.Tensor, reach: int) -> tf.Tensor:
    """Move each image by its own shift, black coming in at the edge, and mirror some.

    Args:
        images: (B, H, W, C)
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        flips: (B,) bool, mirror left to right before the shift.
        reach: the largest shift in pixels.

    Returns:
        (B, H, W, C)
    """
    _, height, width, _ = images.shape
    padded = tf.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    rows = tf.range(height, dtype=tf.int64) - shifts[:, :1]  # (B, H)
    columns = tf.range(width, dtype=tf.int64) - shifts[:, 1:]  # (B, W)
    columns = tf.where(flips[:, None], width - 1 - columns, columns)
    moved = tf.gather(padded, rows + reach, axis=1, batch_dims=1)  # (B, H, W + 2 reach, C)
    return tf.gather(moved, columns + reach, axis=2, batch_dims=1)


def evaluation_batches(split: Split) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the batches of a split in its own order: images and labels, as training_batches."""
    for start in range(0, len(split.labels), EVALUATION_BATCH_SIZE):
        rows = np.arange(start, min(start + EVALUATION_BATCH_SIZE, len(split.labels)))
        yield split.images.take(rows, axis=0), split.labels[rows]
