"""What a command says while it works, and tables: colours at a terminal alone."""

import os
import sys
from collections.abc import Callable, Sequence

Say = Callable[[str], None]
COLOURS = {"red": 31, "green": 32, "yellow": 33}


def say(step: str) -> None:
    """Say on standard error what is being done now."""
    print(f"{step} ...", file=sys.stderr)


def say_nothing(step: str) -> None:
    """Be quiet, in a process whose progress another one shows."""


def paint(text: str, colour: str) -> str:
    """Return a text in a colour where standard output is a terminal that wants them."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{COLOURS[colour]}m{text}\033[0m"


def print_table(rows: Sequence[Sequence[str]], painted: int, colours: Sequence[str]) -> None:
    """Print rows, the first of them headings, in columns that line up.

    Args:
        rows: of the same length.
        painted: which column has colours.
        colours: of this column, without the heading: such as "red"; empty: none.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, colour in zip(rows, ["", *colours], strict=True):
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)]
        cells[painted] = paint(cells[painted], colour)
        print("  ".join(cells).rstrip())
