"""The commands of the README, run as a person types them, on a small experiment."""

import csv
import json
import mimetypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import task

from build_dataset import read_dataset, read_unlabelled
from machinery import schemas
from machinery.checkpoints import LAST, read_checkpoint
from machinery.errors import InputError
from machinery.metrics import read_metrics
from machinery.parameter_file import load_parameters
from machinery.predictions import concatenate
from parameters import Parameters
from service import CONTENT, Service

ROOT = Path(__file__).parent.parent


def command(*words: object) -> list[str]:
    return [sys.executable, *map(str, words)]


def run(*words: object) -> str:
    """Run a script of the project; return what it printed."""
    result = subprocess.run(
        command(*words),
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1"},  # Windows has an encoding of its own otherwise.
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    run("build_dataset.py", "--data", folder)
    return folder


@pytest.fixture(scope="module")
def small(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small experiment, trained."""
    folder = tmp_path_factory.mktemp("experiments") / "small"
    new = ("--experiment", folder, "--from", "experiments/baseline", *task.SMALL)
    run("train.py", *new, "--data", data, "--device", "cpu")
    return folder


def test_the_shipped_parameters_can_be_used() -> None:
    load_parameters(Parameters, ROOT / "experiments" / "baseline" / "params.yaml")


def test_editors_know_every_parameter() -> None:
    """After a change of a parameter, `python parameters.py` writes schemas/ anew."""
    for name, text in schemas.texts(Parameters).items():
        found = (ROOT / schemas.FOLDER / name).read_text(encoding="utf-8")
        assert json.loads(found) == json.loads(text), f"{name}: run `python parameters.py`"


def test_training_leaves_its_record(small: Path) -> None:
    rows = read_metrics(small)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"train_loss", "val_loss", f"val_{task.METRIC}", "learning_rate"} < set(rows[0])
    (session,) = json.loads((small / "run.json").read_text("utf-8"))["sessions"]
    assert session["outcome"] == "finished"
    assert session["parameters"]["training.epochs"] == 2
    assert session["objective"]["metric"] in rows[0]
    assert session["seconds"] > 0
    assert session["examples_per_second"] > 0
    assert (small / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((small / "tensorboard").iterdir())


def test_nothing_is_wrong(data: Path) -> None:
    assert "Nothing is wrong" in run("doctor.py", "--data", data, "--device", "cpu")


def test_evaluation(small: Path, data: Path) -> None:
    printed = run("evaluate.py", "--experiment", small, "--data", data, "--device", "cpu")
    metrics = json.loads((small / "metrics_test.json").read_text("utf-8"))
    assert f"{metrics[task.METRIC]:.4f}" in printed
    for name in task.FILES:
        assert (small / name).stat().st_size > 0


def test_evaluation_repeats_what_training_measured(small: Path, data: Path) -> None:
    options = ("--experiment", small, "--data", data, "--device", "cpu", "--split", "val")
    run("evaluate.py", *options, "--checkpoint", "last")
    measured = read_metrics(small)[-1]
    metrics = json.loads((small / "metrics_val_last.json").read_text("utf-8"))
    for name, value in metrics.items():
        assert value == pytest.approx(measured[f"val_{name}"])


def test_prediction(small: Path, data: Path, tmp_path: Path) -> None:
    source = task.make_unlabelled(tmp_path, read_dataset(data))
    output = tmp_path / "predictions.csv"
    words = (source, "--experiment", small, "--output", output, "--device", "cpu")
    assert str(output) in run("predict.py", *words)
    with open(output, newline="", encoding="utf-8") as file:
        titles, *rows = csv.reader(file)
    assert titles[0] == "id"
    assert len({row[0] for row in rows}) == task.UNLABELLED
    assert all(len(row) == len(titles) for row in rows)


def test_a_stopped_run_continues_to_the_same_bits(small: Path, data: Path) -> None:
    folder = small.with_name("stopped")
    new = ("--experiment", folder, "--from", small, "--data", data, "--device", "cpu")
    # The time limit has passed when the first step ends. A signal might come after the last one.
    stopped = subprocess.run(
        command("train.py", *new, "--max-minutes", 0), cwd=ROOT, capture_output=True, check=False
    )
    assert stopped.returncode == 75
    assert "continuing at step" in run("train.py", *new)
    assert (folder / "metrics.jsonl").read_bytes() == (small / "metrics.jsonl").read_bytes()
    whole, resumed = (read_checkpoint(path / LAST)[0] for path in (small, folder))
    assert all(whole[name].tobytes() == resumed[name].tobytes() for name in whole | resumed)


def test_a_request_is_read_as_a_file_is(data: Path, tmp_path: Path) -> None:
    """By serve.py, which makes of it what predict.py makes of the file."""
    dataset = read_dataset(data)
    made = task.make_unlabelled(tmp_path, dataset)
    paths = sorted(made.iterdir()) if made.is_dir() else [made]
    expected = concatenate([*read_unlabelled([made], dataset)])
    service = Service(dataset)
    types = [mimetypes.guess_type(path)[0] or "" for path in paths]
    assert {*types} <= {*CONTENT}
    found = concatenate(
        [service.read(path.read_bytes(), kind) for path, kind in zip(paths, types, strict=True)]
    )
    assert len(found.ids) == task.UNLABELLED
    for name, array in expected.inputs.items():
        assert found.inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(found.inputs[name], array)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[", b"null", b'{"a": [1]}', b"[" * 9000])
def test_a_request_of_no_use_is_refused(body: bytes, data: Path) -> None:
    for kind in {*CONTENT} - {"text/plain"}:  # Of that, almost anything is of use.
        with pytest.raises(InputError):
            Service(read_dataset(data)).read(body, kind)


def test_what_the_page_asks_for(data: Path) -> None:
    form = Service(read_dataset(data)).form()
    assert form["kind"] in ("file", "fields", "text")
