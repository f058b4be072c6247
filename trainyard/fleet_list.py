"""The file that lists the repositories of a fleet."""

from pathlib import Path
from typing import NamedTuple

from trainyard.answers import read_yaml
from trainyard.errors import InputError
from trainyard.git import refuse_credentials

KEYS = ("repositories", "opt_out")


class Entry(NamedTuple):
    """A repository of a fleet."""

    name: str  # As the list has it.
    source: str  # What git clones: a URL or a whole path.
    opted_out: str  # Why it is left alone; empty: it is not.


def read_list(path: Path) -> list[Entry]:
    """Return the repositories that a file lists; paths in it are relative to its folder.

    Raises:
        InputError: a line is of no use, or holds a password.
    """
    content = read_yaml(path)
    if unknown := sorted(content.keys() - {*KEYS}):
        raise InputError(f"{path}: {unknown[0]}: unknown name; there are {' and '.join(KEYS)}.")
    listed, reasons = content.get("repositories") or [], content.get("opt_out") or {}
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise InputError(f"{path}: repositories: expected a list of paths and URLs.")
    if not isinstance(reasons, dict) or not all(isinstance(x, str) for x in reasons.values()):
        raise InputError(f"{path}: opt_out: expected lines such as `REPOSITORY: why`.")
    names = [str(name) for name in (*listed, *reasons)]
    if not names:
        raise InputError(f"{path}: lists no repository. Expected repositories: [PATH or URL, ...]")
    for name in names:
        refuse_credentials(name, str(path))
    if twice := [name for name in listed if listed.count(name) > 1]:
        raise InputError(f"{path}: {twice[0]} is listed twice.")
    return [
        Entry(name, _source(name, path.parent), reasons.get(name, ""))
        for name in dict.fromkeys(names)
    ]


def _source(name: str, folder: Path) -> str:
    """Return what git clones: a URL as it is, a path made whole."""
    path = folder / Path(name).expanduser()
    is_url = ":" in name and not path.exists()
    return name if is_url else str(path.resolve())
