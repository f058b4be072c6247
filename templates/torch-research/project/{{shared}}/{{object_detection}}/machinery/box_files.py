"""Pictures with boxes on them, brought to one size together.

A picture is scaled until it fits, and what is left beside or below it is black: nothing is cut off.
"""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from machinery.errors import InputError
from machinery.files import check_name
from machinery.image_files import LARGEST_SIDE, read_images, scan_image

DEFAULT_SIDE = 128  # of the squares that pictures of several sizes become
CELL = 4  # pixels of a side of a cell in the grid of the network as it is shipped
SLACK = 1.0  # A box may reach so many pixels out of its picture, as others round: it is clipped.
REACHES_OUT = "reaches out of the picture"
SHOWN = 5  # problems
CLASSES_SHOWN = 20


class Mark(NamedTuple):
    """A box as a file has it."""

    where: str  # file and line, or file and number of the annotation
    number: int  # of the class
    edges: tuple[float, float, float, float]  # left, top, right, bottom
    relative: bool = False  # in shares of the picture's width and height, and not in pixels


class Picture(NamedTuple):
    """A picture that a source has, with its boxes."""

    path: Path
    split: str
    marks: list[Mark]


class Found(NamedTuple):
    """What a source has."""

    form: str  # COCO or YOLO
    classes: list[str]
    pictures: list[Picture]
    problems: list[str]  # what cannot be used, each in a sentence that begins with the place
    notes: list[str]  # what a person should know


class ReadPictures(NamedTuple):
    """Pictures that were read, and their boxes."""

    pixels: np.ndarray  # (N, height, width, channels) uint8
    boxes: list[np.ndarray]  # for each (M, 5) float32: class, left, top, right, bottom, as stored
    rows: np.ndarray  # the numbers of those that can be used
    description: str  # such as "from 30 x 40 to 64 x 64 pixels"


def letterbox(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an image scaled to fit a width and a height, in the upper left corner, on black."""
    square = Image.new(image.mode, size)
    square.paste(image.resize(scaled_size(image.size, size), Image.Resampling.BILINEAR))
    return square


def scaled_size(size: tuple[int, int], room: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a picture that is scaled until it fits; each is 1 or more."""
    scale = min(room[0] / size[0], room[1] / size[1])
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _scales(size: tuple[int, int], image_shape: tuple[int, ...]) -> np.ndarray:
    """Return by what left, top, right and bottom are multiplied when a picture is stored."""
    height, width = image_shape[:2]
    scaled = scaled_size(size, (width, height))
    return np.array([scaled[0] / size[0], scaled[1] / size[1]] * 2)


def to_original(
    corners: np.ndarray, size: tuple[int, int], image_shape: tuple[int, ...]
) -> np.ndarray:
    """Return boxes in pixels of the picture as it came, given those of the stored image.

    Args:
        corners: (M, 4): left, top, right, bottom.
        size: width and height of the picture.
        image_shape: height, width and channels of the stored image.

    Returns:
        (M, 4), inside the picture
    """
    found = corners / _scales(size, image_shape)
    return np.clip(found, 0, np.array([*size, *size]))


@contextlib.contextmanager
def read_pictures(
    source: Path, found: Found, size: int | None, beside: Path, skip_bad: bool
) -> Generator[ReadPictures]:
    """Read pictures and check their boxes.

    Args:
        source: where they are, for messages.
        found: what there is.
        size: height and width to store, in pixels; None: that of the pictures if all are equal and
            not too large, else DEFAULT_SIDE.
        beside: a folder for a temporary file.
        skip_bad: leave out what cannot be used, and say so.

    Raises:
        InputError: naming what cannot be used.
    """
    paths = [picture.path for picture in found.pictures]
    for path in paths:
        check_name(str(path))
    with ThreadPoolExecutor() as threads:
        scans = [*threads.map(scan_image, paths)]
    sizes = {scan[:2] for scan in scans if scan}
    if size is None and (len(sizes) != 1 or max(next(iter(sizes))) > LARGEST_SIDE):
        size = DEFAULT_SIDE
    with read_images(paths, size, beside, letterbox) as images:
        problems, boxes = [*found.problems], []
        problems += [f"{path}: {reason}" for path, reason in images.bad.items()]
        for picture, scan in zip(found.pictures, scans, strict=True):
            good = np.zeros((0, 5))
            if scan and picture.path not in images.bad:
                good, wrong = check_marks(picture.marks, scan[:2], len(found.classes))
                problems += wrong
                good[:, 1:] *= _scales(scan[:2], images.pixels.shape[1:])
            boxes.append(good.astype(np.float32))
        refuse(source, problems, skip_bad)
        rows = np.flatnonzero([path not in images.bad for path in paths])
        yield ReadPictures(images.pixels, boxes, rows, images.description)


def check_marks(
    marks: Sequence[Mark], size: tuple[int, int], classes: int
) -> tuple[np.ndarray, list[str]]:
    """Return the boxes that can be used, (M, 5) float64 in pixels, and what is wrong with others.

    A box that reaches out of its picture is wrong, and clipped at the edge.
    """
    width, height = size
    limits = np.array([width, height, width, height], np.float64)
    good, wrong = [], []
    for mark in marks:
        edges = np.array(mark.edges, np.float64) * (limits if mark.relative else 1)
        clipped = np.clip(edges, 0, limits)
        inside = clipped[0] < clipped[2] and clipped[1] < clipped[3]
        shown = ", ".join(f"{edge:g}" for edge in edges)
        if not 0 <= mark.number < classes:
            wrong.append(f"{mark.where}: class {mark.number}, expected 0 to {classes - 1}")
        elif not np.isfinite(edges).all():
            wrong.append(f"{mark.where}: a box that is no number ({shown})")
        elif not (edges[0] < edges[2] and edges[1] < edges[3]):
            wrong.append(f"{mark.where}: a box of no area ({shown})")
        elif not inside:
            wrong.append(
                f"{mark.where}: a box ({shown}) outside the picture of {width} x {height} pixels"
            )
        else:
            if np.abs(clipped - edges).max() > SLACK:
                wrong.append(
                    f"{mark.where}: a box ({shown}) {REACHES_OUT} of {width} x {height} pixels"
                )
            good.append([mark.number, *clipped])
    return np.array(good, np.float64).reshape(-1, 5), wrong


def refuse(source: Path, problems: Sequence[str], skip: bool) -> None:
    """Print what is left out because it cannot be used, and which boxes are clipped.

    Raises:
        InputError: there is such, and it is not to be left out.
    """
    if problems and not skip:
        shown = "\n  ".join(problems[:SHOWN])
        shown += f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(
            f"{source}: {len(problems)} pictures or boxes cannot be used; nothing was written.\n"
            f"  {shown}\nMend or remove them, or leave them out with --skip-bad; it clips boxes "
            "that reach out of their pictures."
        )
    for problem in problems:
        print(f"{'clipped' if REACHES_OUT in problem else 'left out'}: {problem}")


def describe(
    source: Path, found: Found, read: ReadPictures, splits: Mapping[str, np.ndarray]
) -> None:
    """Print what was found, so that a mistake in the annotations is seen."""
    boxes = [read.boxes[row] for row in read.rows]
    counts = np.array([len(each) for each in boxes])
    _, height, width, channels = read.pixels.shape
    kind = "grey" if channels == 1 else "colour"
    print(
        f"Found {len(boxes):,} {kind} images with {counts.sum():,} boxes of {len(found.classes)} "
        f"classes in {source} ({found.form}), {read.description}; stored as {width} x {height} "
        "pixels."
    )
    for note in found.notes:
        print(f"  {note}")
    print(
        f"  boxes of an image: {counts.min()} to {counts.max()}, on average {counts.mean():.1f}; "
        f"{(counts == 0).sum():,} images have none"
    )
    numbers = {
        split: np.bincount(
            np.concatenate([read.boxes[row][:, 0] for row in rows]).astype(np.int64),
            minlength=len(found.classes),
        )
        for split, rows in splits.items()
    }
    for number, name in enumerate(found.classes[:CLASSES_SHOWN]):
        shown = ", ".join(f"{count[number]:,} {split}" for split, count in numbers.items())
        print(f"  {name}: {shown}")
    if (more := len(found.classes) - CLASSES_SHOWN) > 0:
        print(f"  and {more} more classes")
    without = {split: np.flatnonzero(count == 0).tolist() for split, count in numbers.items()}
    unused = set.intersection(*map(set, without.values()))
    for split, absent in {"the source": sorted(unused), **without}.items():
        names = [found.classes[n] for n in absent if split == "the source" or n not in unused]
        if names:
            shown = ", ".join(names[:CLASSES_SHOWN])
            print(f"warning: {split} has no box of classes ({len(names)}): {shown}")
    edges = np.concatenate(boxes)[:, 1:]
    sides = edges[:, 2:] - edges[:, :2]
    small = int((sides.max(axis=1) < CELL).sum())
    print(
        f"  sides of boxes as stored: {sides.min():.0f} to {sides.max():.0f} pixels, mostly about "
        f"{np.median(sides):.0f}; {small:,} boxes are smaller than a cell of {CELL} x {CELL}"
    )
