"""Whole searches: they survive being stopped and killed, and say what went wrong."""

import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build_dataset import Dataset
from helpers import (
    EPOCHS,
    last_session,
    new_study,
    wait_for,
    words,
    write_base,
    write_settings,
)
from machinery.metrics import read_metrics

signals = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@signals
def test_a_search_survives_a_stop_and_a_kill(
    folder: Path, data: Path, dataset: Dataset, start: Callable[..., Any], run: Callable[..., str]
) -> None:
    write_base(folder, pause=0.03)
    write_settings(folder, objective="")  # That of the task.
    process = start(*words(folder, data, "--workers", "2"))
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    process.terminate()
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 75, output + errors
    assert "Run the same command again" in errors
    assert last_session(folder / "trial_0000")["outcome"] == "stopped"
    assert "step 0 of" in (folder / "trial_0000" / "train.log").read_text()

    process = start(*words(folder, data, "--workers", "2"))
    wait_for(folder / "trial_0002" / "metrics.jsonl")
    process.kill()  # The other worker finds out, saves and ends; the next search waits for that.
    os.kill(last_session(folder / "trial_0002")["process"], signal.SIGKILL)
    process.communicate(timeout=600)

    output = run(*words(folder, data))
    command = shlex.split(output.partition("see it on test: ")[2])
    assert command[:3] == ["python", "evaluate.py", "--experiment"]
    assert command[4:] == ["--data", str(data)]
    lines = (folder / "study.journal").read_text().splitlines()
    assert sum('"op_code":4' in line for line in lines) == 4  # 4: a trial was created.
    trials = new_study(folder, dataset).optuna.trials
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    for trial in trials:
        rows = read_metrics(folder / f"trial_{trial.number:04}")
        assert [row["epoch"] for row in rows] == [*range(1, len(rows) + 1)]
        if trial.state.name == "COMPLETE":
            assert len(rows) == EPOCHS
            assert trial.value == max(row["val_accuracy"] for row in rows)


@signals
def test_a_stopped_search_keeps_its_trials_where_to_terminate_is_to_kill(
    folder: Path, data: Path, project: Path, start: Callable[..., Any], dataset: Dataset
) -> None:
    """As on Windows."""
    code = folder.parent / "code"
    shutil.copytree(project, code)
    text = (code / "search_hyperparams.py").read_text()
    kill = (
        "from multiprocessing.process import BaseProcess\nBaseProcess.terminate = BaseProcess.kill"
    )
    text = text.replace("from machinery import search", f"{kill}\nfrom machinery import search")
    (code / "search_hyperparams.py").write_text(text)
    write_base(folder, pause=0.03)
    process = start(*words(folder, data, "--workers", "2"), cwd=code)
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    process.terminate()
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 75, output + errors
    assert last_session(folder / "trial_0000")["outcome"] == "stopped"
    trials = new_study(folder, dataset, data).optuna.trials
    assert [trial.user_attrs["starts"] for trial in trials] == [0] * len(trials)


@signals
def test_ctrl_c_ends_the_whole_group(folder: Path, data: Path, start: Callable[..., Any]) -> None:
    write_base(folder, pause=0.05)
    process = start(*words(folder, data, "--workers", "2"), start_new_session=True)
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 130, output + errors
    assert "Traceback" not in errors
    assert last_session(folder / "trial_0000")["outcome"] == "stopped"


@signals
def test_killed_workers_end_the_search(folder: Path, data: Path, start: Callable[..., Any]) -> None:
    write_base(folder, pause=0.05)
    process = start(*words(folder, data, "--workers", "1"))
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    os.kill(last_session(folder / "trial_0000")["process"], signal.SIGKILL)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 4
    assert "out of memory?" in errors


# Prunes the first trial, and kills the process between the two things that this takes.
KILL_WHILE_PRUNING = """

import os
import pathlib
import signal

from machinery import search_study, search_workers

done = []


def die_second(function, concerns):
    def call(self, *words, **options):
        if concerns(self, *words):
            if done:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(function)
        return function(self, *words, **options)

    return call


train_whole = train


def train(run):
    def prune(row):
        report(row)
        if row["epoch"] == 3:
            raise search_workers.PrunedError

    report, run.on_epoch = run.on_epoch, prune
    train_whole(run)


def is_previous(path, *_):
    return path.name == "previous.safetensors"


search_study.Study.end = die_second(search_study.Study.end, lambda *words: "PRUNED" in words)
pathlib.Path.unlink = die_second(pathlib.Path.unlink, is_previous)
"""


@signals
def test_a_kill_while_a_trial_is_pruned(
    folder: Path, data: Path, project: Path, dataset: Dataset, run: Callable[..., str]
) -> None:
    code = folder.parent / "code"
    shutil.copytree(project, code)
    text = (code / "train.py").read_text()
    start, call, end = text.rpartition("\ncommand.run(")
    (code / "train.py").write_text(start + KILL_WHILE_PRUNING + call + end)
    message = run(*words(folder, data, "--workers", "1"), expected=4, cwd=code)
    assert "The workers were killed" in message
    assert len(read_metrics(folder / "trial_0000")) == 3
    run(*words(folder, data, "--workers", "1"))
    trials = new_study(folder, dataset, data).optuna.trials
    assert trials[0].state.name == "PRUNED"
    assert len(trials) == 4
    assert (folder / "trial_0000" / "best.safetensors").exists()


def test_bad_input_ends_the_search_at_its_first_trial(
    folder: Path, data: Path, run: Callable[..., str]
) -> None:
    write_settings(folder, objective="maximize: val_acuracy")
    message = run(*words(folder, data, "--workers", "1"), expected=2)
    assert "(did you mean val_accuracy?)" in message
    assert "failed" not in message
    assert "--device: got cuda" in run(*words(folder, data, "--device", "cuda"), expected=2)


def test_damaged_data_and_bugs_are_no_failed_trials(
    folder: Path, data: Path, project: Path, run: Callable[..., str]
) -> None:
    damaged = folder.parent / "damaged"
    shutil.copytree(data, damaged)
    for path in damaged.rglob("train_*"):
        path.write_bytes(path.read_bytes()[:100])
    message = run(*words(folder, damaged, "--workers", "1"), expected=2)
    assert str(damaged) in message
    assert "failed" not in message
    shutil.rmtree(folder / "trial_0000", ignore_errors=True)
    (folder / "study.journal").unlink()

    code = folder.parent / "code"
    shutil.copytree(project, code)
    with open(code / "train.py", "a") as file:
        file.write("\n\ndef evaluate(*_):\n    raise KeyError('a bug')\n")
    message = run(*words(folder, data, "--workers", "1"), expected=1, cwd=code)
    assert "KeyError: 'a bug'" in message
    assert "failed" not in message
