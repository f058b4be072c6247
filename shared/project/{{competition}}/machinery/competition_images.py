"""Which file an example's id means in a folder of images, and the same file in another place."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# What an id may call a file, given its path below the folder; a later one goes before.
CALLED: tuple[Callable[[Path], str], ...] = (
    lambda path: path.stem,
    lambda path: path.name,
    lambda path: path.with_suffix("").as_posix(),
    lambda path: path.as_posix(),
)


def find_images(folder: Path) -> dict[str, Path]:
    """Return the images below a folder, at any depth, by the ids that mean them.

    An id is the path below the folder, with or without its suffix, or the name alone. What could be
    more than one file means none of them.
    """
    paths = [path for path in sorted(folder.rglob("*.*")) if is_image(path)]
    found: dict[str, Path] = {}
    for called in CALLED:
        names = [called(path.relative_to(folder)) for path in paths]
        counts = Counter(names)
        pairs = zip(names, paths, strict=True)
        found |= {name: path for name, path in pairs if counts[name] == 1}
    return found


def find_image_folders(raw: Path, ids: pd.Series, test_ids: pd.Series) -> tuple[str, str]:
    """Return the folders of the training and the test images, relative; "" where there are none."""
    named: dict[str, list[Path]] = {}
    for path in sorted(raw.rglob("*.*")):
        if is_image(path):
            for name in {path.name, path.stem}:
                named.setdefault(name, []).append(path)
    folders = []
    for word, column in (("train", ids), ("test", test_ids)):
        found = []
        for cell in column.astype(str):
            above, _, name = cell.rpartition("/")
            end = f"/{above}" if above else ""
            paths = [p for p in named.get(name, []) if p.parent.as_posix().endswith(end)]
            # Where both splits number their images, the folder's name tells which one is meant.
            paths = [p for p in paths if word in p.relative_to(raw).as_posix()] or paths
            found += [path.parents[cell.count("/")] for path in paths[:1]]
        if len(found) < len(column) / 2:
            return "", ""
        folders.append(Path(os.path.commonpath({*found})).relative_to(raw).as_posix())
    return folders[0], folders[1]


def is_image(path: Path) -> bool:
    """Return whether a path is an image file, by its name."""
    return path.suffix.lower() in IMAGES and path.is_file()


def file_name(name: str, path: Path) -> str:
    """Return the path, below another folder, at which an id means the same image.

    Args:
        name: the id.
        path: of the image.
    """
    return name if name.endswith(path.suffix) else f"{name}{path.suffix}"


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system cannot, copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for make in (os.link, os.symlink, shutil.copyfile):
        try:
            make(source.resolve(), target)
            break
        except OSError:
            if make is shutil.copyfile:
                raise
