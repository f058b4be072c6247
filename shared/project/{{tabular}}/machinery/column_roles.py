"""Which columns of a table are what: as a person says, and what the rest looks like."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from machinery.column_file import CATEGORIES, LEFT_OUT, NUMBERS, read_column_file
from machinery.columns import find_bad_numbers, find_categories
from machinery.split_columns import find_bad_groups, find_bad_splits, find_bad_times
from machinery.tables import Bad, Table, find_repeated
from machinery.targets import Kind


class Roles(NamedTuple):
    """The columns of a table, as far as a person says what they are."""

    targets: Sequence[str]  # to predict
    kind: Kind | None = None  # of the target; None: what it looks like
    categories: Sequence[str] = ()  # numbers that are categories, such as post codes
    drop: Sequence[str] = ()  # to leave out
    id: str | None = None  # names the rows
    split: str | None = None  # says train, val or test
    time: str | None = None  # the earliest rows are train, the latest test
    group: str | None = None  # what stays in one split
    file: Path | None = None  # a corrected columns.yaml, instead of categories and drop

    def of_options(self) -> dict[str, str | None]:
        """Return the column that each option names."""
        return {
            **{"--id": self.id, "--split": self.split},
            **{"--time": self.time, "--group": self.group},
        }

    def reasons(self, left_out: Iterable[str] = ()) -> dict[str, str]:
        """Return why columns are not learned from, by name, given those that a file leaves out."""
        return {
            **dict.fromkeys(left_out, "--columns"),
            **{name: option for option, name in self.of_options().items() if name},
            **dict.fromkeys(self.drop, "--drop"),
            **dict.fromkeys(self.targets, "the target"),
        }

    def check_names(self, table: Table) -> None:
        """Refuse names that are no columns of the table."""
        table.check_names("--target", self.targets)
        table.check_names("--categories", self.categories)
        table.check_names("--drop", self.drop)
        for option, name in self.of_options().items():
            table.check_names(option, [name] if name else [])

    def find_bad_rows(self, table: Table, bad: Bad) -> None:
        """Take the rows that no split can be found for, and those that say again what one said.

        Only a name of its own for each row tells these from two observations that are equal.
        """
        if self.split:
            find_bad_splits(table, self.split, bad)
        if self.time:
            find_bad_times(table, self.time, bad)
        if self.group:
            find_bad_groups(table, self.group, bad)
        if self.id:
            find_repeated(table, bad)

    def choose_columns(self, table: Table, bad: Bad) -> tuple[list[str], list[str]]:
        """Return the columns to learn from, and which of them are categories.

        Args:
            table: all columns.
            bad: takes the rows with a cell that is not of its column's kind.

        Raises:
            InputError: the file does not fit the table; or a column looks like neither kind.
        """
        if not self.file:
            reasons = self.reasons()
            names = [name for name in table.names if name not in reasons]
            return names, find_categories(table, names, self.categories, bad)
        kinds = read_column_file(self.file, table, self.targets)
        find_bad_numbers(table, [name for name in table.names if kinds[name] == NUMBERS], bad)
        names = [name for name in table.names if kinds[name] != LEFT_OUT]
        return names, [name for name in names if kinds[name] == CATEGORIES]
