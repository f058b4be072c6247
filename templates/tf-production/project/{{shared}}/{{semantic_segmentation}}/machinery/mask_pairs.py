"""Images and their masks, found by their names.

A source has a folder images/ and a folder masks/ with files of the same names, whatever their
endings, as in photos/images/1.jpg and photos/masks/1.png. All masks may have one addition to their
names, as in 1_mask.png. The splits lie above or below the folders, as in photos/train/images/1.jpg
or photos/images/train/1.jpg.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from machinery.errors import InputError
from machinery.files import check_name
from machinery.image_files import find_images
from machinery.splits import SPLIT_NAMES


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path
    split: str


class Pairs(NamedTuple):
    """What was found in a source."""

    good: list[Pair]
    bad: dict[Path, str]  # why a file cannot be used


def find_pairs(source: Path) -> Pairs:
    """Return the images with their masks, sorted by split and name.

    Raises:
        InputError: the folders are not there, no mask has the name of an image, or a name is not
            UTF-8.
    """
    if not source.is_dir():
        raise InputError(f"{source}: not a folder. Give one with images/ and masks/ in it.")
    good, bad = [], dict[Path, str]()
    for split, (images, masks) in _find_folders(source).items():
        of_images, of_masks = _find_names(images, bad), _find_names(masks, bad)
        if not of_images:
            raise InputError(f"{images}: no images. Add some, or remove the folder.")
        if not of_images.keys() & of_masks.keys():
            of_masks = _find_longer_names(images, of_images, masks, of_masks)
        good += [Pair(path, of_masks[n], split) for n, path in of_images.items() if n in of_masks]
        bad |= {
            path: f"no mask of this name in {masks}"
            for name, path in of_images.items()
            if name not in of_masks
        }
        bad |= {
            path: f"no image of this name in {images}"
            for name, path in of_masks.items()
            if name not in of_images
        }
    return Pairs(good, bad)


def _find_names(folder: Path, bad: dict[Path, str]) -> dict[str, Path]:
    """Return the images below a folder by their names without endings; others of a name are bad."""
    found: dict[str, Path] = {}
    for path in find_images(folder):
        check_name(str(path))
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            bad[path] = f"has the name of {found[name].name}"
        found.setdefault(name, path)
    return found


def _find_longer_names(
    images: Path, of_images: Mapping[str, Path], masks: Path, of_masks: Mapping[str, Path]
) -> dict[str, Path]:
    """Return masks by the names of their images, to which all of them add the same.

    Raises:
        InputError: they do not.
    """
    names = [name.rpartition("/") for name in of_masks]  # of folders, "/", of the file
    files = [name for _, _, name in names]
    additions = [(name[:n], "") for name in files[:1] for n in range(1, len(name))]
    additions += [("", name[n:]) for name in files[:1] for n in range(1, len(name))]
    most, renamed, said = 0, dict[str, Path](), ""
    for before, after in additions:
        if not all(name.startswith(before) and name.endswith(after) for name in files):
            continue
        shorter = [f"{a}{b}{c.removeprefix(before).removesuffix(after)}" for a, b, c in names]
        if (count := len(of_images.keys() & shorter)) > most:
            most, renamed = count, dict(zip(shorter, of_masks.values(), strict=True))
            said = f"{masks}: the masks are named {before}NAME{after}, as the images NAME."
    if not most or 2 * most < min(len(of_images), len(of_masks)):
        image, *more = [*of_images][:2]
        found = ", ".join([path.relative_to(masks).as_posix() for path in of_masks.values()][:3])
        raise InputError(
            f"{masks}: no mask has the name of an image in {images}: expected {image}.png"
            f"{', ...' if more else ''}, or one addition to all names, as in {image}_mask.png; got "
            f"{found or 'no file'}{', ...' if len(of_masks) > 3 else ''}. Rename the masks."
        )
    print(said)
    return renamed


def _find_folders(source: Path) -> dict[str, tuple[Path, Path]]:
    """Return the folders of images and masks of each split; without splits, all is train."""
    above = {name: source / name for name in SPLIT_NAMES if (source / name).is_dir()}
    below = {n: source / "images" / n for n in SPLIT_NAMES if (source / "images" / n).is_dir()}
    if "train" in above:
        folders = {name: (path / "images", path / "masks") for name, path in above.items()}
    elif "train" in below:
        folders = {name: (path, source / "masks" / name) for name, path in below.items()}
    else:
        folders = {"train": (source / "images", source / "masks")}
    for path in (path for pair in folders.values() for path in pair):
        if not path.is_dir():
            raise InputError(
                f"{path}: not found. Put images into {source}/images and their masks, under the "
                f"same names, into {source}/masks; with splits into {source}/train/images and so "
                "on."
            )
    return {SPLIT_NAMES[name]: pair for name, pair in folders.items()}


def refuse_bad_files(source: Path, bad: Mapping[Path, str], count: int, skip: bool) -> None:
    """Print which files are left out because they cannot be used.

    Args:
        source: the folder that was read.
        bad: why each cannot be used.
        count: files of images and masks in all.
        skip: leave them out.

    Raises:
        InputError: there are such files, and they are not to be left out.
    """
    if bad and not skip:
        shown = "\n  ".join(f"{path}: {why}" for path, why in list(bad.items())[:5])
        shown += f"\n  and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise InputError(
            f"{source}: {len(bad)} of {count} images and masks cannot be used; nothing was "
            f"written.\n  {shown}\nMend or remove them, or leave them out with --skip-bad."
        )
    for path, reason in bad.items():
        print(f"left out: {path}: {reason}")
