"""What the files of a competition are taken for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from machinery.competition import CompetitionSchema, read_schema
from machinery.competition_columns import read_frame
from machinery.competition_schema import (
    check_task,
    discover,
    find_tables,
    format_schema,
    read_files,
    understand,
)
from machinery.errors import InputError
from machinery.hidden_test import make_hidden_test

COUNT = 60
NUMBERS = [number * 37 % 61 / 7 for number in range(COUNT)]


def write(folder: Path, train: Mapping[str, Any], sample: Mapping[str, Any]) -> None:
    """Write a competition: train with these columns beside id and size, test without them."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"id": [f"{row:03}" for row in range(COUNT)], "size": NUMBERS})
    frame.assign(**train).to_csv(folder / "train.csv", index=False)
    frame.assign(id=[f"t{row}" for row in range(COUNT)]).to_csv(folder / "test.csv", index=False)
    asked = pd.DataFrame({"id": [f"t{row}" for row in range(COUNT)]})
    asked.assign(**sample).to_csv(folder / "sample_submission.csv", index=False)


def found(folder: Path, train: Mapping[str, Any], sample: Mapping[str, Any]) -> CompetitionSchema:
    write(folder, train, sample)
    return discover(folder, read_files(*find_tables(folder)), "tabular")


@pytest.mark.parametrize(
    ("train", "sample", "kind", "answer"),
    [
        ({"y": [0, 1] * 30}, {"y": 0}, "binary", "labels"),
        ({"y": [0, 1] * 30}, {"y": 0.5}, "binary", "probabilities"),
        ({"y": [True, False] * 30}, {"y": False}, "binary", "labels"),
        ({"y": ["no", "yes"] * 30}, {"y": "no"}, "binary", "labels"),
        ({"y": [3, 1, 2] * 20}, {"y": 1}, "multiclass", "labels"),
        ({"y": [3, 1, 2] * 20}, {"y": 2.5}, "regression", "values"),
        ({"y": list("abc") * 20}, {"y": "a"}, "multiclass", "labels"),
        ({"y": NUMBERS}, {"y": 0}, "regression", "values"),
        ({"y": [0, 1] * 30, "z": [1, 1, 0] * 20}, {"y": 0, "z": 0}, "multilabel", "labels"),
        ({"y": [0, 1] * 30}, {"prediction": 0.5}, "binary", "probabilities"),
    ],
)
def test_kinds_and_answers(
    tmp_path: Path, train: dict[str, Any], sample: dict[str, Any], kind: str, answer: str
) -> None:
    schema = found(tmp_path, train, sample)
    assert (schema.kind, schema.answer) == (kind, answer)
    assert schema.targets == [*train]
    assert schema.scheme == "stratified"


def test_a_column_for_each_class(tmp_path: Path) -> None:
    """In the order of the submission; named by the class, or by the column, too."""
    status = {"Status": ["C", "D", "CL"] * 20}
    sample = dict.fromkeys(("Status_D", "Status_C", "Status_CL"), 0.3)
    schema = found(tmp_path, status, sample)
    assert (schema.targets, schema.classes) == (["Status"], ["D", "C", "CL"])
    assert (schema.kind, schema.answer) == ("multiclass", "probabilities")
    assert found(tmp_path, {"y": [2, 0, 1] * 20}, {"0": 0, "1": 0, "2": 0}).classes == list("012")


def test_columns_that_are_not_learned_from(tmp_path: Path) -> None:
    """Those that test lacks, and names of rows."""
    write(tmp_path, {"y": [0, 1] * 30, "by": "anna"}, {"y": 0})
    for name in ("train.csv", "test.csv"):
        frame = pd.read_csv(tmp_path / name)
        frame["person"] = [f"{name} {row}" for row in range(COUNT)]
        frame.to_csv(tmp_path / name)
    schema = discover(tmp_path, read_files(*find_tables(tmp_path)), "tabular")
    assert schema.drop == ["by", "Unnamed: 0", "person"]


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    schema = found(tmp_path, {"no: #1": ["ä\n", "null"] * 30}, {"no: #1": "null"})
    (tmp_path / "competition").mkdir()
    (tmp_path / "competition/schema.yaml").write_text(format_schema(schema), encoding="utf-8")
    assert read_schema() == schema


def test_what_cannot_be_found_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no table there whose name has train in it"):
        find_tables(tmp_path)
    with pytest.raises(InputError, match=r"asks for a, b, and .*; test lacks y"):
        found(tmp_path, {"y": [0, 1] * 30}, {"a": 0, "b": 0})
    with pytest.raises(InputError, match=r"2 targets, and z is not of 0 and 1 alone"):
        found(tmp_path, {"y": [0, 1] * 30, "z": NUMBERS}, {"y": 0, "z": 0})
    pd.DataFrame({"Id": [1], "y": [0]}).to_csv(tmp_path / "sample_submission.csv", index=False)
    with pytest.raises(InputError, match=r"train.csv: no column 'Id', which is the first"):
        read_files(*find_tables(tmp_path))


def test_a_project_for_another_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "competition").mkdir()
    (tmp_path / "competition/competition.yaml").write_text(
        "slug: some-competition\n", encoding="utf-8"
    )
    write(tmp_path / "data/raw", {"y": [0, 1] * 30}, {"y": 0})
    with pytest.raises(InputError, match=r"looks like tabular.*-d task=tabular"):
        understand("text-classification")
    with pytest.raises(InputError, match=r"for object-detection, and competitions are for"):
        understand("object-detection")
    assert not (tmp_path / "competition/schema.yaml").exists()


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["10", "2", "1", ""], ["1", "2", "10"]),
        (["2.0", "0.0", "1.0", "0.0"], ["0.0", "1.0", "2.0"]),
        ([1234567.0, 2.0, 3.0, None], ["2.0", "3.0", "1234567.0"]),
        (["b", "10", "9", "10"], ["10", "9", "b"]),
    ],
)
def test_classes_are_called_as_their_cells(
    tmp_path: Path, cells: list[Any], classes: list[str]
) -> None:
    """Also beside missing ones, where pandas reads whole numbers as fractions."""
    schema = found(tmp_path, {"y": cells * 15}, {"y": cells[1]})
    assert (schema.kind, schema.classes) == ("multiclass", classes)


def test_a_kind_that_the_task_does_not_learn(tmp_path: Path) -> None:
    schema = found(tmp_path, {"y": NUMBERS}, {"y": 0.5})
    check_task(schema, "tabular")
    for task, kind in (
        *(("text-classification", "regression"), ("text-classification", "multilabel")),
        ("image-classification", "regression"),
    ):
        other = schema.model_copy(update={"task": task, "kind": kind})
        with pytest.raises(InputError, match=f"y: got {kind}, but {task} learns binary, multicl"):
            check_task(other, task)


def test_a_parquet_file_is_read_as_text_too(tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    frame = pd.DataFrame({"id": [1, 2], "size": [0.5, None], "word": ["a", None]})
    frame.to_parquet(path)
    texts = {"id": ["1", "2"], "size": ["0.5", ""], "word": ["a", ""]}
    assert read_frame(path, as_text=True).to_dict("list") == texts
    assert read_frame(path, ["id"])["id"].tolist() == ["1", "2"]
    pd.DataFrame({"id": [1, 2], "y": 0}).to_csv(tmp_path / "sample.csv", index=False)
    schema = found(tmp_path / "raw", {"y": [0, 1] * 30}, {"y": 0}).model_copy(
        update={"test": "test.parquet", "sample_submission": "sample.csv"}
    )
    (tmp_path / "hidden").mkdir()
    made = make_hidden_test(tmp_path, schema, tmp_path / "hidden")
    hidden = pd.read_parquet(made["test.parquet"])
    assert hidden["id"].tolist() == [1, 2, 3, 4, 5, 6]
    assert hidden["size"].isna().sum() == 3
    assert hidden["word"][2] == "seen by nobody"
