"""Files in folders that are named after their classes.

A source has one such folder per class, as in photos/cat/1.png, or a folder for each split with
those in it, as in photos/train/cat/1.png.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from machinery.errors import InputError
from machinery.files import check_name
from machinery.found_files import by_name, is_of_system
from machinery.splits import SPLIT_NAMES


class ClassFile(NamedTuple):
    """One file, the number of its class and the name of its split."""

    path: Path
    label: int
    split: str


FindFiles = Callable[[Path], list[Path]]  # Returns the files of the task below a folder.


def find_examples(
    source: Path, find_files: FindFiles, what: str, file: str
) -> tuple[list[str], list[ClassFile]]:
    """Return the names of the classes, and their files sorted by split and name.

    Args:
        source: the folder.
        find_files: such as find_images.
        what: the files are, in the plural, such as "images", for messages.
        file: the name that one of them might have, such as "1.png".

    Raises:
        InputError: the folders are not those of classes, or of splits with classes in them; or
            a name is not UTF-8.
    """
    if not source.is_dir():
        raise InputError(f"{source}: not a folder. Give a folder of class folders.")
    roots = _find_splits(source)
    listed = {split: list_classes(root, find_files) for split, root in roots.items()}
    for path in (path for found in listed.values() for paths in found.values() for path in paths):
        check_name(str(path))
    classes = list(listed["train"])
    if len(classes) < 2:
        found = ", ".join(classes) or "none"
        raise InputError(
            f"{roots['train']}: class folders with {what}: {found}; expected two or more, as in "
            f"{roots['train']}/cat/{file} and {roots['train']}/dog/{file}."
        )
    for split, found in listed.items():
        if extra := sorted(set(found) - set(classes)):
            raise InputError(
                f"{roots[split]}: class {extra[0]} has no {what} in {roots['train']}. "
                "Add some there, or remove the folder."
            )
        if not found:
            raise InputError(f"{roots[split]}: no {what}. Add some, or remove the folder.")
    _say_others(listed, roots, what)
    return classes, [
        ClassFile(path, classes.index(name), split)
        for split, found in listed.items()
        for name in found
        for path in found[name]
    ]


def _say_others(
    listed: Mapping[str, Mapping[str, list[Path]]], roots: Mapping[str, Path], what: str
) -> None:
    """Print how many files beside those of the task the class folders hold, by their endings."""
    others: Counter[str] = Counter()
    for split, found in listed.items():
        for name, paths in found.items():
            folder, taken = roots[split] / name, {*paths}
            others.update(
                path.suffix.lower() or path.name
                for path in folder.rglob("*")
                if path not in taken
                and path.is_file()
                and not any(map(is_of_system, path.relative_to(folder).parts))
            )
    if others:
        shown = ", ".join(f"{count:,} {ending}" for ending, count in others.most_common(5))
        print(f"left out: {others.total():,} files that are no {what}: {shown}")


def _find_splits(source: Path) -> dict[str, Path]:
    """Return the folder of each split; without a folder train, all of `source` is train."""
    folders = {path.name: path for path in list_folders(source)}
    if "train" not in folders:
        return {"train": source}
    if unknown := [name for name in folders if name not in SPLIT_NAMES]:
        raise InputError(
            f"{source}: {', '.join(unknown[:5])} beside train/; expected train/, val/, test/."
        )
    return {SPLIT_NAMES[name]: path for name, path in folders.items()}


def list_classes(root: Path, find_files: FindFiles) -> dict[str, list[Path]]:
    """Return the files of each class folder; folders without such files do not count."""
    return {folder.name: files for folder in list_folders(root) if (files := find_files(folder))}


def list_folders(root: Path) -> list[Path]:
    """Return the folders in a folder by name, without those of the system: see is_of_system."""
    folders = (path for path in root.iterdir() if path.is_dir() and not is_of_system(path.name))
    return sorted(folders, key=by_name)
