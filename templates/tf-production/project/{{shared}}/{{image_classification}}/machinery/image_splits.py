"""Which images are in train, val and test, and which classes are too small for that."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from machinery.arrays import SPLITS
from machinery.errors import InputError
from machinery.label_columns import stratify_labels
from machinery.splits import StratumError, find_leaks, split_off


def join_groups(contents: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return what must be in one split: equal images, and images of one group.

    Args:
        contents: (N,) digests of the images.
        groups: (N,) such as patients; None: there are none.

    Returns:
        (N,) int64
    """
    joined = np.unique(contents, return_inverse=True)[1]
    if groups is None:
        return joined
    numbers = np.unique(groups, return_inverse=True)[1]
    while True:  # Each round gives all of a group, and all equal images, the lowest number.
        before = joined
        for each in (numbers, joined):
            lowest = np.full(each.max() + 1, len(each))
            np.minimum.at(lowest, each, joined)
            joined = lowest[each]
        if np.array_equal(joined, before):
            return joined


class Classes(NamedTuple):
    """The classes that stay, and their images."""

    names: list[str]
    labels: np.ndarray  # (N,) int64, -1 where the class is left out; or (N, classes) float32
    given: dict[str, np.ndarray]  # the row numbers of each split that there is


def check_small(groups: np.ndarray, classes: Classes, drop: bool) -> Classes:
    """Refuse or leave out the classes with too few different images in train to split it.

    Args:
        groups: (N,) what must be in one split.
        classes: all of them.
        drop: leave them out, and say so. Images of one class go with it, labels alone.

    Raises:
        InputError: there are some and they are to stay, or too few classes are left.
    """
    names, labels, given = classes
    train = given["train"]
    needed = 1 + len([name for name in SPLITS if name not in given])
    kept = []
    for number, name in enumerate(names):
        has = labels == number if labels.ndim == 1 else labels[:, number] > 0
        if (different := len(np.unique(groups[train][has[train]]))) >= needed:
            kept.append(number)
        elif not drop:
            raise InputError(
                f"class {name} has too few different images (or groups) in train: {different}, "
                f"expected {needed} or more. Add images, give train/, val/ and test/, or leave "
                "such classes out with --drop-small."
            )
        else:
            print(f"left out: class {name}, too small to split: {int(has.sum()):,} images")
    if len(kept) < (2 if labels.ndim == 1 else 1):
        raise InputError(
            f"{len(kept)} of {len(names)} classes are large enough to split; expected two or more. "
            "Add images."
        )
    names = [names[number] for number in kept]
    if labels.ndim == 2:
        return Classes(names, labels[:, kept], given)
    numbers = np.full(labels.max() + 1, -1, np.int64)
    numbers[kept] = np.arange(len(kept))
    labels = numbers[labels]
    return Classes(names, labels, {split: rows[labels[rows] >= 0] for split, rows in given.items()})


def split_images(groups: np.ndarray, classes: Classes, seed: int) -> dict[str, np.ndarray]:
    """Return the row numbers of train, val and test, keeping the shares of the classes.

    Args:
        groups: (N,) images of one group go to one split.
        classes: with the splits that there are; of several labels the rarest counts.
        seed: of the random split.

    Raises:
        InputError: train lacks a class.
    """
    names, labels, given = classes
    strata = labels if labels.ndim == 1 else stratify_labels(labels)
    # A group has one stratum, that of its first image: else one with all classes would be drawn
    # for each of them.
    _, first, places = np.unique(groups, return_index=True, return_inverse=True)
    try:
        splits = split_off(groups, strata[first][places], given, seed)
    except StratumError:
        try:
            splits = split_off(groups, np.zeros(len(groups), np.int64), given, seed)
        except StratumError:
            raise InputError(
                f"{len(np.unique(groups))} different images or groups are too few to split; "
                "expected 3 or more."
            ) from None
    train = labels[splits["train"]]
    there = np.bincount(train, minlength=len(names)) if labels.ndim == 1 else train.sum(axis=0)
    if not there.all():
        raise InputError(
            f"class {names[int(there.argmin())]} has no image in train. Add images of it, or "
            "change which images are in train (--split, --group, --seed)."
        )
    return splits


def warn_of_leaks(
    contents: np.ndarray, labels: np.ndarray, splits: Mapping[str, np.ndarray], ids: np.ndarray
) -> None:
    """Print how many equal images are in two splits, and how many have two labels.

    Args:
        contents: (N,) digests of the images.
        labels: (N,) or (N, classes)
        splits: the row numbers of each.
        ids: (N,) str
    """
    for split, rows in find_leaks(contents, splits):
        print(f"warning: {len(rows)} images of {split} are in train too, such as {ids[rows[0]]}.")
    rows = np.concatenate(list(splits.values()))
    _, first, places = np.unique(contents[rows], return_index=True, return_inverse=True)
    other = labels[rows] != labels[rows][first[places]]
    differ = np.flatnonzero(other.any(axis=1) if other.ndim == 2 else other)
    if len(differ):
        pair = ids[rows[first[places[differ[0]]]]], ids[rows[differ[0]]]
        print(
            f"warning: {len(differ)} images equal one of another class, such as {pair[0]} and "
            f"{pair[1]}."
        )
