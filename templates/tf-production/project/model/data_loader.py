"""How examples reach the network: whole batches by index, in an order that depends on the seed.

Everything random is a function of (seed, epoch, index). So a resumed run does not read the batches
before, whether from the arrays of build_dataset.py or from the records of build_records.py.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from build_dataset import Dataset
from framework.tfrecords import Records, holds_records
from machinery.arrays import Examples
from machinery.debugging import helpers
from machinery.sampling import BatchSampler, evaluation_batch_size
from machinery.shards.sharded import order_of
from machinery.share import ALONE, Share
from model import augmentation
from parameters import Parameters

Batch = tuple[dict[str, Any], dict[str, Any]]  # inputs and targets, by name


class Split(NamedTuple):
    """The examples of train, val or test: arrays as dataset.json lists them."""

    inputs: dict[str, Examples]
    targets: dict[str, Examples]
    examples: int
    dataset: Dataset

    def take(self, rows: np.ndarray) -> Batch:
        """Return some examples as one batch of arrays (len(rows), ...), ragged ones padded."""
        inputs, targets = (
            {name: array.take(rows, axis=0) for name, array in part.items()}
            for part in (self.inputs, self.targets)
        )
        return inputs, targets


AnySplit = Split | Records


def load_split(folder: Path, dataset: Dataset, split: str) -> AnySplit:
    """Map a split from disk into memory: records where the folder has them, else arrays.

    Raises:
        InputError: the files are missing or are not what dataset.json says.
    """
    if holds_records(dataset):
        return Records(folder, dataset, split)
    arrays = dataset.read_split(folder, split)
    inputs, targets = (
        {name: arrays[name] for name in names} for names in (dataset.inputs, dataset.targets)
    )
    return Split(inputs, targets, dataset.examples[split], dataset)


def signature(split: AnySplit) -> Any:
    """Return the dtypes and shapes of the batches of a split, for any number of examples."""
    return batch_signature(split.take(np.arange(1)))


def batch_signature(batch: Any) -> Any:
    """Return the dtypes and shapes of a batch, in the same structure, such as a dictionary."""
    return tf.nest.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), batch
    )


def training_batches(
    split: AnySplit,
    parameters: Parameters,
    first_step: int,
    last_step: int,
    strategy: tf.distribute.Strategy | None = None,
    share: Share = ALONE,
) -> Iterator[Batch]:
    """Return the batches of the steps from `first_step` up to, without, `last_step`.

    data.workers is the number of threads that load them. Of several devices, in one process or in
    several, each gets its share of every batch, so that the order is that of one; `strategy` brings
    it there.
    """
    data, seed = parameters.data, parameters.seed
    strategy = strategy or tf.distribute.get_strategy()
    devices = share.processes * share.devices
    numbers = range(share.number * share.devices, (share.number + 1) * share.devices)
    shares = [Share(number, devices, share.parts) for number in numbers]
    order = None if isinstance(split, Records) else order_of(split.inputs)
    sampler = BatchSampler(
        split.examples, data.batch_size, seed, first_step, last_step, order=order
    )

    @functools.lru_cache(2)  # Two, as threads may load the end of one epoch and the next one.
    def draw(epoch: int) -> dict[str, np.ndarray]:
        return augmentation.draw(split.dataset, data, seed, epoch)

    def fetch(epoch: int, rows: np.ndarray) -> tuple[dict[str, np.ndarray], ...]:
        return *split.take(rows), {name: array[rows] for name, array in draw(int(epoch)).items()}

    first_epoch = first_step // -(-split.examples // data.batch_size)
    fetched = batch_signature(fetch(first_epoch, np.arange(1)))
    specs = tf.nest.flatten(fetched)
    dtypes = [spec.dtype for spec in specs]

    @tf.autograph.experimental.do_not_convert  # It has no loop, and converting takes time.
    def load(epoch: tf.Tensor, rows: tf.Tensor) -> Batch:
        flat = tf.numpy_function(lambda *args: tf.nest.flatten(fetch(*args)), (epoch, rows), dtypes)
        # TensorFlow does not know the shapes of what NumPy returns.
        shaped = [tf.ensure_shape(x, spec.shape) for x, spec in zip(flat, specs, strict=True)]
        return augmentation.augment(*tf.nest.pack_sequence_as(fetched, shaped), data)

    def own_rows() -> Iterator[tuple[int, np.ndarray]]:
        for epoch, rows in sampler:
            for each in shares:
                yield epoch, each.take(rows)

    types = (tf.TensorSpec((), tf.int64), tf.TensorSpec((None,), tf.int64))
    batches = tf.data.Dataset.from_generator(own_rows, output_signature=types)
    if workers := helpers(data.workers):
        batches = batches.map(load, num_parallel_calls=workers).prefetch(2)
    else:
        batches = batches.map(load)
    if share.processes > 1:
        # All have a batch for each step. Otherwise they would ask each other for one every time.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        batches = batches.apply(endless)
    return iter(strategy.distribute_datasets_from_function(lambda _: batches))


def evaluation_batches(split: AnySplit, share: Share = ALONE) -> Iterator[Batch]:
    """Yield the batches of a split in its own order; of several processes, each takes turns."""
    size = evaluation_batch_size(split.dataset.positions)
    for batch in share.turns(-(-split.examples // size)):
        yield split.take(np.arange(batch * size, min((batch + 1) * size, split.examples)))
