"""What predict.py says of rows: of those that it can use, each class in its own column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_competition import ROWS, TEST_ROWS, rules, write_competition, write_member

from machinery.blending import blend
from machinery.competition_rules import Rules
from machinery.errors import InputError
from machinery.fold_predictions import predict_rows
from machinery.kaggle_parts import read_predictions
from machinery.prediction_files import read_predicted
from machinery.submission_file import read_cells

# A predict.py that says of two classes, and leaves out each row of size 3.
PREDICT = """
import csv, sys
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
rows = list(csv.DictReader(open(sys.argv[1])))
with open(options["--output"], "w") as file:
    print("id,predicted,10,5", file=file)
    for number, row in enumerate(rows, start=2):
        if row["size"] == "3":
            print(f"left out: row {number}: size: got 3")
        else:
            print(f"row-{number},5,0.25,0.75", file=file)
assert "--skip-bad" in sys.argv
"""


def distance(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.abs(truth - predicted).mean())


@pytest.fixture
def of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rules:
    """A competition of the classes 5 and 10, whose order is another as text."""
    monkeypatch.chdir(tmp_path)
    truth = np.where(np.arange(ROWS) % 2, 10, 5)
    write_competition("binary", "probabilities", {"y": truth}, {"y": 0.125})
    Path("predict.py").write_text(PREDICT, encoding="utf-8")
    return rules(distance, greater_is_better=False)


def test_a_row_that_cannot_be_used_has_no_prediction(
    of_two: Rules, capsys: pytest.CaptureFixture[str]
) -> None:
    said = predict_rows(Path("run"), of_two, read_cells("train.csv"), "cpu")
    assert said.shape == (ROWS, 1)
    assert np.flatnonzero(np.isnan(said)).tolist() == [3]
    assert {*said[~np.isnan(said)]} == {0.25}  # Of 10, the greater number.
    assert "could not be predicted: 1, such as: left out: row 5" in capsys.readouterr().out


def test_rows_without_a_prediction_do_not_count(
    of_two: Rules, capsys: pytest.CaptureFixture[str]
) -> None:
    known = of_two.targets([*of_two.folds["id"]]).astype(float)[:, None]
    test = np.full((TEST_ROWS, 1), 0.5)
    whole = write_member("whole", of_two, known, test)
    known[7], test[:2] = np.nan, np.nan
    folder = write_member("some", of_two, known, test)
    said = capsys.readouterr().out
    assert "Training rows without a prediction, which do not count: 1\n" in said
    assert "Test rows without a prediction, which have the sample's values: 2\n" in said
    assert "experiments/some: score 0.00000" in said.replace("\\", "/")
    read = read_predicted(folder, of_two)
    assert read.out_of_fold["y"].isna().sum() == 1
    for method in ("mean", "stacking"):
        blend([whole, folder], method, Path("experiments", method), of_two, False)
    sent = pd.read_csv("submissions/mean.csv")["y"]
    assert sorted(sent)[:3] == [0.125, 0.125, 0.5]


def test_columns_are_found_by_their_names(of_two: Rules, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    update = {"kind": "multilabel", "targets": ["dent", "=stain"]}
    labels = of_two.schema.model_copy(update=update)
    # One-hot labels are learned as classes.
    path.write_text("id,predicted,'=stain,dent\n7,dent,0.25,0.75\n", encoding="utf-8")
    assert read_predictions(path, labels, 0).to_dict("index") == {7: {"dent": 0.75, "=stain": 0.25}}
    path.write_text("id,dent,other\n7,0.5,0.5\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"classes dent, other, expected dent, =stain"):
        read_predictions(path, labels, 0)
    path.write_text("id,predicted,a,b,c\n7,a,1,0,0\n", encoding="utf-8")
    with pytest.raises(InputError, match="trained on the classes b, c"):
        read_predictions(path, of_two.schema, 0, ["b", "c"])
