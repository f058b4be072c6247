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


def print_table(rows: Sequence[Sequence[str]], colours: Sequence[str] = ()) -> None:
    """Print rows, the first of them headings, in columns that line up.

    Args:
        rows: of the same length.
        colours: of each row's last cell but the headings', such as "red"; empty: none.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, colour in zip(rows, ["", *colours] if colours else [""] * len(rows), strict=True):
        *cells, last = row
        line = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=False))
        print((line + paint(last, colour)).rstrip())
