"""A run that dies at any operation on a file: the same command ends as if nothing had happened."""

import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fork_server import CRASHED, CrashPoints
from machinery import checkpoints, files, metrics, pictures, records
from machinery.metrics import read_metrics
from machinery.run import Run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks what is to die")


def dies_at(operation: int, command: Callable[[], object]) -> bool:
    """Run a command in a child process that dies at a file operation; say whether it got there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            CrashPoints(operation).install(files, metrics)
            command()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, CRASHED)
    return code == CRASHED


def results(folder: Path) -> list[Any]:
    """Return the names of the files of a run, and what it has learned."""
    arrays, header = checkpoints.read_checkpoint(folder / checkpoints.LAST)
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    weights = {name: array.tolist() for name, array in arrays.items()}
    return [found, read_metrics(folder), weights, header.parameters, header.progress.step]


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pictures, "draw", lambda path, *_: files.write_atomically(path, b"a picture")
    )


@pytest.fixture
def finished(
    tmp_path: Path,
    train_run: Callable[..., Run],
    quick_pictures: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A run that was trained by code that was not committed, and evaluated."""
    folder = tmp_path / "finished"
    monkeypatch.setattr(records, "git_state", lambda: ("0" * 40, b"changes"))
    train_run(folder, {"training": {"epochs": 2}})
    monkeypatch.setattr(records, "git_state", lambda: ("0" * 40, b"later changes"))
    with records.writing_evaluation(folder, ["metrics_test.json", "picture_test.png"], 4):
        for name in ("metrics_test.json", "picture_test.png", "mine.txt"):
            (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("start", ["from nothing", "overwrite", "overwrite with other parameters"])
def test_a_run_that_dies_anywhere_goes_on(
    tmp_path: Path, train_run: Callable[..., Run], finished: Path, start: str
) -> None:
    folder, overwrite = tmp_path / "run", start.startswith("overwrite")
    values = {"training": {"epochs": 2}, "seed": int("other" in start)}

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if overwrite:
            shutil.copytree(finished, folder)

    begin()
    train_run(folder, values, overwrite=overwrite)
    expected = results(folder)
    operation, died = 0, True
    while died:
        operation += 1
        begin()
        died = dies_at(operation, lambda: train_run(folder, values, overwrite=overwrite))
        train_run(folder, values, overwrite=overwrite)
        assert results(folder) == expected, operation
        if overwrite:
            assert (folder / "mine.txt").read_text() == "mine.txt"
    assert operation > (50 if overwrite else 40)
