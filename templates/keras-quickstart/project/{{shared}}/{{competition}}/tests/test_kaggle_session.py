"""Predicting a hidden test set: whatever it holds and however short the time, a submission."""

import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery import kaggle_parts, kaggle_server, kaggle_session, kaggle_training
from machinery.competition import CompetitionSchema
from machinery.errors import InputError
from machinery.hidden_test import make_hidden_test
from machinery.kaggle_parts import FailedError, Model, Part, read_predictions, split
from machinery.kaggle_session import Budget, Store, predict_test, to_submission
from machinery.simulated_machine import Machine
from machinery.simulation import check_links

SCHEMA = CompetitionSchema(
    task="tabular",
    kind="regression",
    train="train.csv",
    test="test.csv",
    sample_submission="sample.csv",
    id="row",
    targets=["y"],
    answer="values",
)
MODELS = [Model(Path(f"fold-{number}"), "best") for number in range(3)]


@pytest.fixture(autouse=True)
def _working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kaggle_session, "WORKING", tmp_path)


def table(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"row": [str(each) for each in range(rows)], "colour": "red"}, dtype=str)


def predictor(monkeypatch: pytest.MonkeyPatch, fails: str = "", seconds: float = 0.0) -> list[str]:
    """Put in the place of predict.py what predicts the number of the network; note the calls."""
    calls = []

    def predict(part: Part, model: Model, *_: object) -> pd.DataFrame:
        calls.append(f"{model.folder.name}-{part.number}")
        time.sleep(seconds)
        if model.folder.name == fails:
            raise FailedError("broken")
        value = float(model.folder.name[-1])
        return pd.DataFrame({"y": value}, index=part.rows.index)

    monkeypatch.setattr(kaggle_session, "predict_part", predict)
    return calls


def predict(rows: int, minutes: float = 1.0) -> np.ndarray | None:
    budget, store = Budget(minutes, time.monotonic()), Store("predictions-1")
    found = predict_test(table(rows), MODELS, SCHEMA, Path(), budget, store)
    return None if found is None else found["y"].to_numpy()


@pytest.mark.parametrize("rows", [1, 4_500])
def test_the_mean_of_all_networks(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor(monkeypatch)
    np.testing.assert_array_equal(predict(rows), np.ones(rows))


def test_no_rows_have_no_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not predictor(monkeypatch)
    assert predict(0) is None


def test_a_network_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor(monkeypatch, fails="fold-2")
    np.testing.assert_array_equal(predict(5), np.full(5, 0.5))


def test_fewer_networks_where_the_time_is_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = predictor(monkeypatch, seconds=0.3)
    np.testing.assert_array_equal(predict(5, minutes=0.5 / 60), np.zeros(5))
    assert calls == ["fold-0-0"]
    assert "1 of 3 networks" in capsys.readouterr().out


def test_predictions_of_an_earlier_version_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = predictor(monkeypatch)
    predict(5)
    predict(5)
    assert len(calls) == len(MODELS)


def test_parts_hold_each_row_once() -> None:
    parts = split(table(25_000))
    assert len(parts) == 10
    assert pd.concat([part.rows for part in parts])["row"].tolist() == table(25_000)["row"].tolist()
    assert split(table(0)) == []


def test_rows_are_found_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("id,y\nrow-4,0.5\n", encoding="utf-8")
    assert read_predictions(path, SCHEMA, 10).loc[12, "y"] == 0.5
    path.write_text("id,y\nimages/7.png,0.5\n8,0.25\n", encoding="utf-8")
    assert read_predictions(path, SCHEMA, 0).loc[[7, 8], "y"].tolist() == [0.5, 0.25]
    path.write_text("id,predicted,no,yes\n3,no,0.75,0.25\n", encoding="utf-8")
    binary = SCHEMA.model_copy(update={"kind": "binary"})
    assert read_predictions(path, binary, 0).loc[3, "y"] == 0.25


def test_rows_without_a_prediction_have_the_values_of_the_sample() -> None:
    sample = pd.DataFrame({"row": ["2", "1", "0"], "y": ["7", "7", "7"]})
    ids = pd.Series(["0", "1", "2"])
    predictions = pd.DataFrame({"y": [0.5, np.nan, 1.5]})
    made = to_submission(ids, predictions, SCHEMA, sample, [])
    assert made["row"].tolist() == ["2", "1", "0"]
    assert [float(each) for each in made["y"]] == [1.5, 7.0, 0.5]
    assert to_submission(ids, None, SCHEMA, sample, []).equals(sample)


def test_a_sample_of_other_rows_gives_way_to_the_test_set() -> None:
    sample = pd.DataFrame({"row": ["a"], "y": ["7"]})
    made = to_submission(pd.Series(["0", "1"]), None, SCHEMA, sample, [])
    assert made.to_dict("list") == {"row": ["0", "1"], "y": ["7", "7"]}
    empty = to_submission(pd.Series([], dtype=str), None, SCHEMA, sample, [])
    assert list(empty.columns) == ["row", "y"]
    assert empty.empty


def test_the_hidden_test_set_is_larger_and_holds_what_is_new(tmp_path: Path) -> None:
    table(20).to_csv(tmp_path / "test.csv", index=False)
    table(20)[["row"]].assign(y=0).to_csv(tmp_path / "sample.csv", index=False)
    (tmp_path / "hidden").mkdir()
    made = make_hidden_test(tmp_path, SCHEMA, tmp_path / "hidden")
    test, sample = (pd.read_csv(made[name]) for name in ("test.csv", "sample.csv"))
    assert test["row"].tolist() == sample["row"].tolist() == list(range(60))
    assert {*test["colour"][:20]} == {"red"}
    assert len({*test["colour"]}) == 2


def test_training_goes_on_from_the_output_of_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kaggle_parts, "KAGGLE_INPUT", tmp_path / "input")
    monkeypatch.setattr(kaggle_training, "WORKING", tmp_path / "working")
    before = tmp_path / "input" / "notebooks" / "ada" / "some-notebook" / "experiments" / "first"
    (before / "fold-0").mkdir(parents=True)
    (before / "fold-0" / "params.yaml").write_text("training: {}", encoding="utf-8")
    (tmp_path / "experiments").mkdir()
    kaggle_training.continue_from_inputs("first")
    for place in ("experiments", "working/experiments"):
        assert (tmp_path / place / "first" / "fold-0" / "params.yaml").exists()


def test_training_prepares_the_folds_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    described: dict[str, object] = {"count": 3, "seed": 7, "sha256": "0"}
    monkeypatch.setattr(kaggle_training, "read_description", lambda: described)
    words = ["compete.py", "folds", "--count=3", "--seed=7"]
    assert kaggle_training.folds_command() == words
    described["options"] = ["--size", "64"]
    assert kaggle_training.folds_command() == [*words, "--", "--size", "64"]


def test_a_batch_that_cannot_be_answered_has_the_values_of_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails; and all that is the person's runs in the project's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kaggle_parts, "read_classes", lambda _: [])
    folders = []

    def fail(*_: object) -> None:
        folders.append(Path.cwd())
        raise ValueError("postprocess")

    monkeypatch.setattr(kaggle_server, "to_submission", fail)
    sample = pd.DataFrame({"row": ["0"], "y": ["7"]})
    budget = Budget(0.0, time.monotonic())
    predictor = kaggle_server.Predictor(MODELS, SCHEMA, Path(), budget, sample)
    answers = predictor.predict(pd.DataFrame({"row": [5, 6]}))
    assert answers.to_dict("list") == {"row": [5, 6], "y": [7, 7]}
    assert folders == [Path(__file__).resolve().parent.parent]
    assert Path.cwd() == tmp_path


def test_a_machine_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows deletes no file that cannot be written."""
    raw, tree = tmp_path / "raw", tmp_path / "tree"
    raw.mkdir()
    (raw / "test.csv").write_text("row", encoding="utf-8")
    tree.mkdir()
    monkeypatch.setattr(Machine, "_try_namespace", lambda _: False)
    machine = Machine(tree, {"competition": raw})
    copy = tree / "kaggle" / "input" / "competition" / "test.csv"
    assert not copy.stat().st_mode & 0o222
    modes = []
    monkeypatch.setattr(shutil, "rmtree", lambda _: modes.append(copy.stat().st_mode & 0o200))
    machine.remove()
    assert modes == [0o200]


def test_a_system_without_links_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("a privilege is missing")

    check_links()
    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(InputError, match=r"a privilege is missing.*Windows"):
        check_links()
