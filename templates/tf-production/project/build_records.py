"""Write a prepared dataset as sharded TFRecords, for pipelines and storage that want those.

    python build_records.py                                 # data -> data/records, 4 shards a split
    python train.py --data data/records                     # the same batches, so the same weights

Written: train-00000-of-00004.tfrecord and so on, for every split; each record is a tf.train.Example
of image (bytes: height x width x channels, uint8), label (int64) and id (bytes), in the order of
the arrays. Beside them, as in the source: dataset.json, {split}_labels.npy and {split}_ids.npy; and
{split}_index.npy (N, 3) int64 with the shard, the first byte and the length of each record.

A TFRecord file can only be read from its start. With the index any record can be read alone, so
the order of training stays a function of (seed, epoch, index), and a run that is resumed skips
what came before without reading it.
"""

import argparse
import mmap
import shutil
from pathlib import Path

import numpy as np

import utils
from build_dataset import (
    SPLITS,
    Dataset,
    open_dataset,
    read_array,
    read_arrays,
    read_ids,
    read_labels,
)
from command_line import ArgumentParser

HEADER, FOOTER = 12, 4  # Bytes of a record around its content: length and checksums.


def parse_command_line() -> argparse.Namespace:
    """Read the command line."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the arrays [data]")
    parser.add_argument("--records", type=Path, help="where to write [records, in --data]")
    parser.add_argument("--shards", type=int, default=4, help="files for each split [4]")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    arguments = parser.parse_args()
    if not 1 <= arguments.shards <= 99_999:
        parser.error(f"--shards: got {arguments.shards}, expected 1 to 99999")
    arguments.records = arguments.records or arguments.data / "records"
    if (arguments.records / "dataset.json").exists() and not arguments.overwrite:
        raise utils.InputError(
            f"{arguments.records / 'dataset.json'} exists. Name another folder with --records, or "
            "replace what is there with --overwrite."
        )
    return arguments


if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before TensorFlow is imported.
        command = parse_command_line()

from quiet import import_tensorflow

import_tensorflow()

import tensorflow as tf


class Records:
    """The images of a split in TFRecord files, to be taken by index like those of an array.

    Raises:
        InputError: a file is missing or was cut short.
    """

    def __init__(self, folder: Path, split: str, shape: tuple[int, ...], index: np.ndarray) -> None:
        self.shape = (len(index), *shape)
        self.index = index  # (N, 3) int64: shard, first byte, length
        self.shards = []
        count = int(index[:, 0].max()) + 1
        for number in range(count):
            path = shard_path(folder, split, number, count)
            _, start, length = index[index[:, 0] == number][-1]
            expected = int(start + length) + FOOTER
            found = path.stat().st_size if path.exists() else 0
            if found != expected:
                raise utils.InputError(
                    f"{path}: got {found} bytes, expected {expected}. {_again(folder)}"
                )
            with open(path, "rb") as file:
                self.shards.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def __len__(self) -> int:
        return len(self.index)

    def take(self, indices: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return the images (len(indices), height, width, channels) uint8."""
        assert axis == 0
        pixels = []
        for shard, start, length in self.index[indices]:
            example = tf.train.Example.FromString(self.shards[shard][start : start + length])
            pixels.append(example.features.feature["image"].bytes_list.value[0])
        return np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, *self.shape[1:])


def shard_path(folder: Path, split: str, number: int, count: int) -> Path:
    """Return the path of a shard, named as TensorFlow's own tools do."""
    return folder / f"{split}-{number:05}-of-{count:05}.tfrecord"


def has_records(folder: Path) -> bool:
    """Say whether build_records.py wrote a folder."""
    return (folder / "train_index.npy").exists()


def read_records(folder: Path, dataset: Dataset, split: str) -> tuple[Records, np.ndarray]:
    """Open the records and the labels of a split.

    Returns:
        images, which act as (N, height, width, channels) uint8, and labels (N,) int64

    Raises:
        InputError: the files are missing or are not what dataset.json says.
    """
    path, count = folder / f"{split}_index.npy", dataset.examples[split]
    index = read_array(path, (count, 3), np.int64, _again(folder))
    labels = read_labels(folder, dataset, split, _again(folder))
    return Records(folder, split, dataset.image_shape, index), labels


def _again(folder: Path) -> str:
    return f"Write the records again: python build_records.py --records {folder} --overwrite"


def write_records(data: Path, folder: Path, shards: int) -> None:
    """Write the records of every split of a dataset, and dataset.json last: it says all is there.

    Raises:
        InputError: the arrays are missing or are not what dataset.json says.
    """
    if [*folder.glob("*_images.npy")]:
        raise utils.InputError(
            f"--records: {folder} holds a dataset of build_dataset.py, expected a folder for the "
            "records alone. Name another one, such as data/records."
        )
    dataset = open_dataset(data)
    splits = {split: read_arrays(data, dataset, split) for split in SPLITS}
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder / "dataset.json", *folder.glob("*.tfrecord")):
        path.unlink(missing_ok=True)
    for split, (images, labels) in splits.items():
        for name in ("labels", "ids"):
            shutil.copy(data / f"{split}_{name}.npy", folder / f"{split}_{name}.npy")
        ids = read_ids(data, dataset, split)
        write_split(folder, split, images, labels, ids, min(shards, len(labels)))
    shutil.copy(data / "dataset.json", folder / "dataset.json")
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    print(f"Wrote {folder}: {counts} records. Next: python train.py --data {folder}")


def write_split(
    folder: Path, split: str, images: np.ndarray, labels: np.ndarray, ids: np.ndarray, shards: int
) -> None:
    """Write the shards and the index of one split.

    Args:
        folder: where they go.
        split: train, val or test.
        images: (N, height, width, channels) uint8
        labels: (N,) int64
        ids: (N,) str
        shards: how many files, each with its share of the examples, in order.
    """
    index = np.empty((len(labels), 3), np.int64)
    for number, rows in enumerate(np.array_split(np.arange(len(labels)), shards)):
        position = 0
        with tf.io.TFRecordWriter(str(shard_path(folder, split, number, shards))) as writer:
            for row in rows:
                content = make_example(images[row], labels[row], ids[row]).SerializeToString()
                writer.write(content)
                index[row] = (number, position + HEADER, len(content))
                position += HEADER + len(content) + FOOTER
    np.save(folder / f"{split}_index.npy", index)


def make_example(image: np.ndarray, label: np.int64, name: np.str_) -> tf.train.Example:
    """Return one record: image (height, width, channels) uint8, class number and id."""
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
        "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(name).encode()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


if __name__ == "__main__":
    with utils.exit_codes():
        write_records(command.data, command.records, command.shards)
