"""check_data.py: an experiment's folder says what new examples are to be like."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from conftest import root
from fork_server import ForkServer
from projects import run
from test_predict import write_test_split

SHIFTED = 65
PAGE = root / "docs" / "check-data.md"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def alone(project: Path, reference: Path, tmp_path: Path) -> Path:
    """The folder of an experiment whose dataset is not there."""
    folder = shutil.copytree(reference, tmp_path / "alone")
    record = read(folder / "run.json")
    for session in record["sessions"]:
        session["data"] = "data/not-there"
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.mark.once_a_task
def test_new_examples_like_those_of_the_training_are_clean(
    project: Path, server: ForkServer, alone: Path, tmp_path: Path
) -> None:
    """So are the predictions for them; and one that is always the same is not."""
    source = write_test_split(project, tmp_path)
    output = tmp_path / "check.json"
    words = ("check_data.py", source, "--experiment", alone, "--output", output)
    result = run(project, *words)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Nothing has shifted." in result.stdout
    assert read(output)["verdict"] == "clean"
    usual, now = tmp_path / "usual.csv", tmp_path / "now.csv"
    predicted = server.run("predict", "--experiment", alone, source, "--output", usual)
    assert predicted.code == 0, predicted.output
    shutil.copy(usual, now)
    compared = ("--predictions", now, "--expected", usual, "--overwrite")
    result = run(project, *words, *compared)
    assert result.returncode == 0, result.stdout + result.stderr
    with open(usual, newline="", encoding="utf-8") as file:
        titles, first, *others = csv.reader(file)
    with open(now, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([titles, *([row[0], *first[1:]] for row in [first, *others])])
    result = run(project, *words, *compared)
    assert result.returncode == SHIFTED
    report = read(output)
    assert report["findings"][0]["feature"].startswith("prediction: ")
    assert report["verdict"] == "train anew"
    assert "time to train anew" in result.stderr


@pytest.mark.contracts
@pytest.mark.once_a_template
def test_usual_predictions_are_those_for_val(
    project: Path, server: ForkServer, alone: Path, tmp_path: Path
) -> None:
    source, output = write_test_split(project, tmp_path), tmp_path / "p.csv"
    assert server.run("predict", "--experiment", alone, source, "--output", output).code == 0
    words = ("check_data.py", source, "--experiment", alone, "--predictions", output)
    words = (*words, "--output", tmp_path / "check.json", "--overwrite")
    result = run(project, *words)
    assert result.returncode == 2
    assert "evaluate.py" in result.stderr
    assert "--split val" in result.stderr
    there = ("--experiment", alone, "--data", project / "data", "--split", "val")
    evaluated = server.run("evaluate", *there)
    assert evaluated.code == 0, evaluated.output
    assert run(project, *words).returncode in (0, SHIFTED)  # Two epochs teach it little.
    names = {each["feature"] for each in read(tmp_path / "check.json")["findings"]}
    assert names <= {"prediction: predicted"}


@pytest.mark.contracts
@pytest.mark.once_a_template
def test_an_experiment_without_statistics_gets_them_from_its_dataset(
    project: Path, alone: Path, reference: Path, tmp_path: Path
) -> None:
    """Such as one of an earlier version of the template."""
    source, output = write_test_split(project, tmp_path), tmp_path / "check.json"
    (alone / "statistics.json").unlink()
    words = ("check_data.py", source, "--output", output, "--overwrite", "--experiment")
    result = run(project, *words, alone)
    assert result.returncode == 2
    assert f"{alone / 'statistics.json'}: not found" in result.stderr
    assert not output.exists()
    (alone / "run.json").write_bytes((reference / "run.json").read_bytes())
    assert run(project, *words, alone).returncode == 0
    written = (alone / "statistics.json").read_bytes()
    assert written == (reference / "statistics.json").read_bytes()
    (alone / "statistics.json").write_bytes(written[:-9])
    result = run(project, *words, alone)
    assert result.returncode == 2
    assert "Delete it" in result.stderr


@pytest.mark.once_a_template
@pytest.mark.contracts
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["not-there"], "not-there: not found"),
        (["README.md", "--experiment", "experiments/none"], "dataset.json: not found"),
        (["README.md", "--output", "check.txt"], "ends in .json"),
        (["README.md", "--expected", "x.csv"], "goes with --predictions"),
        (["README.md", "--output", "data_check.json", "--predictions"], "expected one argument"),
    ],
)
def test_bad_input(project: Path, words: list[str], expected: str) -> None:
    result = run(project, "check_data.py", *words)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
