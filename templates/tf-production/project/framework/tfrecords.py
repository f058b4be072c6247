"""TFRecords of a dataset: sharded files, and an index to read any of the records alone.

    data/records/dataset.json                                      the description, as of the arrays
    data/records/records-1/train-00000-of-00004.tfrecord           a share of the examples, in order
    data/records/records-1/train_index.npy                         where each record lies
    data/records/records-1/train_ids.npy                           where each example came from

A record is a tf.train.Example. For each array of dataset.json it has a bytes feature of the same
name, with the values of the example as they lie in memory. The feature id has the example's id.

A TFRecord file can only be read from its start. With the index any record can be read alone, so
the order of training stays a function of (seed, epoch, index), and a resumed run does not read the
batches before.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from build_dataset import Dataset
from machinery.arrays import GROUPS, SPLITS, Array, Examples, Ragged, read_array
from machinery.contents import new_contents, seal
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.intervals import read_groups

HEADER, FOOTER = 12, 4  # Bytes of a record around its content: length and checksums.


class Records:
    """The examples of train, val or test in TFRecord files, to be taken by index.

    Args:
        folder: of dataset.json.
        dataset: what that file holds.
        split: train, val or test.

    Raises:
        InputError: a file is missing, was cut short, or does not fit the others.
    """

    def __init__(self, folder: Path, dataset: Dataset, split: str) -> None:
        self.dataset, self.examples = dataset, dataset.examples[split]
        target, advice = folder / dataset.arrays_folder, _again(folder)
        self.folder, self.advice = target, advice
        path, shape = target / f"{split}_index.npy", (self.examples, 3)
        self.index = read_array(path, shape, "int64", advice)  # shard, first byte, length
        if not is_index(self.index):
            raise InputError(f"{path}: does not say where each record lies. {advice}")
        read_array(target / f"{split}_ids.npy", (self.examples,), "str", advice)
        count = int(self.index[-1, 0]) + 1
        self.shards = []
        for number in range(count):
            path = shard_path(target, split, number, count)
            _, start, length = self.index[self.index[:, 0] == number][-1]
            expected = int(start + length) + FOOTER
            found = path.stat().st_size if path.exists() else 0
            if found != expected:
                raise InputError(f"{path}: got {found} bytes, expected {expected}. {advice}")
            with open(path, "rb") as file:
                self.shards.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        # The first record of each shard says whether they are of this dataset.
        self.take(np.unique(self.index[:, 0], return_index=True)[1])

    def take(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return some examples as one batch of arrays (len(rows), ...), ragged ones padded.

        Raises:
            InputError: a record is not what dataset.json says.
        """
        try:
            return self._decode(rows)
        except (DecodeError, IndexError, ValueError) as error:
            raise InputError(
                f"{self.folder}: a record is not what dataset.json says: {error}. {self.advice}"
            ) from None

    def _decode(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        features = [
            tf.train.Example.FromString(self.shards[shard][start : start + length]).features.feature
            for shard, start, length in self.index[rows]
        ]
        inputs, targets = (
            {
                name: decode(
                    [example[name].bytes_list.value[0] for example in features],
                    self.dataset.arrays[name],
                )
                for name in names
            }
            for names in (self.dataset.inputs, self.dataset.targets)
        )
        return inputs, targets


def is_index(index: np.ndarray) -> bool:
    """Return whether records lie one after the other, shard by shard, as an index says.

    Args:
        index: (N, 3) int64: shard, first byte, length.
    """
    shards, starts, lengths = index.T
    new = np.diff(shards, prepend=-1)  # 1 where a shard begins
    after = np.roll(starts + lengths, 1) + FOOTER + HEADER
    return bool(
        np.isin(new, (0, 1)).all()
        and (starts == np.where(new, HEADER, after)).all()
        and (lengths >= 0).all()
    )


def decode(contents: list[bytes], array: Array) -> np.ndarray:
    """Return the values of some examples, (len(contents), ...), ragged ones padded."""
    if array.shape[:1] != (None,):
        values = np.frombuffer(b"".join(contents), array.dtype)
        return values.reshape(len(contents), *array.batch_shape)
    shape = (-1, *array.batch_shape[1:])
    examples = [np.frombuffer(content, array.dtype).reshape(shape) for content in contents]
    ragged = Ragged.join(examples, array.fill)
    ragged.longest = array.longest  # The longest of all examples, not of these.
    return ragged.take(np.arange(len(examples)))


def holds_records(dataset: Dataset) -> bool:
    """Return whether a dataset.json describes records."""
    return dataset.arrays_folder.startswith("records-")


def shard_path(folder: Path, split: str, number: int, count: int) -> Path:
    """Return the path of a shard, named as TensorFlow's own tools do."""
    return folder / f"{split}-{number:05}-of-{count:05}.tfrecord"


def _again(folder: Path) -> str:
    data = folder.parent if folder.name == "records" else "ARRAYS"
    command = f"python build_records.py --data {data} --records {folder} --overwrite"
    return f"Write the records again: {command}"


def write_records(
    data: Path, dataset: Dataset, folder: Path, shards: int, overwrite: bool = False
) -> None:
    """Write the records of every split; a kill at any moment leaves the old ones or the new.

    Args:
        data: the folder of the arrays.
        dataset: what its dataset.json holds.
        folder: where the records go.
        shards: how many files for each split.
        overwrite: replace the records that are there.

    Raises:
        InputError: the arrays are missing or are not what dataset.json says; or there are records
            already.
    """
    splits = {split: dataset.read_split(data, split) for split in SPLITS}
    ids = {split: dataset.read_ids(data, split) for split in SPLITS}
    groups = {split: read_groups(dataset, data, split) for split in SPLITS}
    with new_contents(folder, "records", dataset.source, overwrite) as target:
        for split, arrays in splits.items():
            write_split(target, split, arrays, ids[split], shards)
            if (found := groups[split]) is not None:
                np.save(target / f"{split}_{GROUPS}.npy", found)
        seal(target)
        content = dataset.model_copy(update={"arrays_folder": target.name})
        write_atomically(folder / "dataset.json", content.model_dump_json(indent=2).encode())


def write_split(
    folder: Path, split: str, arrays: Mapping[str, Examples], ids: np.ndarray, shards: int
) -> None:
    """Write the shards and the index of one split.

    Args:
        folder: where they go.
        split: train, val or test.
        arrays: its examples, by name.
        ids: (N,) str
        shards: how many files, at most, each with its share of the examples, in order.
    """
    index = np.empty((len(ids), 3), np.int64)
    shards = min(shards, len(ids))
    for number, rows in enumerate(np.array_split(np.arange(len(ids)), shards)):
        position = 0
        with tf.io.TFRecordWriter(str(shard_path(folder, split, number, shards))) as writer:
            for row in rows:
                content = encode({name: array[row] for name, array in arrays.items()}, ids[row])
                writer.write(content)
                index[row] = (number, position + HEADER, len(content))
                position += HEADER + len(content) + FOOTER
    np.save(folder / f"{split}_index.npy", index)
    np.save(folder / f"{split}_ids.npy", ids)


def encode(arrays: Mapping[str, np.ndarray], example_id: str) -> bytes:
    """Return one record: the arrays of an example by name, and its id."""
    contents = {"id": str(example_id).encode()}
    contents |= {name: np.asarray(array).tobytes() for name, array in arrays.items()}
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
        for name, content in contents.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
