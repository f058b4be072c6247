"""The datasets of the folds: with the options that the folds were made with."""

import json
from pathlib import Path
from typing import Any

import pytest

from machinery import fold_datasets
from machinery.fold_datasets import prepare_folds, read_description

SCHEMA = {
    **{"task": "tabular", "kind": "regression", "answer": "values", "id": "id", "targets": ["y"]},
    **{"train": "train.csv", "test": "test.csv", "sample_submission": "test.csv"},
}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of each dataset that would have been built, in a competition of ten rows."""
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    rows = "".join(f"{row},{row / 7}\n" for row in range(40))
    Path("data/raw/train.csv").write_text(f"id,y\n{rows}")
    Path("competition").mkdir()
    Path("competition/competition.yaml").write_text("slug: small\n")
    Path("competition/schema.yaml").write_text(json.dumps(SCHEMA))
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
