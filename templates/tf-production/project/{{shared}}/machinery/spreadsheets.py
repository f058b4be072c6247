"""CSV files, with texts that a spreadsheet shows and does not compute.

Names may come from anywhere, and a spreadsheet takes a cell such as
`=HYPERLINK(...)` for a formula: https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from machinery.files import writing_atomically

FORMULA = re.compile(r"[=+\-@\t\r]")  # How it begins.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def as_text(text: str) -> str:
    """Return a text that a spreadsheet shows as it is: one like a formula gets a ' in front.

    Numbers such as -0.5 stay numbers.
    """
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def write_csv(path: Path, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV, whole or not at all; each row goes to the disk when it is there.

    Args:
        path: the file.
        titles: of the columns.
        rows: of cells.
    """
    with writing_atomically(path) as binary:
        # A file's name may hold bytes that are no text.
        file = io.TextIOWrapper(binary, "utf-8", "backslashreplace", newline="")
        writer = csv.writer(file, lineterminator="\n")
        for row in itertools.chain([titles], rows):
            writer.writerow([as_text(str(cell)) for cell in row])
        file.detach()  # Flushes; the file itself is closed by the one who opened it.
