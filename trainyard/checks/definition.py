"""What a check is, what it finds, and the list of all."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

GROUPS = {
    "TY1": "The repository",
    "TY2": "Python and its packages",
    "TY3": "What is loaded runs nothing",
    "TY4": "The run can be repeated",
    "TY5": "Training and evaluation",
}


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    """A place where something is wrong.

    Args:
        path: from the project's folder, with forward slashes; empty: the project as a whole.
        line: from 1; 0: the file as a whole.
        message: what is wrong there.
        cell: of a notebook, from 1; the line is then one of the cell. 0: the file is none.
    """

    path: str
    line: int
    message: str
    cell: int = 0

    @property
    def place(self) -> str:
        """Return the place, as the table shows it."""
        parts = [self.path or ".", *([f"cell {self.cell}"] if self.cell else [])]
        return ":".join([*parts, *([str(self.line)] if self.line else [])])


@dataclasses.dataclass(frozen=True)
class Check:
    """A check: what it looks for, and what to do about it.

    Args:
        identifier: such as TY101; it never changes its meaning.
        title: what is wrong where it finds something.
        why: it matters.
        mend: what to change.
        doubt: when it is wrong, or misses something.
        find: yields the findings in a Repository.
        applies: to a Repository; where it does not, the check counts neither for nor against.
    """

    identifier: str
    title: str
    why: str
    mend: str
    doubt: str
    find: Callable[[Any], Iterable[Finding]]
    applies: Callable[[Any], bool]


CHECKS: dict[str, Check] = {}


def check(
    identifier: str,
    title: str,
    *,
    why: str,
    mend: str,
    doubt: str,
    applies: Callable[[Any], bool] = lambda _: True,
) -> Callable[[Callable[[Any], Iterable[Finding]]], Callable[[Any], Iterable[Finding]]]:
    """Return a decorator that makes a function a check: see Check."""

    def register(find: Callable[[Any], Iterable[Finding]]) -> Any:
        assert identifier not in CHECKS, identifier
        CHECKS[identifier] = Check(identifier, title, why, mend, doubt, find, applies)
        return find

    return register


def all_checks() -> list[Check]:
    """Return the checks, by their identifiers."""
    from trainyard.checks import (
        of_files,
        of_loading,
        of_python,
        of_records,
        of_secrets,
        of_training,
    )

    assert all((of_files, of_loading, of_python, of_records, of_secrets, of_training))
    return [CHECKS[name] for name in sorted(CHECKS)]
