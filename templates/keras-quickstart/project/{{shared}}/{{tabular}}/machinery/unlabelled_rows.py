"""Rows of a table to predict, read a block at a time."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from machinery.columns import find_bad_numbers, number_levels
from machinery.errors import InputError
from machinery.parameter_file import nearest
from machinery.predictions import Unlabelled
from machinery.tables import Bad, Table, read_blocks

BLOCK = 512  # Rows


class RowReader:
    """Reads the columns that a network was trained on, wherever they stand in a table.

    Args:
        numbers: the columns of numbers.
        categories: the columns of categories, and the levels of each in their order.
        targets: the columns that are predicted; where a table has them, they are not used.
        id_column: names the rows, where a table has it; None: row-2, row-3, ...
        skip_bad: leave out rows that cannot be used, and say so.
    """

    def __init__(
        self,
        numbers: Sequence[str],
        categories: Mapping[str, Sequence[str]],
        targets: Sequence[str],
        id_column: str | None,
        skip_bad: bool,
    ) -> None:
        self.numbers, self.targets = numbers, targets
        self.levels = {name: np.array(levels, np.str_) for name, levels in categories.items()}
        self.id_column, self.skip_bad = id_column, skip_bad

    def read(self, paths: Sequence[Path]) -> Iterator[Unlabelled]:
        """Yield the rows of some tables in blocks.

        Raises:
            InputError: naming the file, and the column or the rows, that cannot be used.
        """
        for path in paths:
            prefix = f"{path.as_posix()}:" if len(paths) > 1 else ""
            unknown: Counter[str] = Counter()  # cells with a category that is not known
            check_names = functools.partial(self._check_columns, path)
            for table in read_blocks(path, BLOCK, check_names, self._find_bad, self.skip_bad):
                yield Unlabelled(self._name(table, prefix), self._encode(table, unknown))
            for name, count in unknown.items():
                print(f"{path}: {name}: {count:,} cells hold what no training row had: unknown.")

    def read_table(self, table: Table) -> Unlabelled:
        """Return the rows of a table in memory; what is not used or not known is passed over.

        Raises:
            InputError: naming the column or the row that cannot be used.
        """
        self._find_columns(table.path, table.names)
        bad = Bad()
        self._find_bad(table, bad)
        for row, why in bad.items():
            raise InputError(f"{table.path}: row {row}: {why}.")
        return Unlabelled(self._name(table, ""), self._encode(table, Counter()))

    def _check_columns(self, path: Path, names: Sequence[str]) -> None:
        """Refuse a table in which a column is missing; say which columns are not used."""
        others = self._find_columns(path, names)
        ignored = [name for name in others if name != self.id_column]
        if ignored:
            shown = ", ".join(ignored[:10]) + (", ..." if len(ignored) > 10 else "")
            print(f"{path}: columns that are not used: {shown}")

    def _find_columns(self, path: Path, names: Sequence[str]) -> list[str]:
        """Return the columns that the network does not need; refuse where one is missing."""
        needed = [*self.numbers, *self.levels]
        others = [name for name in names if name not in needed]
        if missing := [name for name in needed if name not in names]:
            said = [f"{name!r}{nearest(name, others)}" for name in missing[:5]]
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise InputError(
                f"{path}: columns are missing that the network was trained on: "
                f"{', '.join(said)}{more}."
            )
        return others

    def _find_bad(self, table: Table, bad: Bad) -> None:
        find_bad_numbers(table, self.numbers, bad)

    def _name(self, table: Table, prefix: str) -> np.ndarray:
        if self.id_column in table.columns:
            return np.array(table.columns[self.id_column])
        return np.array([f"{prefix}row-{row}" for row in table.rows])

    def _encode(self, table: Table, unknown: Counter[str]) -> dict[str, np.ndarray]:
        """Return the inputs of the network; count the categories that it does not know."""
        inputs = {}
        if self.numbers:
            columns = [table.read_numbers(name)[0] for name in self.numbers]
            inputs["numbers"] = np.stack(columns, axis=1).astype(np.float32)
        if self.levels:
            columns = []
            for name, levels in self.levels.items():
                missing = table.is_missing(name)
                numbered = number_levels(np.array(table.columns[name]), levels)
                columns.append(np.where(missing, 0, numbered))
                if count := int(((numbered == 0) & ~missing).sum()):
                    unknown[name] += count
            inputs["categories"] = np.stack(columns, axis=1)
        return inputs
