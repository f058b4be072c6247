"""Columns of a table that say which rows are train, val and test: by name, by time, by group."""

from datetime import UTC, datetime

import numpy as np

from machinery.errors import InputError
from machinery.splits import HELD_OUT, SPLIT_NAMES
from machinery.tables import Bad, Table


def find_bad_splits(table: Table, column: str, bad: Bad) -> None:
    """Take the rows whose cell names no split."""
    known = np.array([cell.lower() in SPLIT_NAMES for cell in table.columns[column]], bool)
    bad.add(table, ~known, column, "train, val or test")


def find_bad_groups(table: Table, column: str, bad: Bad) -> None:
    """Take the rows without a group."""
    bad.add(table, table.is_missing(column), column, "a group")


def find_bad_times(table: Table, column: str, bad: Bad) -> None:
    """Take the rows without a time, or with one that cannot be read."""
    numbers, times = table.read_numbers(column)[0], _read_dates(table, column)
    expected = "a date such as 2026-01-31 or 2026-01-31 12:00, or a number, as in most rows"
    bad.add(table, np.isnan(_choose(numbers, times)), column, expected)


def name_splits(table: Table, column: str) -> np.ndarray:
    """Return the split of each row, (N,) str, of a table that has no bad rows."""
    return np.array([SPLIT_NAMES[cell.lower()] for cell in table.columns[column]])


def read_splits(table: Table, column: str | None) -> dict[str, np.ndarray]:
    """Return the row numbers of the splits that a column names; without one, all are train.

    Raises:
        InputError: none is train.
    """
    if column is None:
        return {"train": np.arange(len(table))}
    found = name_splits(table, column)
    if "train" not in found:
        raise InputError(f"{table.path}: no row has train in column {column!r}.")
    return {name: np.flatnonzero(found == name) for name in np.unique(found).tolist()}


def split_by_time(table: Table, column: str) -> dict[str, np.ndarray]:
    """Return the row numbers of train, the earliest, of val and of test, the latest.

    Val and test have about a tenth each. Rows of one time stay together, in the later split, which
    may take most of the earlier one.

    Raises:
        InputError: there are too few different times.
    """
    times = _choose(table.read_numbers(column)[0], _read_dates(table, column))
    ranked = np.sort(times)
    first = {
        name: ranked[int((1 - k * HELD_OUT) * len(times))] for k, name in ((2, "val"), (1, "test"))
    }
    splits = {
        "train": np.flatnonzero(times < first["val"]),
        "val": np.flatnonzero((times >= first["val"]) & (times < first["test"])),
        "test": np.flatnonzero(times >= first["test"]),
    }
    if empty := [name for name, rows in splits.items() if not len(rows)]:
        raise InputError(
            f"{table.path}: column {column!r} holds {len(np.unique(times)):,} different times in "
            f"{len(times):,} rows, and {empty[0]} would get none: rows of one time stay together. "
            "Give finer times, or name a column that says train, val or test (--split)."
        )
    return splits


def _choose(numbers: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return what most cells of a column are, (N,) float64, NaN where a cell is not."""
    return numbers if np.isnan(numbers).sum() <= np.isnan(times).sum() else times


def _read_dates(table: Table, column: str) -> np.ndarray:
    """Return the times of a column in seconds, (N,) float64, NaN where a cell is no ISO date.

    A time without a zone counts as UTC.
    """

    def seconds(cell: str) -> float:
        try:
            time = datetime.fromisoformat(cell)
        except ValueError:
            return np.nan
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()

    return np.array([seconds(cell) for cell in table.columns[column]], np.float64)
