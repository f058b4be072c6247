"""Is a file a valid submission? Found out here, where it costs none of the day's submissions.

Kaggle takes a file first and says later that it could not be scored. So each cell is compared with
what competition/schema.yaml and the sample submission say.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from machinery.competition import SCHEMA, CompetitionSchema, find_raw, read_schema
from machinery.errors import InputError
from machinery.parameter_file import nearest

MISSING = ["", "nan", "na", "n/a", "null", "none"]  # Cells without a value, in lower case.
SHOWN = 3  # Examples in a message.
SUM_TOLERANCE = 0.01  # Of the probabilities of a row: they may be rounded to few digits.
LARGEST_FACTOR = 20  # Times the sample submission's size; a value of one digit may have 20.
LARGEST_REST = 1_000_000  # Bytes that no file is refused for.


class Checked(NamedTuple):
    """A valid submission."""

    content: bytes  # of the file to send
    rows: int
    notices: list[str]  # what was put right in it; empty: it is the file as it was


def check_submission(path: Path, sample_path: Path | None = None) -> Checked:
    """Compare a file with the sample submission; put the order of columns and rows right.

    Args:
        path: the file.
        sample_path: of a sample submission; None: the competition's.

    Raises:
        InputError: it is not valid; the message names all that is wrong, with examples.
    """
    schema = read_schema()
    sample_path = sample_path or find_raw() / schema.sample_submission
    sample, size = _read_sample(sample_path, schema)
    content = _read(path, LARGEST_FACTOR * size + LARGEST_REST)
    table, names = _parse(path, _decode(path, content)), [*sample.columns]
    if problems := [*_column_problems([*table.columns], names)]:
        raise InputError(f"{path}: {'; '.join(problems)}. Expected the columns {', '.join(names)}.")
    notices = ["a byte order mark is left out"] if content.startswith(b"\xef\xbb\xbf") else []
    if [*table.columns] != names:
        notices.append(f"the columns are put into the order {', '.join(names)}")
        table = table[names]
    values = [name for name in names if name != schema.id]
    problems = [*_id_problems(table[schema.id], sample[schema.id])]
    for name in values:
        problems += _value_problems(name, table[name], sample[name], schema)
    if schema.kind == "multiclass" and schema.answer == "probabilities" and not problems:
        _notice_sums(path, table[schema.id], table[values].astype(float).sum(axis="columns"))
    if problems:
        raise InputError(f"{path}: not a valid submission. " + "; ".join(problems) + ".")
    if not table[schema.id].equals(sample[schema.id]):
        notices.append(f"the rows are put into the order of {schema.sample_submission}")
        table = table.set_index(schema.id).loc[sample[schema.id]].reset_index()
    if notices:
        content = table.to_csv(index=False, lineterminator="\n").encode()
    return Checked(content, len(table), notices)


def _read_sample(path: Path, schema: CompetitionSchema) -> tuple[pd.DataFrame, int]:
    """Return a sample submission, each cell a string, and the bytes of its file."""
    if not path.is_file():
        raise InputError(f"{SCHEMA}: sample_submission: there is no {path}. Correct it.")
    content = path.read_bytes()
    sample = _parse(path, _decode(path, content))
    if schema.id not in sample:
        raise InputError(f"{SCHEMA}: id: {path} has no column {schema.id!r}. Correct it.")
    return sample, len(content)


def _read(path: Path, largest: int) -> bytes:
    """Return the content of a file of at most so many bytes."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. Make one: python compete.py predict")
    if (size := path.stat().st_size) > largest:
        raise InputError(
            f"{path}: {size:,} bytes are too large, expected at most {largest:,}, as the sample "
            "submission is. Is it the right file? Write numbers with fewer digits."
        )
    return path.read_bytes()


def _decode(path: Path, content: bytes) -> str:
    """Return the text of a file, a byte order mark aside."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text, where = "\0", f"byte {error.start}"
    else:
        where = f"character {text.find(chr(0))}"
    if "\0" in text:
        raise InputError(f"{path}: not UTF-8 at {where}. Save it as UTF-8, pandas does: to_csv.")
    return text


def _parse(path: Path, text: str) -> pd.DataFrame:
    """Return the table that a text is, each cell a string."""
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: empty. Expected a row for each example.") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise InputError(f"{path}: not a table of commas: {str(error).strip()}.") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"{path}: its rows have more cells than the first line names.")
    if table.empty:
        raise InputError(f"{path}: has no row. Expected a row for each example.")
    return table.fillna("")  # What a short row lacks.


def _column_problems(found: list[str], expected: list[str]) -> Iterator[str]:
    """Yield what is wrong with the names of the columns."""
    missing = [name for name in expected if name not in found]
    for name in found:
        if name not in expected:
            yield f"column {name!r}: not expected{nearest(name, missing)}"
    for name in missing:
        yield f"column {name!r}: missing"
    if missing and len(found) == 1:
        yield "are the cells separated by commas?"


def _id_problems(found: pd.Series, expected: pd.Series) -> Iterator[str]:
    """Yield what is wrong with the ids."""
    double = found[found.duplicated()].drop_duplicates()
    unknown = found[~_is_among(found, expected)]
    missing = expected[~_is_among(expected, found)]
    if len(double):
        yield f"{found.name}: more than once: {_examples(double)}"
    if len(unknown):
        as_floats = _is_among(unknown.str.removesuffix(".0"), expected).all()
        hint = " (whole numbers are expected, without .0)" if as_floats else ""
        yield f"{found.name}: not in the sample: {_examples(unknown)}{hint}"
    if len(missing):
        yield f"{found.name}: missing: {_examples(missing)}"


def _value_problems(
    name: str, cells: pd.Series, sample: pd.Series, schema: CompetitionSchema
) -> Iterator[str]:
    """Yield what is wrong with the cells of a column of answers."""
    empty = _is_among(cells.str.strip().str.lower(), MISSING)
    if empty.any():
        lines = pd.Series(cells.index[empty] + 2).astype(str)  # The first line has the names.
        yield f"{name}: no value (NaN) in line {_examples(lines)}"
    cells = cells[~empty]
    if schema.answer == "labels":
        known = _known_labels(schema, name)
        unknown = cells[~_is_among(cells, known)]
        # Where the sample has other labels than the training table, nobody knows which are right.
        if len(unknown) and _is_among(sample, known).all():
            expected = _examples(pd.Series(known), 10)
            yield f"{name}: no known class: {_examples(unknown)} (expected: {expected})"
        return
    numbers = pd.to_numeric(cells, errors="coerce").astype(float)
    checks = {"no number": numbers.isna(), "infinite": pd.Series(np.isinf(numbers), cells.index)}
    if schema.answer == "probabilities":
        outside = (numbers < 0) | (numbers > 1)
        checks["no probability from 0 to 1"] = outside & ~checks["infinite"]
    for problem, wrong in checks.items():
        if wrong.any():
            yield f"{name}: {problem}: {_examples(cells[wrong])}"


def _notice_sums(path: Path, ids: pd.Series, sums: pd.Series) -> None:
    """Print which rows of probabilities do not sum to 1: many a metric divides them by their sum.

    Args:
        path: of the submission.
        ids: of its rows.
        sums: of the probabilities of each row.
    """
    wrong = (sums - 1).abs() > SUM_TOLERANCE
    if wrong.any():
        print(
            f"{path}: the probabilities do not sum to 1: those of {_examples(ids[wrong])}, the "
            f"first to {sums[wrong].iloc[0]:.4g}. Does the competition's metric divide them by "
            "their sum?"
        )


def _known_labels(schema: CompetitionSchema, name: str) -> list[str]:
    """Return the labels that a column may hold, as text; empty: it is not known."""
    if schema.kind == "multilabel":
        return ["0", "1"]
    if schema.classes:
        return schema.classes
    train = find_raw() / schema.train
    if train.suffix != ".csv" or not train.is_file():
        return []
    column = name if name in schema.targets else schema.targets[0]
    cells = pd.read_csv(train, usecols=[column], dtype=str, keep_default_na=False)[column]
    return sorted({*cells} - {""})


def _is_among(cells: pd.Series, known: Iterable[str]) -> np.ndarray:
    """Return for each cell whether it is among others: isin is slow for texts."""
    wanted = {*known}
    return np.array([cell in wanted for cell in cells.tolist()], bool)


def _examples(cells: pd.Series, shown: int = SHOWN) -> str:
    """Return the first of some cells, and how many more there are."""
    more = len(cells) - shown
    return ", ".join(cells.iloc[:shown]) + (f" and {more} more" if more > 0 else "")
