"""Prepare images with boxes for training: scenes of scattered digits, or pictures of your own.

    python build_dataset.py                      # 1,100 scenes with 2 digits or so, no download
    python build_dataset.py --source street      # in the form of COCO or of YOLO

COCO: annotations.json and images/ in the source; or train/, val/ and test/ with such in them; or
annotations/instances_train.json, ... and images/train/ or train/, ...
YOLO: images/ and labels/ with a text file for each picture, and data.yaml or classes.txt with the
names of the classes; images/train/ and labels/train/, or train/images/ and train/labels/, ...
If val or test is missing, 10 % of train becomes it.

A picture is scaled until it fits into a square, and what is left of the square is black.

Written to data/: arrays of images (N, height, width, channels) uint8 and of boxes (any number, 5)
float32 for each split and, last, dataset.json: once it is there, all is there. A box is class,
left, top, right, bottom in pixels of the stored image.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from machinery import arrays
from machinery.annotations import find_pictures
from machinery.argument_parser import LARGEST_SEED, ArgumentParser
from machinery.box_files import describe, letterbox, read_pictures
from machinery.box_pictures import Boxes, Picture, draw_boxes
from machinery.contents import refuse_to_replace
from machinery.digit_scenes import CLASSES, make_scenes
from machinery.errors import InputError, exit_codes
from machinery.image_features import ImageFeatures
from machinery.image_files import channel_statistics
from machinery.predictions import Unlabelled
from machinery.ragged import Ragged
from machinery.sampling import evaluation_batch_size
from machinery.splits import StratumError, digests, find_leaks, split_off
from machinery.unlabelled_images import find_unlabelled, read_blocks

SCENES = {"train": 800, "val": 100, "test": 200}


class Dataset(ImageFeatures, arrays.BaseDataset):
    """What dataset.json holds for this task."""

    task: Literal["object-detection"]
    inputs: tuple[str, ...] = ("images",)  # (N, height, width, channels) uint8
    targets: tuple[str, ...] = ("boxes",)  # (N, any number, 5) float32, padded with -1
    classes: list[str]
    mean: list[float]  # of each channel over the training images, in grey levels 0 to 255
    std: list[float]

    default_source: ClassVar[str] = "digits of scikit-learn's load_digits(), scattered"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = map(int, self.arrays["images"].shape)  # ty: ignore[invalid-argument-type]
        return height, width, channels

    def check(self, name: str, array: np.ndarray) -> str:
        """Return what is wrong with the boxes, or an empty string."""
        if name != "boxes" or not len(array):
            return ""
        numbers, count = array[:, 0], len(self.classes)
        if not (np.isin(numbers, np.arange(count))).all():
            return (
                f"got class numbers from {numbers.min():g} to {numbers.max():g}, expected 0 to "
                f"{count - 1}"
            )
        height, width, _ = self.image_shape
        edges, limits = array[:, 1:], np.array([width, height, width, height])
        if (edges >= 0).all() and (edges <= limits).all() and (edges[:, :2] < edges[:, 2:]).all():
            return ""
        return f"got boxes of no area or outside the {width} x {height} pixels of an image"


def read_dataset(folder: Path) -> Dataset:
    """Read dataset.json; raise InputError if it is missing or not of this task."""
    return arrays.read_dataset(folder, Dataset)


def open_dataset(folder: Path) -> Dataset:
    """Read dataset.json; if the default folder is empty, prepare the scenes there first."""
    return arrays.open_dataset(folder, Dataset, prepare_default)


def prepare_default(folder: Path) -> None:
    """Prepare the scenes in a folder that holds nothing."""
    print(f"{folder} holds no dataset yet: preparing scenes of scattered digits.")
    build_scenes(folder)


def build_scenes(folder: Path, seed: int = 0, overwrite: bool = False) -> Dataset:
    """Write scenes of scattered digits. No digit of a split is in a scene of another one.

    Source of the digits: E. Alpaydin, C. Kaynak, https://doi.org/10.24432/C50P49, its test set.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    # Pixels are counts from 0 to 16.
    digits = np.round(found.images * (255 / 16)).astype(np.uint8)
    labels = found.target.astype(np.int64)
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels
    )
    train, val = train_test_split(rest, test_size=0.125, random_state=seed, stratify=labels[rest])
    images, boxes, splits, first = [], [], {}, 0
    for number, (split, rows) in enumerate({"train": train, "val": val, "test": test}.items()):
        made = make_scenes(digits[rows], labels[rows], SCENES[split], 3 * seed + number)
        images.append(made.images)
        boxes += [each.astype(np.float32) for each in made.boxes]
        splits[split] = np.arange(first, first + SCENES[split])
        first += SCENES[split]
    ids = np.array([f"scene-{number}" for number in range(first)])
    source = Dataset.default_source
    return write_images(
        folder, np.concatenate(images), boxes, ids, splits, CLASSES, source, overwrite
    )


def build_pictures(
    folder: Path,
    source: Path,
    size: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Dataset:
    """Read pictures with their boxes, bring them to one size, and write them.

    Args:
        folder: where the dataset goes.
        source: the folder of pictures and boxes.
        size: height and width to store, in pixels; None: that of the pictures if all are equal and
            not too large, else 128.
        seed: of the random split.
        skip_bad: leave out what cannot be used, and say so.
        overwrite: replace the dataset that is there.

    Raises:
        InputError: naming the folder, or the files and lines that cannot be used.
    """
    found = find_pictures(source)
    with read_pictures(source, found, size, folder, skip_bad) as read:
        ids = np.array([each.path.relative_to(source).as_posix() for each in found.pictures])
        names = np.array([each.split for each in found.pictures])[read.rows]
        given = {name: read.rows[names == name] for name in dict.fromkeys(names.tolist())}
        contents = digests(read.pixels)
        splits = split_pictures(contents, given, seed, source)
        check_boxes(read.boxes, splits, source)
        describe(source, found, read, splits)
        for split, rows in find_leaks(contents, splits):
            print(
                f"warning: {len(rows)} images of {split} are in train too, such as {ids[rows[0]]}."
            )
        pixels, boxes, classes = read.pixels, read.boxes, found.classes
        dataset = write_images(
            folder, pixels, boxes, ids, splits, classes, source.as_posix(), overwrite
        )
        draw_some(folder / "boxes_train.png", pixels, boxes, ids, splits["train"], classes)
    return dataset


def split_pictures(
    contents: np.ndarray, given: Mapping[str, np.ndarray], seed: int, source: Path
) -> dict[str, np.ndarray]:
    """Return the row numbers of train, val and test.

    Args:
        contents: (N,) digests; images that are equal in every pixel go to one split.
        given: the row numbers of each split that the source has.
        seed: of the random split.
        source: of the pictures, for messages.

    Raises:
        InputError: there are too few images.
    """
    if "train" not in given:
        raise InputError(f"{source}: no picture of train can be used. Add some.")
    try:
        return split_off(contents, np.zeros(len(contents), np.int64), given, seed)
    except StratumError:
        raise InputError(
            f"{source}: too few different pictures to split; expected 3 or more. Add pictures, or "
            "give train/, val/ and test/."
        ) from None


def check_boxes(
    boxes: Sequence[np.ndarray], splits: Mapping[str, np.ndarray], source: Path
) -> None:
    """Raise InputError for a split without a box: nothing could be learned or measured."""
    for split, rows in splits.items():
        if not any(len(boxes[row]) for row in rows):
            raise InputError(
                f"{source}: the {len(rows)} pictures of {split} have no box. Add boxes, or choose "
                "another --seed if the split is random."
            )


def draw_some(
    path: Path,
    pixels: np.ndarray,
    boxes: Sequence[np.ndarray],
    ids: np.ndarray,
    rows: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Draw eight training images with their boxes, so that a person sees that both fit."""
    shown = rows[np.linspace(0, len(rows) - 1, min(8, len(rows))).round().astype(np.int64)]
    pictures = [
        Picture(ids[row], pixels[row], Boxes(boxes[row][:, 1:], boxes[row][:, 0].astype(np.int64)))
        for row in shown
    ]
    draw_boxes(path, "training images with their boxes", pictures, classes)
    print(f"Look at {path}: do the boxes fit?")


def read_unlabelled(
    paths: Sequence[Path], dataset: Dataset, skip_bad: bool = False
) -> Iterator[Unlabelled]:
    """Yield blocks of pictures to predict, as they are stored, in the order of `paths`.

    Args:
        paths: images, folders of them at any depth, and CSV files with a column of their names.
        dataset: what the network was trained on.
        skip_bad: leave out what cannot be read, and say so.

    Raises:
        InputError: naming what cannot be read.
    """
    size = evaluation_batch_size(dataset.positions)
    yield from read_blocks(find_unlabelled(paths), dataset.image_shape, size, skip_bad, letterbox)


def write_images(
    folder: Path,
    images: np.ndarray,
    boxes: Sequence[np.ndarray],
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
        boxes: of each image (M, 5) float32: class, left, top, right, bottom in its pixels.
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
        {"images": images, "boxes": Ragged.join([*boxes], fill=-1)},
        ids,
        splits,
        overwrite,
        task="object-detection",
        source=source,
        classes=list(classes),
        mean=mean,
        std=std,
    )
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    total = sum(len(boxes[row]) for rows in splits.values() for row in rows)
    print(f"Wrote {folder}: {counts} images with {total:,} boxes of {len(classes)} classes.")
    return dataset


def main() -> None:
    """Prepare the dataset that the command line names."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--source", type=Path, help="folder of pictures and boxes [the scenes]")
    parser.add_data_to_write()
    parser.add_argument("--image-size", type=int, help="pixels [the pictures' own size, or 128]")
    parser.add_argument("--seed", type=int, default=0, help="chooses the random split [0]")
    parser.add_argument("--skip-bad", action="store_true", help="leave out what cannot be used")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset in --data")
    arguments = parser.parse_args()
    data, seed, overwrite = arguments.data, arguments.seed, arguments.overwrite
    if arguments.image_size is not None:
        parser.check_range("--image-size", arguments.image_size, 1, 4096)
    parser.check_range("--seed", seed, 0, LARGEST_SEED)
    if arguments.source and data.resolve() == arguments.source.resolve():
        parser.error(f"--data: got {data}, the folder of the pictures, expected one for the arrays")
    if not overwrite:
        refuse_to_replace(data)
    if arguments.source is None:
        build_scenes(data, seed, overwrite)
    else:
        size, skip_bad = arguments.image_size, arguments.skip_bad
        build_pictures(data, arguments.source, size, seed, skip_bad, overwrite)


if __name__ == "__main__":
    with exit_codes():
        main()
