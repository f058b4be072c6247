"""The columns of a table as features: what check_data.py compares of rows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from machinery.tables import Bad, Table, read_blocks

BLOCK = 512  # Rows


def describe_rows(
    inputs: Mapping[str, np.ndarray], numbers: Sequence[str], categories: Mapping[str, list[str]]
) -> dict[str, np.ndarray]:
    """Return the columns of rows as they are stored, each (N,): see Features.

    Args:
        inputs: of the network: "numbers" (N, columns) and "categories" (N, columns).
        numbers: the columns of numbers.
        categories: the columns of categories, and the levels of each.
    """
    features = {name: inputs["numbers"][:, i].astype(np.float64) for i, name in enumerate(numbers)}
    for i, (name, levels) in enumerate(categories.items()):
        features[name] = np.array(["", *levels], np.str_)[inputs["categories"][:, i]]
    return features


def read_features(
    paths: Sequence[Path], numbers: Sequence[str], skip_bad: bool
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the columns of tables in blocks, those that are there, and others as texts.

    A cell that is no number counts as missing in a column of numbers, and it is said how many.

    Args:
        paths: of the tables.
        numbers: the columns of numbers.
        skip_bad: leave out rows of another length, and say so.

    Raises:
        InputError: naming the file, and the rows, that cannot be read.
    """
    for path in paths:
        wrong: Counter[str] = Counter()
        such: dict[str, str] = {}
        for table in read_blocks(path, BLOCK, lambda names: None, _find_none, skip_bad):
            yield {
                name: _read_number(table, name, wrong, such)
                if name in numbers
                else np.where(table.is_missing(name), "", np.array(table.columns[name], np.str_))
                for name in table.names
            }
        for name, count in wrong.items():
            print(f"{path}: {name}: {count:,} cells are no numbers, such as {such[name]!r}.")


def _find_none(table: Table, bad: Bad) -> None:
    del table, bad


def _read_number(table: Table, name: str, wrong: Counter[str], such: dict[str, str]) -> np.ndarray:
    values, bad = table.read_numbers(name)
    if bad.any():
        wrong[name] += int(bad.sum())
        such.setdefault(name, table.columns[name][int(bad.argmax())])
    return values
