"""Image files, brought to one size."""

import contextlib
import functools
import math
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from machinery.arrays import BLOCK_BYTES
from machinery.errors import STORAGE_ERRORS, InputError
from machinery.found_files import find_files

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
LARGEST_SIDE = 256  # Images that all have one size, up to this side, are stored as they are,
DEFAULT_SIDE = 64  # others as squares of this side, unless another size is asked for.
ROWS_WAITING = 4096  # Images that threads are given at a time.

# Brings an image to a width and a height.
Fit = Callable[[Image.Image, tuple[int, int]], Image.Image]


def crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an image scaled to cover a width and a height, and cropped to the middle."""
    return ImageOps.fit(image, size, Image.Resampling.BILINEAR)


def find_images(folder: Path) -> list[Path]:
    """Return the image files at any depth below a folder: see find_files."""
    return find_files(folder, EXTENSIONS)


class Images(NamedTuple):
    """Images that were read."""

    pixels: np.ndarray  # (N, height, width, channels) uint8; those that could not be read are black
    bad: dict[Path, str]  # why a file could not be read
    description: str  # such as "from 30 x 40 to 64 x 64 pixels"
    sizes: np.ndarray  # (N, 2) width and height of each file, 0 where they could not be read


@contextlib.contextmanager
def read_images(
    paths: Sequence[Path], size: int | None, beside: Path, fit: Fit = crop
) -> Generator[Images]:
    """Decode image files, turn them upright, and bring them to one size.

    Args:
        paths: the files.
        size: height and width to store, in pixels; None: see LARGEST_SIDE and DEFAULT_SIDE.
        beside: a folder for a temporary file, as the images together may not fit into memory.
        fit: brings an image to the size.
    """
    folder = next(path for path in (beside, *beside.parents) if path.is_dir())
    with ThreadPoolExecutor() as threads, tempfile.TemporaryFile(dir=folder) as file:
        # Threads are enough, because Pillow decodes outside Python's global lock.
        found = [*_work(threads, scan_image, "sizes", paths)]
        scans = [entry for entry in found if entry]
        sizes, greys = {entry[:2] for entry in scans}, sum(entry[2] for entry in scans)
        grey = greys == len(scans)
        height, width = _choose_shape(sizes, size)
        shape = (len(paths), height, width, 1 if grey else 3)
        reserve(file.fileno(), math.prod(shape))
        pixels = np.memmap(file, np.uint8, "w+", shape=shape)
        reasons = _work(threads, functools.partial(read_image, fit=fit), "images", paths, pixels)
        bad = {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}
        mixed = f", {greys:,} of them grey" if greys and not grey else ""
        of_files = np.array([entry[:2] if entry else (0, 0) for entry in found])
        yield Images(pixels, bad, _describe(sizes) + mixed, of_files)


def _work(
    threads: ThreadPoolExecutor, function: Callable[..., Any], name: str, *columns: Any
) -> Iterator[Any]:
    """Yield what a function returns for each row of some columns; a terminal shows how far it is.

    Threads get a block at a time: each row that waits takes memory.
    """
    from tqdm import tqdm

    rows = len(columns[0])
    with tqdm(total=rows, desc=name, leave=False, disable=None) as bar:
        for start in range(0, rows, ROWS_WAITING):
            block = [column[start : start + ROWS_WAITING] for column in columns]
            for result in threads.map(function, *block):
                bar.update()
                yield result


def reserve(descriptor: int, size: int) -> None:
    """Take the space of a file on the disk. A full one would end the process later.

    Raises:
        OSError: the disk is full.
    """
    if hasattr(os, "posix_fallocate"):  # Windows reserves it anyway, and macOS cannot.
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno in STORAGE_ERRORS:  # And not one of a file system that cannot.
                raise


def scan_image(path: Path | BinaryIO) -> tuple[int, int, bool] | None:
    """Return width, height and whether an image is grey, from its header; None if that fails."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            width, height = image.size[::-1] if turned else image.size
            return width, height, image.mode in GREY_MODES
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # read_image says why.


def _choose_shape(sizes: set[tuple[int, int]], size: int | None) -> tuple[int, int]:
    """Return the height and the width to store."""
    if size:
        return size, size
    if len(sizes) == 1:
        width, height = next(iter(sizes))
        if max(width, height) <= LARGEST_SIDE:
            return height, width
    return DEFAULT_SIDE, DEFAULT_SIDE


def _describe(sizes: set[tuple[int, int]]) -> str:
    """Return the range of sizes in words, such as "from 30 x 40 to 64 x 64 pixels"."""
    shown = [f"{width} x {height}" for width, height in sorted(sizes)] or ["no"]
    return f"{shown[0]} pixels" if len(shown) == 1 else f"from {shown[0]} to {shown[-1]} pixels"


def read_image(path: Path | BinaryIO, pixels: np.ndarray, fit: Fit = crop) -> str:
    """Decode one image into an array, upright and brought to its size.

    Args:
        path: the file, or what reads from one.
        pixels: where the result goes, (height, width, channels) uint8.
        fit: brings the image to that size.

    Returns:
        A sentence that says why the image cannot be read, or an empty string.
    """
    height, width, channels = pixels.shape
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel: keep the upper 8.
                upright = Image.fromarray((np.asarray(upright) // 256).astype(np.uint8))
            if upright.has_transparency_data:
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright.convert("RGBA"))
            upright = upright.convert("L" if channels == 1 else "RGB")
            if upright.size != (width, height):
                upright = fit(upright, (width, height))
            pixels[:] = np.asarray(upright).reshape(pixels.shape)
            return ""
    except UnidentifiedImageError:
        return "not an image"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return str(error) or type(error).__name__


def refuse_bad(source: Path, images: Images, skip: bool) -> None:
    """Print which files are left out because they could not be read.

    Raises:
        InputError: there are such files, and they are not to be left out.
    """
    if images.bad and not skip:
        shown = "\n  ".join(f"{path}: {why}" for path, why in list(images.bad.items())[:5])
        shown += f"\n  and {len(images.bad) - 5} more" if len(images.bad) > 5 else ""
        raise InputError(
            f"{source}: {len(images.bad)} of {len(images.pixels)} images cannot be read; nothing "
            f"was written.\n  {shown}\nMend or remove them, or leave them out with --skip-bad."
        )
    for path, reason in images.bad.items():
        print(f"left out: {path}: {reason}")


def channel_statistics(images: np.ndarray, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel over some images, in grey levels.

    Args:
        images: (N, height, width, channels) uint8
        rows: which of them.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)  # of each grey level
    # Counting makes numbers of 8 bytes of the grey levels.
    size = max(1, BLOCK_BYTES // (8 * math.prod(images.shape[1:])))
    for start in range(0, len(rows), size):
        block = images[rows[start : start + size]]
        counts += [np.bincount(block[..., c].ravel(), minlength=256) for c in range(channels)]
    levels = np.arange(256)
    mean = counts @ levels / counts.sum(axis=1)
    variance = counts @ levels**2 / counts.sum(axis=1) - mean**2
    return mean.tolist(), np.sqrt(np.maximum(variance, 1)).tolist()
