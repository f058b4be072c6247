"""Which images are in train, val and test, and which classes are too small for that."""

from typing import NamedTuple

import numpy as np

from machinery.arrays import SPLITS
from machinery.errors import InputError
from machinery.label_columns import stratify_labels
from machinery.splits import StratumError, split_off, stratum_of_group


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
    try:
        splits = split_off(groups, stratum_of_group(groups, strata), given, seed)
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
