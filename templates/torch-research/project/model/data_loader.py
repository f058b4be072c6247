"""How examples reach the network: whole batches by index, in an order that depends on the seed.

Everything random is a function of (seed, epoch, index). So any number of processes can make the
batches, and a resumed run does not read the ones before.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from build_dataset import Dataset
from machinery.arrays import Examples
from machinery.debugging import helpers
from machinery.sampling import BatchSampler, evaluation_batch_size
from machinery.shards.sharded import order_of
from machinery.share import ALONE, Share
from machinery.stopping import ignore_signals
from model import augmentation
from parameters import Parameters

Arrays = dict[str, torch.Tensor | Examples]  # Of all examples, by name.
Batch = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]  # inputs and targets, by name


class Split(NamedTuple):
    """The examples of train, val or test: arrays as dataset.json lists them."""

    inputs: Arrays
    targets: Arrays
    examples: int
    dataset: Dataset

    def take(self, rows: np.ndarray) -> Batch:
        """Return some examples as one batch."""
        inputs, targets = (
            {name: take(array, rows) for name, array in part.items()}
            for part in (self.inputs, self.targets)
        )
        return inputs, targets

    @property
    def on_host(self) -> bool:
        """Whether some of the arrays lie in the memory of the processor."""
        arrays = [*self.inputs.values(), *self.targets.values()]
        return any(not isinstance(a, torch.Tensor) or a.device.type == "cpu" for a in arrays)


def take(array: torch.Tensor | Examples, rows: np.ndarray) -> torch.Tensor:
    """Return some examples of an array, (len(rows), ...), on the array's device."""
    if isinstance(array, torch.Tensor):
        return array.index_select(0, torch.from_numpy(rows).to(array.device, non_blocking=True))
    return torch.from_numpy(array.take(rows, axis=0))


def load_split(folder: Path, dataset: Dataset, split: str, device: torch.device) -> Split:
    """Map a split from disk into memory, or put it on the GPU where it fills at most a quarter.

    Ragged arrays are padded by the processor, so a split that has one stays in its memory, whole;
    one in shards, too.

    Raises:
        InputError: the arrays are missing or are not what dataset.json says.
    """
    arrays = dataset.read_split(folder, split)
    room = torch.cuda.mem_get_info(device)[0] / 4 if device.type == "cuda" else 0
    fits = sum(array.nbytes for array in arrays.values()) < room
    placed: Arrays = {**arrays}  # Of NumPy, since worker processes can map the same file.
    whole = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
    if fits and len(whole) == len(arrays):
        placed = {name: torch.from_numpy(array).to(device) for name, array in whole.items()}
    inputs, targets = (
        {name: placed[name] for name in names} for names in (dataset.inputs, dataset.targets)
    )
    return Split(inputs, targets, dataset.examples[split], dataset)


class TrainingBatches(TorchDataset):
    """Augmented training batches, asked for by (epoch, indices).

    Each part of a batch is augmented by itself, since augmentation may mix the examples that it
    gets. So it does not matter which process computes the part.
    """

    def __init__(self, split: Split, parameters: Parameters, parts: int = 1) -> None:
        self.split, self.parameters, self.parts = split, parameters, parts
        self.epoch, self.drawn = -1, {}

    def __getitem__(self, index: tuple[int, np.ndarray]) -> Batch:
        epoch, rows = index
        if epoch != self.epoch:
            data, seed = self.parameters.data, self.parameters.seed
            drawn = augmentation.draw(self.split.dataset, data, seed, epoch)
            self.epoch, self.drawn = epoch, drawn
        if not self.drawn:
            return self.split.take(rows)
        parts = [self.augmented(part) for part in np.array_split(rows, self.parts)]
        if len(parts) == 1:
            return parts[0]
        inputs, targets = (
            {name: torch.cat([part[name] for part in same]) for name in same[0]}
            for same in zip(*parts, strict=True)
        )
        return inputs, targets

    def augmented(self, rows: np.ndarray) -> Batch:
        """Return some examples, changed as was drawn for them."""
        drawn = {name: torch.from_numpy(array[rows]) for name, array in self.drawn.items()}
        return augmentation.augment(*self.split.take(rows), drawn, self.parameters.data)


def training_batches(
    split: Split,
    parameters: Parameters,
    first_step: int,
    last_step: int,
    device: torch.device,
    share: Share = ALONE,
) -> Generator[Batch]:
    """Yield the batches of the steps from `first_step` up to, without, `last_step`.

    They are on the device of the split; from the processor's memory they are ready to be copied
    to `device`. Close the generator: processes that load ignore signals, so they end only then.
    Of several processes that train, each gets its share of every batch.
    """
    data, seed = parameters.data, parameters.seed
    order = order_of(split.inputs)  # None but for data in shards
    sampler = BatchSampler(
        split.examples, data.batch_size, seed, first_step, last_step, share, order
    )
    loader = DataLoader(
        TrainingBatches(split, parameters, len(share.own_parts)),
        batch_size=None,  # The sampler asks for whole batches.
        sampler=sampler,
        num_workers=helpers(data.workers) if split.on_host else 0,
        pin_memory=split.on_host and device.type == "cuda",
        worker_init_fn=ignore_signals,  # The main process stops, and needs its workers until then.
        generator=torch.Generator(),  # Otherwise it would draw from the generator of dropout.
    )
    yield from loader


def evaluation_batches(split: Split, share: Share = ALONE) -> Iterator[Batch]:
    """Yield the batches of a split in its own order; of several processes, each takes turns."""
    size = evaluation_batch_size(split.dataset.positions)
    for batch in share.turns(-(-split.examples // size)):
        yield split.take(np.arange(batch * size, min((batch + 1) * size, split.examples)))
