"""Prepare images for training: the handwritten digits of scikit-learn, or a folder of your own.

    python build_dataset.py                      # 1,797 digits of 8 x 8 pixels, no download
    python build_dataset.py --source photos      # photos/cat/1.png, photos/dog/2.jpg, ...

A source folder has one folder of images per class, or train/, val/ and test/ with such folders in
them. If val/ or test/ is missing, 10 % of train becomes it, with the same share of each class.

Written to data/: arrays of images (N, height, width, channels) uint8 and of labels (N,) int64 for
each split and, last, dataset.json: once it is there, all is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from machinery import arrays
from machinery.argument_parser import LARGEST_SEED, ArgumentParser
from machinery.arrays import DEFAULT_FOLDER
from machinery.class_folders import find_examples
from machinery.contents import refuse_to_replace
from machinery.errors import InputError, exit_codes
from machinery.image_files import channel_statistics, read_images, refuse_bad
from machinery.predictions import Unlabelled
from machinery.sampling import evaluation_batch_size
from machinery.splits import StratumError, digests, find_leaks, split_off
from machinery.unlabelled_images import find_unlabelled, read_blocks


class Dataset(arrays.BaseDataset):
    """What dataset.json holds for this task."""

    task: Literal["image-classification"]
    inputs: tuple[str, ...] = ("images",)  # (N, height, width, channels) uint8
    targets: tuple[str, ...] = ("labels",)  # (N,) int64
    classes: list[str]
    mean: list[float]  # of each channel over the training images, in grey levels 0 to 255
    std: list[float]

    default_source: ClassVar[str] = "scikit-learn's load_digits()"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = map(int, self.arrays["images"].shape)  # ty: ignore[invalid-argument-type]
        return height, width, channels

    def check(self, name: str, array: np.ndarray) -> str:
        """Return what is wrong with the labels, or an empty string."""
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
    size: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Dataset:
    """Read the class folders of `source`, bring the images to one size, and write them.

    Args:
        folder: where the dataset goes.
        source: the folder of images.
        size: height and width to store, in pixels; None: that of the images if all are equal and
            not too large, else 64.
        seed: of the random split.
        skip_bad: leave out what cannot be read, and say so.
        overwrite: replace the dataset that is there.

    Raises:
        InputError: naming the folder or the files that cannot be used.
    """
    classes, files = find_examples(source)
    paths = [image.path for image in files]
    with read_images(paths, size, folder) as images:
        refuse_bad(source, images, skip_bad)
        labels = np.array([image.label for image in files], np.int64)
        ids = np.array([path.relative_to(source).as_posix() for path in paths])
        good = np.array([path not in images.bad for path in paths])
        names = np.array([image.split for image in files])
        given = {name: np.flatnonzero(good & (names == name)) for name in dict.fromkeys(names)}
        _, height, width, channels = images.pixels.shape
        print(
            f"Found {good.sum():,} {'grey' if channels == 1 else 'colour'} images of "
            f"{len(classes)} classes in {source}, {images.description}; stored as "
            f"{width} x {height} pixels."
        )
        contents = digests(images.pixels)
        splits = split_classes(contents, labels, given, classes, seed)
        for split, rows in find_leaks(contents, splits):
            print(
                f"warning: {len(rows)} images of {split} are in train too, such as {ids[rows[0]]}."
            )
        return write_images(
            folder, images.pixels, labels, ids, splits, classes, source.as_posix(), overwrite
        )


def split_classes(
    contents: np.ndarray,
    labels: np.ndarray,
    given: Mapping[str, np.ndarray],
    classes: Sequence[str],
    seed: int,
) -> dict[str, np.ndarray]:
    """Return the row numbers of train, val and test, keeping the shares of the classes.

    Args:
        contents: (N,) digests; images that are equal in every pixel go to one split.
        labels: (N,) int
        given: the row numbers of each split that the source has.
        classes: their names.
        seed: of the random split.

    Raises:
        InputError: a class has too few images.
    """
    try:
        return split_off(contents, labels, given, seed)
    except StratumError as error:
        raise InputError(
            f"class {classes[error.stratum]} has too few different images to split; expected 3 or "
            "more. Add images, or give train/, val/ and test/ folders."
        ) from None


def write_images(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    splits: Mapping[str, np.ndarray],
    classes: Sequence[str],
    source: str,
    overwrite: bool = False,
) -> Dataset:
    """Write the dataset and say so.

    Args:
        folder: where the dataset goes.
        images: (N, height, width, channels) uint8
        labels: (N,) int64
        ids: (N,) str, where each image came from.
        splits: the row numbers of each split.
        classes: their names.
        source: where the images came from, in words.
        overwrite: replace the dataset that is there.
    """
    mean, std = channel_statistics(images, splits["train"])
    dataset: Dataset = arrays.write_dataset(
        folder,
        Dataset,
        {"images": images, "labels": labels},
        ids,
        splits,
        overwrite,
        task="image-classification",
        source=source,
        classes=list(classes),
        mean=mean,
        std=std,
    )
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    print(f"Wrote {folder}: {counts} images of {len(classes)} classes.")
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
    parser.add_argument("--source", type=Path, help="folder of images [the digits]")
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="where to write [data]")
    parser.add_argument("--image-size", type=int, help="pixels [the images' own size, or 64]")
    parser.add_argument("--seed", type=int, default=0, help="chooses the random split [0]")
    parser.add_argument("--skip-bad", action="store_true", help="leave out unreadable images")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset in --data")
    arguments = parser.parse_args()
    data, seed, overwrite = arguments.data, arguments.seed, arguments.overwrite
    if arguments.image_size is not None:
        parser.check_range("--image-size", arguments.image_size, 1, 4096)
    parser.check_range("--seed", seed, 0, LARGEST_SEED)
    if arguments.source and data.resolve() == arguments.source.resolve():
        parser.error(f"--data: got {data}, the folder of the images, expected one for the arrays")
    if not overwrite:
        refuse_to_replace(data)
    if arguments.source is None:
        build_digits(data, seed, overwrite)
    else:
        size, skip_bad = arguments.image_size, arguments.skip_bad
        build_images(data, arguments.source, size, seed, skip_bad, overwrite)


if __name__ == "__main__":
    with exit_codes():
        main()
