"""search_hyperparams.py: what it refuses, and that a search survives being stopped and killed."""

import argparse
import contextlib
import gc
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import run_folder
import search_hyperparams
import utils
from build_dataset import read_dataset
from evaluate import choose_device
from parameters import Parameters

ROOT = Path(__file__).parent.parent
EPOCHS = 10
SPACE = """
  model.width: {choices: [2, 4]}
  model.stages: {low: 1, high: 2}
  training.learning_rate: {low: 0.001, high: 0.1, log: true}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    words = [sys.executable, "build_dataset.py", "--data", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search of four small trials."""
    sections = {"data": {"batch_size": 256}, "training": {"epochs": EPOCHS}}
    parameters = utils.format_parameters(Parameters.model_validate(sections))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "params.yaml").write_text(parameters)
    (tmp_path / "search").mkdir()
    write_settings(tmp_path / "search")
    return tmp_path / "search"


def write_settings(folder: Path, space: str = SPACE, objective: str = "val_accuracy") -> None:
    text = f"from: {folder.parent / 'base'}\ntrials: 4\nmaximize: {objective}\nspace:{space}"
    (folder / "search.yaml").write_text(text)


def start(
    folder: Path, data: Path, *words: str, code: Path = ROOT, new_session: bool = False
) -> subprocess.Popen[str]:
    """Start a search."""
    where = ("--search", str(folder), "--data", str(data), "--device", "cpu")
    return subprocess.Popen(
        [sys.executable, "search_hyperparams.py", *where, *words],
        cwd=code,
        start_new_session=new_session,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def search(folder: Path, data: Path, expected: int, *words: str, code: Path = ROOT) -> str:
    """Run a search to its end; return what it printed."""
    process = start(folder, data, *words, code=code)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == expected, output + errors
    return output + errors


def last_session(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["sessions"][-1]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def new_search(folder: Path, fingerprint: str = "some data") -> search_hyperparams.Search:
    """Return the search of a folder, in this process."""
    settings, base = search_hyperparams.load_settings(folder / "search.yaml")
    arguments = argparse.Namespace(search=folder, data=Path("some data"), device="cpu")
    dataset: Any = argparse.Namespace(fingerprint=fingerprint)
    return search_hyperparams.Search(arguments, settings, base, dataset)


class NoStop(utils.StopRequest):
    """A stop request that catches no signals."""

    def __init__(self) -> None:
        self.error = None
        self.deadline = math.inf


def train_like(monkeypatch: pytest.MonkeyPatch, train: Callable[..., None]) -> None:
    """Replace the training of a trial."""
    monkeypatch.setitem(sys.modules, "train", argparse.Namespace(train=train))


def test_everything_wrong_in_the_space_is_said_at_once(folder: Path, data: Path) -> None:
    write_settings(
        folder,
        """
  model.widht: {choices: [4]}
  model.dropout: {low: 0.0, high: 1.5}
  model.width: {choices: [4, wide]}
  model.stages: {low: 1, high: 3, step: 0.5}
  training.learning_rate: {low: 0, high: 0.1}
""",
    )
    message = search(folder, data, 2)
    assert str(folder / "search.yaml") in message
    assert "model.widht: unknown parameter (did you mean model.width?)" in message
    assert "model.dropout: high: got 1.5, expected less than 1" in message
    assert "model.width: choices: got 'wide'" in message
    assert "model.stages: step: got 0.5" in message
    assert "training.learning_rate: low: got 0" in message
    assert [path.name for path in folder.iterdir()] == ["search.yaml"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{low: 1}", "expected {low, high} or {choices: [...]}"),
        ("{low: 1, high: 2, choices: [1]}", "expected {low, high} or {choices: [...]}"),
        ("{low: 3, high: 2}", "expected low to be at most high"),
        ("{low: 0, high: 2, log: true}", "expected low above 0 and no step"),
        ("{lwo: 0, high: 2}", "unknown parameter"),
        ("{choices: []}", "at least 1 item"),
    ],
)
def test_malformed_entries_are_refused(folder: Path, entry: str, expected: str) -> None:
    write_settings(folder, f"\n  training.warmup_epochs: {entry}\n")
    with pytest.raises(utils.InputError) as error:
        search_hyperparams.load_settings(folder / "search.yaml")
    assert expected in str(error.value)
    assert "search.yaml:5: space.training.warmup_epochs" in str(error.value)


def test_other_bad_settings_are_refused(folder: Path, data: Path) -> None:
    path = folder / "search.yaml"
    path.write_text(path.read_text() + "\nminimize: val_loss\n")
    with pytest.raises(utils.InputError, match="either maximize or minimize"):
        search_hyperparams.load_settings(path)
    write_settings(folder)
    (folder.parent / "base").rename(folder.parent / "elsewhere")
    with pytest.raises(utils.InputError, match=r"search\.yaml: from: .*not found"):
        search_hyperparams.load_settings(path)
    assert "--workers: got 0" in search(folder, data, 2, "--workers", "0")
    assert "--max-minutes: got -1" in search(folder, data, 2, "--max-minutes", "-1")


def test_a_search_survives_a_stop_and_a_kill(folder: Path, data: Path) -> None:
    process = start(folder, data, "--workers", "2")
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    process.terminate()
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 75, output + errors
    assert "Run the same command again" in errors
    assert last_session(folder / "trial_0000")["outcome"] == "stopped"

    process = start(folder, data, "--workers", "2")
    wait_for(folder / "trial_0002" / "metrics.jsonl")
    process.kill()  # The other worker finds out, saves and ends; the next search waits for that.
    os.kill(last_session(folder / "trial_0002")["process"], signal.SIGKILL)
    process.communicate(timeout=300)

    output = search(folder, data, 0)
    command = shlex.split(output.partition("see it on test: ")[2])
    assert command[:3] == ["python", "evaluate.py", "--experiment"]
    assert command[4:] == ["--data", str(data)]
    lines = (folder / "study.journal").read_text().splitlines()
    assert sum('"op_code":4' in line for line in lines) == 4  # 4: a trial was created.
    trials = new_search(folder, read_dataset(data).fingerprint).study.trials
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    for trial in trials:
        rows = run_folder.read_metrics(folder / f"trial_{trial.number:04}")
        assert [row["epoch"] for row in rows] == [*range(1, len(rows) + 1)]
        if trial.state.name == "COMPLETE":
            assert len(rows) == EPOCHS
            assert trial.value == max(row["val_accuracy"] for row in rows)

    assert "All 4 trials are done" in search(folder, data, 0)
    write_settings(folder, "\n  model.width: {choices: [2, 4, 8]}\n")
    message = search(folder, data, 2)
    assert "began with something else: space model.width" in message
    assert "--search" in message


def test_ctrl_c_ends_the_whole_group(folder: Path, data: Path) -> None:
    process = start(folder, data, "--workers", "2", new_session=True)
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 130, output + errors
    assert "Traceback" not in errors
    assert last_session(folder / "trial_0000")["outcome"] == "stopped"


def test_killed_workers_end_the_search(folder: Path, data: Path) -> None:
    process = start(folder, data, "--workers", "1")
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    os.kill(last_session(folder / "trial_0000")["process"], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 4
    assert "out of memory?" in errors


def test_trials_that_fail_one_after_another_end_the_search(folder: Path, data: Path) -> None:
    write_settings(folder, "\n  training.learning_rate: {choices: [1.0e+30]}\n")
    message = search(folder, data, 3, "--workers", "1")
    assert "4 trials in a row failed" in message
    assert "the loss became" in message


def test_bad_input_ends_the_search_at_its_first_trial(folder: Path, data: Path) -> None:
    write_settings(folder, objective="val_acuracy")
    message = search(folder, data, 2, "--workers", "1")
    assert "(did you mean val_accuracy?)" in message
    assert "failed" not in message
    with pytest.raises(utils.InputError, match="--device: got cuda"):
        choose_device("cuda")
    assert "--device: got cuda" in search(folder, data, 2, "--device", "cuda")


def test_damaged_data_and_bugs_are_no_failed_trials(folder: Path, data: Path) -> None:
    damaged = folder.parent / "damaged"
    shutil.copytree(data, damaged)
    for path in damaged.glob("*train*"):
        path.write_bytes(path.read_bytes()[:1000])
    message = search(folder, damaged, 2, "--workers", "1")
    assert str(damaged) in message
    assert "failed" not in message
    code = folder.parent / "code"
    shutil.copytree(ROOT, code, ignore=shutil.ignore_patterns("experiments", "data", ".*"))
    with open(code / "model" / "net.py", "a") as file:
        file.write("\n\ndef loss(*_):\n    raise KeyError('a bug')\n")
    message = search(folder, data, 1, "--workers", "1", code=code)
    assert "KeyError: 'a bug'" in message
    assert "failed" not in message


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_no_number_is_a_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    def train(run, device) -> None:
        run.on_epoch({"epoch": 1, "val_accuracy": value})

    train_like(monkeypatch, train)
    here = new_search(folder)
    with pytest.raises(utils.DivergedError, match=r"4 trials in a row failed.*val_accuracy became"):
        here.work(NoStop())
    assert [trial.state.name for trial in here.study.trials] == ["FAIL"] * 4


def test_pruned_trials_keep_what_an_evaluation_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 5 is worse than the five before: the median pruner stops it once it may."""
    path = folder / "search.yaml"
    path.write_text(path.read_text().replace("trials: 4", "trials: 6"))

    def train(run, device) -> None:
        run.begin(run_folder.Progress())
        for name in (run.last, run.previous, run.best):
            (run.folder / name).touch()
        for epoch in range(1, EPOCHS + 1):
            row = {"epoch": epoch, "step": epoch, "val_accuracy": -int(run.folder.name[-1]) / 10}
            run.append_metrics(row, run_folder.Progress())
            run.on_epoch(row)

    train_like(monkeypatch, train)
    here = new_search(folder)
    here.work(NoStop())
    assert [trial.state.name for trial in here.study.trials] == ["COMPLETE"] * 5 + ["PRUNED"]
    trial = folder / "trial_0005"
    assert [path.name for path in trial.glob("*.safetensors")] == ["best.safetensors"]
    assert len(run_folder.read_metrics(trial)) == EPOCHS // 4
    assert last_session(trial)["outcome"] == "pruned"


def test_a_trial_that_was_killed_too_often_has_failed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = new_search(folder)
    here.study.ask().set_user_attr("starts", search_hyperparams.STARTS)
    for _ in range(3):
        here.study.ask()
    left = here.claim()
    assert left
    assert left.number == 1
    assert "trial_0000 fail its process was killed 3 times" in capsys.readouterr().out
    (folder / "trial_0001").mkdir()
    with FileLock(folder / "trial_0001" / ".lock"):  # A worker is still there.
        left = here.claim()
    assert left
    assert left.number == 2


def test_no_trial_is_begun_too_many(folder: Path) -> None:
    here = new_search(folder)
    with contextlib.ExitStack() as stack:
        for number in range(4):
            trial = here.claim()
            assert trial
            assert trial.number == number
            here.folder_of(trial).mkdir()
            stack.enter_context(FileLock(here.folder_of(trial) / ".lock"))
        assert not here.train_next(NoStop())


def test_bad_input_is_not_counted_as_a_kill(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_arguments: object) -> None:
        raise utils.InputError("damaged")

    train_like(monkeypatch, train)
    here = new_search(folder)
    for _ in range(search_hyperparams.STARTS + 1):
        with pytest.raises(utils.InputError, match="damaged"):
            here.work(NoStop())
    (trial,) = here.study.trials
    assert trial.state.name == "RUNNING"
    assert trial.user_attrs["starts"] == 0


def test_a_worker_stops_with_its_search(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = search_hyperparams.WorkerStop.__new__(search_hyperparams.WorkerStop)
    stop.error, stop.deadline = None, math.inf
    assert not stop
    gone = argparse.Namespace(is_alive=lambda: False)
    monkeypatch.setattr(search_hyperparams.multiprocessing, "parent_process", lambda: gone)
    assert stop
    stop._on_signal(signal.SIGTERM, None)  # A second reason does not end the process.
    assert str(stop.error) == "the end of the search"


def test_the_best_trials_are_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "search.yaml"
    path.write_text(path.read_text().replace("maximize: val_accuracy", "minimize: val_loss"))
    here = new_search(folder)
    for value in (0.7, 0.5, 0.6, 0.9, 0.8, 1.0):
        trial = here.study.ask()
        here.suggest(trial)
        here.study.tell(trial, value)
    here.report()
    output = capsys.readouterr().out
    assert f"python evaluate.py --experiment {folder}/trial_0001 --data 'some data'" in output
    assert "6 trials complete, 0 pruned, 0 failed" in output
    shown = [line.split()[2] for line in output.splitlines() if line.startswith("  ")]
    assert shown == ["0.5000", "0.6000", "0.7000", "0.8000", "0.9000"]


def test_a_journal_that_was_cut_short_is_mended_and_a_damaged_one_refused(folder: Path) -> None:
    new_search(folder).study.ask()
    path = folder / "study.journal"
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "wor')
    assert len(new_search(folder).study.trials) == 1
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(utils.InputError, match=r"study\.journal is damaged"):
        new_search(folder)
    gc.collect()  # The error holds what was refused, and so the lock.
    path.unlink()
    (folder / "trial_0000").mkdir()
    with pytest.raises(utils.InputError, match=r"holds trials, but no study\.journal"):
        new_search(folder)
