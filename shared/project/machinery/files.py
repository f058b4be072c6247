"""Writing files so that they are whole at any moment, whatever kills the process."""

import contextlib
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

from machinery.errors import InputError

OPEN_ELSEWHERE = (5, 32)  # Windows's numbers for a file that another process has open.
PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.5, 0.7)  # Seconds between attempts; together two.


def replace(source: Path, target: Path) -> None:
    """Rename a file or a folder; a file that has the new name already is replaced.

    On Windows this waits up to two seconds for other processes, such as a virus scanner, to close
    the files: they can be neither renamed nor replaced while they are open.
    """
    _retry(lambda: os.replace(source, target))


def remove(path: Path) -> None:
    """Delete a file, if there is one; on Windows, wait as `replace` does."""
    _retry(lambda: path.unlink(missing_ok=True))


def _retry(change: Callable[[], None]) -> None:
    for pause in PAUSES:
        try:
            return change()
        except PermissionError as error:
            if getattr(error, "winerror", None) not in OPEN_ELSEWHERE:
                raise
            time.sleep(pause)
    return change()


def write_atomically(path: Path, content: bytes, keep: Path | None = None) -> None:
    """Write a file so that a kill at any moment leaves the old content or the new, whole.

    Args:
        path: the file.
        content: of the file.
        keep: where the old file is moved to; None: it is replaced.
    """
    with writing_atomically(path, keep) as file:
        file.write(content)


@contextlib.contextmanager
def writing_atomically(path: Path, keep: Path | None = None) -> Generator[BinaryIO]:
    """Open a file to write it piece by piece, otherwise as `write_atomically` does.

    An error in the block leaves the old content.
    """
    # The name is fixed, so the next write replaces what a killed one left.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove(temporary)
        if isinstance(error, OSError):  # That of a full disk does not tell which file it was.
            error.filename = error.filename or str(path)
        raise
    if keep and path.exists():
        replace(path, keep)
    replace(temporary, path)
    sync_folder(path.parent)


def refuse_to_overwrite(path: Path) -> None:
    """Raise InputError where a file is there already, or its folder is not."""
    if path.exists():
        raise InputError(f"{path}: is there already. Name another --output, or add --overwrite.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder. Make it, or name another --output.")


def check_name(name: str) -> None:
    """Raise InputError where a name or a path is not UTF-8: no file of the project can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise InputError(
            f"{shown}: this name is not read as UTF-8. If the locale is another, set PYTHONUTF8=1; "
            "else rename it."
        ) from None


def sync_file(path: Path) -> None:
    """Bring the content of a file to the disk itself, safe from a power cut."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_tree(folder: Path) -> None:
    """Bring a folder with all that lies in it to the disk itself."""
    for path in (folder, *folder.rglob("*")):
        sync_folder(path) if path.is_dir() else sync_file(path)


def sync_folder(folder: Path) -> None:
    """Bring the list of the files in a folder to the disk itself, safe from a power cut."""
    if os.name != "posix":  # Windows cannot open a folder.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
