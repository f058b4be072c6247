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
    if not isinstance(reasons, dict) or not all(
        isinstance(each, str) and each.strip() for each in reasons.values()
    ):
        raise InputError(f"{path}: opt_out: expected lines such as `REPOSITORY: why`.")
    if not listed:
        raise InputError(f"{path}: lists no repository. Expected repositories: [PATH or URL, ...]")
    for name in (*listed, *reasons):
        refuse_credentials(str(name), str(path))
    sources = {name: _source(name, path.parent) for name in listed}
    keys = [_key(sources[name]) for name in listed]
    for name, key in zip(listed, keys, strict=True):
        if keys.count(key) > 1:
            raise InputError(f"{path}: {name} is listed twice.")
    why = {_key(_source(str(name), path.parent)): reason for name, reason in reasons.items()}
    for name in map(str, reasons):
        if _key(_source(name, path.parent)) not in keys:
            raise InputError(f"{path}: opt_out: {name} is none of the repositories. List it, too.")
    return [
        Entry(name, sources[name], why.get(key, "")) for name, key in zip(listed, keys, strict=True)
    ]


def _source(name: str, folder: Path) -> str:
    """Return what git clones: a URL as it is, a path made whole."""
    path = folder / Path(name).expanduser()
    is_url = ":" in name and not path.exists()
    return name if is_url else str(path.resolve())


def _key(source: str) -> str:
    """Return what is the same for all ways to write a repository: without / and .git at its end."""
    return source.rstrip("/").removesuffix(".git").rstrip("/")
