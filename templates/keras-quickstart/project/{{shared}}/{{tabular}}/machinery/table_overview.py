"""What a person wants to know of a table before they train: the target, gaps, giveaways."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery.checkup_data import CORRELATED, correlation
from machinery.class_overview import count_by_split, draw_counts, say_counts
from machinery.columns import Columns
from machinery.pictures import draw
from machinery.targets import Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS_SHOWN = 20
REPEATS = 5  # Rows of each value of a column, from which on it is no accident that it tells all.

Splits = Mapping[str, np.ndarray]


def say_overview(columns: Columns, target: Target, splits: Splits) -> None:
    """Print what the target is in each split, which cells are missing, and what gives it away."""
    if target.kind == "regression":
        for split, rows in splits.items():
            least, middle, most = np.quantile(target.values[rows], [0, 0.5, 1])
            print(f"  {split:5} target from {least:g} to {most:g}, median {middle:g}")
    else:
        say_counts(count_by_split(target.values, splits, target.classes), target.classes, "rows")
    rows = len(target.values)
    if missing := count_missing(columns):
        most = sorted(missing, key=lambda name: -missing[name])
        shown = [f"{name} {missing[name]:,} ({missing[name] / rows:.1%})" for name in most]
        more = f", and {len(most) - 10} columns more" if len(most) > 10 else ""
        print(f"  missing cells: {', '.join(shown[:10])}{more}")
    for name, how in find_giveaways(columns, target):
        print(
            f"warning: column {name!r} alone tells the target: {how}. Leave it out (--drop), "
            "unless it is known when you predict."
        )


def count_missing(columns: Columns) -> dict[str, int]:
    """Return how many cells of each column are missing; columns without are left out."""
    found = dict(
        zip(columns.number_names, np.isnan(columns.numbers).sum(axis=0).tolist(), strict=True)
    )
    found |= {name: int((cells == "").sum()) for name, cells in columns.categories.items()}
    return {name: count for name, count in found.items() if count}


def find_giveaways(columns: Columns, target: Target) -> Iterator[tuple[str, str]]:
    """Yield the columns that alone tell the target of every row, and how."""
    if target.kind == "multilabel":
        return
    values = target.values
    for name, cells in columns.categories.items():
        if determines(cells, values):
            yield name, "rows with the same text have the same target"
    for name, cells in zip(columns.number_names, columns.numbers.T, strict=True):
        known = ~np.isnan(cells)
        if determines(known, values):
            yield name, "where it is missing, and only there, the target is another"
        elif determines(np.where(known, cells, np.inf), values):
            yield name, "rows with the same number have the same target"
        elif target.kind == "regression":
            if correlation(cells, values) > CORRELATED:
                yield name, "it is the target in another unit"
        elif known.all() and parts_classes(cells, values, len(target.classes)):
            yield name, "each class has a range of its own"


def determines(cells: np.ndarray, values: np.ndarray) -> bool:
    """Return whether equal cells always go with equal values, and often enough to mean it."""
    levels, codes = np.unique(cells, return_inverse=True)
    if len(levels) < 2 or len(levels) * REPEATS > len(cells):
        return False
    pairs = np.stack([codes, np.unique(values, return_inverse=True)[1]])
    return np.unique(pairs, axis=1).shape[1] == len(levels)


def parts_classes(numbers: np.ndarray, labels: np.ndarray, classes: int) -> bool:
    """Return whether the numbers of each class lie beside those of the others."""
    if len(labels) < 2 * REPEATS * classes:
        return False
    ranges = sorted(
        (numbers[labels == label].min(), numbers[labels == label].max()) for label in range(classes)
    )
    return all(last < first for (_, last), (first, _) in itertools.pairwise(ranges))


def draw_overview(columns: Columns, target: Target, splits: Splits, folder: Path) -> None:
    """Draw the target in each split as target.png, and missing cells as missing.png."""
    if target.kind == "regression":
        draw(folder / "target.png", lambda figure: _plot_values(figure, target, splits), 6.5, 4)
    else:
        counts = count_by_split(target.values, splits, target.classes)
        draw_counts(counts, target.classes, folder / "target.png", "rows")
    if missing := count_missing(columns):
        names = sorted(missing, key=lambda name: -missing[name])[:COLUMNS_SHOWN]

        def plot(figure: "Figure") -> None:
            axes = figure.subplots()
            axes.barh(range(len(names)), [missing[name] / len(target.values) for name in names])
            axes.set_yticks(range(len(names)), names)
            axes.invert_yaxis()
            axes.set_xlim(0, 1)
            axes.set_xlabel("share of the rows in which the column is missing")

        draw(folder / "missing.png", plot, 6.5, 1.5 + 0.25 * len(names))


def _plot_values(figure: "Figure", target: Target, splits: Splits) -> None:
    axes = figure.subplots()
    edges = np.histogram_bin_edges(target.values, bins=40)
    axes.hist([target.values[rows] for rows in splits.values()], edges.tolist(), stacked=True)
    axes.set_xlabel("target")
    axes.set_ylabel("rows")
    figure.legend(list(splits), loc="outside upper center", ncols=len(splits))
