"""Which rows of a table are in train, val and test."""

from collections.abc import Mapping

import numpy as np

from machinery.class_overview import warn_of_leaks
from machinery.columns import Columns
from machinery.errors import InputError
from machinery.label_columns import stratify_labels
from machinery.splits import StratumError, digests, join_groups, split_off, stratum_of_group
from machinery.targets import Target


def split_rows(
    columns: Columns,
    target: Target,
    ids: np.ndarray,
    given: Mapping[str, np.ndarray],
    source: str,
    seed: int,
    together: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the row numbers of train, val and test, and warn of rows that are in train, too.

    Rows that are equal but for the target are in one split. But where most rows equal another, as
    in a survey of a few questions, each row is split by itself.

    Args:
        columns: of all rows.
        target: of all rows; the shares of classes, and of small and large numbers, are kept.
        ids: (N,) str, names of the rows, for messages.
        given: the row numbers of each split that there is.
        source: for messages.
        seed: chooses.
        together: (N,) what stays in one split, beside equal rows; None: nothing.

    Raises:
        InputError: there are too few different rows of a class.
    """
    rows = len(target.values)
    codes = [np.unique(cells, return_inverse=True)[1] for cells in columns.categories.values()]
    content = digests(columns.numbers, np.array(codes, np.int64).reshape(-1, rows).T)
    apart = content
    if len(np.unique(content)) < rows / 2:
        print("Most rows equal another: they count as observations of their own in the split.")
        apart = np.arange(rows)
    groups = join_groups(apart, together)
    try:
        splits = split_off(groups, stratum_of_group(groups, stratify(target)), given, seed)
    except StratumError as error:
        if target.kind in ("binary", "multiclass") and together is None:
            raise InputError(
                f"{source}: class {target.classes[error.stratum]} has too few different rows to "
                "split; expected 3 or more. Add rows, remove the class, or name a column that says "
                "train, val or test with --split."
            ) from None
        try:
            splits = split_off(groups, np.zeros(rows, np.int64), given, seed)
        except StratumError:
            what = "rows" if together is None else "groups"
            count = len(np.unique(groups))
            raise InputError(f"{source}: {count} different {what} are too few to split.") from None
    check_classes(target, splits, source)
    # Other numbers for equal rows are noise, other classes a contradiction.
    labels = np.zeros(rows) if target.kind == "regression" else target.values
    warn_of_leaks(content, labels, splits, ids, "rows")
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
                "Move some there, or split the rows in another way."
            )
