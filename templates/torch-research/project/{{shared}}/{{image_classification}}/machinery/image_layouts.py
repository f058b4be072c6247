"""Whether a source is a folder of class folders, and what to do where it is something else.

Folders such as train_images/ and test_images/ would otherwise be learned as two classes.
"""

import re
import zipfile
from pathlib import Path

from machinery.class_folders import list_folders
from machinery.errors import InputError
from machinery.found_files import by_name, is_of_system
from machinery.image_files import EXTENSIONS
from machinery.splits import SPLIT_NAMES

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
TABLES = (".csv", ".tsv")
# Such as train_images, test-set and valid: each holds images of many classes.
PART = re.compile(r"(train|training|test|testing|val|valid|validation)([-_ ]?[a-z]+)?")
MASKS = ("mask", "masks", "segmentations", "segmentation_masks")
BOXES = ("label", "labels", "annotation", "annotations", "boxes")


def refuse_files(source: Path) -> None:
    """Refuse a source that is a file, and say what to do with it.

    Raises:
        InputError: naming it.
    """
    if source.is_dir():
        return
    if source.is_file() and (source.suffix.lower() in ARCHIVES or zipfile.is_zipfile(source)):
        folder = source.with_suffix("") if source.suffix else "FOLDER"
        raise InputError(
            f"{source}: an archive, not a folder. Unpack it, then give the folder: "
            f"--source {folder}."
        )
    if source.suffix.lower() in TABLES and source.is_file():
        raise InputError(
            f"{source}: a table, not a folder. Give the folder of the images, and the table as "
            f"--labels: python build_dataset.py --source {source.parent} --labels {source}"
        )
    if source.suffix.lower() in EXTENSIONS and source.is_file():
        raise InputError(
            f"{source}: a single image, not a folder. To train, give a folder of class folders; to "
            "know what a trained network says of it: python predict.py."
        )
    raise InputError(f"{source}: not a folder. Give a folder of class folders.")


def find_class_folders(source: Path) -> Path:
    """Return the folder of the class folders: the source, or the only folder in it.

    Raises:
        InputError: it holds something else, with the command for it.
    """
    refuse_files(source)
    root = source
    while True:
        _refuse_other_tasks(root)
        _refuse_parts(root)
        folders = list_folders(root)
        if len(folders) > 1 or _files(root, EXTENSIONS):
            break
        if not folders or len(list_folders(folders[0])) == 0 or folders[0].name == "train":
            break
        root = folders[0]
    if root != source:
        print(f"{source} holds one folder; the classes are taken from {root}.")
    return root


def _refuse_other_tasks(root: Path) -> None:
    """Refuse images beside masks or beside boxes: two folders, and no classes."""
    for folder in (root, *list_folders(root)):
        names = {path.name.lower(): path for path in list_folders(folder)}
        pictures = [names[name] for name in ("images", "image", "imgs", "img") if name in names]
        for kind, words in (("semantic-segmentation", MASKS), ("object-detection", BOXES)):
            others = [names[name] for name in words if name in names]
            if not pictures or not others:
                continue
            if kind == "object-detection" and _files(others[0], EXTENSIONS):
                kind = "semantic-segmentation"
            raise InputError(
                f"{folder}: found {pictures[0].name}/ and {others[0].name}/, which look like "
                f"{kind} and not like two classes. That is another task: make its project with "
                f"copier copy -d task={kind}. If they are classes, rename one of them."
            )


def _refuse_parts(root: Path) -> None:
    """Refuse folders that hold images of many classes, whose labels are in a table."""
    folders = list_folders(root)
    tables = _files(root, TABLES)
    parts = [path for path in folders if PART.fullmatch(path.name.lower())]
    flat = [path for path in parts if _files(path, EXTENSIONS) and not list_folders(path)]
    is_split = {path.name for path in folders} <= {*SPLIT_NAMES} and not flat
    wrong = parts and len(parts) == len(folders) and not is_split
    loose = _files(root, EXTENSIONS) and not folders
    only = len(folders) == 1 and not list_folders(folders[0]) and tables
    if not (wrong or loose or only):
        return
    found = [f"{path.name}/" for path in folders] + [path.name for path in tables]
    found += [path.name for path in _files(root, EXTENSIONS)[:2]] if loose else []
    likely = [path for path in folders if path.name.lower().startswith("train")] or folders
    images = likely[0] if folders else root
    table = _likely_table(tables)
    command = f"python build_dataset.py --source {images} --labels {table or 'TABLE.csv'}"
    raise InputError(
        f"{root}: found {', '.join(found[:8])}; these are no class folders, as in {root}/cat/1.png "
        f"and {root}/dog/2.png. If a table says the classes of the images: {command}"
    )


def _likely_table(tables: list[Path]) -> Path | None:
    """Return the table that most likely holds the labels."""
    named = [path for path in tables if re.search("train|label|class", path.stem.lower())]
    return (named or tables or [None])[0]


def _files(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    """Return the files of some kinds that lie directly in a folder, by name."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in extensions)
    return sorted((p for p in found if p.is_file() and not is_of_system(p.name)), key=by_name)
