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

# The lessons that run on each backend: one on all, and all on one. The first in its whole notebook.
FULL = find_combination("tensorflow")
SHORT = {"jax": tasks[:1], "torch": tasks}
QUICK = tasks[1]  # Its lesson takes seconds, so it runs with all its epochs.

# Enters a new folder, and forgets the project of the one before.
ENTER = """
import os, sys
for name, module in [*sys.modules.items()]:
    if str(getattr(module, "__file__", "")).startswith(os.getcwd()):
        del sys.modules[name]
os.mkdir("{task}")
os.chdir("{task}")
"""


def make_notebook(project: Path, folder: Path) -> Any:
    """Return the notebook of a project, as build_notebook.py writes it in a copy."""
    project = shutil.copytree(project, folder)
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


def scores(cells: list[Any]) -> list[float]:
    """Return the share of each exam that the network of the lesson got right."""
    found = re.findall(r"(\d+) of (\d+) are right\.", "".join(map(text, cells)))
    return [int(right) / int(of) for right, of in found]


@pytest.mark.deep  # At the gate all lessons are run, on PyTorch, which need not compile; below.
def test_the_notebook_trains(
    rendered: Callable[[Combination], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = tmp_path / "elsewhere", TASKS[FULL.task]
    cells = execute(make_notebook(rendered(FULL), tmp_path / "leaf"), folder, monkeypatch)
    (score,) = scores(cells)
    assert found.reaches(score, found.bar)
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


def shorten(notebook: Any, epochs: int | None) -> list[Any]:
    """Return the cells of a lesson with so many epochs; None: with its own.

    Without pip and the commands, which are the same in every notebook.
    """
    first = [cell.source.startswith("!python train.py") for cell in notebook.cells].index(True)
    cells = notebook.cells[:first]
    (unpacking,) = [cell for cell in cells if "%pip" in cell.source]
    unpacking.source = unpacking.source.partition("%pip")[0]
    (learning,) = [cell for cell in cells if "model.fit(" in cell.source]
    own = re.search(r"\bepochs=(\d+)", learning.source)
    assert own
    learning.source = learning.source.replace(own[0], f"epochs={epochs or own[1]}")
    return cells


@pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.deep), "torch"])
def test_the_lessons_run(
    backend: str,
    rendered: Callable[[Combination], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One after the other in one process, as the framework takes seconds to import."""
    cells = []
    for task in SHORT[backend]:
        project = rendered(find_combination(backend, task))
        notebook = make_notebook(project, tmp_path / task)
        enter = nbformat.v4.new_code_cell(ENTER.format(task=tmp_path / "elsewhere" / task))
        cells += [enter, *shorten(notebook, None if task == QUICK else 1)]
    notebook.cells = cells
    found = scores(execute(notebook, tmp_path / "elsewhere", monkeypatch))
    assert len(found) == len(SHORT[backend])
    if QUICK in SHORT[backend]:
        score = found[SHORT[backend].index(QUICK)]
        assert TASKS[QUICK].reaches(score, TASKS[QUICK].bar)


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
