"""columns.yaml: what each column of a table was taken for, to be looked at and corrected."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from machinery.columns import Columns
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.parameter_file import nearest, read_yaml_lines
from machinery.tables import Table

NUMBERS, CATEGORIES, LEFT_OUT = "numbers", "categories", "left out"
LEVELS_SHOWN = 8
LARGEST_FILE = 4000  # kB


def read_column_file(path: Path, table: Table, targets: Sequence[str]) -> dict[str, str]:
    """Return what a person says that each column is: numbers, categories or left out.

    Args:
        path: columns.yaml, or a corrected copy of it.
        table: has a line there for each column.
        targets: are left out.

    Raises:
        InputError: naming the file, the line and the column.
    """
    values, lines = read_yaml_lines(path, LARGEST_FILE)
    problems = []
    for name, kind in values.items():
        where = f"{path}:{lines[name]}: "
        if name not in table.columns:
            problems.append(
                f"{where}{table.path} has no column {name!r}{nearest(name, table.names)}."
            )
        elif kind not in (NUMBERS, CATEGORIES, LEFT_OUT):
            expected = f"{NUMBERS}, {CATEGORIES} or {LEFT_OUT}"
            problems.append(f"{where}{name}: got {str(kind)[:80]!r}, expected {expected}.")
        elif name in targets and kind != LEFT_OUT:
            problems.append(f"{where}{name}: got {kind!r}, expected {LEFT_OUT}: it is the target.")
    for name in table.names:
        if name not in values:
            problems.append(f"{path}: no line for column {name!r} of {table.path}.")
    if problems:
        more = [f"and {len(problems) - 10} more"] if len(problems) > 10 else []
        raise InputError("\n  ".join([f"{path} does not fit:", *problems[:10], *more]))
    return values


def write_column_file(
    path: Path, table: Table, columns: Columns, reasons: Mapping[str, str]
) -> None:
    """Write what each column was taken for, with what it holds in a comment.

    Args:
        path: the file.
        table: the columns in their order.
        columns: those to learn from.
        reasons: why others are left out, by name; the rest holds the same in every row.
    """
    numbers = dict(zip(columns.number_names, columns.numbers.T, strict=True))
    lines = [
        f"# What the columns of {_quote(table.path.name)} were taken for. To correct it, change",
        f"# a copy ({NUMBERS}, {CATEGORIES} or {LEFT_OUT}) and give it: --columns COPY",
    ]
    for name in table.names:
        if name in numbers:
            kind, held = NUMBERS, _describe_numbers(numbers[name])
        elif name in columns.categories:
            kind, held = CATEGORIES, _describe_categories(columns.categories[name])
        else:
            kind, held = LEFT_OUT, reasons.get(name, "the same in every row")
        lines.append(f"{_quote(name)}: {kind}  # {held}")
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _describe_numbers(cells: np.ndarray) -> str:
    known = cells[~np.isnan(cells)]
    return f"{len(cells) - len(known):,} missing, from {known.min():g} to {known.max():g}"


def _describe_categories(cells: np.ndarray) -> str:
    levels, counts = np.unique(cells[cells != ""], return_counts=True)
    most = levels[np.argsort(-counts, kind="stable")]
    shown = ", ".join(_quote(level) for level in most[:LEVELS_SHOWN].tolist())
    more = ", ..." if len(levels) > LEVELS_SHOWN else ""
    return f"{(cells == '').sum():,} missing, {len(levels):,} different: {shown}{more}"


def _quote(text: str) -> str:
    """Return a text as YAML has it, in one line."""
    return json.dumps(text, ensure_ascii=not text.isprintable())
