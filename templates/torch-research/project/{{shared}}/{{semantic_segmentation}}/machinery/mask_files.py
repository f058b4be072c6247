"""Masks in image files: a class for each pixel, as a number or as a colour."""

import contextlib
import csv
import math
import re
import tempfile
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from machinery.errors import InputError
from machinery.image_files import reserve
from machinery.mask_pairs import Pair

IGNORED = 255  # The value of a stored mask where the class is not known.
MOST_CLASSES = 255
BLOCK = 256  # Masks that are counted at a time.
MOST_VALUES = 64  # in one mask, where nobody says which there are: more come from lossy files
COLOUR = 1 << 24  # A colour counts as this plus its RGB; smaller numbers are class numbers.
STRAY = 1e-4  # A colour of a smaller share of the pixels may have come there by accident.


class Uses(NamedTuple):
    """Where a value stands."""

    masks: int
    pixels: int


def read_values(path: Path) -> np.ndarray:
    """Return the values of a mask's pixels, (height, width) int64: class numbers, or see COLOUR.

    Raises:
        ValueError: it is a file of which the values are not those that were saved.
        OSError: it cannot be read.
    """
    with Image.open(path) as image:
        if image.format in ("JPEG", "WEBP", "MPO"):
            raise ValueError(
                f"{image.format} blurs the values; expected PNG, saved from the masks as they were"
            )
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("RGB", "RGBA"):
            colours = np.asarray(upright.convert("RGB"), np.int64)
            return COLOUR + colours @ np.array([1 << 16, 1 << 8, 1])
        if upright.mode == "LA":
            upright = upright.getchannel("L")
        return np.asarray(upright, np.int64)


def read_upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image as a person sees it."""
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5  # The orientation: by a quarter.
        return image.size[::-1] if turned else image.size


def format_value(value: int) -> str:
    """Return a class number, or a colour such as #ff0000."""
    return f"#{value - COLOUR:06x}" if value >= COLOUR else str(value)


def parse_value(text: str) -> int | None:
    """Return what format_value made a text of; None for another text."""
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return COLOUR + int(text[1:], 16)
    return int(text) if re.fullmatch(r"\d{1,5}", text) else None


def scan_masks(
    pairs: Sequence[Pair], known: Mapping[int, str] | None
) -> tuple[dict[Path, str], dict[int, Uses]]:
    """Look at every mask: return why some cannot be used, and where the values stand.

    Args:
        pairs: images with their masks.
        known: the values that there are; None: all that are found.
    """

    def scan(pair: Pair) -> str | dict[int, int]:
        try:
            values = read_values(pair.mask)
        except UnidentifiedImageError:
            return "not an image"
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return str(error) or type(error).__name__
        with contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            width, height = read_upright_size(pair.image)  # If it cannot be read: read_image says.
            if values.shape != (height, width):
                mask = f"{values.shape[1]} x {values.shape[0]}"
                return f"the mask has {mask} pixels, the image {width} x {height}"
        found, pixels = np.unique(values, return_counts=True)
        if known is None and len(found) > MOST_VALUES:
            return (
                f"{len(found)} different values; expected one for each class. A mask that was once "
                "saved as JPEG or scaled smoothly looks so. If these are classes, list them with "
                "--classes"
            )
        if known is not None and (strange := [v for v in found.tolist() if v not in known]):
            return f"value {format_value(strange[0])} is not among the listed classes"
        return dict(zip(found.tolist(), pixels.tolist(), strict=True))

    bad, uses = {}, {}
    with ThreadPoolExecutor() as threads:
        for pair, found in zip(pairs, threads.map(scan, pairs), strict=True):
            if isinstance(found, str):
                bad[pair.mask] = found
                continue
            for value, pixels in found.items():
                before = uses.get(value, Uses(0, 0))
                uses[value] = Uses(before.masks + 1, before.pixels + pixels)
    return bad, uses


@contextlib.contextmanager
def read_masks(
    paths: Sequence[Path], shape: tuple[int, int], numbers: Mapping[int, int], beside: Path
) -> Generator[np.ndarray]:
    """Decode masks and bring them to one size as read_image does with the images.

    A pixel has the value of the nearest one: between two classes there is no third.

    Args:
        paths: the files, which scan_masks found good.
        shape: height and width to store.
        numbers: the number of the class of each value.
        beside: a folder for a temporary file, as the masks together may not fit into memory.

    Returns:
        (N, height, width) uint8
    """
    folder = next(path for path in (beside, *beside.parents) if path.is_dir())
    values = np.array(sorted(numbers))
    table = np.array([numbers[value] for value in values.tolist()], np.uint8)

    def read(path: Path, mask: np.ndarray) -> None:
        found = table[np.searchsorted(values, read_values(path))]
        image = Image.fromarray(found)
        if image.size != shape[::-1]:
            image = ImageOps.fit(image, shape[::-1], Image.Resampling.NEAREST)
        mask[:] = np.asarray(image)

    with ThreadPoolExecutor() as threads, tempfile.TemporaryFile(dir=folder) as file:
        reserve(file.fileno(), len(paths) * math.prod(shape))
        masks = np.memmap(file, np.uint8, "w+", shape=(len(paths), *shape))
        list(threads.map(read, paths, masks))  # Raises what a thread raised.
        yield masks


def read_classes(path: Path) -> dict[int, str]:
    """Read a CSV with the columns value and class; return the class of each value, in this order.

    Raises:
        InputError: naming the line that cannot be used.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}.") from None
    expected = "expected a value, such as 3 or #ff0000, and the name of its class"
    if not rows or [cell.strip() for cell in rows[0]] != ["value", "class"]:
        raise InputError(f"{path}:1: expected the line: value,class. Below it, a line a class.")
    classes: dict[int, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        value = parse_value(cells[0])
        if len(cells) != 2 or value is None or not cells[1]:
            raise InputError(f"{path}:{number}: got {','.join(row)!r}, {expected}.")
        if value in classes:
            raise InputError(f"{path}:{number}: value {cells[0]} stands there twice.")
        classes[value] = cells[1]
    return classes


def number_classes(
    known: Mapping[int, str] | None, found: Mapping[int, Uses], source: Path
) -> tuple[dict[int, int], dict[str, str]]:
    """Return the class number of each value in the masks, and the name of each value's class.

    Values of one name are one class. A class named "ignored", and 255 where more than one other
    class number is found, are not learned.

    Raises:
        InputError: there are too few classes, too many, or numbers beside colours.
    """
    if known is None:
        values = sorted(found)
        if len({value >= COLOUR for value in values}) > 1:
            raise InputError(
                f"{source}: some masks have class numbers, others colours, such as "
                f"{format_value(values[0])} and {format_value(values[-1])}; "
                "expected one kind."
            )
        ignored = {IGNORED} if len(values) > 2 else set()
        known = {v: "ignored" if v in ignored else format_value(v) for v in values}
        shown = ", ".join(f"{format_value(v)} in {found[v].masks} masks" for v in values[:20])
        print(f"Values: {shown}{', ...' if len(values) > 20 else ''}.")
        print(f"To name them, write {source}/classes.csv: value,class in the first line, then e.g.")
        print(f"{format_value(values[0])},background")
        _say_stray(found)
    names = dict.fromkeys(name for name in known.values() if name != "ignored")
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(
            f"{source}: {len(names)} classes: {', '.join([*names][:5])}; expected 2 to "
            f"{MOST_CLASSES}."
        )
    order = {name: number for number, name in enumerate(names)}
    numbers = {value: order.get(name, IGNORED) for value, name in known.items()}
    texts = {
        name: "/".join(format_value(v) for v, other in known.items() if other == name)
        for name in names
    }
    return numbers, {text: name for name, text in texts.items()}


def _say_stray(found: Mapping[int, Uses]) -> None:
    """Print the colours that so few pixels have that they may be mistakes, and how to ignore one.

    Args:
        found: where the values stand.
    """
    total = sum(uses.pixels for uses in found.values())
    stray = [v for v, uses in found.items() if v >= COLOUR and uses.pixels < STRAY * total]
    common = np.array([value for value in found if value not in stray])
    for value in stray[:5]:
        distances = sum(((value >> n & 255) - (common >> n & 255)) ** 2 for n in (0, 8, 16))
        nearest = format_value(common[np.argmin(distances)])
        print(
            f"warning: {format_value(value)} is in {found[value].pixels:,} of {total:,} pixels; "
            f"the nearest common colour is {nearest}. If it is a mistake, ignore it by a line in "
            f"classes.csv: {format_value(value)},ignored"
        )


def pixel_counts(masks: np.ndarray, rows: np.ndarray, classes: int) -> np.ndarray:
    """Return how many known pixels of some masks are of each class, (classes,) int64."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(rows), BLOCK):
        counts += np.bincount(masks[rows[start : start + BLOCK]].ravel(), minlength=256)
    return counts[:classes]
