"""Which rows of a table are in train, val and test."""

from collections.abc import Mapping

import numpy as np

from machinery.columns import Columns
from machinery.errors import InputError
from machinery.label_columns import stratify_labels
from machinery.splits import StratumError, digests, find_leaks, split_off
from machinery.tables import Table
from machinery.targets import Target

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_splits(table: Table, column: str | None) -> dict[str, np.ndarray]:
    """Return the row numbers of the splits that a column names.

    Raises:
        InputError: none is train.
    """
    if column is None:
        return {}
    found = np.array([SPLIT_NAMES[cell.lower()] for cell in table.columns[column]])
    if "train" not in found:
        raise InputError(f"{table.path}: no row has train in column {column!r}.")
    return {name: np.flatnonzero(found == name) for name in np.unique(found).tolist()}


def split_rows(
    columns: Columns,
    target: Target,
    ids: np.ndarray,
    given: Mapping[str, np.ndarray],
    source: str,
    seed: int,
) -> dict[str, np.ndarray]:
    """Return the row numbers of train, val and test, and warn of rows that are in train, too.

    Equal rows are in one split. But where most rows equal another, as in a survey of a few
    questions, each row is split by itself.

    Args:
        columns: of all rows.
        target: of all rows; the shares of classes, and of small and large numbers, are kept.
        ids: (N,) str, names of the rows, for messages.
        given: the row numbers of each split that there is.
        source: for messages.
        seed: chooses.

    Raises:
        InputError: there are too few different rows of a class.
    """
    rows = len(target.values)
    codes = [np.unique(cells, return_inverse=True)[1] for cells in columns.categories.values()]
    content = digests(columns.numbers, np.array(codes, np.int64).reshape(-1, rows).T, target.values)
    groups = content
    if len(np.unique(content)) < rows / 2:
        print("Most rows equal another: they count as observations of their own in the split.")
        groups = np.arange(rows)
    given = dict(given) or {"train": np.arange(rows)}
    strata = stratify(target)
    try:
        splits = split_off(groups, strata, given, seed)
    except StratumError as error:
        if target.kind in ("binary", "multiclass"):
            raise InputError(
                f"{source}: class {target.classes[error.stratum]} has too few different rows to "
                "split; expected 3 or more. Add rows, remove the class, or name a column that says "
                "train, val or test with --split."
            ) from None
        try:
            splits = split_off(groups, np.zeros(rows, np.int64), given, seed)
        except StratumError:
            raise InputError(f"{source}: {rows} rows are too few to split.") from None
    check_classes(target, splits, source)
    for split, leaked in find_leaks(content, splits):
        print(f"warning: {len(leaked)} rows of {split} are in train too, such as {ids[leaked[0]]}.")
    return splits


def stratify(target: Target) -> np.ndarray:
    """Return what to keep the shares of, (N,) int64: classes, tenths by size, or rare labels."""
    if target.kind == "regression":
        ranks = target.values.argsort(kind="stable").argsort(kind="stable")
        return ranks * min(10, max(1, len(ranks) // 10)) // len(ranks)
    if target.kind == "multilabel":
        return stratify_labels(target.values)
    return target.values


def check_classes(target: Target, splits: Mapping[str, np.ndarray], source: str) -> None:
    """Refuse splits that were given and lack a class: it could not be learned, or not measured."""
    if target.kind not in ("binary", "multiclass"):
        return
    for split in ("train", "val") if target.kind == "binary" else ("train",):
        there = np.bincount(target.values[splits[split]], minlength=len(target.classes))
        if not there.all():
            raise InputError(
                f"{source}: no row of {split} is of class {target.classes[int(there.argmin())]}. "
                "Move some there, or leave out --split."
            )
