"""Prepare images for training: the handwritten digits of scikit-learn, or images of your own.

    python build_dataset.py                      # 1,797 digits of 8 x 8 pixels, no download
    python build_dataset.py --source photos      # photos/cat/1.png, photos/dog/2.jpg, ...
    python build_dataset.py --source photos --labels train.csv

A source folder has one folder of images per class, or train/, val/ and test/ with such folders in
them. With --labels it has the images anywhere, and a CSV file has a row for each: a column of file
names, and a column of classes, or of several labels in a cell (a b, a|b or a;b), or a column of 0
and 1 for each label. If val or test is missing, 10 % of train becomes it, with the same share of
each class; equal images, and those of one --group, stay together.

Written to data/: arrays of images (N, height, width, channels) uint8 and of labels, (N,) int64 or
(N, classes) float32, for each split and, last, dataset.json: once it is there, all is there.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from machinery import arrays
from machinery.argument_parser import LARGEST_SEED, ArgumentParser
from machinery.class_balance import balance_classes
from machinery.class_overview import count_by_split, draw_counts, say_counts, warn_of_leaks
from machinery.contents import refuse_to_replace
from machinery.errors import exit_codes
from machinery.image_features import ImageFeatures
from machinery.image_files import channel_statistics, read_images, refuse_bad
from machinery.image_labels import LabelTable, find_in_folders, find_in_table
from machinery.image_overview import draw_samples
from machinery.image_splits import Classes, check_small, split_images
from machinery.predictions import Unlabelled
from machinery.sampling import evaluation_batch_size
from machinery.splits import digests, join_groups, say_groups
from machinery.statistics_file import Numbers, summarize
from machinery.unlabelled_images import find_unlabelled, read_blocks


class Dataset(ImageFeatures, arrays.BaseDataset):
    """What dataset.json holds for this task."""

    task: Literal["image-classification"]
    inputs: tuple[str, ...] = ("images",)  # (N, height, width, channels) uint8
    targets: tuple[str, ...] = ("labels",)  # (N,) int64; if multilabel (N, classes) float32
    classes: list[str]
    multilabel: bool = False  # Each image may have any number of the classes: they are labels.
    mean: list[float]  # of each channel over the training images, in grey levels 0 to 255
    std: list[float]
    counts: tuple[int, ...] = ()  # training images of each class; files of before have none
    file_width: Numbers | None = None  # of the files of the training images, if there are any
    file_height: Numbers | None = None

    default_source: ClassVar[str] = "scikit-learn's load_digits()"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = map(int, self.arrays["images"].shape)  # ty: ignore[invalid-argument-type]
        return height, width, channels

    def recorded_statistics(self) -> dict[str, Numbers]:
        """Return what check_data.py expects of the sizes of files."""
        found = {"width of the file": self.file_width, "height of the file": self.file_height}
        return {name: each for name, each in found.items() if each}

    def class_weights(self, balance: float) -> tuple[float, ...]:
        """Return what an example of each class counts in the training loss with model.balance."""
        return balance_classes(self.counts, balance)

    def check(self, name: str, array: np.ndarray) -> str:
        """Return what is wrong with the labels, or an empty string."""
        if name == "labels" and self.multilabel:
            good = np.isin(array, (0, 1)).all()
            return "" if good else f"got {array[~np.isin(array, (0, 1))][0]}, expected 0 and 1"
        if name != "labels" or (array.min() >= 0 and array.max() < len(self.classes)):
            return ""
        return (
            f"got class numbers from {array.min()} to {array.max()}, expected 0 to "
            f"{len(self.classes) - 1}"
        )


def read_dataset(folder: Path) -> Dataset:
    """Read dataset.json; raise InputError if it is missing or not of this task."""
    return arrays.read_dataset(folder, Dataset)


def open_dataset(folder: Path) -> Dataset:
    """Read dataset.json; if the default folder is empty, prepare the digits there first."""
    return arrays.open_dataset(folder, Dataset, prepare_default)


def prepare_default(folder: Path) -> None:
    """Prepare the digits in a folder that holds nothing."""
    print(f"{folder} holds no dataset yet: preparing the handwritten digits.")
    build_digits(folder)


def build_digits(folder: Path, seed: int = 0, overwrite: bool = False) -> Dataset:
    """Write scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, ten classes.

    Source: E. Alpaydin, C. Kaynak, https://doi.org/10.24432/C50P49, its test set.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    # Pixels are counts from 0 to 16.
    images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    ids = np.array([f"digit-{row}" for row in range(len(labels))])
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels
    )
    train, val = train_test_split(rest, test_size=0.125, random_state=seed, stratify=labels[rest])
    splits = {"train": train, "val": val, "test": test}
    classes = [str(digit) for digit in range(10)]
    source = Dataset.default_source
    return write_images(folder, images, labels, ids, splits, classes, source, overwrite)


def build_images(
    folder: Path,
    source: Path,
    table: LabelTable | None = None,
    size: int | None = None,
    seed: int = 0,
    drop_small: bool = False,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Dataset:
    """Read the images of `source`, bring them to one size, and write them with their labels.

    Args:
        folder: where the dataset goes.
        source: the folder of images.
        table: says the labels; None: the folders do.
        size: height and width to store, in pixels; None: that of the images if all are equal and
            not too large, else 64.
        seed: of the random split.
        drop_small: leave out classes that are too small to split, and say so.
        skip_bad: leave out what cannot be read, and say so.
        overwrite: replace the dataset that is there.

    Raises:
        InputError: naming the folder, the files or the rows that cannot be used.
    """
    found = find_in_table(source, table, skip_bad) if table else find_in_folders(source)
    paths, splits = found.paths, found.splits
    with read_images(paths, size, folder) as images:
        refuse_bad(source, images, skip_bad)
        good = np.array([path not in images.bad for path in paths])
        _, height, width, channels = images.pixels.shape
        kind = "grey" if channels == 1 else "colour"
        what = "classes" if found.labels.ndim == 1 else "labels"
        print(
            f"Found {good.sum():,} {kind} images of {len(found.classes)} {what} in {source}, "
            f"{images.description}; stored as {width} x {height} pixels."
        )
        contents = digests(images.pixels)
        groups = join_groups(contents, found.groups)
        given = {split: np.flatnonzero(good & (splits == split)) for split in dict.fromkeys(splits)}
        classes = check_small(groups, Classes(found.classes, found.labels, given), drop_small)
        rows = split_images(groups, classes, seed)
        ids = np.array([path.relative_to(source).as_posix() for path in paths])
        warn_of_leaks(contents, classes.labels, rows, ids, "images")
        return write_images(
            *(folder, images.pixels, classes.labels, ids, rows, classes.names, source.as_posix()),
            overwrite,
            draw_overview=True,
            file_sizes=images.sizes,
            groups=found.groups,
        )


def write_images(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    splits: Mapping[str, np.ndarray],
    classes: Sequence[str],
    source: str,
    overwrite: bool = False,
    draw_overview: bool = False,
    file_sizes: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Dataset:
    """Write the dataset and say so.

    Args:
        folder: where the dataset goes.
        images: (N, height, width, channels) uint8
        labels: (N,) int64, or (N, classes) float32 of 0 and 1.
        ids: (N,) str, where each image came from.
        splits: the row numbers of each split.
        classes: their names.
        source: where the images came from, in words.
        overwrite: replace the dataset that is there.
        draw_overview: draw some images of each class, and how many there are.
        file_sizes: (N, 2), width and height of the files; None: they came from none.
        groups: (N,) what each image belongs to.
    """
    mean, std = channel_statistics(images, splits["train"])
    counts = count_by_split(labels, splits, classes)
    sizes = None if file_sizes is None else file_sizes[splits["train"]].T.astype(np.float64)

    def draw(contents: Path) -> None:
        draw_samples(images, labels, splits["train"], classes, contents / "samples.png")
        draw_counts(counts, classes, contents / "counts.png", "images")

    dataset: Dataset = arrays.write_dataset(
        *(folder, Dataset, {"images": images, "labels": labels}, ids, splits, overwrite),
        draw if draw_overview else None,
        groups,
        task="image-classification",
        source=source,
        classes=list(classes),
        multilabel=labels.ndim == 2,
        mean=mean,
        std=std,
        counts=() if labels.ndim == 2 else tuple(counts["train"].tolist()),
        file_width=None if sizes is None else summarize(sizes[0]),
        file_height=None if sizes is None else summarize(sizes[1]),
    )
    shown = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    what = "labels" if dataset.multilabel else "classes"
    print(f"Wrote {folder}: {shown} images of {len(classes)} {what}.")
    say_groups(groups, splits)
    if draw_overview:
        say_counts(counts, classes, "images")
        print(f"To look at: samples.png and counts.png in {folder / dataset.arrays_folder}.")
    return dataset


def read_unlabelled(
    paths: Sequence[Path], dataset: Dataset, skip_bad: bool = False
) -> Iterator[Unlabelled]:
    """Yield blocks of images to predict, as they are stored, in the order of `paths`.

    Args:
        paths: images, folders of them at any depth, and CSV files with a column of their names.
        dataset: what the network was trained on.
        skip_bad: leave out what cannot be read, and say so.

    Raises:
        InputError: naming the path or the files that cannot be used.
    """
    size = evaluation_batch_size(dataset.positions)
    yield from read_blocks(find_unlabelled(paths), dataset.image_shape, size, skip_bad)


def main() -> None:
    """Prepare the dataset that the command line names."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--source", type=Path, help="folder of images [the digits]")
    add("--labels", type=Path, metavar="CSV", help="says the labels [the class folders do]")
    add("--image", metavar="COLUMN", help="of file names [the one that names images]")
    add("--target", nargs="+", default=[], metavar="COLUMN", help="to predict [found out]")
    add("--separator", metavar="TEXT", help="parts labels in a cell; none: one class [found out]")
    add("--split", metavar="COLUMN", help="says train, val or test [at random]")
    add("--group", metavar="COLUMN", help="what stays in one split, such as a patient")
    parser.add_data_to_write()
    add("--image-size", type=int, help="pixels [the images' own size, or 64]")
    add("--seed", type=int, default=0, help="chooses the random split [0]")
    add("--drop-small", action="store_true", help="leave out classes too small to split")
    add("--skip-bad", action="store_true", help="leave out what cannot be used")
    add("--overwrite", action="store_true", help="replace a dataset in --data")
    arguments = parser.parse_args()
    data, source = arguments.data, arguments.source
    if arguments.image_size is not None:
        parser.check_range("--image-size", arguments.image_size, 1, 4096)
    parser.check_range("--seed", arguments.seed, 0, LARGEST_SEED)
    if source and data.resolve() == source.resolve():
        parser.error(f"--data: got {data}, the folder of the images, expected one for the arrays")
    for name in ("image", "target", "separator", "split", "group"):
        if getattr(arguments, name) and not arguments.labels:
            parser.error(f"--{name}: goes with --labels, the table that says the labels")
    if arguments.labels and not source:
        parser.error("--source: missing; it is the folder of the images that --labels names")
    if not arguments.overwrite:
        refuse_to_replace(data)
    if source is None:
        build_digits(data, arguments.seed, arguments.overwrite)
    else:
        build_from_arguments(arguments)


def build_from_arguments(arguments: argparse.Namespace) -> None:
    """Prepare images of one's own."""
    table = None
    if arguments.labels:
        image, separator = arguments.image, arguments.separator
        columns = (image, arguments.target, separator, arguments.split, arguments.group)
        table = LabelTable(arguments.labels, *columns)
    build_images(
        arguments.data,
        arguments.source,
        table,
        size=arguments.image_size,
        seed=arguments.seed,
        drop_small=arguments.drop_small,
        skip_bad=arguments.skip_bad,
        overwrite=arguments.overwrite,
    )


if __name__ == "__main__":
    with exit_codes():
        main()
