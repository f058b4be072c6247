"""The datasets of the folds: with the options that the folds were made with."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from machinery import fold_datasets
from machinery.argument_parser import LARGEST_SEED
from machinery.competition import fold_folders, read_schema
from machinery.errors import InputError
from machinery.fit_on_all import fit_on_all
from machinery.fold_datasets import prepare_folds
from machinery.frozen_folds import FOLDS, check_schema, read_description

SCHEMA = {
    **{"task": "tabular", "kind": "regression", "answer": "values", "id": "id", "targets": ["y"]},
    **{"train": "train.csv", "test": "test.csv", "sample_submission": "test.csv"},
}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of each dataset that would have been built, in a competition of 40 rows."""
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    rows = "".join(f"{row},{row / 7}\n" for row in range(40))
    Path("data/raw/train.csv").write_text(f"id,y\n{rows}", encoding="utf-8")
    Path("data/raw/test.csv").write_text("id\n40\n", encoding="utf-8")
    Path("competition").mkdir()
    Path("competition/competition.yaml").write_text("slug: small\n", encoding="utf-8")
    Path("competition/schema.yaml").write_text(json.dumps(SCHEMA), encoding="utf-8")
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(fold_datasets, "build", lambda *arguments: calls.append(arguments))
    return calls


def test_options_are_kept(built: list[tuple[Any, ...]]) -> None:
    def options_of(overwrite: bool, *given: str) -> list[str]:
        built.clear()
        prepare_folds(2, 0, overwrite, given)
        assert len({tuple(arguments[-1]) for arguments in built}) == 1
        assert [*built[0][-1]] == read_description()["options"]
        return read_description()["options"]

    assert options_of(False, "--skip-bad") == ["--skip-bad"]
    assert options_of(False) == ["--skip-bad"]
    assert options_of(False, "--seed", "1") == ["--seed", "1"]
    assert options_of(True) == []


@pytest.mark.usefixtures("built")
def test_a_corrected_schema_keeps_the_folds_and_asks_for_new_datasets() -> None:
    """What the datasets do not hold may be corrected at any time."""
    for name in ("train.csv", "test.csv"):
        rows = "".join(f"{row},{row / 7},0\n" for row in range(40))
        Path("data/raw", name).write_text(f"id,y,x\n{rows}", encoding="utf-8")
    prepare_folds(2, 0, False, [])
    frozen = FOLDS.read_bytes()
    correct({"answer": "labels"})
    check_schema(read_schema())
    correct({"drop": ["x"]})
    with pytest.raises(InputError, match=r"drop: got \['x'\], but .* made by \[\]"):
        check_schema(read_schema())
    prepare_folds(2, 0, False, [])
    check_schema(read_schema())
    assert FOLDS.read_bytes() == frozen


def correct(changes: dict[str, Any]) -> None:
    """Change values of schema.yaml."""
    text = json.dumps(SCHEMA | changes)
    Path("competition/schema.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("regression", "", "train.csv:4: y: got '', expected a number. Remove such rows"),
        ("regression", "inf", "got 'inf', expected a number"),
        ("multiclass", "NaN", "train.csv:4: y: got 'NaN', expected a class"),
        ("multiclass", "2", "y: got '2', expected one of 0, 1"),
        ("multiclass", "1", "y: got 0, 1, expected rows of 0, 1, 5"),
        ("binary", "2", "y: got 0, 1, 2, expected two classes"),
        ("multilabel", "2", "y: got '2', expected 0 or 1"),
    ],
)
@pytest.mark.usefixtures("built")
def test_a_target_that_is_none_is_said_before_folds_are_written(
    kind: str, cell: str, expected: str
) -> None:
    targets = ["0", "1", cell] + ["0", "1"] * 20
    rows = "".join(f"{row},{target}\n" for row, target in enumerate(targets))
    Path("data/raw/train.csv").write_text(f"id,y\n{rows}", encoding="utf-8")
    classes = ["0", "1", "5"][: 3 if cell == "1" else 2] if kind == "multiclass" else []
    schema = SCHEMA | {"kind": kind, "answer": "labels", "classes": classes}
    Path("competition/schema.yaml").write_text(json.dumps(schema), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(expected)):
        prepare_folds(2, 0, False, [])
    assert not Path("competition/folds.csv").exists()


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        ([], "drop: test.csv has no column 'hint', so nothing can be learned from it"),
        (["hin"], "drop: train.csv has no column 'hin'"),
    ],
)
@pytest.mark.usefixtures("built")
def test_a_column_that_test_lacks_is_refused_before_folds_are_written(
    drop: list[str], expected: str
) -> None:
    rows = "".join(f"{row},{row},{row}\n" for row in range(40))
    Path("data/raw/train.csv").write_text(f"id,hint,y\n{rows}", encoding="utf-8")
    schema = json.dumps(SCHEMA | {"drop": drop})
    Path("competition/schema.yaml").write_text(schema, encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        prepare_folds(2, 0, False, [])
    assert not Path("competition/folds.csv").exists()


@pytest.mark.parametrize(
    ("count", "seed", "expected"), [(1, 0, "--count: got 1"), (2, -1, "--seed: got -1")]
)
@pytest.mark.usefixtures("built")
def test_a_number_that_folds_cannot_have(count: int, seed: int, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        prepare_folds(count, seed, False, [])


def test_the_largest_seed_chooses_folds_beside_a_copy(built: list[tuple[Any, ...]]) -> None:
    for name in ("fold-0-old", "fold-1"):
        Path("data", name).mkdir()
        Path("data", name, "dataset.json").write_text("{}", encoding="utf-8")
    prepare_folds(2, LARGEST_SEED, False, [])
    assert [arguments[3] for arguments in built] == ["fold-0", "fold-1", "all"]
    assert [path.name for path in fold_folders()] == ["fold-1"]


def test_a_fold_that_still_trains_has_no_best_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("experiments/first/fold-0")
    run.mkdir(parents=True)
    (run / "params.yaml").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"fold-0: is not trained to its end"):
        fit_on_all(run.parent)
