"""Boxes in the form of COCO, one JSON file for a set: https://cocodataset.org/#format-data"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machinery.box_files import Found, Mark, Picture
from machinery.errors import InputError
from machinery.found_files import is_of_system
from machinery.image_files import find_images
from machinery.splits import SPLIT_NAMES


class AnnotationFile(NamedTuple):
    """A JSON file, and the split that it describes."""

    path: Path
    split: str


def find_annotations(source: Path) -> list[AnnotationFile]:
    """Return the JSON files of a source in the order of the splits; none: it has not this form.

    Raises:
        InputError: which file is of which split is not clear.
    """
    found = [
        AnnotationFile(path, SPLIT_NAMES[folder.name])
        for folder in sorted(source.iterdir())
        if folder.is_dir() and folder.name in SPLIT_NAMES
        for path in _json_files(folder)
    ]
    if not found:
        files = _json_files(source) or _json_files(source / "annotations")
        # COCO's own set also has captions and key points.
        files = [path for path in files if path.name.startswith("instances")] or files
        found = [AnnotationFile(path, _split_of(path, alone=len(files) == 1)) for path in files]
    by_split: dict[str, AnnotationFile] = {}
    for each in found:
        if each.split in by_split:
            raise InputError(
                f"{each.path} and {by_split[each.split].path} are both of {each.split}; expected "
                "one JSON file for each of train, val and test."
            )
        by_split[each.split] = each
    if by_split and "train" not in by_split:
        raise InputError(f"{source}: {found[0].path} is of {found[0].split}, and none is of train.")
    return [by_split[split] for split in ("train", "val", "test") if split in by_split]


def _json_files(folder: Path) -> list[Path]:
    found = folder.glob("*.json") if folder.is_dir() else ()
    return sorted(path for path in found if not is_of_system(path.name))


def _split_of(path: Path, alone: bool) -> str:
    """Return the split in the name of a file, such as instances_val2017.json."""
    words = [word for word in re.split(r"[^a-z]+", path.stem.lower()) if word in SPLIT_NAMES]
    if not words and not alone:
        raise InputError(
            f"{path}: which split is it of? Expected train, val or test in its name, as there are "
            "several JSON files."
        )
    return SPLIT_NAMES[words[-1]] if words else "train"


def read_coco(source: Path, files: Sequence[AnnotationFile]) -> Found:
    """Read the JSON files of a source, and find the pictures that they name.

    Raises:
        InputError: a file cannot be read, or has not the form of COCO.
    """
    contents = {each: _read_json(each.path) for each in files}
    names = [
        {number: str(category["name"]) for number, category in _by_id(each.path, content)}
        for each, content in contents.items()
    ]
    classes = [*dict.fromkeys(names[0][number] for number in sorted(names[0]))]
    found = Found("COCO", classes, [], [], [])
    used: set[Path] = set()
    for (each, content), of_file in zip(contents.items(), names, strict=True):
        for name in of_file.values():
            if name not in classes:
                raise InputError(
                    f"{each.path}: category {name!r} is not in {files[0].path}. Add it there, or "
                    "remove it."
                )
        numbers = {number: classes.index(name) for number, name in of_file.items()}
        _read_set(source, each, content, numbers, found)
        used |= {picture.path for picture in found.pictures}
        folders = {picture.path.parent for picture in found.pictures}
        beside = {path for folder in folders for path in find_images(folder)}
        if extra := len(beside - used) if each == files[-1] else 0:
            found.notes.append(f"{extra:,} pictures in the folders are in no JSON file: left out")
    return found


def _read_set(
    source: Path, each: AnnotationFile, content: dict, numbers: dict[int, int], found: Found
) -> None:
    """Add the pictures of one JSON file, with their boxes, to what was found."""
    pictures: dict[Any, Picture] = {}
    paths = {picture.path for picture in found.pictures}
    for row, image in enumerate(content["images"]):
        number = image.get("id") if isinstance(image, dict) else None
        where = f"{each.path}: image {number!r}"
        if not isinstance(number, int | str) or not isinstance(image.get("file_name"), str):
            found.problems.append(f"{each.path}: images[{row}]: expected id and file_name")
            continue
        path = _find_file(source, each, image["file_name"])
        if number in pictures:
            found.problems.append(f"{where}: this id is there twice")
        elif path is None:
            found.problems.append(f"{where}: {image['file_name']} is not there")
        elif path in paths:
            found.problems.append(f"{where}: {path} is there twice")
        else:
            paths.add(path)
            pictures[number] = Picture(path, each.split, [])
    known = {str(image.get("id")) for image in content["images"] if isinstance(image, dict)}
    _read_annotations(each, content, numbers, known, pictures, found)
    found.pictures.extend(sorted(pictures.values(), key=lambda picture: picture.path.parts))


def _read_annotations(
    each: AnnotationFile,
    content: dict,
    numbers: dict[int, int],
    known: set[str],
    pictures: dict[Any, Picture],
    found: Found,
) -> None:
    """Add the boxes of one JSON file to its pictures.

    Args:
        each: the file.
        content: of the file.
        numbers: of the classes, by the numbers of the categories.
        known: the ids of all pictures, those that are not there too.
        pictures: those that are there, by id.
        found: where problems and notes go.
    """
    seen, crowds = set[Any](), 0
    for row, annotation in enumerate(content["annotations"]):
        if not isinstance(annotation, dict):
            found.problems.append(f"{each.path}: annotations[{row}]: expected an object")
            continue
        number = annotation.get("id", f"[{row}]")
        where = f"{each.path}: annotation {number}"
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if not all(isinstance(x, int | str) for x in (number, image, category)):
            found.problems.append(f"{where}: expected numbers as id, image_id and category_id")
        elif annotation.get("iscrowd") == 1:
            crowds += 1
        elif number in seen:
            found.problems.append(f"{where}: this id is there twice")
        elif str(image) not in known:
            found.problems.append(f"{where}: image {image!r} is not in images")
        elif category not in numbers:
            found.problems.append(f"{where}: category {category!r} is not in categories")
        elif (edges := _edges(annotation.get("bbox"))) is None:
            found.problems.append(
                f"{where}: bbox {annotation.get('bbox')!r}, expected [left, top, width, height]"
            )
        elif image in pictures:
            pictures[image].marks.append(Mark(where, numbers[category], edges))
        if isinstance(number, int | str):
            seen.add(number)
    if crowds:
        found.notes.append(f"{crowds:,} crowds (iscrowd) of {each.path} are left out")


def _edges(box: object) -> tuple[float, float, float, float] | None:
    """Return left, top, right, bottom of [left, top, width, height]; None: it is no such list."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in box):
        return None
    left, top, width, height = (float(x) if abs(x) < 1e9 else math.nan for x in box)
    return left, top, left + width, top + height


def _find_file(source: Path, each: AnnotationFile, name: str) -> Path | None:
    """Return the picture of a name, from where sets in this form usually have them."""
    stem = re.sub(r"^instances_", "", each.path.stem)
    here = each.path.parent
    roots = (here, here / "images", source / "images" / stem, source / stem)
    roots += (source / "images" / each.split, source / each.split, source / "images", source)
    if ".." in Path(name).parts:
        return None
    for root in roots:
        path = root / name
        if path.is_file() and source.resolve() in path.resolve().parents:
            return path
    return None


def _by_id(path: Path, content: dict) -> list[tuple[int, dict]]:
    """Return the categories by their numbers."""
    categories = content["categories"]
    for row, each in enumerate(categories):
        if not isinstance(each, dict) or not isinstance(each.get("id"), int) or "name" not in each:
            raise InputError(f"{path}: categories[{row}]: expected an object with id and name.")
    return [(each["id"], each) for each in categories]


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file with the lists of COCO.

    Raises:
        InputError: it has another form.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}.") from None
    lists = ("images", "annotations", "categories")
    for name in lists:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise InputError(
                f"{path}: {name} is missing; expected an object with the lists {', '.join(lists)}."
            )
    return content
