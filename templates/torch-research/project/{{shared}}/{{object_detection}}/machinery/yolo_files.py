"""Boxes in the form of YOLO, a text file for each picture: https://docs.ultralytics.com/datasets/detect/

A line is the number of the class, the centre of the box from the left and from the top, its width
and its height, in shares of the picture's width and height.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from machinery.box_files import Found, Mark, Picture
from machinery.errors import InputError
from machinery.found_files import is_of_system
from machinery.image_files import find_images
from machinery.parameter_file import read_yaml
from machinery.splits import SPLIT_NAMES

NAMES_FILES = ("classes.txt", "obj.names", "labels/classes.txt")


class LabelFolder(NamedTuple):
    """The folders of pictures and text files of a split."""

    images: Path
    labels: Path
    split: str


def find_label_folders(source: Path) -> list[LabelFolder]:
    """Return the folders in the order of the splits; none: the source has not this form."""
    folders = [
        LabelFolder(images, labels, split)
        for name, split in SPLIT_NAMES.items()
        for images, labels in (
            (source / "images" / name, source / "labels" / name),
            (source / name / "images", source / name / "labels"),
        )
        if images.is_dir() and labels.is_dir()
    ]
    if not folders and (source / "images").is_dir() and (source / "labels").is_dir():
        folders = [LabelFolder(source / "images", source / "labels", "train")]
    if folders and all(folder.split != "train" for folder in folders):
        raise InputError(f"{source}: {folders[0].images} is there, and no pictures of train.")
    return sorted(folders, key=lambda folder: ("train", "val", "test").index(folder.split))


def read_yolo(source: Path, folders: Sequence[LabelFolder]) -> Found:
    """Read the text files of a source.

    Raises:
        InputError: the names of the classes, or pictures, are missing.
    """
    found = Found("YOLO", read_names(source), [], [], [])
    without = 0
    for folder in folders:
        paths = find_images(folder.images)
        if not paths:
            raise InputError(f"{folder.images}: no pictures. Add some, or remove the folder.")
        labels: dict[Path, Path] = {}
        for path in paths:
            label = folder.labels / path.relative_to(folder.images).with_suffix(".txt")
            if label in labels:
                found.problems.append(f"{path}: {labels[label]} has the same text file, {label}")
                continue
            labels[label] = path
            marks: list[Mark] = []
            if label.is_file():
                marks = _read_labels(label, found.problems)
            else:
                without += 1
            found.pictures.append(Picture(path, folder.split, marks))
        for path in sorted(folder.labels.rglob("*.txt")):
            hidden = any(map(is_of_system, path.relative_to(folder.labels).parts))
            if path not in labels and path.name != "classes.txt" and not hidden:
                found.problems.append(f"{path}: no picture of this name in {folder.images}")
    if without:
        found.notes.append(f"{without:,} pictures have no text file: taken for pictures of nothing")
    return found


def _read_labels(path: Path, problems: list[str]) -> list[Mark]:
    """Return the boxes of a text file, and add what is wrong with its lines to the problems."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        problems.append(f"{path}: not text in UTF-8")
        return []
    marks: list[Mark] = []
    for number, line in enumerate(lines, start=1):
        where, cells = f"{path}:{number}", line.split()
        if not cells:
            continue
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            numbers = []
        if len(numbers) != 5 or numbers[0] % 1 != 0:
            problems.append(
                f"{where}: {line[:60]!r}, expected five numbers: class, centre from the left and "
                "from the top, width, height"
            )
            continue
        label, across, down, width, height = numbers
        edges = (across - width / 2, down - height / 2, across + width / 2, down + height / 2)
        marks.append(Mark(where, int(label), edges, relative=True))
    return marks


def read_names(source: Path) -> list[str]:
    """Return the names of the classes by their numbers.

    Raises:
        InputError: no file has them.
    """
    for path in sorted((*source.glob("*.yaml"), *source.glob("*.yml"))):
        names = read_yaml(path).get("names")
        if isinstance(names, dict) and sorted(names) == [*range(len(names))]:
            names = [names[number] for number in range(len(names))]
        if isinstance(names, list) and names:
            return [str(name) for name in names]
        raise InputError(
            f"{path}: names: got {names!r}, expected a list of the classes, or numbers from 0 on "
            "with their names."
        )
    for path in (source / name for name in NAMES_FILES):
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            if names := [line.strip() for line in lines if line.strip()]:
                return names
            raise InputError(f"{path}: empty; expected the name of a class on each line.")
    raise InputError(
        f"{source}: the names of the classes are missing; expected data.yaml with a list `names`, "
        "or classes.txt with one on each line."
    )
