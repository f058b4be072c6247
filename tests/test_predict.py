"""predict.py: the same numbers as evaluate.py, and files that are whole or not there at all."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from evenings import KEEP_EVALUATED
from fork_server import ForkServer
from projects import arrays_folder, experiment, run, snapshot, task
from tasks import Task
from test_bad_input import assert_refused

# Keep what the network predicts, with all its bits, before anything is made of it.
KEEP_PREDICTED = """
import numpy as np
from machinery.predictions import PredictionWriter, concatenate_arrays
write = PredictionWriter.write
def keep_and_write(self, network, results):
    results = list(results)
    np.savez("predicted.npz", **concatenate_arrays([predictions for _, predictions in results]))
    write(self, network, results)
PredictionWriter.write = keep_and_write
"""


def write_test_split(project: Path, folder: Path) -> Path:
    """Write the inputs of the test split as a person has them; return what to give predict.py."""
    dataset = json.loads((project / "data" / "dataset.json").read_text())
    arrays = arrays_folder(project / "data")
    # Of a ragged one also the offsets.
    names = [name for each in dataset["inputs"] for name in (each, f"{each}_offsets")]
    paths = {name: arrays / f"test_{name}.npy" for name in names}
    inputs = {name: np.load(path) for name, path in paths.items() if path.exists()}
    path = folder / task(project).unlabelled_name
    task(project).write_unlabelled(path, inputs, dataset)
    return path


def read_rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_predictions_are_those_of_the_evaluation(
    project: Path, server: ForkServer, evening: Path, tmp_path: Path
) -> None:
    """In every bit. And predict.py needs no data."""
    compare_with_the_evaluation(project, server, evening, tmp_path)


@pytest.mark.deep
@pytest.mark.contracts
def test_predictions_in_the_precision_of_the_processor(
    project: Path, server: ForkServer, reference: Path, tmp_path: Path
) -> None:
    """Above it is float32 everywhere."""
    folder = reference.with_name("evaluated-and-predicted")
    shutil.copytree(reference, folder, dirs_exist_ok=True)  # An evaluation writes into it.
    where = ("--experiment", folder.relative_to(project))
    evaluated = server.run("evaluate", *where, setup=KEEP_EVALUATED)
    assert evaluated.code == 0, evaluated.output
    compare_with_the_evaluation(project, server, folder, tmp_path)


def compare_with_the_evaluation(
    project: Path, server: ForkServer, folder: Path, tmp_path: Path
) -> None:
    """Fail unless predict.py predicts of the test split what evaluate.py has left."""
    source = write_test_split(project, tmp_path)
    where = ("--experiment", folder.relative_to(project))
    data = (project / "data").rename(project / "data-aside")
    output = tmp_path / "out.csv"
    result = server.run("predict", *where, source, "--output", output, setup=KEEP_PREDICTED)
    data.rename(project / "data")
    assert result.code == 0, result.output
    with np.load(project / "evaluated.npz") as one, np.load(project / "predicted.npz") as other:
        assert {*one} == {*other}
        for name in one:
            assert one[name].dtype == other[name].dtype
            assert one[name].tobytes() == other[name].tobytes(), name
    examples = json.loads((folder / "dataset.json").read_text())["examples"]["test"]
    (first, *_), *rows = read_rows(output)
    assert first == "id"
    assert len({row[0] for row in rows}) == examples
    assert f"{examples:,} examples:" in result.output
    assert str(output) in result.output


@pytest.mark.contracts
@pytest.mark.once_a_template
def test_predicting_as_a_person_types_it(project: Path, reference: Path, tmp_path: Path) -> None:
    source = write_test_split(project, tmp_path)
    words = ("--experiment", reference, source, "--output", tmp_path / "p.csv")
    result = run(project, "predict.py", *words, "--checkpoint", "last", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    assert "last.safetensors" in result.stdout
    assert read_rows(tmp_path / "p.csv")[0][0] == "id"


@pytest.mark.once_a_task
def test_bad_examples(
    project: Path,
    server: ForkServer,
    reference: Path,
    case_of_bad_unlabelled: tuple[Task, str],
    tmp_path: Path,
) -> None:
    found, case = case_of_bad_unlabelled
    bad = found.bad_unlabelled[case]
    source = write_test_split(project, tmp_path)
    examples = len(read_rows(source)) - 1
    bad.spoil(source)
    before, there = snapshot(project), snapshot(tmp_path)
    output = tmp_path / "p.csv"
    words = ("--experiment", reference, source, "--output", output)
    result = server.run("predict", *words)
    assert_refused(project, result.code, result.output, before, *bad.expected)
    assert snapshot(tmp_path) == there
    result = server.run("predict", *words, "--skip-bad")
    if bad.left_out:
        assert result.code == 0, result.output
        assert result.output.count("left out: ") == bad.left_out
        assert len(read_rows(output)) - 1 == examples - bad.left_out
    else:
        assert_refused(project, result.code, result.output, before, *bad.expected)


@pytest.mark.once_a_task
def test_bad_places(project: Path, server: ForkServer, reference: Path, tmp_path: Path) -> None:
    """Nothing is written over, and nothing into what is read."""
    source = write_test_split(project, tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    untrained = experiment(project, "untrained")
    missing = shutil.copytree(reference, reference.with_name("no-dataset"))
    (missing / "dataset.json").unlink()
    other = shutil.copytree(reference, reference.with_name("other-task"))
    described = json.loads((other / "dataset.json").read_text()) | {"task": "another"}
    (other / "dataset.json").write_text(json.dumps(described))
    before, there = snapshot(project), snapshot(tmp_path)
    cases: list[tuple[tuple[object, ...], tuple[str, ...]]] = [
        ((), ("PATH",)),
        ((source, "--output", tmp_path / "there.csv"), ("there.csv", "--overwrite")),
        ((source, "--output", tmp_path / "p.txt"), ("p.txt", ".csv")),
        ((source, "--output", tmp_path / "x" / "p.csv"), ("no such folder", "--output")),
        ((source, "--output", source, "--overwrite"), ("would replace",)),
        ((tmp_path, "--output", tmp_path / "p.csv"), ("lies in",)),
        ((source, "--experiment", untrained), ("best.safetensors", "train.py")),
        ((source, "--experiment", missing), ("dataset.json: not found", "--experiment")),
        ((source, "--experiment", other), ("dataset.json: task", "trained on", "--experiment")),
        ((source, "--skip"), ("--skip: unknown option", "--skip-bad?")),
    ]
    for words, expected in cases:
        words = (*words, *(() if "--experiment" in words else ("--experiment", reference)))
        words = (*words, *(() if "--output" in words else ("--output", tmp_path / "p.csv")))
        result = server.run("predict", *words)
        assert_refused(project, result.code, result.output, before, *expected)
        assert snapshot(tmp_path) == there


@pytest.mark.once_a_task
def test_overwriting(project: Path, server: ForkServer, reference: Path, tmp_path: Path) -> None:
    source = write_test_split(project, tmp_path)
    words = ("--experiment", reference, source, "--output", tmp_path / "p.csv")
    assert server.run("predict", *words).code == 0
    first = snapshot(tmp_path)
    (tmp_path / "p.csv").write_text("old")
    result = server.run("predict", *words, "--overwrite")
    assert result.code == 0, result.output
    assert snapshot(tmp_path).keys() == first.keys()
    assert (tmp_path / "p.csv").read_bytes() == first["p.csv"]
