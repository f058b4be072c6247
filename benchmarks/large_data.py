"""How fast examples are read from shards, from arrays in one piece, and by grain.

    pip install grain
    python benchmarks/large_data.py

Images of 32 x 32 pixels with a label lie in the page cache. Each way reads an epoch in batches of
256, in the order of a seed: arrays in one piece and shards in a folder, --window of them at a time
and all of them, as the loaders of the templates do; and grain, whose MapDataset shuffles the same
mapped arrays, reads example by example, and stacks batches, all in one process. Nothing is
augmented, and nobody trains. The ways take turns. Given are the median over the rounds of the
thousand examples per second of processor time and, in brackets, the lowest and the highest, and the
ratio to arrays in one piece.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common import machine, print_table, ratios, root, spread

sys.path.insert(0, str(root / "shared" / "project"))

from machinery import arrays
from machinery.sampling import BatchSampler
from machinery.shards.shard_writer import write_shards
from machinery.shards.sharded import order_of

Way = Callable[[int], Iterator[Any]]


class Pictures(arrays.BaseDataset):
    """What the dataset.json of the benchmark says."""

    task: Literal["pictures"] = "pictures"
    source: str = "drawn"
    inputs: tuple[str, ...] = ("images",)
    targets: tuple[str, ...] = ("labels",)


def write(folder: Path, count: int) -> Pictures:
    """Write drawn images."""
    generator = np.random.default_rng(0)
    found = {
        "images": generator.integers(0, 256, (count, 32, 32, 3), np.uint8),
        "labels": generator.integers(0, 10, count),
    }
    splits = {"train": np.arange(count), "val": np.arange(1), "test": np.arange(1)}
    ids = np.arange(count).astype(str)
    return arrays.write_dataset(folder, Pictures, found, ids, splits, task="pictures", source="-")


def shard(data: Path, dataset: Pictures, output: Path, size: int, window: int) -> Way:
    """Write the data as shards; return what reads an epoch of them."""
    options = {"shard_examples": size, "window": window, "keep_order": True, "seed": 0}
    named = argparse.Namespace(data=data, output=output, overwrite=False, **options)
    write_shards(named, dataset)
    return reader(output, arrays.read_dataset(output, Pictures))


def reader(folder: Path, dataset: Pictures) -> Way:
    """Return what reads an epoch as the loaders of the templates do."""
    split = dataset.read_split(folder, "train")
    count, order = dataset.examples["train"], order_of(split)

    def read(epoch: int) -> Iterator[Any]:
        steps = -(-count // BATCH)
        sampler = BatchSampler(count, BATCH, 0, epoch * steps, (epoch + 1) * steps, order=order)
        for _, rows in sampler:
            yield {name: array.take(rows, axis=0) for name, array in split.items()}

    return read


def grain_reader(folder: Path, dataset: Pictures) -> Way:
    """Return what reads an epoch by grain, example by example, as its pipelines do."""
    import grain

    split = dataset.read_split(folder, "train")

    class Source:
        def __len__(self) -> int:
            return dataset.examples["train"]

        def __getitem__(self, row: int) -> dict[str, np.ndarray]:
            return {name: array[row] for name, array in split.items()}

    def read(epoch: int) -> Iterator[Any]:
        source: Any = Source()
        yield from iter(grain.MapDataset.source(source).seed(epoch).shuffle().batch(BATCH))

    return read


BATCH = 256


def main() -> None:
    """Measure each way in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--shard-examples", type=int, default=5_000)
    parser.add_argument("--window", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    size, window = arguments.shard_examples, arguments.window
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = write(folder / "data", arguments.examples)
        shards = -(-arguments.examples // size)
        ways: dict[str, Way] = {
            "arrays in one piece": reader(folder / "data", dataset),
            f"{shards} shards, {window} at a time": shard(
                folder / "data", dataset, folder / "some", size, window
            ),
            f"{shards} shards, all at a time": shard(
                folder / "data", dataset, folder / "all", size, 0
            ),
        }
        ways["grain, arrays in one piece"] = grain_reader(folder / "data", dataset)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for epoch in range(arguments.rounds + 1):  # The first fills the page cache.
            for name, read in ways.items():
                begin, count = time.process_time(), 0
                for batch in read(epoch):
                    count += len(batch["labels"])
                assert count == arguments.examples
                if epoch:
                    rates[name].append(count / 1000 / (time.process_time() - begin))
    print(machine("numpy", "grain"))
    rows = [
        [name, spread(found, ",.0f"), spread(ratios(found, rates["arrays in one piece"]))]
        for name, found in rates.items()
    ]
    print_table(("way", "thousand examples per CPU second", "ratio"), rows)


if __name__ == "__main__":
    main()
