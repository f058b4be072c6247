"""How many examples of each class there are, and which equal one of another class or split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery.pictures import draw
from machinery.splits import find_leaks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES_SHOWN = 20


def count_by_split(
    labels: np.ndarray, splits: Mapping[str, np.ndarray], classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return how many examples of each class a split has, (classes,) int64 by split.

    Args:
        labels: (N,) int, or (N, classes) of 0 and 1.
        splits: the row numbers of each.
        classes: their names.
    """
    if labels.ndim == 2:
        return {split: labels[rows].sum(axis=0).astype(int) for split, rows in splits.items()}
    found = {split: labels[rows] for split, rows in splits.items()}
    return {split: np.bincount(each, minlength=len(classes)) for split, each in found.items()}


def say_counts(counts: Mapping[str, np.ndarray], classes: Sequence[str], what: str) -> None:
    """Print a line for each class, the largest first: how many examples each split has.

    Args:
        counts: (classes,) int of each split.
        classes: their names.
        what: the examples are, in the plural.
    """
    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")
    width = max(len(classes[number]) for number in order[:CLASSES_SHOWN])
    print(f"  {'':{width}}" + "".join(f"{split:>9}" for split in counts))
    for number in order[:CLASSES_SHOWN]:
        cells = "".join(f"{each[number]:>9,}" for each in counts.values())
        print(f"  {classes[number]:{width}}{cells}")
    if len(rest := total[order[CLASSES_SHOWN:]]):
        print(f"  and {len(rest)} more, of {rest.min():,} to {rest.max():,} {what} each")


def draw_counts(
    counts: Mapping[str, np.ndarray], classes: Sequence[str], path: Path, what: str
) -> None:
    """Draw how many examples each class has as a PNG of bars, the largest first; see say_counts."""
    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")
    named = len(classes) <= 2 * CLASSES_SHOWN

    def plot(figure: "Figure") -> None:
        axes = figure.subplots()
        left = np.zeros(len(classes))
        for split, each in counts.items():
            axes.barh(range(len(classes)), each[order], left=left, height=0.8, label=split)
            left += each[order]
        names = [classes[number] for number in order] if named else []
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xlabel(what)
        if not named:
            axes.set_ylabel(f"{len(classes):,} classes, the largest first")
        figure.legend(loc="outside upper center", ncols=len(counts))  # It covers no bar.

    draw(path, plot, 6.5, 1.5 + 0.25 * min(len(classes), 2 * CLASSES_SHOWN))


def warn_of_leaks(
    contents: np.ndarray,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
    ids: np.ndarray,
    what: str,
) -> None:
    """Print how many equal examples are in two splits, and how many have two labels.

    Args:
        contents: (N,) digests of the inputs.
        labels: (N,) or (N, K)
        splits: the row numbers of each.
        ids: (N,) str
        what: the examples are, in the plural.
    """
    for split, rows in find_leaks(contents, splits):
        print(f"warning: {len(rows)} {what} of {split} are in train too, such as {ids[rows[0]]}.")
    rows = np.concatenate(list(splits.values()))
    _, first, places = np.unique(contents[rows], return_index=True, return_inverse=True)
    other = labels[rows] != labels[rows][first[places]]
    differ = np.flatnonzero(other.any(axis=1) if other.ndim == 2 else other)
    if len(differ):
        pair = ids[rows[first[places[differ[0]]]]], ids[rows[differ[0]]]
        print(
            f"warning: {len(differ)} {what} equal one of another class, such as {pair[0]} and "
            f"{pair[1]}."
        )
