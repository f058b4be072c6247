"""The target of a table: a number, a class, or several labels."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from machinery.errors import InputError
from machinery.label_columns import encode, find_bad_marks, read_marks
from machinery.tables import Bad, Table

Kind = Literal["regression", "binary", "multiclass", "multilabel"]
KINDS = get_args(Kind)
FEW_CLASSES = 10  # Different whole numbers that are rather classes than quantities.


class Target(NamedTuple):
    """What is learned."""

    kind: Kind
    values: np.ndarray  # regression (N,) float32; classes (N,) int64; labels (N, K) float32
    classes: list[str]  # of classes their names, of labels too; none for regression


def check_kind(kind: Kind | None, targets: Sequence[str]) -> Kind | None:
    """Return the kind; refuse several columns for one that has a single target."""
    if kind not in (None, "multilabel") and len(targets) > 1:
        raise InputError(
            f"--target: got {len(targets)} columns, expected one for --kind {kind}. Several "
            "columns are labels of 0 and 1: --kind multilabel."
        )
    return kind


def guess_kind(table: Table, names: Sequence[str]) -> Kind:
    """Return the kind of problem that the target columns look like."""
    if len(names) > 1:
        return "multilabel"
    numbers, wrong = table.read_numbers(names[0])
    different = np.unique(numbers[~np.isnan(numbers)])
    if wrong.any():
        cells = np.array(table.columns[names[0]])[~table.is_missing(names[0])]
        return "binary" if len(np.unique(cells)) == 2 else "multiclass"
    if len(different) == 2:
        return "binary"
    whole = bool((different == np.round(different)).all())
    few = len(different) <= min(FEW_CLASSES, len(table) / 4)
    return "multiclass" if whole and few else "regression"


def find_bad_targets(table: Table, names: Sequence[str], kind: Kind, bad: Bad) -> None:
    """Take the rows without a target, or with one that is not of the kind."""
    if kind == "multilabel":
        find_bad_marks(table, names, bad)
        return
    for name in names:
        if kind == "regression":
            bad.add(table, np.isnan(table.read_numbers(name)[0]), name, "a number")
        else:
            bad.add(table, table.is_missing(name), name, "a class")


def read_target(table: Table, names: Sequence[str], kind: Kind) -> Target:
    """Read the target columns of a table that has no bad rows.

    Raises:
        InputError: the columns are not of that kind, or hold the same in every row.
    """
    if kind == "multilabel":
        return Target(kind, read_marks(table, names), list(names))
    if kind == "regression":
        values = table.read_numbers(names[0])[0].astype(np.float32)
        if len(np.unique(values)) < 2:
            raise InputError(f"{table.path}: {names[0]!r} is {values[0]:g} in every row.")
        return Target(kind, values, [])
    classes, labels = encode(table, names[0])
    if len(classes) < 2 or (kind == "binary" and len(classes) > 2):
        shown = ", ".join(classes[:5])
        expected = "two" if kind == "binary" else "two or more"
        raise InputError(
            f"{table.path}: {names[0]!r} holds {len(classes)} classes ({shown}), expected "
            f"{expected}."
        )
    return Target(kind, labels, classes)
