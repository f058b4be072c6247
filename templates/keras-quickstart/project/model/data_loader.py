"""How examples reach the network: whole batches by index, in an order that depends on the seed.

Everything random is a function of (seed, epoch, index). So any number of threads can make the
batches, and a resumed run does not read the ones before.
"""

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from build_dataset import Dataset
from framework import keras_backend
from machinery.arrays import Examples
from machinery.debugging import helpers
from machinery.sampling import BatchSampler, evaluation_batch_size, examples_of_batch
from machinery.shards.sharded import order_of
from model import augmentation
from parameters import Parameters

Batch = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # inputs and targets, by name


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


def load_split(folder: Path, dataset: Dataset, split: str) -> Split:
    """Map a split from disk into memory.

    Raises:
        InputError: the arrays are missing or are not what dataset.json says.
    """
    arrays = dataset.read_split(folder, split)
    inputs, targets = (
        {name: arrays[name] for name in names} for names in (dataset.inputs, dataset.targets)
    )
    return Split(inputs, targets, dataset.examples[split], dataset)


class TrainingBatches(keras.utils.PyDataset):
    """The augmented batches of an epoch, or of its rest from a step on: see `start`.

    With training.accumulate, Keras gets the parts of a batch one after the other, and takes the
    mean over them. Weights of the examples make this the mean over the batch: they are 1, or nearly
    so where parts differ by an example. The loss that Keras reports has these weights, too.

    Several devices take equally many examples each. Where a batch, or a part, has too few for that,
    its last example is there again, with a weight of 0. (Batch norm counts it again.)

    Args:
        split: the examples of train.
        parameters: of the experiment.
        devices: that share every batch.
    """

    def __init__(self, split: Split, parameters: Parameters, devices: int = 1) -> None:
        # Not workers=: with Keras's own threads (3.15), the first `fit` on JAX or PyTorch ends in
        # other weights.
        super().__init__()
        self.split, self.parameters = split, parameters
        self.steps_per_epoch = math.ceil(split.examples / parameters.data.batch_size)
        self.parts, self.devices = parameters.training.accumulate, devices
        workers = helpers(parameters.data.workers)
        self.threads = ThreadPoolExecutor(workers) if workers else None
        self.start(0)

    def start(self, step: int) -> None:
        """Go to a step of the training: the batches are now those from it to its epoch's end."""
        data, seed, examples = self.parameters.data, self.parameters.seed, self.split.examples
        epoch = step // self.steps_per_epoch
        last_step = (epoch + 1) * self.steps_per_epoch
        order = order_of(self.split.inputs)  # None but for data in shards
        sampler = BatchSampler(examples, data.batch_size, seed, step, last_step, order=order)
        self.rows = [rows for _, rows in sampler]  # The row numbers of each batch.
        before = range(step % self.steps_per_epoch)  # The steps of the epoch that are done,
        sizes = [examples_of_batch(examples, self.steps_per_epoch, each) for each in before]
        self.counted = sum(map(self.count, sizes))  # and the examples that Keras counts in them.
        self.drawn = augmentation.draw(self.split.dataset, data, seed, epoch)
        self.ahead: dict[int, Future[Batch]] = {}  # The batches that threads prepare, by number.
        self.last: tuple[int, Batch] | None = None  # The batch that parts are taken of.

    def __len__(self) -> int:
        return len(self.rows) * self.parts

    def __getitem__(self, index: int) -> Any:
        """Return inputs and targets; of a part, the weights, too."""
        number, part = divmod(index, self.parts)
        if self.last is None or self.last[0] != number:
            self.last = number, self.prepare(number)
        if self.parts == self.devices == 1:
            return self.last[1]
        inputs, targets = (
            {name: np.array_split(array, self.parts)[part] for name, array in arrays.items()}
            for arrays in self.last[1]
        )
        examples = len(next(iter(targets.values())))
        missing = -examples % self.devices
        weights = np.zeros(examples + missing, np.float32)
        weights[:examples] = self.parts * len(weights) / len(self.rows[number])
        if missing:
            inputs, targets = (
                {name: repeat_last(array, missing) for name, array in arrays.items()}
                for arrays in (inputs, targets)
            )
        return inputs, targets, weights

    def count(self, examples: int) -> int:
        """Return how many examples Keras counts in a batch of so many."""
        parts = (len(part) for part in np.array_split(np.arange(examples), self.parts))
        return sum(part + -part % self.devices for part in parts)

    def prepare(self, number: int) -> Batch:
        """Return a batch; threads begin with the next ones."""
        if not self.threads:
            return self.load(number)
        for each in range(number, min(number + 2 * self.parameters.data.workers, len(self.rows))):
            if each not in self.ahead:
                self.ahead[each] = self.threads.submit(self.load, each)
        return self.ahead.pop(number).result()

    def load(self, number: int) -> Batch:
        """Return a whole batch, as augmentation may mix its examples. Any thread may call this."""
        rows = self.rows[number]
        inputs, targets = self.split.take(rows)
        if self.drawn:
            drawn = {name: array[rows] for name, array in self.drawn.items()}
            inputs, targets = augmentation.augment(inputs, targets, drawn, self.parameters.data)
        return inputs, targets


def feed(batches: TrainingBatches) -> Any:
    """Return the batches in the form that `fit` reads fastest.

    On TensorFlow `fit` would use Dataset.from_generator, which is slower than Dataset.map.
    """
    if keras_backend.name != "tensorflow":
        return batches
    import tensorflow as tf

    batch = batches[0]
    arrays = keras.tree.flatten(batch)

    def read(index: np.ndarray) -> list[np.ndarray]:
        return keras.tree.flatten(batches[int(index)])

    @tf.autograph.experimental.do_not_convert  # Converting takes time, and changes nothing here.
    def load(index: tf.Tensor) -> Any:
        tensors = tf.numpy_function(read, (index,), [array.dtype for array in arrays])
        for tensor, array in zip(tensors, arrays, strict=True):
            tensor.set_shape((None, *array.shape[1:]))
        return keras.tree.pack_sequence_as(batch, tensors)

    return tf.data.Dataset.range(len(batches)).map(load).prefetch(2)


def repeat_last(array: np.ndarray, times: int) -> np.ndarray:
    """Return an array of examples, (B, ...), with its last one so many times more."""
    return np.concatenate([array, array[-1:].repeat(times, axis=0)])


def evaluation_batches(split: Split) -> Iterator[Batch]:
    """Yield the batches of a split in its own order."""
    size = evaluation_batch_size(split.dataset.positions)
    for first in range(0, split.examples, size):
        yield split.take(np.arange(first, min(first + size, split.examples)))
