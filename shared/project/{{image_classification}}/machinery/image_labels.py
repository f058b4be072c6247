"""Images with their labels: from class folders, or from a table of file names."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from machinery.class_folders import find_examples, list_folders
from machinery.errors import InputError
from machinery.files import check_name
from machinery.image_files import find_images
from machinery.image_layouts import find_class_folders, refuse_files
from machinery.label_columns import encode, find_bad_marks, holds_marks, read_marks
from machinery.split_columns import find_bad_groups, find_bad_splits, name_splits
from machinery.splits import SPLIT_NAMES
from machinery.tables import Bad, Table, read_table, refuse_bad

USUAL_TARGETS = ("label", "labels", "class", "classes", "target", "category", "tag", "tags")
SEPARATORS = ("|", ";", " ")
LOOKED_AT = 1000  # Rows from which the columns are guessed.


class LabelledImages(NamedTuple):
    """Image files and what they show."""

    paths: list[Path]
    labels: np.ndarray  # (N,) int64; where each may have several, (N, classes) float32 of 0 and 1
    classes: list[str]
    splits: np.ndarray  # (N,) str: train, val or test
    groups: np.ndarray | None = None  # (N,) str: what stays in one split, beside equal images


class LabelTable(NamedTuple):
    """Where the labels are: a CSV file, and its columns, None where they are to be guessed."""

    path: Path
    image: str | None = None
    targets: Sequence[str] = ()
    separator: str | None = None  # between the labels in a cell; "none": a cell is one class
    split: str | None = None
    group: str | None = None


def find_in_folders(source: Path) -> LabelledImages:
    """Return the images of class folders.

    Raises:
        InputError: there are none; see image_layouts.py and class_folders.py.
    """
    root = find_class_folders(source)
    for folder in list_folders(root):
        for inner in (folder, *list_folders(folder)) if folder.name in SPLIT_NAMES else (folder,):
            if not next(inner.rglob("*.*"), None):
                print(f"left out: {inner}: an empty folder")
    classes, files = find_examples(root, find_images, "images", "1.png")
    labels = np.array([image.label for image in files], np.int64)
    splits = np.array([image.split for image in files])
    return LabelledImages([image.path for image in files], labels, classes, splits)


def find_in_table(source: Path, told: LabelTable, skip_bad: bool = False) -> LabelledImages:
    """Return the images below a folder that a table gives labels.

    Args:
        source: the folder.
        told: the table, and its columns as far as they were told.
        skip_bad: leave out what cannot be used, and say so.

    Raises:
        InputError: naming the file, the rows and the columns that cannot be used.
    """
    refuse_files(source)
    table = read_table(told.path, skip_bad)
    files = ImageNames(source)
    others = [name for name in (told.split, told.group) if name]
    table.check_names("--target", told.targets)
    table.check_names("--split", [told.split] if told.split else [])
    table.check_names("--group", [told.group] if told.group else [])
    image = _choose_image_column(table, told.image, {*others, *told.targets}, files)
    targets = told.targets or _guess_targets(table, {image, *others})
    separator = _choose_separator(table, targets, told.separator)

    bad, rows = Bad(), len(table)
    found = [files.find(cell) for cell in table.columns[image]]
    unknown = np.array([not paths for paths in found])
    if unknown.all():
        raise InputError(
            f"{told.path}: no cell of column {image!r} names an image below {source}: got "
            f"{table.columns[image][0]!r}, expected a name such as {files.paths[0].name}. Look at "
            "--source and --image."
        )
    bad.add(table, unknown, image, f"an image below {source}")
    twice = np.array([len(paths) > 1 for paths in found])
    bad.add(table, twice, image, "a name that one image has; give its folder, too")
    if len(targets) > 1:
        find_bad_marks(table, targets, bad)
    else:
        bad.add(table, table.is_missing(targets[0]), targets[0], "a label")
    if told.split:
        find_bad_splits(table, told.split, bad)
    if told.group:
        find_bad_groups(table, told.group, bad)
    again = _find_repeated(table, image, targets, found, bad)
    refuse_bad(told.path, rows, bad, skip_bad)
    keep = [place for place, row in enumerate(table.rows) if row not in bad and place not in again]
    paths = [found[place][0] for place in keep]
    table.leave_out({**bad, **dict.fromkeys(table.rows[[*again]].tolist(), "again")})
    _refuse_unlabelled(source, told.path, files, paths, skip_bad)
    for path in paths:
        check_name(str(path))
    classes, labels = _read_labels(table, targets, separator)
    splits = np.full(len(paths), "train", dtype="U5")
    if told.split:
        splits = name_splits(table, told.split)
    groups = np.array(table.columns[told.group]) if told.group else None
    return LabelledImages(paths, labels, classes, splits, groups)


class ImageNames:
    """The images below a folder, found by their names.

    Args:
        source: the folder.

    Raises:
        InputError: there are none.
    """

    def __init__(self, source: Path) -> None:
        self.paths = find_images(source)
        if not self.paths:
            raise InputError(f"{source}: no images below it. Give the folder of the images.")
        self._by_name: dict[str, list[Path]] = {}
        for path in self.paths:
            inner = PurePosixPath(path.relative_to(source).as_posix())
            for name in {str(inner), str(inner.with_suffix("")), inner.name, inner.stem}:
                self._by_name.setdefault(name, []).append(path)

    def find(self, cell: str) -> list[Path]:
        """Return the images of a name: its path below the folder, with or without extension.

        Folders in the cell that the source is already in do not count.
        """
        name = PurePosixPath(cell.replace("\\", "/"))
        parts = name.parts if cell else ()
        for start in range(len(parts)):
            if found := self._by_name.get("/".join(parts[start:])):
                return found
        return []


def _choose_image_column(
    table: Table, told: str | None, others: set[str], files: ImageNames
) -> str:
    """Return the column that names images: the one whose cells name more of them than any other.

    Class numbers may be names of images, too, but then only of a few.
    """
    if told:
        table.check_names("--image", [told])
        return told
    named = {}
    for name in table.names:
        if name not in others:
            found = map(files.find, table.columns[name][:LOOKED_AT])
            named[name] = len({paths[0] for paths in found if paths})
    most = max(named.values(), default=0)
    best = [name for name, count in named.items() if count == most > 0]
    if len(best) == 1:
        print(f"{table.path}: column {best[0]!r} names the images.")
        return best[0]
    shown = ", ".join(f"{name} (such as {table.columns[name][0]!r})" for name in [*named][:8])
    raise InputError(
        f"{table.path}: {'several columns name' if best else 'no column names'} images below the "
        f"source, such as {files.paths[0]}. The columns are {shown}. Name one with --image."
    )


def _guess_targets(table: Table, others: set[str]) -> list[str]:
    """Return the columns of the labels, where there is no doubt."""
    names = [name for name in table.names if name not in others]
    usual = [name for name in names if name.lower() in USUAL_TARGETS]
    marks = [name for name in names if holds_marks(table, name).all()]
    targets = usual if len(usual) == 1 else names if len(names) == 1 else []
    if not targets and len(marks) > 1 and len(marks) == len(names):
        targets = marks
    if not targets:
        raise InputError(
            f"{table.path}: which column is to be predicted? Name it with --target, or several of "
            f"0 and 1. The columns are {', '.join(table.names[:20])}."
        )
    shown = ", ".join(targets[:5]) + (", ..." if len(targets) > 5 else "")
    print(f"{table.path}: to be predicted: {shown} (--target to say otherwise).")
    return targets


def _choose_separator(table: Table, targets: Sequence[str], told: str | None) -> str | None:
    """Return what parts the labels in the cells of one column; None: each is one class.

    A blank may be part of a name. It parts labels where words occur in more than one combination,
    so that there are at least twice as many cells as words, or where a word is a cell, too.
    """
    if told or len(targets) > 1:
        return None if told == "none" or len(targets) > 1 else told
    cells = {*table.columns[targets[0]]}
    for separator in SEPARATORS:
        several = [cell.split(separator) for cell in cells if separator in cell]
        if not several:
            continue
        words = {*itertools.chain.from_iterable(several)}
        if separator == " " and 2 * len(words) > len(cells) and not words & cells:
            return None
        shown = "blanks" if separator == " " else f"{separator!r}"
        print(
            f"{table.path}: a cell of {targets[0]!r} may hold several labels, parted by {shown} "
            "(--separator none: each cell is one class)."
        )
        return separator
    return None


def _find_repeated(
    table: Table, image: str, targets: Sequence[str], found: Sequence[list[Path]], bad: Bad
) -> set[int]:
    """Return the places of rows that say the same of an image again; others of it are bad."""
    first: dict[Path, int] = {}
    again = set()
    for place, paths in enumerate(found):
        row = int(table.rows[place])
        if len(paths) != 1 or row in bad:
            continue
        before = first.setdefault(paths[0], place)
        if before == place:
            continue
        different = [n for n in targets if table.columns[n][place] != table.columns[n][before]]
        if different:
            name, earlier = different[0], table.rows[before]
            bad[row] = (
                f"{name}: got {table.columns[name][place]!r} for {table.columns[image][place]!r}, "
                f"expected {table.columns[name][before]!r} as in row {earlier}"
            )
        else:
            print(f"left out: {table.path}: row {row}: the same as row {table.rows[before]}")
            again.add(place)
    return again


def _refuse_unlabelled(
    source: Path, table: Path, files: ImageNames, labelled: Sequence[Path], skip: bool
) -> None:
    """Refuse images that no row names, unless they are to be left out."""
    known = {*labelled}
    unlabelled = [path for path in files.paths if path not in known]
    if unlabelled and not skip:
        shown = ", ".join(map(str, unlabelled[:3])) + (", ..." if len(unlabelled) > 3 else "")
        raise InputError(
            f"{source}: {len(unlabelled):,} of {len(files.paths):,} images have no row in {table}: "
            f"{shown}. Add rows, give a folder further down as --source, or leave them out with "
            "--skip-bad."
        )
    for path in unlabelled:
        print(f"left out: {path}: no row in {table}")


def _read_labels(
    table: Table, targets: Sequence[str], separator: str | None
) -> tuple[list[str], np.ndarray]:
    """Return the classes, and the labels: see LabelledImages."""
    if len(targets) > 1:
        marks = read_marks(table, targets)
        if (marks.sum(axis=1) == 1).all():
            print("Each row marks one column: these are classes, of which an image has one.")
            return list(targets), marks.argmax(axis=1).astype(np.int64)
        return list(targets), marks
    if separator is None:
        return encode(table, targets[0])
    sets = [[*_split_cell(cell, separator)] for cell in table.columns[targets[0]]]
    classes = sorted(Counter(itertools.chain.from_iterable(sets)))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.zeros((len(sets), len(classes)), np.float32)
    for row, names in enumerate(sets):
        labels[row, [numbers[name] for name in names]] = 1
    return classes, labels


def _split_cell(cell: str, separator: str) -> Iterator[str]:
    """Yield the labels in a cell."""
    yield from filter(None, map(str.strip, cell.split(separator)))
