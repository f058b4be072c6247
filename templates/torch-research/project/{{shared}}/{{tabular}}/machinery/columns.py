"""The columns of a table to learn from: numbers and categories."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from machinery.errors import InputError
from machinery.tables import NOT_A_NUMBER, Bad, Table

FEW = 20  # Different texts that are categories beyond doubt.
RARE = 10  # Rows of a category on average, with fewer of which it teaches little.
CODE = re.compile(r"0\d+")  # A post code, for example, but not the number 0 or 0.5.
DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}\b.*")  # 2026-01-31, 31.12.2026 10:00, 1/31/26


class Columns(NamedTuple):
    """What is learned from."""

    number_names: list[str]
    numbers: np.ndarray  # (N, columns) float64, NaN where missing
    categories: dict[str, np.ndarray]  # (N,) str by column, "" where missing


def find_categories(table: Table, names: Sequence[str], told: Sequence[str], bad: Bad) -> list[str]:
    """Return which of the columns hold categories; the others hold numbers.

    Args:
        table: all columns.
        names: those to learn from.
        told: those of which a person said so.
        bad: takes the rows whose cell is the only text, or nearly, in a column of numbers.

    Raises:
        InputError: a column holds neither.
    """
    categories = []
    for name in names:
        if name in told:
            categories.append(name)
            continue
        _, wrong = table.read_numbers(name)
        present = [cell for cell in table.columns[name] if cell.lower() not in NOT_A_NUMBER]
        levels = len({*present})
        if not wrong.any():
            if _holds_codes(table, name, present):
                categories.append(name)
        elif levels > FEW and wrong.sum() <= 0.1 * len(present):
            bad.add(table, wrong, name, "a number, as in most rows (or say --categories)")
        elif levels > max(FEW, len(present) / 2):
            raise InputError(
                f"{table.path}: column {name!r} holds {levels:,} different texts in "
                f"{len(present):,} rows, which are hardly categories. Leave it out (--drop), take "
                "it as names of the rows (--id), split by it if they are dates (--time), or say "
                "that they are categories (--categories)."
            )
        else:
            _warn_of_categories(table, name, present)
            categories.append(name)
    return categories


def _holds_codes(table: Table, name: str, present: Sequence[str]) -> bool:
    """Return whether numbers are rather categories, as some begin with 0; say so of such a column.

    Args:
        table: all columns.
        name: of the column.
        present: its cells that are not missing.
    """
    code = next(filter(CODE.fullmatch, present), "")
    if not code or not all(cell.isdigit() for cell in present):
        return False
    levels, what = len({*present}), f"{table.path}: column {name!r} holds numbers such as {code}"
    if levels <= max(FEW, len(present) / 2):
        print(f"{what}: taken as categories (numbers: with --columns, see TASK.md).")
        return True
    print(
        f"warning: {what}, {levels:,} different in {len(present):,} rows, taken as numbers. If "
        "they are codes, leave the column out (--drop), or take it as names of the rows (--id)."
    )
    return False


def _warn_of_categories(table: Table, name: str, present: Sequence[str]) -> None:
    """Print what speaks against a column of categories: they are dates, or in few rows each."""
    levels = len({*present})
    what = f"warning: {table.path}: column {name!r} holds {levels:,} different"
    if all(map(DATE.fullmatch, present)):
        print(
            f"{what} dates, taken as categories: of a new date nothing is known. Leave it out "
            "(--drop), split by it (--time), or make columns of the year and the month."
        )
    elif levels > max(FEW, len(present) / RARE):
        print(
            f"{what} texts in {len(present):,} rows, taken as categories: little can be learned of "
            "one that is in few rows. Leave it out (--drop), or make fewer of them."
        )


def find_bad_numbers(table: Table, names: Sequence[str], bad: Bad) -> None:
    """Take the rows whose cell is neither missing nor a number."""
    for name in names:
        bad.add(table, table.read_numbers(name)[1], name, "a number")


def read_columns(table: Table, names: Sequence[str], categories: Sequence[str]) -> Columns:
    """Read the columns to learn from; those that hold the same in every row are left out.

    Raises:
        InputError: none is left.
    """
    numbers, texts = {}, {}
    for name in names:
        if name in categories:
            missing = table.is_missing(name)
            column = np.where(missing, "", np.array(table.columns[name]))
            different = len(np.unique(column))
            texts[name] = column
        else:
            column = table.read_numbers(name)[0]
            different = len(np.unique(column))  # All NaN count as one.
            numbers[name] = column
        if different < 2:
            print(f"left out: column {name!r}, which holds the same in every row")
            (texts if name in categories else numbers).pop(name)
    if not numbers and not texts:
        raise InputError(
            f"{table.path}: no column is left to learn from beside the target, the id and those to "
            "drop."
        )
    stacked = np.stack(list(numbers.values()), 1) if numbers else np.empty((len(table), 0))
    return Columns(list(numbers), stacked, texts)


def number_levels(cells: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the place of each cell among the sorted levels, from 1 on; 0 where it is none.

    Args:
        cells: (N,) str
        levels: (L,) str

    Returns:
        (N,) int64
    """
    if not len(levels):
        return np.zeros(len(cells), np.int64)
    places = np.searchsorted(levels, cells).clip(max=len(levels) - 1)
    return np.where(levels[places] == cells, places + 1, 0).astype(np.int64)


def column_statistics(numbers: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each column, (N, columns), over the cells there are."""
    present = ~np.isnan(numbers)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, numbers, 0).sum(axis=0) / counts
    variance = np.where(present, (numbers - mean) ** 2, 0).sum(axis=0) / counts
    std = np.sqrt(variance)
    return mean.tolist(), np.where(std > 0, std, 1).tolist()
