"""Rows as a request brings them: JSON objects, or a table as CSV."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machinery.errors import InputError
from machinery.tables import Bad, Table, find_uneven

MOST_ROWS = 10_000
PLACE = Path("request")  # What messages call it.
_ROW = {"$ref": "#/components/schemas/Row"}  # It names the columns: see service.py.
CONTENT: dict[str, Any] = {
    "application/json": {
        "schema": {
            "anyOf": [
                _ROW,
                {"type": "array", "items": _ROW, "minItems": 1, "maxItems": MOST_ROWS},
            ]
        }
    },
    "text/csv": {"schema": {"type": "string"}},
}


def read_rows(body: bytes, content_type: str) -> Table:
    """Return the rows of a request; the first is row 1.

    Args:
        body: of the request: an object whose names are those of columns, several in a list, or a
            table as CSV, with the names of the columns in its first line.
        content_type: text/csv, or JSON.

    Raises:
        InputError: it holds no rows.
    """
    try:
        text = body.decode("utf-8-sig")
        if content_type == "text/csv":
            return _read_csv(text)
        return _read_objects(json.loads(text))
    except UnicodeDecodeError:
        raise InputError("the request: is not UTF-8") from None
    except (ValueError, RecursionError):
        advice = "for CSV send Content-Type: text/csv"
        raise InputError(f"the request: is not JSON; {advice}") from None
    except csv.Error as error:
        raise InputError(f"the request: is not CSV: {error}") from None


def _read_csv(text: str) -> Table:
    lines = [cells for cells in csv.reader(io.StringIO(text, newline="")) if cells]
    if len(lines) < 2:
        raise InputError("the request: expected a line of column names, and rows below it")
    names, records = lines[0], list(enumerate(lines[1:], 1))
    if len({*names}) < len(names):
        raise InputError("the request: expected a name of its own for each column")
    bad = find_uneven(names, records)
    return _make_table(names, records, bad)


def _read_objects(rows: Any) -> Table:
    rows = rows if isinstance(rows, list) else [rows]
    if not rows or not all(isinstance(row, dict) and row for row in rows):
        raise InputError('the request: expected {"a column": 1.5, "another": "a text"}, or a list')
    names = list(rows[0])
    records, bad = [], Bad()
    for number, row in enumerate(rows, 1):
        if {*row} != {*names}:
            bad[number] = "got other columns than row 1"
        cells = []
        for name in names:
            value = row.get(name)
            if isinstance(value, list | dict):
                bad[number] = f"{name}: expected a number, a text or null"
            cells.append("" if value is None else str(value))
        records.append((number, cells))
    return _make_table(names, records, bad)


def _make_table(names: Sequence[str], records: list[tuple[int, list[str]]], bad: Bad) -> Table:
    if len(records) > MOST_ROWS:
        raise InputError(f"the request: got {len(records):,} rows, expected at most {MOST_ROWS:,}")
    for row, why in bad.items():
        raise InputError(f"{PLACE}: row {row}: {why}")
    return Table(PLACE, names, records)
