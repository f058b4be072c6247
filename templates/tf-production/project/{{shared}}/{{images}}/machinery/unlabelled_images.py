"""Image files to predict, named in any order, and read a block at a time."""

import csv
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from machinery.errors import InputError
from machinery.files import check_name
from machinery.image_files import EXTENSIONS, Fit, crop, find_images, read_image, scan_image
from machinery.predictions import Unlabelled

LISTS = (".csv", ".tsv")
USUAL_NAMES = ("file", "filename", "path", "image", "id")  # of a column of file names


def find_unlabelled(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield what each image is called, and its file, in the order given; a folder's by name.

    Args:
        paths: images, folders of images at any depth, and CSV files that list images. In such a
            list an image is called as it is there, elsewhere by its path.

    Raises:
        InputError: a folder or a list holds no image, or a list names a file that is not there.
    """
    for path in paths:
        if path.is_dir():
            found = find_images(path)
            if not found:
                raise InputError(
                    f"{path}: holds no images; expected files named {', '.join(EXTENSIONS)}."
                )
            yield from ((file.as_posix(), file) for file in found)
        elif path.suffix.lower() in LISTS:
            yield from read_list(path)
        else:
            yield path.as_posix(), path


def read_list(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield what a CSV file with a column of file names lists; see find_unlabelled."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            titles, first = next(reader, []), next(reader, [])
            place = find_column(path, titles, first)
            for row, cells in enumerate(itertools.chain([first], reader), start=2):
                if not cells:
                    continue
                name = cells[place].strip() if place < len(cells) else ""
                if not name or not (path.parent / name).is_file():
                    raise InputError(
                        f"{path}: row {row}: {titles[place]}: got {name!r}, expected a file's "
                        f"name, as seen from {path.parent}."
                    )
                yield name, path.parent / name
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV in UTF-8: {error}.") from None


def find_column(path: Path, titles: Sequence[str], first: Sequence[str]) -> int:
    """Return the place of the column that names files: a usual name goes before another.

    Args:
        path: of the list.
        titles: of its columns.
        first: the cells of its first row.
    """
    files = [
        place
        for place, (_, cell) in enumerate(zip(titles, first, strict=False))
        if cell.strip() and (path.parent / cell.strip()).is_file()
    ]
    usual = [place for place in files if titles[place].strip().lower() in USUAL_NAMES]
    if not files:
        raise InputError(
            f"{path}: no column names files that are there. Expected a row of titles, and names of "
            f"images, as seen from {path.parent}, below one of them."
        )
    return (usual or files)[0]


def read_blocks(
    files: Iterable[tuple[str, Path]],
    shape: tuple[int, int, int],
    size: int,
    skip_bad: bool,
    fit: Fit = crop,
) -> Iterator[Unlabelled]:
    """Decode images as build_dataset.py does, and yield them in blocks.

    Their "originals" are the widths and heights of the files, (N, 2).

    Args:
        files: what each image is called, and its file.
        shape: height, width, channels to bring them to.
        size: images in a block.
        skip_bad: leave out those that cannot be read, and say so.
        fit: brings an image to the size.

    Raises:
        InputError: naming those of a block that cannot be read.
    """
    files = iter(files)
    with ThreadPoolExecutor() as threads:
        while block := list(itertools.islice(files, size)):
            for _, path in block:
                check_name(str(path))
            pixels = np.zeros((len(block), *shape), np.uint8)
            paths = [path for _, path in block]
            sizes = [found[:2] if found else (0, 0) for found in threads.map(scan_image, paths)]
            reasons = [*threads.map(functools.partial(read_image, fit=fit), paths, pixels)]
            bad = [f"{path}: {why}" for (_, path), why in zip(block, reasons, strict=True) if why]
            if bad and not skip_bad:
                shown = "\n  ".join(bad[:5]) + (f"\n  and {len(bad) - 5} more" * (len(bad) > 5))
                raise InputError(
                    f"cannot be read, so nothing was written:\n  {shown}\n"
                    "Mend or remove them, or leave them out with --skip-bad."
                )
            for line in bad:
                print(f"left out: {line}")
            good = np.array([not why for why in reasons])
            if good.any():
                names = np.array([name for name, _ in block])
                yield Unlabelled(names[good], {"images": pixels[good]}, np.array(sizes)[good])
