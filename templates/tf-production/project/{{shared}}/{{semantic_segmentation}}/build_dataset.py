"""Prepare images and masks for training: scenes of digits, or a folder of your own.

    python build_dataset.py                      # scenes of scattered digits, no download
    python build_dataset.py --source streets     # streets/images/1.jpg, streets/masks/1.png, ...

A mask gives each pixel of its image a class, as a number or as a colour. The source may have
train/, val/ and test/ above or below images/ and masks/. If val/ or test/ is missing, 10 % of train
becomes it.

Written to data/: arrays of images (N, height, width, channels) uint8 and of masks (N, height,
width) uint8 for each split and, last, dataset.json: once it is there, all is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from machinery import arrays, mask_files, mask_pairs
from machinery.argument_parser import LARGEST_SEED, ArgumentParser
from machinery.contents import refuse_to_replace
from machinery.digit_scenes import CLASSES, make_scenes
from machinery.errors import InputError, exit_codes
from machinery.image_features import ImageFeatures
from machinery.image_files import channel_statistics, read_images
from machinery.mask_files import IGNORED
from machinery.predictions import Unlabelled
from machinery.sampling import evaluation_batch_size
from machinery.splits import StratumError, digests, find_leaks, split_off
from machinery.unlabelled_images import find_unlabelled, read_blocks

SCENES = {"train": 1000, "val": 200, "test": 300}
SIDE = 24  # Height and width of a scene in pixels.
MOST_DIGITS = 5  # in a scene


class Dataset(ImageFeatures, arrays.BaseDataset):
    """What dataset.json holds for this task."""

    task: Literal["semantic-segmentation"]
    inputs: tuple[str, ...] = ("images",)  # (N, height, width, channels) uint8
    targets: tuple[str, ...] = ("masks",)  # (N, height, width) uint8: class numbers, 255: ignored
    classes: list[str]
    values: list[str]  # What each class is in the files of the masks: a number or a colour.
    shares: dict[str, list[float]]  # of the known pixels, for each class, by split
    mean: list[float]  # of each channel over the training images, in grey levels 0 to 255
    std: list[float]

    default_source: ClassVar[str] = "digits of scikit-learn's load_digits(), scattered over scenes"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = map(int, self.arrays["images"].shape)  # ty: ignore[invalid-argument-type]
        return height, width, channels

    def check(self, name: str, array: np.ndarray) -> str:
        """Return what is wrong with the masks, or an empty string."""
        if name != "masks":
            return ""
        blocks = (
            array[start : start + mask_files.BLOCK]
            for start in range(0, len(array), mask_files.BLOCK)
        )
        largest = max(int(np.where(block == IGNORED, 0, block).max()) for block in blocks)
        if largest < len(self.classes):
            return ""
        return (
            f"got class number {largest}, expected 0 to {len(self.classes) - 1}, or {IGNORED} "
            "where it is not known"
        )


def read_dataset(folder: Path) -> Dataset:
    """Read dataset.json; raise InputError if it is missing or not of this task."""
    return arrays.read_dataset(folder, Dataset)


def open_dataset(folder: Path) -> Dataset:
    """Read dataset.json; if the default folder is empty, prepare the scenes there first."""
    return arrays.open_dataset(folder, Dataset, prepare_default)


def prepare_default(folder: Path) -> None:
    """Prepare the scenes in a folder that holds nothing."""
    print(f"{folder} holds no dataset yet: preparing scenes of handwritten digits.")
    build_scenes(folder)


def build_scenes(folder: Path, seed: int = 0, overwrite: bool = False) -> Dataset:
    """Write scenes of scikit-learn's handwritten digits and their masks, background and ten digits.

    No digit is in the scenes of two splits. Source: E. Alpaydin, C. Kaynak,
    https://doi.org/10.24432/C50P49, its test set.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Pixels are counts from 0 to 16.
    pictures = np.round(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(seed).permutation(len(pictures))
    shares = np.cumsum([*SCENES.values()]) / sum(SCENES.values())
    parts = np.split(order, (shares[:-1] * len(order)).astype(int))
    images, masks, ids, splits, first = [], [], [], {}, 0
    for number, (split, count) in enumerate(SCENES.items()):
        rows = parts[number]
        own_seed = seed * len(SCENES) + number
        scenes = make_scenes(
            pictures[rows], digits.target[rows], count, own_seed, SIDE, MOST_DIGITS, scales=(1,)
        )
        images.append(scenes.images)
        masks.append(scenes.masks)
        ids += [f"scene-{row}" for row in range(first, first + count)]
        splits[split] = np.arange(first, first + count)
        first += count
    classes = ["background", *CLASSES]
    values = [str(value) for value in range(len(classes))]
    return write_masks(
        folder,
        {"images": np.concatenate(images), "masks": np.concatenate(masks)},
        np.array(ids),
        splits,
        dict(zip(values, classes, strict=True)),
        Dataset.default_source,
        overwrite,
    )


def build_masks(
    folder: Path,
    source: Path,
    size: int | None = None,
    classes: Path | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Dataset:
    """Read the images and masks of `source`, bring them to one size, and write them.

    Args:
        folder: where the dataset goes.
        source: the folder with images/ and masks/.
        size: height and width to store, in pixels; None: that of the images if all are equal and
            not too large, else 64.
        classes: a CSV that names the class of each value; None: classes.csv in the source, or the
            values that are found.
        seed: of the random split.
        skip_bad: leave out what cannot be used, and say so.
        overwrite: replace the dataset that is there.

    Raises:
        InputError: naming the folder or the files that cannot be used.
    """
    pairs, bad = mask_pairs.find_pairs(source)
    classes = classes or next(source.glob("classes.csv"), None)
    known = mask_files.read_classes(classes) if classes else None
    count = 2 * len(pairs) + len(bad)
    of_masks, found = mask_files.scan_masks(pairs, known)
    bad |= of_masks
    names_of_splits = dict.fromkeys(pair.split for pair in pairs) or {"train": None}
    pairs = [pair for pair in pairs if pair.mask not in bad]
    with read_images([pair.image for pair in pairs], size, folder) as images:
        bad |= images.bad
        mask_pairs.refuse_bad_files(source, bad, count, skip_bad)
        good = np.array([pair.image not in bad for pair in pairs], bool)
        of_split = np.array([pair.split for pair in pairs], str)
        given = {name: np.flatnonzero(good & (of_split == name)) for name in names_of_splits}
        if empty := [name for name, rows in given.items() if not len(rows)]:
            raise InputError(f"{source}: no image of {empty[0]} has a mask that can be used.")
        numbers, names = mask_files.number_classes(known, found, source)
        shape = images.pixels.shape[1:3]
        with mask_files.read_masks([p.mask for p in pairs], shape, numbers, folder) as masks:
            describe(images.pixels, images.description, int(good.sum()), source)
            contents = digests(images.pixels)
            splits = split_images(contents, given, seed)
            ids = np.array([pair.image.relative_to(source).as_posix() for pair in pairs])
            for split, rows in find_leaks(contents, splits):
                example = f"such as {ids[rows[0]]}"
                print(f"warning: {len(rows)} images of {split} are in train too, {example}.")
            return write_masks(
                folder,
                {"images": images.pixels, "masks": masks},
                ids,
                splits,
                names,
                source.as_posix(),
                overwrite,
            )


def describe(pixels: np.ndarray, sizes: str, count: int, source: Path) -> None:
    """Print what was found."""
    _, height, width, channels = pixels.shape
    kind = "grey" if channels == 1 else "colour"
    print(
        f"Found {count:,} {kind} images with masks in {source}, {sizes}; stored as {width} x "
        f"{height} pixels."
    )


def split_images(
    contents: np.ndarray, given: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Return the row numbers of train, val and test.

    Args:
        contents: (N,) digests; images that are equal in every pixel go to one split.
        given: the row numbers of each split that the source has.
        seed: of the random split.

    Raises:
        InputError: there are too few images.
    """
    try:
        return split_off(contents, np.zeros(len(contents), np.int64), given, seed)
    except StratumError:
        raise InputError(
            "There are too few different images to split; expected 3 or more. Add images, or give "
            "train/, val/ and test/ folders."
        ) from None


def write_masks(
    folder: Path,
    examples: Mapping[str, np.ndarray],
    ids: np.ndarray,
    splits: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    source: str,
    overwrite: bool = False,
) -> Dataset:
    """Write the dataset, and print the share of each class.

    Args:
        folder: where the dataset goes.
        examples: "images" (N, height, width, channels) and "masks" (N, height, width), both uint8.
        ids: (N,) str, where each image came from.
        splits: the row numbers of each split.
        names: of the classes, by their values in the files.
        source: where the images came from, in words.
        overwrite: replace the dataset that is there.

    Raises:
        InputError: no pixel of a split has a known class.
    """
    classes = [*names.values()]
    counts = {
        split: mask_files.pixel_counts(examples["masks"], rows, len(classes))
        for split, rows in splits.items()
    }
    for split, count in counts.items():
        if not count.sum():
            raise InputError(f"{split}: no pixel of its masks has a class. Give other images.")
    shares = {split: (count / count.sum()).tolist() for split, count in counts.items()}
    mean, std = channel_statistics(examples["images"], splits["train"])
    dataset: Dataset = arrays.write_dataset(
        folder,
        Dataset,
        dict(examples),
        ids,
        splits,
        overwrite,
        task="semantic-segmentation",
        source=source,
        classes=classes,
        values=[*names],
        shares=shares,
        mean=mean,
        std=std,
    )
    found = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    print(f"Wrote {folder}: {found} images with masks of {len(classes)} classes.")
    print_shares(dataset)
    return dataset


def print_shares(dataset: Dataset) -> None:
    """Print which part of the pixels each class has in each split."""
    print(f"  {'share of the pixels':24}" + "".join(f"{split:>10}" for split in dataset.shares))
    for number, name in enumerate(dataset.classes):
        cells = "".join(f"{share[number]:>10.2%}" for share in dataset.shares.values())
        print(f"  {name:24}{cells}")
    for split, share in dataset.shares.items():
        if absent := [n for n, part in zip(dataset.classes, share, strict=True) if not part]:
            print(f"warning: no pixel of {split} is of class {', '.join(absent)}.")


def read_unlabelled(
    paths: Sequence[Path], dataset: Dataset, skip_bad: bool = False
) -> Iterator[Unlabelled]:
    """Yield blocks of images to predict, as they are stored, in the order of `paths`.

    `originals` are their own heights and widths, (N, 2) int64, in pixels.

    Args:
        paths: images, folders of them at any depth, and CSV files with a column of their names.
        dataset: what the network was trained on.
        skip_bad: leave out what cannot be read, and say so.

    Raises:
        InputError: naming the path or the files that cannot be used.
    """
    files: dict[str, Path] = {}  # of a block, by what they are called

    def find() -> Iterator[tuple[str, Path]]:
        for name, path in find_unlabelled(paths):
            files[name] = path
            yield name, path

    size = evaluation_batch_size(dataset.positions)
    for block in read_blocks(find(), dataset.image_shape, size, skip_bad):
        sizes = [mask_files.read_upright_size(files[name])[::-1] for name in block.ids]
        yield block._replace(originals=np.array(sizes))
        files.clear()


def main() -> None:
    """Prepare the dataset that the command line names."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--source", type=Path, help="folder of images/ and masks/ [the scenes]")
    parser.add_data_to_write()
    parser.add_argument("--image-size", type=int, help="pixels [the images' own size, or 64]")
    parser.add_argument("--classes", type=Path, help="CSV of value,class [SOURCE/classes.csv]")
    parser.add_argument("--seed", type=int, default=0, help="chooses the random split [0]")
    parser.add_argument("--skip-bad", action="store_true", help="leave out what cannot be used")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset in --data")
    arguments = parser.parse_args()
    data, seed, overwrite = arguments.data, arguments.seed, arguments.overwrite
    if arguments.image_size is not None:
        parser.check_range("--image-size", arguments.image_size, 1, 4096)
    parser.check_range("--seed", seed, 0, LARGEST_SEED)
    if arguments.source and data.resolve() == arguments.source.resolve():
        parser.error(f"--data: got {data}, the folder of the images, expected one for the arrays")
    if arguments.classes and not arguments.source:
        parser.error("--classes: only with --source")
    if not overwrite:
        refuse_to_replace(data)
    if arguments.source is None:
        build_scenes(data, seed, overwrite)
    else:
        size, classes = arguments.image_size, arguments.classes
        build_masks(data, arguments.source, size, classes, seed, arguments.skip_bad, overwrite)


if __name__ == "__main__":
    with exit_codes():
        main()
