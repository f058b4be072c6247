"""The notebook of keras-quickstart, run from its first cell to its last in an empty folder."""

import base64
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from combinations import Combination, find_combination, tasks
from projects import run, task

# Every backend, and every lesson.
lessons = [("tensorflow", tasks[0]), ("jax", tasks[0]), ("torch", tasks[1])]


@pytest.mark.parametrize("combination", [find_combination(*each) for each in lessons], ids=str)
def test_the_notebook_trains(
    combination: Combination,
    rendered: Callable[[Combination], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = shutil.copytree(rendered(combination), tmp_path / "leaf")
    built = run(project, "build_notebook.py")
    assert built.returncode == 0, built.stderr
    notebook = nbformat.read(project / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": folder}}
    ).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "".join(map(text, cells))
    assert "Traceback" not in said
    assert "error:" not in said
    assert_pictures(cells)
    right, of = said.partition(" are right.")[0].splitlines()[-1].split(" of ")
    found = task(project)
    assert found.reaches(int(right) / int(of), found.bar)
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
