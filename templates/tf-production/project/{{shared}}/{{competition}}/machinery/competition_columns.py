"""What the columns of a competition's tables look like: times, groups, texts, names of rows."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from machinery.competition import SCHEMA, CompetitionSchema
from machinery.errors import InputError

TIME_WORDS = re.compile(r"date|time|year|month|week|day", re.IGNORECASE)
TIME_FORMATS = ("ISO8601", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")
FEWEST = 10  # Different times, or groups, that folds can be made of.
LARGEST_OVERLAP = 0.2  # The share of test's rows that may be of a group of train, by mistake.
FEW = 20  # Different texts that are categories beyond doubt; see machinery/columns.py of the task.
MISSING = ("", "?", "na", "n/a", "nan", "null")  # Missing cells; see machinery/tables.py.
WORDS_OF_TEXT = 6  # Words of a text on average; a name or an address has fewer.


def read_frame(path: Path, as_text: bool | Sequence[str] = ()) -> pd.DataFrame:
    """Read a table, CSV or Parquet.

    Args:
        path: the file.
        as_text: columns whose cells stay as they stand there, such as 0001; True: all, and what
            is missing is an empty text.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
            names = [*table.columns] if as_text is True else [*(as_text or ())]
            texts = {name: to_texts(table[name]) for name in names if name in table}
            return table.assign(**texts)
        if as_text is True:
            return pd.read_csv(path, dtype=str, keep_default_na=False)
        return pd.read_csv(path, dtype=dict.fromkeys(as_text or (), str), low_memory=False)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot be read as a table: {reason}") from None


def to_texts(column: pd.Series) -> pd.Series:
    """Return the cells of a column as text, a missing one as an empty text."""
    return column.astype(str).where(column.notna(), "").astype(str)


def is_missing(cells: pd.Series) -> pd.Series:
    """Return for each cell, a text, whether it stands for a missing one."""
    return cells.str.strip().str.lower().isin(MISSING)


def is_text(column: pd.Series) -> bool:
    """Return whether a column holds texts, and not numbers or True and False."""
    return not pd.api.types.is_numeric_dtype(column)


def to_times(column: pd.Series) -> pd.Series:
    """Return the times of a column as numbers, NaN where a cell is no time."""
    if not is_text(column):
        return column.astype(float)
    times = pd.Series(pd.NaT, column.index)
    for form in TIME_FORMATS:
        times = pd.to_datetime(column, format=form, errors="coerce", utc=True)
        if times.notna().all():
            break
    seconds = (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return seconds.astype(float)


def find_time_columns(train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns by which all rows of test are later than those of train, finest first.

    Args:
        train: its rows.
        test: its rows.
        names: the columns to look at, which both have.
    """
    found = {}
    for name in names:
        if is_text(train[name]) or TIME_WORDS.search(name):
            before, after = to_times(train[name]), to_times(test[name])
            whole = before.notna().all() and after.notna().all()
            if whole and before.nunique() >= FEWEST and after.min() >= before.max():
                found[name] = before.nunique()
    return sorted(found, key=lambda name: -found[name])


def find_group_columns(train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns whose values repeat in train and are others in test, coarsest first.

    A few rows of test may be of a group of train: that is a leak of its own.
    """
    found = {}
    for name in names:
        column = train[name]
        if pd.api.types.is_float_dtype(column) or column.isna().any() or TIME_WORDS.search(name):
            continue
        groups = column.nunique()
        known = test[name].isin(column.unique()).mean()
        if FEWEST <= groups <= len(train) / 1.5 and known <= LARGEST_OVERLAP:
            found[name] = groups
    return sorted(found, key=lambda name: found[name])


def find_text_columns(train: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns of texts to read, those of most words first."""
    found = {}
    for name in names:
        if is_text(train[name]):
            cells = train[name].dropna().astype(str)
            words = cells.str.split().str.len().mean()
            if words >= WORDS_OF_TEXT and cells.nunique() > len(cells) / 2:
                found[name] = words
    return sorted(found, key=lambda name: -found[name])


def find_unusable(train: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns that a table is not learned from: names of rows, and row numbers."""
    return [
        name
        for name in names
        if name.startswith("Unnamed: ")
        or (is_text(train[name]) and train[name].nunique() > max(FEW, len(train) / 2))
    ]


def share_columns(train: pd.DataFrame, test: pd.DataFrame, others: Sequence[str]) -> list[str]:
    """Return the columns that train and test share, in the order of train, without some others."""
    return [name for name in train.columns if name in test.columns and name not in others]


def check_columns(names: Sequence[str], schema: CompetitionSchema, raw: Path) -> None:
    """Raise InputError where `drop` names no column, or test lacks one that would be learned from.

    Args:
        names: of the columns of train.
        schema: of the competition.
        raw: the folder of its files.
    """
    if unknown := [name for name in schema.drop if name not in names]:
        raise InputError(f"{SCHEMA}: drop: {schema.train} has no column {unknown[0]!r}.")
    if schema.task != "tabular":
        return
    there = {*read_frame(raw / schema.test, as_text=True)}
    others = {schema.id, schema.fold_column, *schema.targets, *schema.drop}
    if lacking := [name for name in names if name not in there | others]:
        raise InputError(
            f"{SCHEMA}: drop: {schema.test} has no column {lacking[0]!r}, so nothing can be "
            "learned from it. Add it there."
        )
