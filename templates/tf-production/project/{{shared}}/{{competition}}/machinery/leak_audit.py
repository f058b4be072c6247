"""Look for leaks: what would make the score of the folds better than that of the test rows."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from machinery.competition import CompetitionSchema
from machinery.competition_columns import (
    find_group_columns,
    find_time_columns,
    is_text,
    share_columns,
)
from machinery.competition_images import find_images

NEARLY_ALL = 0.98  # An AUC, R2 or correlation that one column should not reach.
APART = 0.7  # An AUC from which it is worth knowing by what train and test differ.
MOST_ROWS = 20_000  # that are looked at where a model is fitted.
PARTS = 3  # of the cross-validation of such a model.


class Leak(NamedTuple):
    """What was found, and what to do about it."""

    column: str
    finding: str
    advice: str


def say_leaks(
    schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame, raw: Path
) -> None:
    """Print the leaks, or that none was found."""
    leaks = audit(schema, train, test, raw)
    for leak in leaks:
        print(f"leak: {leak.column}: {leak.finding}. {leak.advice}.")
    if not leaks:
        print("Leaks: none found in names, times, groups, equal rows, or single columns.")


def audit(
    schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame, raw: Path
) -> list[Leak]:
    """Return the leaks that were found.

    Args:
        schema: says what the columns are, and how folds are made.
        train: the training rows.
        test: the test rows.
        raw: where the images are.
    """
    names = share_columns(train, test, (schema.id, *schema.targets))
    return [
        *_find_shared_ids(schema, train, test),
        *_find_future(schema, train, test, names),
        *_find_groups(schema, train, test, names),
        *_find_duplicates(schema, train, test, raw),
        *_find_copies(schema, train, test),
    ]


def _find_shared_ids(
    schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame
) -> Iterator[Leak]:
    """Find names that are not of one row alone."""
    shared = train[schema.id].isin(test[schema.id]).sum()
    if shared:
        finding = f"{shared:,} rows of train have names of test"
        yield Leak(schema.id, finding, "See whether they are the same examples, and remove them")
    if twice := train[schema.id].duplicated().sum():
        finding = f"{twice:,} rows have the name of an earlier one"
        yield Leak(schema.id, finding, "Give each row of train a name of its own")


def _find_future(
    schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str]
) -> Iterator[Leak]:
    """Find folds that would learn from later rows than those that they are tested on."""
    if schema.scheme == "time":
        return
    for name in find_time_columns(train, test, names)[:1]:
        yield Leak(
            name,
            f"all rows of test are later than those of train, and {schema.scheme} folds learn "
            "from the future",
            f"Set `scheme: time` and `fold_column: {name}`",
        )


def _find_groups(
    schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str]
) -> Iterator[Leak]:
    """Find groups that are in several folds, or in train and in test."""
    if schema.scheme == "time":
        return
    groups = find_group_columns(train, test, names)
    for name in groups:
        known = test[name].isin(train[name].unique()).sum()
        if known:
            yield Leak(
                name,
                f"{known:,} rows of test are of a value of train, the others of new ones",
                "The public score of these rows may be too good; folds cannot show it",
            )
    column = schema.fold_column if schema.scheme == "group" else ""
    apart = [
        name for name in groups if not column or train.groupby(name)[column].nunique().max() > 1
    ]
    for name in apart[:1]:
        yield Leak(
            name,
            f"its {train[name].nunique():,} values repeat over rows and test has others, so folds "
            "that split them are too easy",
            f"Set `scheme: group` and `fold_column: {name}`, and add it to `drop`",
        )


def _find_duplicates(
    schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame, raw: Path
) -> Iterator[Leak]:
    """Find examples that are in train twice, or in train and in test."""
    contents, of_test, what = digest_examples(schema, train, test, raw)
    repeated = contents.duplicated(keep=False).to_numpy(copy=True)
    if not what or repeated.mean() > 0.5:  # A survey of few questions: equal rows say nothing.
        return
    if count := of_test.isin(contents).sum():
        first = test.loc[of_test.isin(contents).to_numpy(), schema.id].iloc[0]
        finding = f"{count:,} rows of test equal rows of train, {first} for one"
        yield Leak(what, finding, "Their answers are known, so the public score tells less")
    if schema.scheme == "group":  # Equal rows of one group are in one fold.
        groups = train[schema.fold_column].groupby(contents.to_numpy())
        repeated &= (groups.transform("nunique") > 1).to_numpy()
    if not repeated.any():
        return
    truth = train[schema.targets].astype(str).agg("|".join, axis=1)
    differ = (truth.groupby(contents.to_numpy()).transform("nunique") > 1).to_numpy()
    for where, finding, advice in (
        (
            repeated & differ,
            "that have another target",
            "Look at them: one of each is wrong, or a column is missing",
        ),
        (
            repeated & ~differ,
            "with the same target",
            "Remove the copies from train, or folds test what they learned",
        ),
    ):
        if count := int(where.sum()):
            first = train.loc[where, schema.id].iloc[0]
            yield Leak(
                what, f"{count:,} rows of train equal others {finding}, {first} for one", advice
            )


def digest_examples(
    schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame, raw: Path
) -> tuple[pd.Series, pd.Series, str]:
    """Return a digest of the content of each example of train and of test, and what it is of."""
    if schema.task == "image-classification":
        folders = [raw / schema.images, raw / schema.test_images]
        of_train, of_test = _digest_files(folders, [train[schema.id], test[schema.id]])
        return of_train, of_test, "images"
    names = _features(schema, train, test)
    if schema.task == "text-classification":
        names = [schema.text]
    if schema.scheme == "time":  # Days may well be alike.
        names += [n for n in [schema.fold_column] if n in test.columns and n not in names]
    if not names:
        return pd.Series(train.index), pd.Series([], dtype=int), ""
    both = pd.concat([train[names], test[names]], ignore_index=True)
    for name in names:
        if name == schema.text:
            both[name] = both[name].astype(str).str.lower().str.split().str.join(" ")
        elif not is_text(train[name]):  # Test may have whole numbers where train has fractions.
            both[name] = pd.to_numeric(both[name], errors="coerce").astype(float)
    contents = both.groupby(names, dropna=False, sort=False).ngroup()
    of_train, of_test = contents[: len(train)], contents[len(train) :]
    return of_train, of_test, "rows" if schema.task == "tabular" else schema.text


def _digest_files(folders: Sequence[Path], names: Sequence[pd.Series]) -> list[pd.Series]:
    """Return a digest of the file of each name in its folder; of one that is not there, the name.

    A file is read only where another has its size.
    """
    found: list[list[Path | str]] = []
    for folder, ids in zip(folders, names, strict=True):
        known = find_images(folder)
        found.append([known.get(cell, cell) for cell in ids.astype(str)])
    sizes = Counter(p.stat().st_size for ps in found for p in ps if isinstance(p, Path))

    def digest(path: Path | str) -> str:
        if isinstance(path, str):
            return path
        size = path.stat().st_size
        return f"{size}" if sizes[size] == 1 else hashlib.sha256(path.read_bytes()).hexdigest()

    return [pd.Series([digest(path) for path in paths]) for paths in found]


def _find_copies(
    schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame
) -> Iterator[Leak]:
    """Find columns of which one tells the target nearly by itself."""
    train = train.dropna(subset=schema.targets)
    train = train.sample(min(MOST_ROWS, len(train)), random_state=0)
    groups = train[schema.fold_column] if schema.scheme == "group" else None
    for name in [schema.id, *_features(schema, train, test)]:
        column = pd.to_numeric(train[name], errors="coerce") if name == schema.id else train[name]
        names_rows = is_text(column) and column.nunique() > len(train) / 2
        if names_rows or (name == schema.id and column.isna().any()):
            continue
        told = {
            target: how_well_told(column, train[target], schema.kind == "regression", groups)
            for target in schema.targets
        }
        target = max(told, key=lambda each: told[each])
        if told[target] < NEARLY_ALL:
            continue
        finding = f"tells {target} nearly by itself ({told[target]:.3f} of 1)"
        advice = "See whether it is known before the target is, and else add it to `drop`"
        if name == schema.id:
            advice = "The order of the rows tells it: learn nothing from names or row numbers"
        yield Leak(name, finding, advice)


def how_well_told(
    column: pd.Series, target: pd.Series, is_number: bool, groups: pd.Series | None = None
) -> float:
    """Return how well one column tells a target: AUC, R2 or correlation, 1 at best.

    A small tree is fitted, and scored on rows (or groups) that it has not seen.

    Args:
        column: (N,) numbers or texts.
        target: (N,) numbers, or what stands for classes.
        is_number: whether the target is a number.
        groups: (N,) what stays together.
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if column.nunique() < 2 or target.nunique() < 2:
        return 0.0
    shape: dict[str, Any] = {"max_leaf_nodes": 64, "min_samples_leaf": 3, "random_state": 0}
    inputs = encode(column)[:, None]
    if not is_number:
        return cross_validate(DecisionTreeClassifier(**shape), inputs, target, groups)
    told = cross_validate(DecisionTreeRegressor(**shape), inputs, target, groups)
    if is_text(column):
        return told
    return float(np.nanmax([told, abs(column.corr(target, method="spearman"))]))


def cross_validate(
    model: Any, inputs: np.ndarray, target: pd.Series, groups: pd.Series | None
) -> float:
    """Return the mean score of a model of scikit-learn on rows (or groups) that it has not seen.

    Args:
        model: a classifier or a regressor.
        inputs: (N, columns)
        target: (N,) numbers, or what stands for classes.
        groups: (N,) what stays together; None: nothing.

    Returns:
        AUC of two classes, balanced accuracy of more, R2 of numbers; 0 where a class is too rare
    """
    from sklearn import model_selection as selection
    from sklearn.base import is_regressor

    if groups is not None and groups.nunique() < PARTS:
        groups = None
    if is_regressor(model):
        labels, scoring = target.to_numpy(float), "r2"
        shuffled: Any = selection.KFold(PARTS, shuffle=True, random_state=0)
        splitter = shuffled if groups is None else selection.GroupKFold(PARTS)
    else:
        labels, names = pd.factorize(target)
        scoring = "roc_auc" if len(names) == 2 else "balanced_accuracy"
        if np.bincount(labels).min() < PARTS:
            return 0.0
        kind: Any = selection.StratifiedGroupKFold
        kind = selection.StratifiedKFold if groups is None else kind
        splitter = kind(PARTS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of a class that is in few groups, some parts have none.
        scores = selection.cross_val_score(
            model, inputs, labels, groups=groups, cv=splitter, scoring=scoring
        )
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else 0.0


def say_differences(schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame) -> None:
    """Print how well a model tells train from test: 0.5 where they are alike."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    names = _features(schema, train, test) if schema.task == "tabular" else []
    if not names:
        return
    parts = [frame.sample(min(MOST_ROWS, len(frame)), random_state=0) for frame in (train, test)]
    both = pd.concat(parts, ignore_index=True)
    truth = pd.Series(np.arange(len(both)) >= len(parts[0]))
    groups = both[schema.fold_column] if schema.scheme == "group" else None
    inputs = np.stack([encode(both[name]) for name in names], axis=1)
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    area = cross_validate(trees, inputs, truth, groups)
    print(f"Train and test: a model tells them apart with an AUC of {area:.2f} (0.5: not at all).")
    if area < APART:
        return
    told = {name: how_well_told(both[name], truth, False, groups) for name in names}
    most = max(told, key=lambda name: told[name])
    print(f"  Most of it by {most} ({told[most]:.2f}): folds score other rows than those of test.")


def encode(column: pd.Series) -> np.ndarray:
    """Return the rank of each cell, (N,) float64, of texts by the alphabet; 0 where it is missing.

    Trees ask for no more, and a rank is finite where a number may be too large for them.
    """
    cells = column.astype(str).where(column.notna()) if is_text(column) else column
    return cells.rank(method="dense").fillna(0).to_numpy(float)


def _features(schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame) -> list[str]:
    """Return the columns to learn from."""
    if schema.task == "image-classification":
        return []
    return share_columns(train, test, (schema.id, *schema.targets, *schema.drop))
