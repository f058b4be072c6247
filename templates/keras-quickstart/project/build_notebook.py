"""Pack the project, as it is now, into one notebook for Colab or Kaggle.

    python build_notebook.py                        # writes notebook.ipynb

Upload it there, choose a GPU, on Kaggle switch the internet on, and run all cells. For each file of
the project there is a cell that writes it, so after a change in a cell, run that cell again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from keras_backend import NAMES
from machinery.argument_parser import ArgumentParser
from machinery.errors import exit_codes
from machinery.files import write_atomically

ROOT = Path(__file__).parent
# The files that are shown; the cells of the others are folded away.
READ = ("model/net.py", "model/augmentation.py", "model/data_loader.py", "evaluate.py", "train.py")


def make_cell(kind: str, source: str, hidden: bool = False) -> dict[str, Any]:
    """Return a cell of a notebook: "markdown" or "code", its input folded away or not.

    The format is https://nbformat.readthedocs.io, version 4.5.
    """
    cell: dict[str, Any] = {"cell_type": kind, "source": source.strip("\n")}
    cell["id"] = hashlib.sha256(source.encode()).hexdigest()[:8]
    cell["metadata"] = (
        {"jupyter": {"source_hidden": True}, "_kg_hide-input": True} if hidden else {}
    )
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell


def file_cells(names: list[str], hidden: bool) -> list[dict[str, Any]]:
    """Return for each file a cell that writes it."""
    return [
        make_cell("code", f"%%writefile {name}\n{(ROOT / name).read_text('utf-8')}", hidden)
        for name in names
    ]


def project_files() -> list[str]:
    """Return the names of the files that the commands in the notebook need."""
    patterns = ["keras.json", "*.py", "model/**/*.py", "machinery/*.py"]
    patterns += ["experiments/baseline/params.yaml", "experiments/search/search.yaml"]
    files = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    names = [path.relative_to(ROOT).as_posix() for path in files if path.read_bytes()]
    return [name for name in names if name != Path(__file__).name]


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
    files = project_files()
    machinery = [name for name in files if name.startswith("machinery/")]
    others = [name for name in files if name not in (*machinery, *READ)]
    folders = sorted({str(Path(name).parent) for name in files} - {"."})
    show = "from pathlib import Path\n\nfrom IPython.display import Image, Markdown, display"
    baseline = "experiments/baseline"
    cells = [
        make_cell("markdown", "# Train a network\n\nRun all cells. Made by `build_notebook.py`."),
        make_cell("code", f"%pip install --quiet {requirements()}"),
        make_cell(
            "markdown", "## The project\n\nThe machinery, which you need not read, folded away:"
        ),
        make_cell("code", f"!mkdir -p {' '.join(folders)}"),
        *file_cells(machinery, hidden=True),
        make_cell("markdown", "The data, the parameters and the commands, folded away, too:"),
        *file_cells(others, hidden=True),
        make_cell("markdown", "The network, how it is fed, and how it learns:"),
        *file_cells(list(READ), hidden=False),
        make_cell("markdown", "## Train and evaluate"),
        make_cell("code", "!python train.py"),
        make_cell("code", f'{show}\n\ndisplay(Image("{baseline}/learning_curves.png"))'),
        make_cell("code", "!python evaluate.py"),
        make_cell(
            "code",
            f'for picture in sorted(Path("{baseline}").glob("*_test.png")):\n'
            "    display(Image(str(picture)))",
        ),
        make_cell("markdown", "## Change something\n\nAn experiment is an old one with changes:"),
        make_cell(
            "code",
            f"!python train.py --experiment experiments/short --from {baseline} "
            "--training.epochs 5",
        ),
        make_cell("code", "!python evaluate.py --experiment experiments/short"),
        make_cell("code", "!python synthesize_results.py"),
        make_cell("code", 'display(Markdown("experiments/results.md"))'),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Write the notebook."""
    ArgumentParser(__doc__).parse_args()
    content = json.dumps(make_notebook(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(ROOT / "notebook.ipynb", content.encode())
    print("notebook.ipynb: upload it to Colab or Kaggle, choose a GPU, and run all cells.")


if __name__ == "__main__":
    with exit_codes():
        main()
