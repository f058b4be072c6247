"""A notebook as a file: its cells, written and read."""

import ast
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machinery.errors import InputError


def write_cells(cells: Sequence[str]) -> bytes:
    """Return a notebook of these cells: https://nbformat.readthedocs.io, format 4.5."""
    made = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": [],
            "source": cell.splitlines(keepends=True),
        }
        for number, cell in enumerate(cells)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(notebook, indent=1) + "\n").encode()


def write_script(cells: Sequence[str]) -> bytes:
    """Return the cells as a script."""
    return ("\n\n".join(cells) + "\n").encode()


def read_cells(path: Path) -> list[str]:
    """Return the code of a notebook or a script, a text for each cell.

    Raises:
        InputError: it is not there, or is no notebook.
    """
    if not path.exists():
        raise InputError(f"{path}: not found. Make it: python compete.py notebook --experiment ...")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return [text]
    try:
        cells = json.loads(text)["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no notebook: {error}. Make it anew.") from None


def read_settings(cells: Sequence[str]) -> dict[str, Any]:
    """Return what the notebook's SETTINGS are.

    Raises:
        InputError: there are none, or other than values.
    """
    with contextlib.suppress(IndexError, SyntaxError, ValueError, TypeError):
        for node in ast.parse(cells[0]).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETTINGS":
                return dict(ast.literal_eval(node.value))
    raise InputError("the notebook's first cell sets no SETTINGS. Make the notebook anew.")
