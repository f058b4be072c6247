"""Boxes in the files of COCO or of YOLO, whichever a folder has."""

from pathlib import Path

from machinery.box_files import Found
from machinery.coco_files import find_annotations, read_coco
from machinery.errors import InputError
from machinery.yolo_files import find_label_folders, read_yolo


def find_pictures(source: Path) -> Found:
    """Return the pictures of a source with their boxes, sorted by split and name.

    Raises:
        InputError: the folder has no boxes in a form that is known.
    """
    if not source.is_dir():
        raise InputError(f"{source}: not a folder. Give a folder of pictures and boxes.")
    if found := find_annotations(source):
        return read_coco(source, found)
    if folders := find_label_folders(source):
        return read_yolo(source, folders)
    raise InputError(
        f"{source}: no boxes found; expected {source / 'annotations.json'} (COCO), or "
        f"{source / 'labels'} with a text file for each picture of {source / 'images'} (YOLO), or "
        "train/, val/ and test/ with such in them."
    )
