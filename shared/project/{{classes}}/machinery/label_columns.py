"""Columns of a table that hold classes, or labels of 0 and 1; and how to split what is labelled."""

from collections.abc import Sequence

import numpy as np

from machinery.tables import Bad, Table

MARKS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


def holds_marks(table: Table, name: str) -> np.ndarray:
    """Return where the cells of a column say 0 or 1, (N,) bool."""
    return np.array([cell.lower() in MARKS for cell in table.columns[name]], bool)


def find_bad_marks(table: Table, names: Sequence[str], bad: Bad) -> None:
    """Take the rows in which a column of labels holds neither 0 nor 1."""
    for name in names:
        bad.add(table, ~holds_marks(table, name), name, "0 or 1")


def read_marks(table: Table, names: Sequence[str]) -> np.ndarray:
    """Return the labels of a table that has no bad rows, (N, labels) float32 of 0 and 1."""
    columns = [[MARKS[cell.lower()] for cell in table.columns[name]] for name in names]
    return np.array(columns, np.float32).T


def encode(table: Table, name: str) -> tuple[list[str], np.ndarray]:
    """Return the classes of a column, numbers in their order and texts in theirs, and the labels.

    Returns:
        the names of the classes; (N,) int64
    """
    numbers, _ = table.read_numbers(name)
    cells = np.array(table.columns[name])
    if np.isnan(numbers).any():
        classes, labels = np.unique(cells, return_inverse=True)
        return classes.tolist(), labels.astype(np.int64)
    # 1 and 1.0 are one class.
    _, first, labels = np.unique(numbers, return_index=True, return_inverse=True)
    return cells[first].tolist(), labels.astype(np.int64)


def stratify_labels(labels: np.ndarray) -> np.ndarray:
    """Return the rarest label of each example, so that each split gets its share of it.

    Args:
        labels: (N, K) of 0 and 1.

    Returns:
        (N,) int64, from 0, the rarest of all, to K - 1; K for an example without a label
    """
    rarest_first = labels.sum(axis=0).argsort(kind="stable")
    marked = labels[:, rarest_first] > 0
    return np.where(marked.any(axis=1), marked.argmax(axis=1), len(rarest_first))
