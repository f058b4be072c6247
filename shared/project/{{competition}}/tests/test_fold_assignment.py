"""Folds: each row once, nothing that belongs together apart, and the same on every machine."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from machinery.competition import CompetitionSchema
from machinery.errors import InputError
from machinery.fold_assignment import assign_folds, choose_splits, deal_groups, stratify


def make_schema(**values: Any) -> CompetitionSchema:
    common: dict[str, Any] = {"task": "tabular", "train": "train.csv", "test": "test.csv"}
    common |= {"sample_submission": "sample_submission.csv", "id": "id", "targets": ["y"]}
    common |= {"kind": "binary", "answer": "probabilities", "scheme": "stratified"}
    return CompetitionSchema.model_validate(common | values)


def make_rows(count: int = 200) -> pd.DataFrame:
    """Rows as folds read them: every cell is a text. One in five is of the second class."""
    generator = np.random.default_rng(0)
    days = pd.date_range("2025-01-01", periods=count // 2).repeat(2).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"id": np.arange(count), "y": (np.arange(count) % 5 == 0).astype(int)})
    frame = frame.assign(day=days, who=generator.integers(0, 30, count))
    return frame.sample(frac=1, random_state=0).reset_index(drop=True).astype(str)


def test_every_fold_has_its_share_of_each_class() -> None:
    frame, schema = make_rows(), make_schema()
    folds = assign_folds(frame, schema, 5, seed=0)
    assert np.bincount(folds).tolist() == [40] * 5
    assert np.bincount(folds[frame["y"] == "1"]).tolist() == [8] * 5
    assert (folds == assign_folds(frame, schema, 5, seed=0)).all()
    assert (folds != assign_folds(frame, schema, 5, seed=1)).any()
    splits = choose_splits(frame, schema, folds, 2, seed=0)
    assert {*splits[folds == 2]} == {"test"}
    assert (splits == "val").sum() == 16
    assert ((splits == "val") & (frame["y"] == "1")).sum() in (3, 4)


def test_a_class_of_few_rows_is_in_some_folds() -> None:
    frame = make_rows()
    frame.loc[:2, "y"] = "2"
    folds = assign_folds(frame, make_schema(kind="multiclass"), 5, seed=0)
    assert len({*folds[:3]}) == 3


def test_strata() -> None:
    """Tenths of a number by size; of labels the rarest, and a last one for rows without any."""
    frame = pd.DataFrame({"y": [str(3.5 * value) for value in range(40)]})
    tenths = stratify(frame, make_schema(kind="regression"), 4)
    assert tenths.tolist() == np.repeat(np.arange(10), 4).tolist()
    labels = pd.DataFrame({"y": ["1", "1", "1", "0"], "z": ["0", "1", "0", "0"]})
    of_labels = stratify(labels, make_schema(kind="multilabel", targets=["y", "z"]), 2)
    assert of_labels.tolist() == [1, 0, 1, 2]


def test_groups_stay_together_in_folds_and_in_val() -> None:
    frame, schema = make_rows(), make_schema(scheme="group", fold_column="who")
    folds = assign_folds(frame, schema, 4, seed=0)
    assert frame.assign(fold=folds).groupby("who")["fold"].nunique().max() == 1
    assert np.bincount(folds).min() > 40
    for fold in range(4):
        splits = choose_splits(frame, schema, folds, fold, seed=0)
        assert {*splits} == {"train", "val", "test"}
        assert frame.assign(split=splits).groupby("who")["split"].nunique().max() == 1


def test_groups_are_dealt_the_same_on_every_machine() -> None:
    """Also those of one size, which scikit-learn orders by what the machine's sort does."""
    groups = np.array(list("aabbccddeeff") + ["g"] * 3)
    strata = np.array([0, 1] * 6 + [1, 1, 1])
    parts = deal_groups(groups, strata, 3, seed=0)
    expected = {"a": 0, "b": 1, "c": 1, "d": 1, "e": 2, "f": 2, "g": 0}
    assert dict(zip(groups.tolist(), parts.tolist(), strict=True)) == expected
    order = np.random.default_rng(1).permutation(len(groups))
    assert (deal_groups(groups[order], strata[order], 3, seed=0) == parts[order]).all()


def test_later_rows_are_tested_on_earlier_ones() -> None:
    frame, schema = make_rows(), make_schema(scheme="time", fold_column="day")
    folds = assign_folds(frame, schema, 4, seed=0)
    assert np.bincount(folds + 1).tolist() == [40] * 5
    for fold in range(4):
        splits = choose_splits(frame, schema, folds, fold, seed=0)
        days = {name: frame["day"][splits == name] for name in ("train", "val", "test", "")}
        assert days["train"].max() < days["val"].min() <= days["val"].max() < days["test"].min()
        assert fold == 3 or days["test"].max() < days[""].min()


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ({"scheme": "group", "fold_column": "who"}, 40, "groups, which are too few for 40"),
        ({"scheme": "time", "fold_column": "y"}, 5, "got 2 different times"),
        ({"scheme": "time", "fold_column": "word"}, 5, "word: got 'soon' in row 2"),
        ({"scheme": "random"}, 300, "200 rows are too few"),
        ({}, 190, "no class has 190 rows"),
    ],
)
def test_too_few_rows(values: dict[str, Any], count: int, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        assign_folds(make_rows().assign(word="soon"), make_schema(**values), count, seed=0)
