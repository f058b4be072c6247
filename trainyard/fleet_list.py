"""The file that lists the repositories of a fleet."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from trainyard.answers import read_yaml, refuse_unknown
from trainyard.errors import InputError
from trainyard.git import refuse_credentials

KEYS = ("repositories", "opt_out")
EXPECTED = "expected a list of paths, URLs and lines such as {repository: ../mono, folder: leaf}."


class Entry(NamedTuple):
    """A repository of a fleet."""

    name: str  # As the list has it.
    source: str  # What git clones: a URL or a whole path.
    opted_out: str  # Why it is left alone; empty: it is not.
    folder: str = ""  # Of the project in the repository; empty: its top.
    label: str = ""  # Of the folder, in the name of its branch.


def read_list(path: Path) -> list[Entry]:
    """Return the repositories that a file lists; paths in it are relative to its folder.

    Raises:
        InputError: a line is of no use, or holds a password.
    """
    content = read_yaml(path)
    refuse_unknown(content, KEYS, path)
    listed, reasons = content.get("repositories") or [], content.get("opt_out") or {}
    if not isinstance(listed, list):
        raise InputError(f"{path}: repositories: got {listed!r}, {EXPECTED}")
    if not isinstance(reasons, dict) or not all(
        isinstance(each, str) and each.strip() for each in reasons.values()
    ):
        raise InputError(f"{path}: opt_out: expected lines such as `REPOSITORY: why`.")
    if not listed:
        raise InputError(f"{path}: lists no repository. Expected repositories: [PATH or URL, ...]")
    for name in reasons:
        refuse_credentials(str(name), str(path))
    entries = [_read_entry(each, path) for each in listed]
    keys = [_key(_below(entry.source, entry.folder)) for entry in entries]
    for entry, key in zip(entries, keys, strict=True):
        if keys.count(key) > 1:
            raise InputError(f"{path}: {entry.name} is listed twice.")
    why = {_key(_source(str(name), path.parent)): reason for name, reason in reasons.items()}
    for name in map(str, reasons):
        if _key(_source(name, path.parent)) not in keys:
            raise InputError(f"{path}: opt_out: {name} is none of the repositories. List it, too.")
    return [
        entry._replace(opted_out=why.get(key, ""), label=label)
        for entry, key, label in zip(entries, keys, _labels(entries), strict=True)
    ]


def _labels(entries: Sequence[Entry]) -> list[str]:
    """Return a name of its own for each folder of a repository."""
    found = [""] * len(entries)
    for source in {_key(entry.source) for entry in entries}:
        numbers = [n for n, entry in enumerate(entries) if _key(entry.source) == source]
        labels = tell_apart([entries[n].folder for n in numbers])
        for number, label in zip(numbers, labels, strict=True):
            found[number] = label
    return found


def tell_apart(names: Sequence[str]) -> list[str]:
    """Return each name as a part of a file's or a branch's; where two are one, with a hash.

    Args:
        names: each another one.
    """
    plain = [re.sub(r"[^\w-]+", "-", name) for name in names]
    lower = [name.lower() for name in plain]  # Some systems take A.md and a.md for one file.
    return [
        f"{short}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        if lower.count(short.lower()) > 1
        else short
        for name, short in zip(names, plain, strict=True)
    ]


def _read_entry(listed: object, path: Path) -> Entry:
    """Return what a line of the list names: a repository, or a folder of one."""
    name, folder = listed, ""
    if isinstance(listed, dict) and {*listed} == {"repository", "folder"}:
        name, folder = listed["repository"], listed["folder"]
    if not isinstance(name, str) or not isinstance(folder, str):
        raise InputError(f"{path}: repositories: got {listed!r}, {EXPECTED}")
    refuse_credentials(name, str(path))
    parts = PurePosixPath(folder)
    if parts.is_absolute() or ".." in parts.parts:
        raise InputError(f"{path}: folder: got {folder}, expected a path below its repository.")
    folder = "" if parts == PurePosixPath() else parts.as_posix()
    return Entry(_below(name, folder), _source(name, path.parent), "", folder)


def _below(repository: str, folder: str) -> str:
    """Return the name of a folder of a repository, or of the repository itself."""
    return f"{repository.rstrip('/')}/{folder}" if folder else repository


def _source(name: str, folder: Path) -> str:
    """Return what git clones: a URL as it is, a path made whole."""
    path = folder / Path(name).expanduser()
    is_url = ":" in name and not path.exists()
    return name if is_url else str(path.resolve())


def _key(source: str) -> str:
    """Return what is the same for all ways to write a repository: without / and .git at its end."""
    return source.rstrip("/").removesuffix(".git").rstrip("/")
