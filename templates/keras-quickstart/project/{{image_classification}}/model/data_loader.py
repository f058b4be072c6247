"""How images reach the network: whole batches by index, in an order that depends on the seed.

Everything random is a function of (seed, epoch, index), so a batch can be had without reading
the ones before it, by any number of threads.
"""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from build_dataset import Dataset, read_arrays
from model.parameters import DataParameters
from model.sampling import BatchSampler, draw_augmentation

EVALUATION_BATCH_SIZE = 256


class Split(NamedTuple):
    """The examples of train, val or test."""

    images: np.ndarray  # (N, height, width, channels) uint8
    targets: np.ndarray  # (N, classes) float32, one-hot


def load_split(folder: Path, dataset: Dataset, split: str) -> Split:
    """Map the images of a split from disk into memory, and read its labels.

    Raises:
        InputError: the arrays are missing or are not what dataset.json says.
    """
    images, labels = read_arrays(folder, dataset, split)
    targets = keras.utils.to_categorical(labels, len(dataset.classes)).astype("float32")
    return Split(images, targets)


class TrainingBatches(keras.utils.PyDataset):
    """The augmented batches of an epoch, or of what is left of it after a step: see `start`.

    Each is images (B, height, width, channels) uint8 and targets (B, classes) float32.
    """

    def __init__(self, split: Split, parameters: DataParameters, seed: int) -> None:
        # Not workers=: with Keras' own threads (3.15), a first fit on JAX or PyTorch ends in
        # other weights.
        super().__init__()
        self.split, self.parameters, self.seed = split, parameters, seed
        self.steps_per_epoch = math.ceil(len(split.images) / parameters.batch_size)
        self.threads = ThreadPoolExecutor(parameters.workers) if parameters.workers else None
        self.start(0)

    def start(self, step: int) -> None:
        """Go to a step of the training: the batches are those to the end of its epoch."""
        epoch, examples = step // self.steps_per_epoch, len(self.split.images)
        last_step = (epoch + 1) * self.steps_per_epoch
        sampler = BatchSampler(examples, self.parameters.batch_size, self.seed, step, last_step)
        self.batches = [rows for _, rows in sampler]
        self.shifts, self.flips = draw_augmentation(examples, self.parameters, self.seed, epoch)
        self.ahead: dict[int, Future] = {}  # Batches that the threads have or prepare, by index.

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.threads:
            return self.load(index)
        for number in range(index, min(index + 2 * self.parameters.workers, len(self))):
            if number not in self.ahead:
                self.ahead[number] = self.threads.submit(self.load, number)
        return self.ahead.pop(index).result()

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch; any thread may."""
        rows = self.batches[index]
        images = np.take(self.split.images, rows, axis=0)
        if self.parameters.shift or self.parameters.flip:
            reach = self.parameters.shift
            images = shift_and_flip(images, self.shifts[rows], self.flips[rows], reach)
        return images, self.split.targets[rows]


def shift_and_flip(
    images: np.ndarray, shifts: np.ndarray, flips: np.ndarray, reach: int
) -> np.ndarray:
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
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    rows = np.arange(height) - shifts[:, :1]  # (B, H)
    columns = np.arange(width) - shifts[:, 1:]  # (B, W)
    columns = np.where(flips[:, None], width - 1 - columns, columns)
    batch = np.arange(len(images))[:, None, None]
    return padded[batch, rows[:, :, None] + reach, columns[:, None, :] + reach]
