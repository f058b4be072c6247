"""Tables in Parquet files, read by pyarrow, which is needed for them alone."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machinery.errors import InputError

BLOCK = 1024  # Rows that are read at a time.
INDEX = r"__index_level_\d+__"  # What pandas calls an index that has no name.


def read_parquet(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the names of the columns as row 1, and each row as CSV would hold it.

    Raises:
        InputError: pyarrow is not installed, or cannot read the file; or a column is the row
            numbers of pandas, of which nothing is to be learned.
    """
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            f"{path}: to read Parquet, install pyarrow (python -m pip install pyarrow), or save "
            "the table as CSV."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            row, names = 1, [name.strip() for name in file.schema_arrow.names]
            if index := next((name for name in names if re.fullmatch(INDEX, name)), ""):
                raise InputError(
                    f"{path}: column {index!r} holds the row numbers of pandas. Leave it out where "
                    "the table is written: to_parquet(..., index=False)."
                )
            yield row, names
            for block in file.iter_batches(BLOCK):
                for cells in zip(*(column.to_pylist() for column in block.columns), strict=True):
                    row += 1
                    yield row, ["" if cell is None else str(cell).strip() for cell in cells]
    except (arrow.ArrowException, OSError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot be read as Parquet: {why}") from None
