"""Tables in files: CSV, with commas, semicolons or tabs between the cells; Parquet; JSON lines."""

import contextlib
import csv
import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from machinery.errors import InputError
from machinery.json_lines import read_json_lines
from machinery.parameter_file import nearest
from machinery.parquet_files import read_parquet

DELIMITERS = (",", ";", "\t")
MISSING = ("", "?", "na", "n/a", "nan", "null")  # What stands for a missing cell, in any case.
NOT_A_NUMBER = (*MISSING, "none")  # Among texts, "none" may be an answer of its own.
EXTENSIONS = (".csv", ".parquet", ".jsonl")
OTHER_FORMS = {  # How files begin that are no text in UTF-8.
    b"PK\x03\x04": "an Excel workbook, or another zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
LARGEST = float(np.finfo(np.float32).max)

Record = tuple[int, list[str]]  # The number of a row, and its cells.


class Table:
    """The cells of a table as text, column by column.

    Rows are numbered as a spreadsheet shows them: the names of the columns are row 1.

    Args:
        path: the file, for messages.
        names: of the columns.
        records: the number of each row with its cells, one a column.
        decimal_comma: whether 1,5 is a number.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        records: Sequence[Record],
        decimal_comma: bool = False,
    ) -> None:
        self.path, self.names, self.decimal_comma = path, list(names), decimal_comma
        self.rows = np.array([number for number, _ in records], np.int64)
        columns = list(zip(*(cells for _, cells in records), strict=True)) or [()] * len(names)
        self.columns = dict(zip(self.names, map(list, columns), strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    def leave_out(self, bad: Mapping[int, str]) -> None:
        """Remove the rows of these numbers."""
        keep = ~np.isin(self.rows, list(bad))
        self.rows = self.rows[keep]
        for name, cells in self.columns.items():
            self.columns[name] = [cell for cell, good in zip(cells, keep, strict=True) if good]

    def check_names(self, option: str, names: Iterable[str]) -> None:
        """Refuse names that are no columns of the table."""
        for name in names:
            if name not in self.columns:
                shown = ", ".join(self.names[:10]) + (", ..." if len(self.names) > 10 else "")
                raise InputError(
                    f"{self.path}: no column {name!r} for {option}{nearest(name, self.names)}. "
                    f"The columns are {shown}."
                )

    def name_rows(self, column: str | None) -> np.ndarray:
        """Return the names of the rows, (N,) str: the cells of a column, or row-2, row-3, ...

        Raises:
            InputError: two rows have one name.
        """
        if column is None:
            return np.array([f"row-{row}" for row in self.rows])
        first: dict[str, int] = {}
        for row, cell in zip(self.rows.tolist(), self.columns[column], strict=True):
            if first.setdefault(cell, row) != row:
                raise InputError(
                    f"{self.path}: row {row}: {column}: got {cell!r} as in row {first[cell]}, "
                    "expected a name of its own for each row. Name another column with --id, or "
                    "none."
                )
        return np.array(self.columns[column])

    def read_numbers(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Read a column as numbers.

        Returns:
            (N,) float64, NaN where a cell is missing or no number; (N,) bool, where it is neither
            missing nor a finite number that float32 can hold.
        """
        cells = self.columns[name]
        numbers = np.array([to_number(cell, self.decimal_comma) for cell in cells], np.float64)
        wrong = np.array([cell.lower() not in NOT_A_NUMBER for cell in cells], bool)
        return numbers, wrong & np.isnan(numbers)

    def is_missing(self, name: str) -> np.ndarray:
        """Return where the cells of a column are missing, (N,) bool."""
        return np.array([cell.lower() in MISSING for cell in self.columns[name]], bool)


class Bad(dict[int, str]):
    """Why rows cannot be used, by the number of the row: the first reason of each."""

    def add(self, table: Table, where: np.ndarray, name: str, expected: str) -> None:
        """Take the rows, (N,) bool, in which a column does not hold what was expected."""
        for place in np.flatnonzero(where):
            got = table.columns[name][place]
            self.setdefault(int(table.rows[place]), f"{name}: got {got!r}, expected {expected}")


def find_repeated(table: Table, bad: Bad) -> None:
    """Take the rows that equal an earlier one in every cell."""
    first: dict[tuple[str, ...], int] = {}
    rows = zip(*table.columns.values(), strict=True)
    for row, cells in zip(table.rows.tolist(), rows, strict=True):
        if (before := first.setdefault(cells, row)) != row:
            bad.setdefault(row, f"the same as row {before}")


def to_number(cell: str, decimal_comma: bool) -> float:
    """Return the number in a cell; NaN where there is none, or one that float32 cannot hold."""
    try:
        number = float(cell)
    except ValueError:
        try:
            number = float(cell.replace(",", ".")) if decimal_comma else math.nan
        except ValueError:
            return math.nan
    return number if abs(number) <= LARGEST else math.nan


def read_table(path: Path, skip_bad: bool = False) -> Table:
    """Read a table whose first line names the columns.

    Args:
        path: text in UTF-8, where what lies between the cells is found out; Parquet; JSON lines.
        skip_bad: leave out rows of another length, and say so.

    Raises:
        InputError: naming the file, and the row and column, that cannot be used.
    """
    with open_records(path) as (delimiter, found):
        records = list(found)
    names = records[0][1]
    if len(records) == 1:
        raise InputError(f"{path}: holds column names alone; expected rows below them.")
    bad = find_uneven(names, records[1:])
    refuse_bad(path, len(records) - 1, bad, skip_bad)
    good = [record for record in records[1:] if record[0] not in bad]
    return Table(path, names, good, decimal_comma=delimiter == ";")


def read_names(path: Path) -> list[str]:
    """Return the names of the columns of a table; see read_table."""
    with open_records(path) as (_, records):
        return next(records)[1]


def find_uneven(names: Sequence[str], records: Sequence[Record]) -> Bad:
    """Return the rows with more or fewer cells than the table has columns."""
    expected = f"expected {len(names)} as in row 1"
    lengths = {row: len(cells) for row, cells in records}
    return Bad({row: f"got {n} cells, {expected}" for row, n in lengths.items() if n != len(names)})


def read_blocks(
    path: Path,
    size: int,
    check_names: Callable[[Sequence[str]], object],
    find_bad: Callable[[Table, Bad], object],
    skip_bad: bool,
) -> Iterator[Table]:
    """Yield the rows of a table that can be used, `size` or fewer at a time, and never none.

    Args:
        path: see read_table.
        size: of a block.
        check_names: refuses the names of the columns.
        find_bad: takes the rows that cannot be used.
        skip_bad: leave them out, and say so.

    Raises:
        InputError: naming the file, and the columns or the rows, that cannot be used.
    """
    with open_records(path) as (delimiter, records):
        _, names = next(records)
        check_names(names)
        while block := list(itertools.islice(records, size)):
            bad = find_uneven(names, block)
            even = [record for record in block if record[0] not in bad]
            table = Table(path, names, even, decimal_comma=delimiter == ";")
            find_bad(table, bad)
            if bad and not skip_bad:
                raise InputError(
                    f"{path}: rows cannot be used, so nothing was written:\n  {_show(path, bad)}\n"
                    "Mend or remove them, or leave them out with --skip-bad."
                )
            for row, why in sorted(bad.items()):
                print(f"left out: {path}: row {row}: {why}")
            table.leave_out(bad)
            if len(table):
                yield table


@contextlib.contextmanager
def open_records(path: Path) -> Generator[tuple[str, Iterator[Record]]]:
    """Open a table to read it row by row: the names of the columns, then at least nothing.

    Args:
        path: see read_table.

    Returns:
        what lies between the cells, if anything; the number of each row that is not blank,
        and its cells without blanks around them

    Raises:
        InputError: naming the file, and the row or line, that cannot be read.
    """
    if read := {".parquet": read_parquet, ".jsonl": read_json_lines}.get(path.suffix.lower()):
        records = read(path)
        first = next(records)
        _check_header(path, first[1])
        yield "", itertools.chain([first], records)
        return
    try:
        _refuse_other_forms(path)
        # Excel begins its UTF-8 with a mark.
        with open(path, encoding="utf-8-sig", newline="") as file:
            delimiter = _find_delimiter(file)
            file.seek(0)
            records = _read_records(path, file, delimiter)
            if not (first := next(records, None)):
                raise InputError(
                    f"{path}: is empty; expected a line of column names, and rows below it."
                )
            _check_header(path, first[1])
            yield delimiter, itertools.chain([first], records)
    except UnicodeDecodeError:
        raise InputError(_not_utf_8(path)) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Give a CSV file.") from None


def _refuse_other_forms(path: Path) -> None:
    with open(path, "rb") as file:
        begins = file.read(4)
    if begins == b"PAR1":
        raise InputError(f"{path}: is Parquet. Rename it to end in .parquet.")
    for mark, form in OTHER_FORMS.items():
        if begins.startswith(mark):
            raise InputError(f'{path}: is {form}, expected CSV. Save the table as "CSV UTF-8".')


def _not_utf_8(path: Path) -> str:
    """Return what to say of a file with bytes that are not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"{path}:{number}: byte 0x{line[error.start]:02x} is not UTF-8. Save the table "
                    'as "CSV UTF-8", or convert it: iconv -f windows-1252 -t utf-8.'
                )
    return f"{path}: is not UTF-8."


def _find_delimiter(file: TextIO) -> str:
    """Return the delimiter that cuts the first rows into the most cells, as many in each."""

    def score(delimiter: str) -> tuple[bool, int]:
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        try:
            lengths = [len(cells) for _, cells in zip(range(20), reader, strict=False) if cells]
        except csv.Error:
            return False, 0
        return len({*lengths}) == 1 and lengths[0] > 1, max(lengths, default=0)

    return max(DELIMITERS, key=score)


def _read_records(path: Path, file: TextIO, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    row = 0
    try:
        for row, cells in enumerate(reader, start=1):
            if cells:
                yield row, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise InputError(
            f"{path}: row {row + 1}: cannot be read: {error}. A quote that is not closed, perhaps?"
        ) from None


def _check_header(path: Path, names: Sequence[str]) -> None:
    """Refuse columns without a name, or two of one name."""
    for number, name in enumerate(names, start=1):
        if not name:
            raise InputError(
                f"{path}: column {number} has no name in row 1. Name it, or leave it out where the "
                "table is written (pandas: to_csv(..., index=False))."
            )
        if (first := names.index(name) + 1) != number:
            raise InputError(f"{path}: columns {first} and {number} are both named {name!r}.")


def refuse_bad(path: Path, rows: int, bad: Mapping[int, str], skip: bool) -> None:
    """Name the rows that cannot be used.

    Args:
        path: of the table.
        rows: how many there are.
        bad: why, by the number of the row.
        skip: leave them out.

    Raises:
        InputError: there are some, and they are not to be left out; or they are all.
    """
    if bad and (not skip or len(bad) == rows):
        advice = "Mend or remove them, or leave them out with --skip-bad."
        if len(bad) == rows:
            advice = "All rows are bad: look at the options that name columns."
        raise InputError(
            f"{path}: {len(bad)} of {rows} rows cannot be used; nothing was written.\n"
            f"  {_show(path, bad)}\n"
            f"{advice}"
        )
    for row, why in bad.items():
        print(f"left out: {path}: row {row}: {why}")


def _show(path: Path, bad: Mapping[int, str]) -> str:
    """Return the first rows that cannot be used, and why, a line each."""
    shown = [f"{path}: row {row}: {why}" for row, why in sorted(bad.items())[:5]]
    return "\n  ".join(shown + ([f"and {len(bad) - 5} more"] if len(bad) > 5 else []))
