"""What a project leaves out of the checks, and why: in pyproject.toml, or in a comment.

    [tool.trainyard.check]
    exclude = ["third_party/**"]

    [tool.trainyard.check.ignore]
    TY104 = "the recordings are small, and the tests need them"
    "TY302:legacy/*" = "reads the files of 2019, which we wrote ourselves"

A project without a pyproject.toml has the same names below `check:` in .trainyard.yml, as other
verbs have theirs. A comment `# trainyard: ignore[TY302] the reason` leaves out its own line.
"""

import fnmatch
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainyard.answers import SETTINGS_FILE, read_yaml
from trainyard.checks.definition import Finding
from trainyard.errors import InputError

COMMENT = re.compile(r"trainyard: ignore\[([A-Z0-9, ]+)\]\s*(.*)")


class Ignored(NamedTuple):
    """A rule that leaves findings out.

    Args:
        identifier: of the check.
        pattern: of paths; "*": all.
        reason: as the project gives it.
    """

    identifier: str
    pattern: str
    reason: str

    def covers(self, identifier: str, finding: Finding) -> bool:
        """Return whether it leaves out a finding of a check."""
        return self.identifier == identifier and fnmatch.fnmatch(finding.path, self.pattern)


class Settings(NamedTuple):
    """What a project leaves out.

    Args:
        exclude: patterns of paths that no check reads.
        ignore: what single checks leave out.
    """

    exclude: tuple[str, ...] = ()
    ignore: tuple[Ignored, ...] = ()


def read_exceptions(folder: Path, known: Sequence[str]) -> Settings:
    """Return the settings of a project.

    Args:
        folder: of the project.
        known: the identifiers of the checks.

    Raises:
        InputError: they cannot be read, name no check or give no reason.
    """
    path = folder / "pyproject.toml"
    if path.is_file():
        try:
            table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: cannot be read as TOML: {error}. Mend it.") from None
        for key in ("tool", "trainyard", "check"):
            table = table.get(key, {}) if isinstance(table, dict) else {}
        if table:
            return _settings(f"{path}: [tool.trainyard.check]", table, known)
    path = folder / SETTINGS_FILE
    table = read_yaml(path).get("check") if path.is_file() else None
    return _settings(f"{path}: check:", table, known) if table else Settings()


def _settings(where: str, table: Any, known: Sequence[str]) -> Settings:
    if not isinstance(table, dict) or {*table} - {"exclude", "ignore"}:
        raise InputError(f"{where} takes exclude and ignore alone, found {table!r}.")
    exclude, ignore = table.get("exclude", []), table.get("ignore", {})
    if not isinstance(exclude, list) or not all(isinstance(each, str) for each in exclude):
        raise InputError(f'{where} exclude = {exclude!r}, expected a list such as ["old/**"].')
    if not isinstance(ignore, dict):
        raise InputError(
            f"{where} ignore = {ignore!r}, expected a table that gives each check a reason, "
            'such as TY104 = "why".'
        )
    rules = []
    for key, reason in ignore.items():
        identifier, _, pattern = str(key).partition(":")
        if identifier not in known:
            raise InputError(f"{where} ignore: {key!r} is no check. `--list` names them all.")
        if not isinstance(reason, str) or not reason.strip():
            raise InputError(f"{where} ignore: {key} = {reason!r}, expected a reason in words.")
        rules.append(Ignored(identifier, pattern or "*", reason.strip()))
    return Settings(tuple(exclude), tuple(rules))


def reason_in_line(identifier: str, line: str) -> str | None:
    """Return the reason by which a comment leaves out a check in its line.

    None: no comment does; an empty text: one would, but gives no reason, so it does not.
    """
    found = COMMENT.search(line)
    if found and identifier in re.split(r"[, ]+", found[1]):
        return found[2].strip(" -#>*/") if re.search(r"[^\W\d_]{2}", found[2]) else ""
    return None
