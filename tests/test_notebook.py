"""The notebook of keras-quickstart, run in an empty folder: one as it is, the others shorter."""

import base64
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from combinations import Combination, find_combination, tasks
from projects import TASKS, run

# Every backend, and every lesson.
lessons = [find_combination(backend, tasks[0]) for backend in ("tensorflow", "jax", "torch")]
lessons += [find_combination("torch", task) for task in tasks[1:]]


@pytest.fixture
def notebook(
    combination: Combination, rendered: Callable[[Combination], Path], tmp_path: Path
) -> Any:
    """The notebook of a combination, as build_notebook.py writes it."""
    project = shutil.copytree(rendered(combination), tmp_path / "leaf")
    built = run(project, "build_notebook.py")
    assert built.returncode == 0, built.stderr
    notebook = nbformat.read(project / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(notebook: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run a notebook in a new folder; return its cells of code."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    folder.mkdir()
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": folder}}
    ).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "".join(map(text, cells))
    assert "Traceback" not in said
    assert "error:" not in said
    assert_pictures(cells)
    return cells


def score(cells: list[Any]) -> float:
    """Return the share of the exam that the network of a lesson got right."""
    (found,) = re.findall(r"(\d+) of (\d+) are right\.", "".join(map(text, cells)))
    right, of = map(int, found)
    return right / of


@pytest.mark.parametrize("combination", lessons[:1], ids=str)
def test_the_notebook_trains(
    notebook: Any, combination: Combination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    cells = execute(notebook, folder, monkeypatch)
    found = TASKS[combination.task]
    assert found.reaches(score(cells), found.bar)
    (command,) = [cell for cell in cells if cell.source.startswith("!python train.py")]
    assert found.reaches(float(text(command).split(found.metric)[-1].split()[0]), found.bar)
    (table,) = [
        output.data["text/markdown"]
        for cell in cells
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]
    assert "short" in table
    assert "baseline" in table
    assert (folder / "experiments" / "baseline" / "best.keras").exists()


@pytest.mark.parametrize("combination", lessons[1:], ids=str)
def test_the_lesson_runs(
    notebook: Any, combination: Combination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one epoch, and without pip and the commands, which are the same in every notebook."""
    first = [cell.source.startswith("!python train.py") for cell in notebook.cells].index(True)
    notebook.cells = notebook.cells[:first]
    (unpacking,) = [cell for cell in notebook.cells if "%pip" in cell.source]
    unpacking.source = unpacking.source.partition("%pip")[0]
    (learning,) = [cell for cell in notebook.cells if "model.fit(" in cell.source]
    learning.source, count = re.subn(r"\bepochs=\d+", "epochs=1", learning.source)
    assert count == 1
    assert 0 <= score(execute(notebook, tmp_path / "elsewhere", monkeypatch)) <= 1


def text(cell: Any) -> str:
    """Return what a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def assert_pictures(cells: list[Any]) -> None:
    """Fail unless each cell that shows a picture has one, and no other cell has."""
    for cell in cells:
        pictures = [
            base64.b64decode(output.data["image/png"])
            for output in cell.outputs
            if "image/png" in output.get("data", {})
        ]
        assert len(pictures) == cell.source.count("plt.show()"), cell.source
        assert all(picture.startswith(b"\x89PNG") for picture in pictures)
