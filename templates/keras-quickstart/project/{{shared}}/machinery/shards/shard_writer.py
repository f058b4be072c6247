"""build_shards.py: a prepared data set, written again as shards.

They are new files in a folder of their own; the prepared data set stays as it is.
"""

import argparse
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from machinery import places
from machinery.argument_parser import LARGEST_SEED, ArgumentParser
from machinery.arrays import BaseDataset, Examples
from machinery.contents import new_contents, refuse_to_replace, seal
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.ragged import Ragged
from machinery.shards.shard_list import FILE, KIND, Shard, ShardList, is_sharded, stem
from machinery.statistics_file import write_statistics

MOST_SHARDS = 100_000  # of a split: a file's name has room for 99,999


def parse_command_line(description: str | None) -> argparse.Namespace:
    """Read the command line; raise InputError if --output holds a data set of another kind."""
    parser = ArgumentParser(description)
    usual = places.folder_to_write()
    meaning = f"the arrays [{usual}]".replace("%", "%%")
    parser.add_argument("--data", type=Path, default=usual, help=meaning)
    parser.add_argument("--output", type=Path, help="where to write [shards, in --data]")
    meaning = "examples of a shard, at most [10000]"
    parser.add_argument("--shard-examples", type=int, default=10_000, help=meaning)
    meaning = "shards that training shuffles together; 0: all, as without shards [8]"
    parser.add_argument("--window", type=int, default=8, help=meaning)
    meaning = "of the order in which train is dealt out to shards [0]"
    parser.add_argument("--seed", type=int, default=0, help=meaning)
    meaning = "leave train in its order: only where that is random already"
    parser.add_argument("--keep-order", action="store_true", help=meaning)
    parser.add_argument("--overwrite", action="store_true", help="replace the shards there")
    arguments = parser.parse_args()
    parser.check_range("--shard-examples", arguments.shard_examples, 1, 10**9)
    parser.check_range("--window", arguments.window, 0, MOST_SHARDS)
    parser.check_range("--seed", arguments.seed, 0, LARGEST_SEED)
    arguments.output = arguments.output or arguments.data / "shards"
    if [*arguments.output.glob("arrays-*"), *arguments.output.glob("records-*")]:
        raise InputError(
            f"--output: {arguments.output} holds a data set in another form, expected a folder for "
            "the shards alone. Name another one, such as data/shards."
        )
    if not arguments.overwrite:
        refuse_to_replace(arguments.output)
    return arguments


def write_shards(arguments: argparse.Namespace, dataset: Any) -> ShardList:
    """Write the shards of every split and, last, dataset.json; return what shards.json says.

    A kill at any moment leaves the old shards or the new ones.

    Args:
        arguments: data, output, shard_examples, window, seed, keep_order, overwrite: see
            parse_command_line.
        dataset: what dataset.json of the data says.

    Raises:
        InputError: the arrays are missing, not what dataset.json says, or in shards already.
    """
    data, output, size = arguments.data, arguments.output, arguments.shard_examples
    if not dataset.arrays_folder.startswith("arrays-"):
        form = "shards" if is_sharded(dataset.arrays_folder) else "records"
        raise InputError(f"--data: {data} holds {form}, expected the arrays of build_dataset.py.")
    if (most := max(dataset.examples.values())) > MOST_SHARDS * size:
        raise InputError(
            f"--shard-examples: got {size}, expected at least {-(-most // MOST_SHARDS)}, as a "
            f"split has at most {MOST_SHARDS:,} shards."
        )
    names = [*dataset.arrays]
    splits = {split: dataset.read_split(data, split, names) for split in dataset.examples}
    ids = {split: dataset.read_ids(data, split) for split in dataset.examples}
    with new_contents(output, KIND, dataset.source, arguments.overwrite) as target:
        shards: dict[str, tuple[Shard, ...]] = {}
        for split, count in dataset.examples.items():
            rows, found = np.arange(count), []
            if split == "train" and not arguments.keep_order:
                # Windows shuffle among few shards, so each shard has to be like all of train.
                rows = np.random.default_rng(arguments.seed).permutation(count)
            for number, some in enumerate(
                np.split(rows, range(size, count, size)) if count else ()
            ):
                arrays = {**splits[split], "ids": ids[split]}
                found.append(_write_shard(target, stem(split, number), arrays, some))
            shards[split] = tuple(found)
        fingerprint = _fingerprint(arguments, dataset, shards["train"])
        content = ShardList(fingerprint=fingerprint, window=arguments.window, shards=shards)
        write_atomically(target / FILE, content.model_dump_json(indent=1).encode())
        seal(target)
        changed = {"arrays_folder": target.name, "fingerprint": fingerprint}
        sharded: BaseDataset = dataset.model_copy(update=changed)
        described = dataset.model_copy(update={"fingerprint": fingerprint})
        write_statistics(output, described, data)
        write_atomically(output / "dataset.json", sharded.model_dump_json(indent=2).encode())
    return content


def _fingerprint(
    arguments: argparse.Namespace, dataset: BaseDataset, shards: tuple[Shard, ...]
) -> str:
    """Return that of the data in the order of training; without another order it stays."""
    facts: list[Any] = [] if arguments.keep_order else ["dealt out", arguments.seed]
    if 0 < arguments.window < len(shards):
        facts += [arguments.window, [each.examples for each in shards]]
    if not facts:
        return dataset.fingerprint
    return hashlib.sha256(repr([dataset.fingerprint, *facts]).encode()).hexdigest()[:16]


def _write_shard(folder: Path, begin: str, arrays: dict[str, Examples], rows: np.ndarray) -> Shard:
    """Write some examples of each array."""
    digests, size = {}, 0
    for name, array in arrays.items():
        files = {f"{begin}_{name}.npy": array}
        if isinstance(array, Ragged):
            chosen = Ragged.join([array[row] for row in rows], array.fill)
            files = {
                f"{begin}_{name}.npy": chosen.values,
                f"{begin}_{name}_offsets.npy": chosen.offsets,
            }
        for file, values in files.items():
            buffer = io.BytesIO()
            values = values if isinstance(array, Ragged) else values.take(rows, axis=0)
            np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
            content = buffer.getvalue()
            write_atomically(folder / file, content)
            digests[file] = hashlib.sha256(content).hexdigest()
            size += len(content)
    return Shard(examples=len(rows), bytes=size, sha256=digests)


def say_written(arguments: argparse.Namespace, found: ShardList) -> None:
    """Print what was written, how large the cache has to be, and what to do next."""
    counts = ", ".join(f"{len(each):,} of {split}" for split, each in found.shards.items())
    window = found.window_of("train")
    largest = sorted((each.bytes for each in found.shards["train"]), reverse=True)
    cache = -(-sum(largest[: 2 * window]) // 10**6)
    print(
        f"Wrote {arguments.output}: shards: {counts}. Training shuffles {window} of them at a "
        f"time; read from a URL, it needs {cache:,} MB of disk. Next: python train.py --data "
        f"{arguments.output}"
    )
