"""Tables as lines of JSON, such as a log of requests: an object a line, a row each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machinery.errors import InputError


def read_json_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the names of the columns as row 1, and each line as CSV would hold it.

    What a line lacks, or has as null, is empty.

    Raises:
        InputError: naming the file, and the line, that is no object of JSON.
    """
    names = list(dict.fromkeys(name for _, line in _read(path) for name in line))
    if not names:
        raise InputError(f"{path}: is empty; expected an object of JSON in each line.")
    yield 1, names
    for number, line in _read(path):
        cells = [line.get(name) for name in names]
        yield number, ["" if cell is None else str(cell).strip() for cell in cells]


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line that is not blank, as a row is numbered, and its object."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError(f"got {type(line).__name__}")
                yield number + 1, line
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Give lines of JSON.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read as lines of JSON, an object each: {error}."
        ) from None
