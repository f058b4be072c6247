"""An evening with a competition: folds, training, predictions and their score, a fit on all."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from sklearn.metrics import roc_auc_score

from combinations import Combination, combinations
from competitions import COMPETITIONS

in_competition = next(each for each in combinations if each.kaggle and each.task == "tabular")
SMALL = (
    *("--model.width", "16", "--model.layers", "1", "--data.batch_size", "16"),
    *("--training.epochs", "3", "--training.warmup_epochs", "0"),
)


@pytest.fixture
def project(rendered: Callable[[Combination], Path], tmp_path: Path) -> Path:
    """A project that takes part in a competition, with its files and its schema."""
    folder = shutil.copytree(rendered(in_competition), tmp_path / "project")
    COMPETITIONS["binary"].write(folder / "data/raw")
    YAML().dump(dict(COMPETITIONS["binary"].schema), folder / "competition/schema.yaml")
    return folder


def run(project: Path, *words: object, code: int = 0) -> str:
    """Return what a command of the project prints."""
    result = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=project,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == code, result.stdout
    return result.stdout


def test_from_the_folds_to_a_submission(project: Path) -> None:
    run(project, "compete.py", "folds", "--count", 2)
    new = ("--experiment", "experiments/first", "--from", "experiments/baseline", *SMALL)
    assert "mean of 2 folds ± standard deviation" in run(
        project, "train.py", *new, "--folds", "all"
    )

    first = project / "experiments/first"
    printed = run(project, "compete.py", "fit-all", "--experiment", "experiments/first")
    words = printed.partition("The folds were best after ")[2].split()
    session = json.loads((first / "all/run.json").read_text())["sessions"][-1]
    mean = (int(words[0].strip(",")) + int(words[1])) / 2
    assert abs(session["parameters"]["training.epochs"] - mean) <= 0.5
    assert session["data"] == "data/all"

    predict = ("compete.py", "predict", "--experiment", "experiments/first")
    assert "(greater is better)" in run(project, *predict, "--with", "all")
    scored = json.loads((first / "score.json").read_text())
    known = pd.read_csv(first / "out_of_fold.csv").set_index("id")
    train = pd.read_csv(project / "data/raw/train.csv").set_index("person_id")
    assert known.index.is_unique
    assert {*known.index} == {*train.index}
    # Again from the files alone, and what evaluate.py says of the same rows.
    truth = train.loc[known.index, "stayed"]
    assert scored["score"] == pytest.approx(roc_auc_score(truth, known["stayed"]), abs=1e-12)
    run(project, "evaluate.py", "--experiment", "experiments/first/fold-1")
    tested = json.loads((first / "fold-1/metrics_test.json").read_text())
    assert scored["fold_scores"][1] == pytest.approx(tested["auc"], abs=1e-6)
    sent = pd.read_csv(project / "submissions/first.csv")
    sample = pd.read_csv(project / "data/raw/sample_submission.csv")
    assert [*sent] == [*sample]
    assert [*sent["person_id"]] == [*sample["person_id"]]
    run(project, *predict, code=2)  # They are there already.


# In one process, for each kind: the schema, the truth, predictions.
SCORE = """
import importlib, json, pathlib, sys
import pandas as pd
found, metric = [], None
for schema, *both in json.loads(sys.argv[1]):
    pathlib.Path("competition/schema.yaml").write_text(json.dumps(schema))
    import competition.metric as metric
    metric = importlib.reload(metric)
    frames = []
    for values in both:
        frame = pd.DataFrame(values, columns=[f"c{n}" for n in range(len(values[0]))])
        frame.insert(0, "id", range(len(values)))
        frames.append(frame)
    found.append([metric.score(*frames, "id"), metric.greater_is_better])
print(json.dumps(found))
"""


def test_the_metric_that_ships_needs_no_edit(project: Path) -> None:
    """Of each kind the score is known."""
    cases = [
        ("regression", "values", [[1.0], [3.0]], [[1.0], [5.0]], 2**0.5, False),
        ("binary", "probabilities", [[0], [1], [1]], [[0.2], [0.1], [0.9]], 0.5, True),
        ("multiclass", "probabilities", [[1, 0], [0, 1]], [[3, 1], [1, 1]], 0.4904146, False),
        ("multiclass", "labels", [["a"], ["b"]], [["a"], ["a"]], 0.5, True),
        ("binary", "labels", [[True], [False]], [[True], [False]], 1, True),
        ("multilabel", "probabilities", [[0, 1], [1, 0]], [[0.1, 0.2], [0.9, 0.8]], 0.5, True),
    ]
    base = COMPETITIONS["binary"].schema
    given = [
        ({**base, "kind": kind, "answer": answer}, truth, predicted)
        for kind, answer, truth, predicted, *_ in cases
    ]
    found = json.loads(run(project, "-c", SCORE, json.dumps(given)))
    for (score, greater), (*_, expected, expected_direction) in zip(found, cases, strict=True):
        assert score == pytest.approx(expected, abs=1e-6)
        assert greater is expected_direction
