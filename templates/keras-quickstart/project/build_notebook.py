"""Make one notebook of lesson.py, with the project as it is now in it.

    python build_notebook.py                        # writes notebook.ipynb

Open it in Jupyter, or upload it to Colab or Kaggle: choose a GPU there, on Kaggle switch the
internet on, and run all cells. It needs no other file, as a folded cell unpacks the project.
"""

import base64
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from framework.keras_backend import NAMES
from machinery.argument_parser import ArgumentParser
from machinery.errors import exit_codes
from machinery.files import write_atomically

ROOT = Path(__file__).parent
LESSON = "lesson.py"
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}, "_kg_hide-input": True}

START = """
# @title Before the lesson: run this cell once. It unpacks the project and installs what it needs.
import base64, io, os, pathlib, zipfile

PROJECT = "{archive}"
with zipfile.ZipFile(io.BytesIO(base64.b64decode(PROJECT))) as project:
    for name in project.namelist():
        if not pathlib.Path(name).exists():  # What you have changed stays as it is.
            project.extract(name)
# The commands at the end share the GPU with this notebook.
os.environ |= {{"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}}
%pip install --quiet {requirements}
"""
COMMANDS = """
## The same by commands

`train.py` does more: it lets the learning rate rise and fall, and can change the examples at
random. It keeps the best network, and a record of the run. Stop it and run it again: it goes on
where it was. An experiment is a folder, and a new one is an old one with changes. A table compares
them.
"""
TRAIN = "!python train.py\n!python evaluate.py"
COMPARE = """
from IPython.display import Markdown

!python train.py --experiment experiments/short --from experiments/baseline --training.epochs 5
!python evaluate.py --experiment experiments/short
!python synthesize_results.py
Markdown("experiments/results.md")
"""
LOAD = """
The best network is one file. Download it: Keras opens it on any computer, without this project.
"""
OPEN = 'keras.models.load_model("experiments/baseline/best.keras").summary()'


def make_cell(kind: str, source: str, number: int = 0, folded: bool = False) -> dict[str, Any]:
    """Return a cell of a notebook: "markdown" or "code", its input folded away or not.

    The format is https://nbformat.readthedocs.io, version 4.5.
    """
    cell: dict[str, Any] = {"cell_type": kind, "source": source.strip("\n")}
    cell["id"] = hashlib.sha256(f"{number} {source}".encode()).hexdigest()[:8]
    cell["metadata"] = FOLDED if folded else {}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell


def lesson_cells() -> list[dict[str, Any]]:
    """Return the cells of lesson.py, each of which begins with a line of `# %%`."""
    path = ROOT / LESSON
    if not path.exists():  # You may have deleted it.
        return []
    _, *parts = re.split(r"^# %%(.*)\n", path.read_text("utf-8"), flags=re.MULTILINE)
    cells = []
    for number, (kind, body) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        if "[markdown]" in kind:
            cells.append(make_cell("markdown", re.sub("^# ?", "", body, flags=re.M), number))
        else:
            cells.append(make_cell("code", body, number))
    return cells


def project_files() -> list[str]:
    """Return the names of the files that the cells need."""
    patterns = ["keras.json", "*.py", "TASK.md"]
    patterns += [f"{room}/**/*.py" for room in ("model", "framework", "machinery")]
    patterns += ["experiments/baseline/params.yaml", "experiments/search/search.yaml"]
    files = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    names = [path.relative_to(ROOT).as_posix() for path in files]
    return [name for name in names if name not in (LESSON, Path(__file__).name)]


def pack() -> str:
    """Return a zip archive of the project in base64; the same files give the same text."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as project:
        for name in project_files():
            entry = zipfile.ZipInfo(name)  # Its date is 1980, not today.
            project.writestr(entry, (ROOT / name).read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return base64.b64encode(archive.getvalue()).decode()


def requirements() -> str:
    """Return what pip has to install, quoted for a shell.

    Not the backend: Colab and Kaggle have all three, built for their GPU.
    """
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return " ".join(f'"{line}"' for line in lines if line[:1] not in "#" and not is_backend(line))


def is_backend(requirement: str) -> bool:
    """Return whether a line of requirements.txt names TensorFlow, JAX or PyTorch."""
    return requirement.startswith(tuple(f"{name}{sign}" for name in NAMES for sign in "->"))


def make_notebook() -> dict[str, Any]:
    """Return the notebook as its JSON."""
    start = START.format(archive=pack(), requirements=requirements())
    lesson = lesson_cells()
    cells = [
        *lesson[:1],
        make_cell("code", start, folded=True),
        *lesson[1:],
        make_cell("markdown", COMMANDS),
        make_cell("code", TRAIN),
        make_cell("code", COMPARE),
        make_cell("markdown", LOAD),
        make_cell("code", f"import keras\n\n{OPEN}"),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Write the notebook."""
    ArgumentParser(__doc__).parse_args()
    content = json.dumps(make_notebook(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(ROOT / "notebook.ipynb", content.encode())
    print("notebook.ipynb: open it in Jupyter, or upload it to Colab or Kaggle; run all cells.")


if __name__ == "__main__":
    with exit_codes():
        main()
