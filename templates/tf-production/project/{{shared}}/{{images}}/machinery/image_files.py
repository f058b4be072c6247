"""Image files, brought to one size."""

import contextlib
import math
import os
import tempfile
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from machinery.errors import STORAGE_ERRORS, InputError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
LARGEST_SIDE = 256  # Images that all have one size, up to this side, are stored as they are,
DEFAULT_SIDE = 64  # others as squares of this side, unless another size is asked for.


def find_images(folder: Path) -> list[Path]:
    """Return the image files at any depth below a folder, by name, without those of the system.

    What has such a name and is no regular file is left out, and that is said: reading a named pipe
    or a device would wait for ever.
    """
    paths = [
        path
        for path in sorted(folder.rglob("*"), key=by_name)
        if path.suffix.lower() in EXTENSIONS
        and not any(map(is_of_system, path.relative_to(folder).parts))
    ]
    for path in paths:
        if not path.is_file() and not path.is_dir():
            print(f"left out: {path}: not a regular file")
    return [path for path in paths if path.is_file()]


def by_name(path: Path) -> tuple[str, ...]:
    """Return what to sort paths by. Windows would compare them without their case.

    So the numbers of the classes, and the random split, are the same on each system.
    """
    return path.parts


def is_of_system(name: str) -> bool:
    """Return whether a name is not the person's: hidden, or the folder that macOS adds to zips."""
    return name.startswith(".") or name == "__MACOSX"


class Images(NamedTuple):
    """Images that were read."""

    pixels: np.ndarray  # (N, height, width, channels) uint8; those that could not be read are black
    bad: dict[Path, str]  # why a file could not be read
    description: str  # such as "from 30 x 40 to 64 x 64 pixels"


@contextlib.contextmanager
def read_images(paths: Sequence[Path], size: int | None, beside: Path) -> Generator[Images]:
    """Decode image files, turn them upright, scale them to one size, and crop them to the middle.

    Args:
        paths: the files.
        size: height and width to store, in pixels; None: see LARGEST_SIDE and DEFAULT_SIDE.
        beside: a folder for a temporary file, as the images together may not fit into memory.
    """
    folder = next(path for path in (beside, *beside.parents) if path.is_dir())
    with ThreadPoolExecutor() as threads, tempfile.TemporaryFile(dir=folder) as file:
        # Threads are enough, because Pillow decodes outside Python's global lock.
        scans = [found for found in threads.map(_scan, paths) if found]
        sizes, grey = {entry[:2] for entry in scans}, all(entry[2] for entry in scans)
        height, width = _choose_shape(sizes, size)
        shape = (len(paths), height, width, 1 if grey else 3)
        reserve(file.fileno(), math.prod(shape))
        pixels = np.memmap(file, np.uint8, "w+", shape=shape)
        reasons = threads.map(read_image, paths, pixels)
        bad = {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}
        yield Images(pixels, bad, _describe(sizes))


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


def _scan(path: Path) -> tuple[int, int, bool] | None:
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


def read_image(path: Path, pixels: np.ndarray) -> str:
    """Decode one image into an array, upright, scaled, and cropped to the middle.

    Args:
        path: the file.
        pixels: where the result goes, (height, width, channels) uint8.

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
                upright = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
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
    for start in range(0, len(rows), 1024):
        block = images[rows[start : start + 1024]]
        counts += [np.bincount(block[..., c].ravel(), minlength=256) for c in range(channels)]
    levels = np.arange(256)
    mean = counts @ levels / counts.sum(axis=1)
    variance = counts @ levels**2 / counts.sum(axis=1) - mean**2
    return mean.tolist(), np.sqrt(np.maximum(variance, 1)).tolist()
