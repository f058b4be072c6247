"""The tables of results in a terminal: never wider than it is."""

import shutil
import textwrap
import unicodedata
from collections.abc import Sequence

from machinery.results_table import Column, Table

ROWS_SHOWN = 40
NARROWEST = 8  # characters of a column that is shortened
IN_A_FILE = (120, 24)  # The width where the output goes to no terminal.


def to_text(tables: Sequence[Table], width: int | None = None) -> str:
    """Return the tables for a terminal.

    Args:
        tables: to show.
        width: in characters; None: that of the terminal.
    """
    width = width or shutil.get_terminal_size(IN_A_FILE).columns
    parts = []
    for table in tables:
        if len(tables) > 1:
            parts += textwrap.wrap(f"== {table.heading}", width)
        columns, left_out = fit([_head(column) for column in table.columns], width)
        lines = zip(*([column.title, *column.cells] for column in columns), strict=True)
        parts += [" | ".join(line).rstrip() for line in lines]
        notes = list(table.notes)
        if left_out:
            notes.append(f"Not shown for want of place: {', '.join(left_out)}.")
        if (more := len(table.rows) - ROWS_SHOWN) > 0:
            notes.append(f"{more:,} more rows are in the files.")
        parts += [line for note in notes for line in textwrap.wrap(note, width)]
        parts.append("")
    # Where nothing else helps, the ends of lines are missing.
    return "\n".join(cut(line, width) for line in parts).rstrip("\n")


def _head(column: Column) -> Column:
    return column._replace(cells=[" ".join(text.split()) for text in column.cells[:ROWS_SHOWN]])


def fit(columns: Sequence[Column], width: int) -> tuple[list[Column], list[str]]:
    """Return columns that stand beside each other in a width, all cells of one as wide.

    Of those that can be left out, the most important are taken as long as there is place, with
    texts of a quarter of the width at most. Where there is none even so, texts are shortened more.

    Returns:
        the columns, and the titles of those that are left out
    """
    longest = max(NARROWEST, width // 4)
    widths = [max(map(columns_of, [c.title, *c.cells])) for c in columns]
    limits = [w if c.is_number else min(w, longest) for c, w in zip(columns, widths, strict=True)]
    taken, free = set[int](), width + 3
    for i in sorted(range(len(columns)), key=lambda i: columns[i].places):
        if columns[i].places == 0 or limits[i] + 3 <= free:
            taken.add(i)
            free -= limits[i] + 3
    for kind in (False, True):  # At last numbers, too.
        some = [i for i in taken if columns[i].is_number in (False, kind)]
        while free < 0 and max(limits[i] for i in some) > NARROWEST:
            limits[max(some, key=limits.__getitem__)] -= 1
            free += 1
    shown = []
    for i in sorted(taken):
        more = min(max(free, 0), widths[i] - limits[i])  # What is left over goes to texts.
        limit, free = limits[i] + more, free - more
        title, *cells = (pad(text, limit) for text in (columns[i].title, *columns[i].cells))
        shown.append(columns[i]._replace(title=title, cells=cells))
    return shown, [column.title for i, column in enumerate(columns) if i not in taken]


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: Chinese characters take two each."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def pad(text: str, width: int) -> str:
    """Return a text of exactly some width; of a longer one the beginning."""
    if columns_of(text) > width:
        text = f"{cut(text, width - 1)}…"
    return text + " " * (width - columns_of(text))


def cut(text: str, width: int) -> str:
    """Return the beginning of a text that takes at most some columns."""
    while columns_of(text) > width:
        text = text[:-1]
    return text
