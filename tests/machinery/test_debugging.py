"""train.py --debug: a debugger can stop in it, and the experiment stays as it is."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from build_dataset import build
from helpers import write_base, write_settings

# Before the third step of the training, in whatever process it is.
STOP = """
    global steps
    steps = globals().get("steps", 0) + 1
    if steps == 3:
        breakpoint()
"""


@pytest.fixture
def stopping(tmp_path: Path, project: Path) -> Path:
    """A copy of the tiny project that stops in a step, for a debugger."""
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    build(folder / "data")
    (folder / "experiments" / "baseline").mkdir(parents=True)
    (folder / "experiments" / "baseline" / "params.yaml").write_text("training: {epochs: 2}\n")
    train = (folder / "train.py").read_text()
    line = '    """Change the weights; return the sum of the loss before that."""\n'
    assert line in train
    (folder / "train.py").write_text(train.replace(line, line + STOP))
    return folder


def debug(project: Path, *words: object, commands: str, expected: int = 0) -> str:
    """Run a command with --debug, whose debugger gets some commands; return what was printed."""
    command = [sys.executable, *map(str, words), "--debug"]
    options: dict[str, Any] = {"input": commands, "capture_output": True, "text": True}
    result = subprocess.run(command, cwd=project, check=False, timeout=600, **options)
    assert result.returncode == expected, result.stdout + result.stderr
    return result.stdout + result.stderr


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_debugger_stops_in_a_step(stopping: Path) -> None:
    folder = stopping / "experiments" / "baseline"
    before = files(folder)
    output = debug(stopping, "train.py", commands="p 'labels', len(labels)\nwhere\ncontinue\n")
    assert "experiments/baseline stays as it is." in output
    assert "('labels', " in output
    assert "train_epoch()" in output
    assert "epoch   2/2" in output
    assert files(folder) == before
    (copy,) = {line.split()[2].rstrip(":") for line in output.splitlines() if "Debugging" in line}
    assert not Path(copy).exists()


def test_a_finished_run_is_debugged_anew_and_a_new_one_from_another(stopping: Path) -> None:
    folder = stopping / "experiments" / "baseline"
    debugger: dict[str, Any] = {"input": "continue\n", "text": True, "capture_output": True}
    subprocess.run([sys.executable, "train.py"], cwd=stopping, check=True, **debugger)
    before = files(folder)
    assert "starting, step 0" in debug(stopping, "train.py", commands="continue\n")
    assert files(folder) == before
    words = ("--experiment", "experiments/new", "--from", folder, "--training.epochs", "1")
    assert "epoch   1/1" in debug(stopping, "train.py", *words, commands="continue\n")
    assert not (folder.parent / "new").exists()


def test_a_search_is_debugged_in_one_process(stopping: Path) -> None:
    folder = stopping / "experiments" / "search"
    folder.mkdir()
    (folder.parent / "base").mkdir()
    write_base(folder)
    write_settings(folder)
    before = files(folder)
    output = debug(stopping, "search_hyperparams.py", commands="where\ncontinue\n")
    assert "train_epoch()" in output
    assert "train_next()" in output
    assert files(folder) == before


def test_what_cannot_be_debugged_is_refused(stopping: Path) -> None:
    for words in (("--folds", "all"), ("--rerun", "experiments/baseline")):
        output = debug(stopping, "train.py", *words, commands="", expected=2)
        assert "--debug: one training can be debugged" in output
    output = debug(stopping, "train.py", "--experiment", "no", commands="", expected=2)
    assert "no/params.yaml: not found" in output
