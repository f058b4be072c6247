"""Files in the folders of a person: found by their names, in an order that no system changes."""

from collections.abc import Sequence
from pathlib import Path


def find_files(folder: Path, extensions: Sequence[str]) -> list[Path]:
    """Return the files at any depth below a folder, by name, without those of the system.

    What has such a name and is no regular file is left out, and that is said: reading a named pipe
    or a device would wait for ever.

    Args:
        folder: where to look.
        extensions: of the files, in lower case, such as ".txt".
    """
    paths = [
        path
        for path in sorted(folder.rglob("*"), key=by_name)
        if path.suffix.lower() in extensions
        and not any(map(is_of_system, path.relative_to(folder).parts))
    ]
    for path in paths:
        if not path.is_file() and not path.is_dir():
            print(f"left out: {path}: not a regular file")
    return [path for path in paths if path.is_file()]


def by_name(path: Path) -> tuple[str, ...]:
    """Return what to sort paths by. Windows would compare them without their case.

    So the numbers of the classes, and the random split, are the same on each system.
    """
    return path.parts


def is_of_system(name: str) -> bool:
    """Return whether a name is not the person's: hidden, or the folder that macOS adds to zips."""
    return name.startswith(".") or name == "__MACOSX"
