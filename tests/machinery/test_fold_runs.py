"""train.py --folds: each fold in a process of its own, stopped and continued as one run is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from build_dataset import build
from helpers import wait_for
from machinery import records
from machinery.errors import InputError
from machinery.fold_runs import choose_folds
from machinery.part_runs import Part, TrainedAnew, other_words

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
    assert "evaluate.py" not in output  # One next step, not one of each run.
    *lines, following = output.splitlines()[-4:]
    assert following == "next: python synthesize_results.py"
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
    assert "saved in experiments/new/fold-0" in output + errors
    assert "Stopped by SIGTERM; 2 of 2 runs to go. Run the same command again to " in errors
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
    assert not (folds / "experiments/new/fold-0").exists()


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


def first_session(folds: Path, number: int) -> str:
    """Return what the first session of a run recorded; while it is replaced, nothing."""
    sessions = records.read_sessions(folds / f"experiments/new/fold-{number}")
    return f"{sessions[0]['started']} {sessions[0]['process']}" if sessions else ""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
def test_what_overwrite_replaces_is_decided_once(start: Start, folds: Path) -> None:
    """Continued without --overwrite, no old run is taken for a new one, and none is repeated."""
    words = (*NEW, "--folds", "all", "--training.pause", "0.1", "--device", "cpu")
    one_core = {"preexec_fn": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})}
    assert start(*words, cwd=folds).wait() == 0
    old = [first_session(folds, i) for i in range(2)]
    process = start(*words, "--overwrite", cwd=folds, **one_core)  # One after the other.
    wait_for(folds / "experiments/new/.train_anew.json")
    while first_session(folds, 1) == old[1]:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75
    done = first_session(folds, 0)
    assert done != old[0]
    output, _ = start(*words, cwd=folds, **one_core).communicate()
    assert first_session(folds, 0) == done
    assert first_session(folds, 1) not in ("", old[1])
    assert "mean of 2 folds" in output
    assert not (folds / "experiments/new/.train_anew.json").exists()


def test_a_part_that_overwrite_has_not_reached_is_trained_again(tmp_path: Path) -> None:
    """Also by a command without --overwrite; --overwrite with other words begins from the start."""
    parts = [Part(tmp_path / f"fold-{i}", tmp_path, None) for i in range(3)]

    def write(number: int, started: str, outcome: str = "finished") -> None:
        folder = parts[number].folder
        folder.mkdir(exist_ok=True)
        session = {"outcome": outcome, "started": started}
        (folder / "run.json").write_text(json.dumps({"sessions": [session]}))

    write(0, "old")
    write(1, "old")
    assert TrainedAnew(tmp_path, parts, ["a"], overwrite=False).to_go == []
    anew = TrainedAnew(tmp_path, parts, ["a"], overwrite=True)
    assert anew.to_go == ["fold-0", "fold-1", "fold-2"]
    anew.note()
    write(0, "new")
    for overwrite in (False, True):
        anew = TrainedAnew(tmp_path, parts, ["a"], overwrite)
        assert anew.to_go == ["fold-1", "fold-2"]
        anew.forget()  # Not yet.
    assert TrainedAnew(tmp_path, parts, ["b"], overwrite=True).to_go[0] == "fold-0"
    write(1, "new", "stopped")
    write(2, "new")
    assert TrainedAnew(tmp_path, parts, ["a"], overwrite=True).to_go == []  # The second goes on.
    write(1, "new")
    assert len(TrainedAnew(tmp_path, parts, ["a"], overwrite=True).to_go) == 3
    anew.forget()
    assert not (tmp_path / ".train_anew.json").exists()
    (tmp_path / ".train_anew.json").write_text("{}")
    with pytest.raises(InputError, match="damaged, so which runs --overwrite"):
        TrainedAnew(tmp_path, parts, [], overwrite=False)
