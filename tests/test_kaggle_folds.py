"""From a competition's raw files to its schema, its leaks, its folds and a dataset for each."""

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from combinations import Combination, combinations
from competitions import COMPETITIONS
from projects import arrays_folder, run, snapshot

Rendered = Callable[[Combination], Path]

# In one process, for each folder: what `understand` says and writes, and folds of the rows, twice.
LOOK = """
import contextlib, io, json, os, sys
sys.path.insert(0, os.getcwd())
from machinery.competition import find_raw, read_schema
from machinery.competition_columns import read_frame
from machinery.competition_schema import understand
from machinery.fold_assignment import assign_folds, choose_splits
found = {}
for folder, task in json.loads(sys.argv[1]).items():
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        understand(task)
    schema = read_schema()
    frame = read_frame(find_raw() / schema.train, as_text=True)
    folds, again = (assign_folds(frame, schema, 4, seed=3).tolist() for _ in range(2))
    splits = [choose_splits(frame, schema, assign_folds(frame, schema, 4, seed=3), fold, seed=3)
              for fold in range(4)]
    found[folder] = {"said": output.getvalue(), "folds": folds, "again": again,
                     "splits": [each.tolist() for each in splits]}
print(json.dumps(found))
"""


def of_task(task: str) -> Combination:
    """Return the combination that takes part in a competition of a task."""
    return next(each for each in combinations if each.kaggle and each.task == task)


def enter(rendered: Rendered, name: str, folder: Path) -> tuple[Path, pd.DataFrame]:
    """Return a project that has a competition's files, and the right answers."""
    competition = COMPETITIONS[name]
    project = shutil.copytree(rendered(of_task(competition.task)), folder / "project")
    return project, competition.write(project / "data" / "raw")


@pytest.fixture(scope="module")
def looked_at(
    rendered: Rendered, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The folder of each competition, and what LOOK found there."""
    folders = {name: tmp_path_factory.mktemp(name) for name in COMPETITIONS}
    for name, folder in folders.items():
        COMPETITIONS[name].write(folder / "data" / "raw")
        (folder / "competition").mkdir()
        (folder / "competition" / "competition.yaml").write_text("slug: small\n")
    tasks = {str(folder): COMPETITIONS[name].task for name, folder in folders.items()}
    result = run(rendered(of_task("tabular")), "-c", LOOK, json.dumps(tasks))
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    return {name: (folder, found[str(folder)]) for name, folder in folders.items()}


@pytest.mark.parametrize("name", COMPETITIONS)
def test_what_a_competition_is_like(
    name: str, looked_at: dict[str, tuple[Path, dict[str, Any]]]
) -> None:
    """Without a word from a person. No leak is found where none was planted."""
    folder, found = looked_at[name]
    written = yaml.safe_load((folder / "competition" / "schema.yaml").read_text("utf-8"))
    assert written == {"task": COMPETITIONS[name].task, "fold_column": "", **expected(name)}
    assert "Leaks: none found" in found["said"]
    assert "entered_by" in found["said"] or name == "images"


def expected(name: str) -> dict[str, Any]:
    return {key: value for key, value in COMPETITIONS[name].schema.items() if value != ""}


@pytest.mark.parametrize("name", COMPETITIONS)
def test_each_row_is_in_one_fold(
    name: str, looked_at: dict[str, tuple[Path, dict[str, Any]]]
) -> None:
    folder, found = looked_at[name]
    assert found["folds"] == found["again"]
    frame = pd.read_csv(folder / "data" / "raw" / "train.csv", dtype=str)
    frame["fold"] = found["folds"]
    by_time = name == "time"
    assert sorted(frame["fold"].unique()) == [*([-1] if by_time else []), 0, 1, 2, 3]
    column = COMPETITIONS[name].schema.get("fold_column")
    for fold, splits in enumerate(found["splits"]):
        splits_of = frame.assign(split=splits)
        assert ((splits_of["split"] == "test") == (frame["fold"] == fold)).all()
        assert {"train", "val", "test"} <= {*splits}
        val = splits.count("val") / (splits.count("val") + splits.count("train"))
        assert 0.05 < val < 0.2
        if column:
            assert splits_of.groupby(column)["split"].nunique().max() == 1


def ids_of(data: Path, split: str) -> list[str]:
    return [str(each) for each in np.load(arrays_folder(data) / f"{split}_ids.npy")]


def test_folds_of_groups(rendered: Rendered, tmp_path: Path) -> None:
    """As a person types it: understood, folded, again, with planted leaks, and with other rows."""
    project, answers = enter(rendered, "grouped", tmp_path)
    raw, folds_path = project / "data" / "raw", project / "competition" / "folds.csv"
    result = run(project, "compete.py", "understand")
    assert result.returncode == 0, result.stderr
    assert re.search(r"city .* elsewhere", result.stdout)
    result = run(project, "compete.py", "folds", "--count", "2", "--", "--seed", "7")
    assert result.returncode == 0, result.stderr

    train = pd.read_csv(raw / "train.csv", dtype=str).set_index("visit_id")
    folds = pd.read_csv(folds_path, dtype={"id": str}).set_index("id")["fold"]
    assert folds.index.tolist() == train.index.tolist()
    assert not {*folds.index} & {*answers["visit_id"].astype(str)}
    for fold in range(2):
        ids = {name: ids_of(project / f"data/fold-{fold}", name) for name in ("train", "val")}
        ids["test"] = ids_of(project / f"data/fold-{fold}", "test")
        assert {*ids["test"]} == {*folds.index[folds == fold]}
        assert sorted(itertools.chain(*ids.values())) == sorted(train.index)
        patients = {name: {*train.loc[each, "patient"]} for name, each in ids.items()}
        assert not patients["train"] & (patients["val"] | patients["test"])
        assert not patients["val"] & patients["test"]
    every = project / "data" / "all"
    assert sorted(ids_of(every, "train")) == sorted(train.index)
    assert all(re.fullmatch(r"val-\d+", each) for each in ids_of(every, "val"))

    before = snapshot(project)
    result = run(project, "compete.py", "folds", "--count", "2", "--", "--seed", "7")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(": is there.") == 3
    assert snapshot(project) == before

    train.iloc[1:].to_csv(raw / "train.csv")
    before = snapshot(project)
    result = run(project, "compete.py", "folds", "--count", "2")
    assert result.returncode == 2
    assert "the training table has changed" in result.stderr
    assert snapshot(project) == before


def test_a_schema_that_is_there_is_audited(rendered: Rendered, tmp_path: Path) -> None:
    """The person's schema is kept; what was planted is named, with advice."""
    project, _ = enter(rendered, "grouped", tmp_path)
    schema = dict(expected("grouped"), task="tabular", scheme="stratified", drop=[])
    del schema["fold_column"]
    text = yaml.safe_dump(schema)
    (project / "competition" / "schema.yaml").write_text(text)
    train = pd.read_csv(project / "data/raw/train.csv")
    test = pd.read_csv(project / "data/raw/test.csv")
    train["paid_after"] = train["helped"] * 3 + 1
    test["paid_after"] = 1
    train.to_csv(project / "data/raw/train.csv", index=False)
    test.to_csv(project / "data/raw/test.csv", index=False)
    result = run(project, "compete.py", "understand")
    assert result.returncode == 0, result.stderr
    assert re.search(r"leak: patient: .*Set `scheme: group` and `fold_col", result.stdout)
    assert re.search(r"leak: paid_after: tells helped nearly by itself", result.stdout)
    assert "Kept" in result.stdout
    assert (project / "competition" / "schema.yaml").read_text() == text


@pytest.mark.parametrize(
    ("name", "options"), [("texts", ["--vocabulary", "50"]), ("images", ["--image-size", "8"])]
)
def test_folds_of_files(name: str, options: list[str], rendered: Rendered, tmp_path: Path) -> None:
    """Of the other tasks, with options that are for their build_dataset.py."""
    project, answers = enter(rendered, name, tmp_path)
    result = run(project, "compete.py", "understand")
    assert result.returncode == 0, result.stderr
    result = run(project, "compete.py", "folds", "--count", "2", "--", *options)
    assert result.returncode == 0, result.stderr
    folds = pd.read_csv(project / "competition" / "folds.csv", dtype=str)
    tested = [ids_of(project / f"data/fold-{fold}", "test") for fold in range(2)]
    names = [re.split(r"\t|\.png", each)[0] for each in itertools.chain(*tested)]
    assert sorted(names) == sorted(folds["id"])
    assert not {*names} & {*answers.iloc[:, 0].astype(str)}
    described = json.loads((project / "data" / "all" / "dataset.json").read_text())
    assert described["examples"]["train"] == len(folds)
    left = {path.suffix for path in (project / "data" / "raw-with-folds").iterdir()}
    assert left == {".csv", ".sha256"}


def test_a_project_for_another_task(rendered: Rendered, tmp_path: Path) -> None:
    project = shutil.copytree(rendered(of_task("tabular")), tmp_path / "project")
    before = snapshot(project)
    result = run(project, "compete.py", "folds")
    assert result.returncode == 2
    assert "python compete.py understand" in result.stderr
    result = run(project, "compete.py", "understand")
    assert result.returncode == 2
    assert "python compete.py get" in result.stderr
    assert snapshot(project) == before
    COMPETITIONS["images"].write(project / "data" / "raw")
    result = run(project, "compete.py", "understand")
    assert result.returncode == 2
    assert "-d task=image-classification" in result.stderr
    assert not (project / "competition" / "schema.yaml").exists()
