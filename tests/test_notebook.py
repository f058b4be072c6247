"""The notebook of keras-quickstart, run from its first cell to its last in an empty folder."""

import base64
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nbclient
import nbformat
import pytest

from combinations import Combination, find_combination
from projects import run, task


def test_the_notebook_trains(
    rendered: Callable[[Combination], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copytree(rendered(find_combination("jax")), tmp_path / "leaf")
    found = task(project)
    built = run(project, "build_notebook.py")
    assert built.returncode == 0, built.stderr
    notebook = nbformat.read(project / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": folder}}
    ).execute()
    outputs = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    text = "".join(output.text for output in outputs["!python evaluate.py"])
    assert found.reaches(float(text.split(found.metric)[1].split()[0]), found.bar)
    pictures = [
        base64.b64decode(output.data["image/png"])
        for cell_outputs in outputs.values()
        for output in cell_outputs
        if output.output_type == "display_data" and "image/png" in output.data
    ]
    baseline = folder / "experiments" / "baseline"
    names = [name.format(name="test") for name in found.evaluation_files if ".png" in name]
    for name, picture in zip(["learning_curves.png", *names], pictures, strict=True):
        assert picture == (baseline / name).read_bytes()
    table = notebook.cells[-1].outputs[0].data["text/markdown"]
    assert "short" in table
    assert "baseline" in table
