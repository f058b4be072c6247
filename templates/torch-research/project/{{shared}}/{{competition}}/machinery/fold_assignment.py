"""Which fold each training row is in: the same on every machine, for the same rows and seed."""

import warnings

import numpy as np
import pandas as pd

from machinery.argument_parser import LARGEST_SEED
from machinery.competition import CompetitionSchema
from machinery.competition_columns import to_times
from machinery.errors import InputError

VAL_PARTS = 10  # One of so many parts of what is not tested on becomes val.
BINS = 10  # By size, of a target that is a number.
NEVER = -1  # The fold of rows that are never tested on: the earliest ones.


def assign_folds(
    frame: pd.DataFrame, schema: CompetitionSchema, count: int, seed: int
) -> np.ndarray:
    """Return the fold of each row, (N,) int64, 0 to count - 1; by time -1 for the earliest.

    Args:
        frame: the training rows.
        schema: says by what the folds are made.
        count: of the folds.
        seed: chooses them; by time there is no choice.

    Raises:
        InputError: there are too few rows, groups or times.
    """
    if schema.scheme == "time":
        return split_times(read_times(frame, schema.fold_column), count + 1) - 1
    return _assign(frame, schema, count, seed)


def choose_splits(
    frame: pd.DataFrame, schema: CompetitionSchema, folds: np.ndarray, fold: int, seed: int
) -> np.ndarray:
    """Return the split of each row in the dataset of a fold, (N,) str; "" where it is in none.

    Test is the fold. Val is about a tenth of the rest, chosen as the folds are: no group of val is
    in train, and by time it is the latest. By time the rest are the rows before the fold.

    Args:
        frame: the training rows.
        schema: says by what the folds are made.
        folds: (N,), of each row.
        fold: the one to test on.
        seed: chooses val.
    """
    splits = np.full(len(frame), "", "U5")
    splits[folds == fold] = "test"
    rest = np.flatnonzero(folds < fold if schema.scheme == "time" else folds != fold)
    if schema.scheme == "time":
        times = read_times(frame, schema.fold_column)[rest]
        held_out = split_times(times, min(VAL_PARTS, len(np.unique(times))))
        chosen = held_out == held_out.max()
    else:
        inner = frame.iloc[rest].reset_index(drop=True)
        parts = VAL_PARTS
        if schema.scheme == "group":
            parts = min(parts, inner[schema.fold_column].nunique())
        chosen = _assign(inner, schema, parts, (seed + fold + 1) % (LARGEST_SEED + 1)) == 0
    splits[rest] = np.where(chosen, "val", "train")
    return splits


def _assign(frame: pd.DataFrame, schema: CompetitionSchema, count: int, seed: int) -> np.ndarray:
    """Return the part of each row, (N,) int64, at random, or with respect to strata or groups."""
    from sklearn.model_selection import KFold, StratifiedKFold

    if schema.scheme == "group":
        groups = frame[schema.fold_column].to_numpy()
        return deal_groups(groups, stratify(frame, schema, count), count, seed)
    if len(frame) < count:
        raise InputError(f"{schema.train}: {len(frame)} rows are too few for {count} folds.")
    strata, splitter = None, KFold(count, shuffle=True, random_state=seed)
    if schema.scheme == "stratified":
        strata = stratify(frame, schema, count)
        splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
        if np.bincount(strata).max() < count:
            raise InputError(
                f"{schema.train}: no class has {count} rows. Make fewer folds with --count, or set "
                "`scheme: random`."
            )
    parts = np.zeros(len(frame), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # A class of few rows is not in every fold.
        for number, (_, rows) in enumerate(splitter.split(np.zeros(len(frame)), strata)):
            parts[rows] = number
    return parts


def stratify(frame: pd.DataFrame, schema: CompetitionSchema, count: int) -> np.ndarray:
    """Return what to keep the shares of, (N,) int64: classes, rarest labels, or tenths by size."""
    if schema.kind == "multilabel":
        labels = frame[schema.targets].astype(float).to_numpy() > 0
        rarest_first = labels.sum(axis=0).argsort(kind="stable")
        marked = labels[:, rarest_first]
        return np.where(marked.any(axis=1), marked.argmax(axis=1), marked.shape[1])
    target = frame[schema.targets[0]]
    if schema.kind == "regression":
        ranks = pd.to_numeric(target, errors="coerce").argsort(kind="stable").argsort(kind="stable")
        bins = max(1, min(BINS, len(frame) // count))
        return (ranks.to_numpy() * bins // len(frame)).astype(np.int64)
    return np.unique(target.astype(str), return_inverse=True)[1].astype(np.int64)


def deal_groups(groups: np.ndarray, strata: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the part of each row, (N,) int64, so that each group is in one.

    The largest group comes first, and each goes where its strata are rarest so far. All is
    computed in whole numbers and groups of one size come in an order of our own, because
    scikit-learn's GroupKFold orders them differently on different machines:
    https://github.com/scikit-learn/scikit-learn/issues/29495

    Args:
        groups: (N,) such as patients.
        strata: (N,) int, such as the class.
        count: of the parts.
        seed: the order of groups of one size.

    Raises:
        InputError: there are fewer groups than parts.
    """
    names, numbers = np.unique(groups.astype(str), return_inverse=True)
    if len(names) < count:
        raise InputError(f"got {len(names)} groups, which are too few for {count} folds (--count).")
    held = np.zeros((len(names), strata.max() + 1), np.int64)
    np.add.at(held, (numbers, strata), 1)
    weights = len(groups) // np.maximum(held.sum(axis=0), 1)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-held[shuffled].sum(axis=1), kind="stable")]
    dealt = np.zeros((count, held.shape[1]), np.int64)
    part_of = np.zeros(len(names), np.int64)
    for group in order.tolist():
        # By how much the sum of the squares of the counts would grow.
        growth = ((2 * dealt * held[group] + held[group] ** 2) * weights).sum(axis=1)
        part = min(range(count), key=lambda each: (growth[each], dealt[each].sum(), each))
        dealt[part] += held[group]
        part_of[group] = part
    return part_of[numbers]


def read_times(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Return the time of each row, (N,) float64.

    Raises:
        InputError: a cell is none.
    """
    numbers = pd.to_numeric(frame[column], errors="coerce")
    times = (numbers if numbers.notna().all() else to_times(frame[column])).to_numpy(float)
    if np.isnan(times).any():
        row = int(np.isnan(times).argmax())
        raise InputError(
            f"{column}: got {frame[column].iloc[row]!r} in row {row + 2}, expected a date such as "
            "2026-01-31, or a number."
        )
    return times


def split_times(times: np.ndarray, count: int) -> np.ndarray:
    """Return the block of each row, (N,) int64, the earliest first, of about as many rows each.

    Rows of one time are in one block.

    Raises:
        InputError: there are fewer different times than blocks.
    """
    different, numbers, rows = np.unique(times, return_inverse=True, return_counts=True)
    if len(different) < count:
        raise InputError(
            f"got {len(different)} different times, expected {count} or more. Make fewer folds "
            "with --count, or name a finer column in `fold_column`."
        )
    middles = rows.cumsum() - (rows + 1) // 2
    blocks = middles * count // len(times)
    # A time with most of the rows may leave blocks empty: number those that there are.
    blocks = np.unique(blocks, return_inverse=True)[1]
    if blocks.max() + 1 < count:
        raise InputError(
            f"most rows are of {len(different) // 2 or 1} times or fewer, which leaves no rows for "
            f"{count} blocks of time. Make fewer folds with --count."
        )
    return blocks[numbers].astype(np.int64)
