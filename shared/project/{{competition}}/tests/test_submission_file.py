"""Predictions in the form of the submission, whatever the kind; the truth in the same form."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_competition import ROWS, TEST_ROWS, rules, write_competition, write_member

from machinery.competition_rules import Rules
from machinery.errors import InputError
from machinery.fold_predictions import check_run
from machinery.pseudo_labels import choose_certain, label_rows
from machinery.submission_file import read_cells, write_frame

PLANS = np.array(["basic", "family", "premium"])[np.arange(ROWS) % 3]
FLAGS = np.arange(ROWS) % 2 == 0


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def equal_share(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float((truth == predicted).all(axis=1).mean())


def perfect(of_rules: Rules) -> np.ndarray:
    """Return predictions, (ROWS, columns), that are right."""
    truth = of_rules.targets([*of_rules.folds["id"]])
    if of_rules.schema.kind == "multiclass":
        return np.eye(len(of_rules.columns))[truth]
    return truth.reshape(ROWS, -1).astype(float)


@pytest.mark.parametrize(
    ("kind", "answer", "truth", "sample", "first"),
    [
        ("regression", "values", {"price": np.arange(ROWS) / 7}, {"price": 0.5}, [0.0]),
        ("binary", "probabilities", {"stayed": FLAGS}, {"stayed": 0.5}, [1]),
        ("binary", "labels", {"stayed": FLAGS}, {"answer": "False"}, [True]),
        ("binary", "labels", {"stayed": 2 * FLAGS + 8}, {"stayed": 8}, [10]),
        ("multiclass", "labels", {"plan": PLANS}, {"plan": "basic"}, ["basic"]),
        (
            *("multiclass", "probabilities", {"plan": PLANS}),
            *({"P_basic": 0.3, "P_family": 0.3, "P_premium": 0.3}, [1, 0, 0]),
        ),
        (
            *("multilabel", "probabilities", {"dent": FLAGS * 1, "stain": ~FLAGS * 1}),
            *({"stain": 0.5, "dent": 0.5}, [0, 1]),
        ),
    ],
)
def test_each_kind(
    kind: str,
    answer: str,
    truth: dict[str, np.ndarray],
    sample: dict[str, object],
    first: list[object],
) -> None:
    write_competition(kind, answer, truth, sample)
    of_kind = rules(equal_share, greater_is_better=True)
    right = perfect(of_kind)
    assert of_kind.score([*of_kind.folds["id"]], right) == 1
    ids = ["002", "001"]  # In any order, and some of them.
    assert of_kind.score(ids, right[[2, 1]]) == 1
    assert of_kind.score(ids, right[[1, 2]]) < 1
    write_member("right", of_kind, right, np.repeat(right[:1], TEST_ROWS, axis=0))
    sent = pd.read_csv("submissions/right.csv", dtype={"id": str})
    assert [*sent] == ["id", *sample]
    assert [*sent["id"]] == [*read_cells("sample_submission.csv")["id"]]
    assert sent.drop(columns="id").to_numpy()[0].tolist() == first


def test_texts_are_what_they_are() -> None:
    """A name like a formula is no formula to Kaggle."""
    write_frame(Path("new/sent.csv"), pd.DataFrame({"id": ["=1", "007"], "x": [1 / 3, 1e-9]}))
    assert Path("new/sent.csv").read_text(encoding="utf-8") == f"id,x\n=1,{1 / 3}\n007,1e-09\n"


def test_a_submission_with_other_columns_is_refused() -> None:
    write_competition("binary", "probabilities", {"stayed": FLAGS}, {"yes": 0.5, "no": 0.5})
    with pytest.raises(InputError, match="has the columns yes, no beside id, but what is predict"):
        rules(equal_share, greater_is_better=True)


def test_folds_that_were_changed_are_refused() -> None:
    write_competition("binary", "probabilities", {"stayed": FLAGS}, {"stayed": 0.5})
    path = Path("competition/folds.csv")
    path.write_text(path.read_text(encoding="utf-8").replace("001,1", "001,2"), encoding="utf-8")
    with pytest.raises(InputError, match=r"folds.csv: was changed after it was written"):
        rules(equal_share, greater_is_better=True)


def write_run(name: str, seen: list[str]) -> Path:
    """Write what a finished run and the dataset of its fold say."""
    data, run = Path("data", name), Path("experiments/first", name)
    (data / "arrays-1").mkdir(parents=True)
    (data / "dataset.json").write_text(
        '{"fingerprint": "f", "arrays_folder": "arrays-1"}', encoding="utf-8"
    )
    np.save(data / "arrays-1" / "train_ids.npy", np.array(seen))
    np.save(data / "arrays-1" / "val_ids.npy", np.array(["val"]))
    run.mkdir(parents=True)
    session = f'"outcome": "finished", "data": "{data.as_posix()}", "fingerprint": "f"'
    (run / "run.json").write_text('{"sessions": [{' + session + "}]}", encoding="utf-8")
    return run


def test_a_model_that_has_seen_its_fold_is_refused() -> None:
    run = write_run("fold-0", ["1", "2\thow a text begins", "cats/3.png"])
    check_run(run, ["4", "5"])
    for name in ("1", "2", "cats/3", "cats/3.png", "val"):
        with pytest.raises(InputError, match=f"holds 1 rows of this fold, such as '{name}'"):
            check_run(run, [name, "4"])
    Path("data/fold-0/dataset.json").write_text(
        '{"fingerprint": "g", "arrays_folder": "x"}', encoding="utf-8"
    )
    with pytest.raises(InputError, match="which is not what is there now"):
        check_run(run)
    (run / "run.json").unlink()
    with pytest.raises(InputError, match=r"train.py --experiment experiments.first --folds"):
        check_run(run)


def test_certain_rows_become_rows_to_train_on() -> None:
    write_competition("multiclass", "labels", {"plan": PLANS}, {"plan": "basic"})
    of_plans = rules(equal_share, greater_is_better=True)
    predictions = np.array([[0.96, 0.02, 0.02], [0.5, 0.3, 0.2], [0.01, 0.03, 0.96]])
    test = read_cells("test.csv")[:3]
    rows = label_rows(test, choose_certain(predictions, of_plans, 0.95), of_plans)
    assert rows["id"].tolist() == ["pseudo-120", "pseudo-122"]
    assert rows["plan"].tolist() == ["basic", "premium"]


@pytest.mark.parametrize(("least", "expected"), [(0.9, {1: ("0", "1")}), (0.99, {})])
def test_every_label_of_a_certain_row_is_certain(
    least: float, expected: dict[int, tuple[str, ...]]
) -> None:
    truth = {"dent": FLAGS * 1, "stain": ~FLAGS * 1}
    write_competition("multilabel", "probabilities", truth, {"dent": 0.5, "stain": 0.5})
    predictions = np.array([[0.5, 0.99], [0.05, 0.95]])
    found = choose_certain(predictions, rules(equal_share, greater_is_better=True), least)
    assert found == expected
