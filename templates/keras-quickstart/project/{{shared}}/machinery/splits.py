"""Which examples are in train, val and test."""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from machinery.arrays import SPLITS, Examples

# What people call train, val and test.
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
HELD_OUT = 0.1  # The share of train that becomes val, and test, where the source has none.


def digests(*arrays: Examples) -> np.ndarray:
    """Return a digest of each example over its arrays, (N,) bytes: the same for equal examples."""
    found = []
    for row in range(len(arrays[0])):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            digest.update(f"{array[row].shape}".encode())
            digest.update(np.ascontiguousarray(array[row]).tobytes())
        found.append(digest.digest())
    return np.array(found)


def split_off(
    groups: np.ndarray, strata: np.ndarray, given: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Split the missing val and test off train at random, keeping the shares of the strata.

    Examples of one group go to the same split: nothing is tested on what it was trained on.

    Args:
        groups: (N,) what each example belongs to, such as the digest of its content.
        strata: (N,) int, such as the class: every split gets the same share of each.
        given: the row numbers of each split that the source has.
        seed: of the random choice.

    Returns:
        The row numbers of train, val and test.

    Raises:
        StratumError: a stratum has too few groups to split.
    """
    splits = dict(given)
    for number, split in enumerate(name for name in SPLITS if name not in given):
        train = splits["train"]
        held_out = np.zeros(len(groups), bool)
        for stratum in np.unique(strata[train]):
            unique = np.unique(groups[train][strata[train] == stratum])
            if len(unique) < 2:
                raise StratumError(int(stratum))
            count = max(1, round(HELD_OUT * len(unique)))
            order = np.random.default_rng((seed, number, stratum)).permutation(unique)
            held_out |= np.isin(groups, order[:count])
        splits[split], splits["train"] = train[held_out[train]], train[~held_out[train]]
    return {split: splits[split] for split in SPLITS}


def join_groups(contents: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return what must be in one split: equal examples, and examples of one group.

    Args:
        contents: (N,) digests of the examples.
        groups: (N,) such as patients; None: there are none.

    Returns:
        (N,) int64
    """
    joined = np.unique(contents, return_inverse=True)[1]
    if groups is None:
        return joined
    numbers = np.unique(groups, return_inverse=True)[1]
    while True:  # Each round gives all of a group, and all equal examples, the lowest number.
        before = joined
        for each in (numbers, joined):
            lowest = np.full(each.max() + 1, len(each))
            np.minimum.at(lowest, each, joined)
            joined = lowest[each]
        if np.array_equal(joined, before):
            return joined


def say_groups(groups: np.ndarray | None, splits: Mapping[str, np.ndarray]) -> None:
    """Print how many groups each split got, where there are any.

    Args:
        groups: (N,) such as patients.
        splits: the row numbers of each split.
    """
    if groups is not None:
        counts = (f"{len(np.unique(groups[rows])):,} {split}" for split, rows in splits.items())
        print(f"groups: {', '.join(counts)}")


def stratum_of_group(groups: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return the stratum of the first example of each one's group, (N,) int.

    Else a group with examples of all strata would be drawn for each of them.
    """
    _, first, places = np.unique(groups, return_index=True, return_inverse=True)
    return strata[first][places]


class StratumError(Exception):
    """A stratum, named by its number, has too few different examples to split."""

    def __init__(self, stratum: int) -> None:
        super().__init__(f"stratum {stratum} is too small to split")
        self.stratum = stratum


def find_leaks(
    groups: np.ndarray, splits: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of val and test, if they hold examples of train, and those row numbers."""
    for split in ("val", "test"):
        rows = splits[split][np.isin(groups[splits[split]], groups[splits["train"]])]
        if len(rows):
            yield split, rows
