"""train.py --folds: each fold in a process of its own, stopped and continued as one run is."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from build_dataset import build
from helpers import wait_for
from machinery import records
from machinery.errors import InputError
from machinery.fold_runs import choose_folds, other_words

Start = Callable[..., subprocess.Popen[str]]
NEW = ("train.py", "--experiment", "experiments/new", "--from", "experiments/baseline")


@pytest.fixture
def folds(tmp_path: Path, project: Path) -> Path:
    """A copy of the tiny project with a dataset for each of two folds."""
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    for number in range(2):
        build(folder / f"data/fold-{number}", seed=number)
    (folder / "experiments/baseline").mkdir(parents=True)
    (folder / "experiments/baseline/params.yaml").write_text("training: {epochs: 2}\n")
    return folder


def test_all_folds_are_trained_and_summed_up(start: Start, folds: Path) -> None:
    output, errors = start(*NEW, "--folds", "all", "--device", "cpu", cwd=folds).communicate()
    assert not errors
    lines = output.splitlines()[-3:]
    assert [line.split()[0] for line in lines] == ["fold-0", "fold-1", "mean"]
    assert lines[0].startswith("fold-0  best epoch   ")
    assert lines[2].startswith("mean of 2 folds ± standard deviation:  val loss 0.")
    for number in range(2):
        run = folds / f"experiments/new/fold-{number}"
        session = records.read_sessions(run)[-1]
        assert session["outcome"] == "finished"
        assert session["data"] == f"data/fold-{number}"
    # Of the same folds another experiment can be made, with other parameters, and one at a time.
    words = ("train.py", "--experiment", "experiments/next", "--from", "experiments/new")
    process = start(*words, "--fold", "1", "--training.epochs", "1", cwd=folds)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert "epoch   1/1" in output
    assert not (folds / "experiments/next/fold-0").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
def test_a_stopped_fold_is_continued_by_the_same_command(start: Start, folds: Path) -> None:
    words = (*NEW, "--folds", "all", "--training.epochs", "3", "--training.pause", "0.3")
    process = start(*words, cwd=folds)
    wait_for(folds / "experiments/new/fold-0/metrics.jsonl")
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate()
    assert process.returncode == 75
    assert "saved in experiments/new/fold-0" in errors
    assert "Stopped by SIGTERM; 2 folds to go. Run the same command again to continue." in errors
    assert not (folds / "experiments/new/fold-1").exists()
    process = start(*words, cwd=folds)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert "fold-0: continuing at step" in output
    assert "mean of 2 folds" in output


def test_each_gpu_has_a_process(start: Start, folds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the lines of each say whose they are."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    train = (folds / "train.py").read_text()
    say = 'import os\nprint("GPU", os.environ["CUDA_VISIBLE_DEVICES"])\n'
    (folds / "train.py").write_text(train.replace("import time\n", f"import time\n{say}", 1))
    output, _ = start(*NEW, "--folds", "all", cwd=folds).communicate()
    assert {"fold-0: GPU 0", "fold-1: GPU 1"} <= {*output.splitlines()}


def test_a_failing_fold_ends_the_command_with_its_exit_code(start: Start, folds: Path) -> None:
    (folds / "data/fold-0/dataset.json").write_text("{}")
    process = start(*NEW, "--folds", "all", cwd=folds)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "experiments/new/fold-0 ended with exit code 2." in errors
    assert not (folds / "experiments/new").exists()


def test_folds_without_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no datasets fold-0, fold-1, \.\.\. Prepare"):
        choose_folds(tmp_path, ["all"])
    for number in (0, 10):
        (tmp_path / f"fold-{number}").mkdir()
        (tmp_path / f"fold-{number}" / "dataset.json").touch()
    assert choose_folds(tmp_path, ["10", "0", "10"]) == ["fold-0", "fold-10"]
    with pytest.raises(InputError, match="holds no dataset fold-1, fold-2, "):
        choose_folds(tmp_path, ["all"])
    with pytest.raises(InputError, match="got '-1', expected all, or numbers"):
        choose_folds(tmp_path, ["-1"])


def test_other_options_are_handed_on() -> None:
    places = [
        "--experiment",
        "e",
        "--folds",
        "0",
        "1",
        "--data=d",
        "--from",
        "f",
        "--max-minutes",
        "3",
    ]
    others = ["--device", "cpu", "--training.epochs", "3", "--overwrite", "--model.widht=4"]
    assert other_words([*others[:2], *places, *others[2:]]) == others
