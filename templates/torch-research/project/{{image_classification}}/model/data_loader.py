"""How images reach the network: whole batches by index, in an order that depends on the seed.

Everything random is a function of (seed, epoch, index), so a batch can be had without reading
the ones before it, by any number of processes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from build_dataset import Dataset, read_arrays
from model.parameters import DataParameters
from model.sampling import BatchSampler, draw_augmentation

EVALUATION_BATCH_SIZE = 256


class Split(NamedTuple):
    """The examples of train, val or test."""

    images: torch.Tensor  # (N, height, width, channels) uint8
    labels: torch.Tensor  # (N,) int64


def load_split(folder: Path, dataset: Dataset, split: str, device: torch.device) -> Split:
    """Map a split from disk into memory, or put it on the GPU where it fills at most a quarter.

    Raises:
        InputError: the arrays are missing or are not what dataset.json says.
    """
    images, labels = read_arrays(folder, dataset, split)
    tensors = Split(torch.from_numpy(images), torch.from_numpy(labels))
    if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] / 4:
        tensors = Split(*(tensor.to(device) for tensor in tensors))
    return tensors


class TrainingBatches(TorchDataset):
    """Augmented training batches, asked for by (epoch, indices)."""

    def __init__(self, split: Split, parameters: DataParameters, seed: int) -> None:
        self.split, self.parameters, self.seed = split, parameters, seed
        self.epoch = -1

    def __getitem__(self, index: tuple[int, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, indices = index
        if epoch != self.epoch:
            self._draw(epoch)
        rows = torch.from_numpy(indices).to(self.split.images.device, non_blocking=True)
        images = self.split.images.index_select(0, rows)
        if self.parameters.flip:
            images = flip(images, self.flips.index_select(0, rows))
        if self.parameters.shift:
            images = shift(images, self.shifts.index_select(0, rows), self.parameters.shift)
        return images, self.split.labels.index_select(0, rows)

    def _draw(self, epoch: int) -> None:
        """Draw the shift and the flip of every example of an epoch."""
        shifts, flips = draw_augmentation(len(self.split.labels), self.parameters, self.seed, epoch)
        device = self.split.images.device
        self.shifts, self.flips = (torch.from_numpy(x).to(device) for x in (shifts, flips))
        self.epoch = epoch


def flip(images: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
    """Mirror some images left to right.

    Args:
        images: (B, H, W, C)
        flips: (B,) bool

    Returns:
        (B, H, W, C)
    """
    return torch.where(flips[:, None, None, None], images.flip(2), images)


def shift(images: torch.Tensor, shifts: torch.Tensor, reach: int) -> torch.Tensor:
    """Move each image by its own shift, black coming in at the edge.

    Args:
        images: (B, H, W, C)
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        reach: the largest shift in pixels.

    Returns:
        (B, H, W, C)
    """
    _, height, width, _ = images.shape
    padded = functional.pad(images, (0, 0, reach, reach, reach, reach))
    # Every window of an image's size, by its upper left corner: a view, nothing is copied.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (B, 2r + 1, 2r + 1, C, H, W)
    windows = windows.permute(0, 1, 2, 4, 5, 3)  # (B, 2r + 1, 2r + 1, H, W, C)
    top, left = (reach - shifts).unbind(1)
    return windows[torch.arange(len(images), device=images.device), top, left]


def training_batches(
    split: Split,
    parameters: DataParameters,
    seed: int,
    first_step: int,
    last_step: int,
    device: torch.device,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return the batches of the steps from `first_step` to `last_step`, over all epochs.

    Each is images (B, height, width, channels) uint8 and labels (B,) int64, meant for `device` and
    there already where the split is.
    """
    on_host = split.images.device.type == "cpu"
    sampler = BatchSampler(len(split.labels), parameters.batch_size, seed, first_step, last_step)
    loader = DataLoader(
        TrainingBatches(split, parameters, seed),
        batch_size=None,  # The sampler asks for whole batches.
        sampler=sampler,
        num_workers=parameters.workers if on_host else 0,
        pin_memory=on_host and device.type == "cuda",
        generator=torch.Generator(),  # Otherwise it draws from the generator that dropout uses.
    )
    return iter(loader)


def evaluation_batches(split: Split) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return the batches of a split in its own order, as training_batches does."""
    return zip(
        split.images.split(EVALUATION_BATCH_SIZE),
        split.labels.split(EVALUATION_BATCH_SIZE),
        strict=True,
    )
