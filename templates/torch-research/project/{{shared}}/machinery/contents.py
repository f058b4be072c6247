"""The folder beside dataset.json that holds the arrays, such as data/arrays-1.

A new dataset is written into the next such folder, and dataset.json then names that one. So a kill
at any moment leaves the old dataset or the new one.

    data/arrays-1/.made-by-build     a build made this folder, from this source; once the folder is
                                     whole, the SHA-256 of each of its files
"""

import contextlib
import hashlib
import re
from collections.abc import Generator
from pathlib import Path

import pydantic
from filelock import FileLock

from machinery.errors import InputError
from machinery.files import replace, sync_file, write_atomically
from machinery.places import DEFAULT_FOLDER, usual

NAME = r"(arrays|records|shards)-\d+"  # Records are TFRecords; shards: see machinery/shards.
# The names of what builds write there.
FILES = r"(train|val|test)[_-].+\.(npy|tfrecord)|(samples|counts)\.png|shards\.json"
MARKER = ".made-by-build"  # A folder that lacks this file was made by a person: it stays.


class Marker(pydantic.BaseModel):
    """What the marker holds."""

    source: str = ""  # of the dataset, in words
    sha256: dict[str, str] = {}  # of each file by its name; empty until the folder is whole


class ExistsError(InputError):
    """There is a dataset already, and nobody asked to replace it."""


def not_found(folder: Path, default_source: str = "") -> InputError:
    """Return the error for a folder without dataset.json; it names what is there instead.

    Args:
        folder: where it was looked for.
        default_source: unfinished builds from it are not worth a word.
    """
    message = f"{folder / 'dataset.json'}: not found."
    without = " (without --source: the examples that come with the project)"
    if folder != DEFAULT_FOLDER and folder.as_posix() == usual():
        message += " pyproject.toml says that the data lie there; what comes with it: --data data."
        without = ""  # There they would be taken for the data of the person's own.
    for left in made_by_builds(folder):
        if (source := read_marker(left).source) != default_source:
            message += f" {left} was made from {source} by a build that did not come to its end."
    if there := [str(path.parent) for path in sorted(DEFAULT_FOLDER.rglob("dataset.json"))]:
        message += f" Found: {', '.join(there[:5])}."
    return InputError(
        f"{message} Prepare it: python build_dataset.py --data {folder} --source YOURS, with the "
        f"options that TASK.md names{without}."
    )


def refuse_to_replace(folder: Path) -> None:
    """Raise ExistsError where a folder holds a dataset."""
    path = folder / "dataset.json"
    if path.exists():
        raise ExistsError(
            f"{path} exists. Name another folder, or replace what is there with --overwrite."
        )


@contextlib.contextmanager
def new_contents(folder: Path, kind: str, source: str, overwrite: bool) -> Generator[Path]:
    """Lock a dataset, make a new folder for its arrays, and delete the old ones at the end.

    The block fills the new folder, calls `seal`, and then writes the dataset.json that names it.

    Args:
        folder: of dataset.json.
        kind: what the new folder's name begins with.
        source: what the dataset is made from, in words.
        overwrite: replace what is there.

    Raises:
        ExistsError: there is a dataset already.
    """
    folder.mkdir(parents=True, exist_ok=True)  # Where a file has this name, it is an error.
    with FileLock(folder / ".lock"):  # Several commands may build at once: one after the other.
        if not overwrite:
            refuse_to_replace(folder)
        numbers = [int(path.name.rpartition("-")[2]) for path in made_by_builds(folder)]
        number = max(numbers, default=0) + 1
        while (target := folder / f"{kind}-{number}").exists():  # Yours, or a kill left it empty.
            number += 1
        unmarked = folder / f".{kind}-new"  # Its name tells that it is ours until the marker does.
        unmarked.mkdir(exist_ok=True)
        (unmarked / MARKER).write_text(Marker(source=source).model_dump_json(), encoding="utf-8")
        replace(unmarked, target)
        try:
            yield target
        except (Exception, KeyboardInterrupt) as error:
            if not _is_named(target):  # Half of a dataset is of no use.
                _delete(target)
            if isinstance(error, OSError):  # That of a full disk does not tell which file it was.
                error.filename = error.filename or str(target)
            raise
        for path in made_by_builds(folder):
            if path != target:
                _delete(path)
        for path in folder.iterdir():
            if re.fullmatch(NAME, path.name):
                with contextlib.suppress(OSError):  # Only what a kill left empty can be removed.
                    path.rmdir()


def seal(contents: Path) -> None:
    """Bring all files of a new folder to the disk itself, and their digests into the marker."""
    marker, digests = read_marker(contents), {}
    for path in _files(contents):
        sync_file(path)
        digests[path.name] = _digest(path)
    marker = marker.model_copy(update={"sha256": digests})
    write_atomically(contents / MARKER, marker.model_dump_json(indent=2).encode())


def read_marker(contents: Path) -> Marker:
    """Return what the marker of a folder holds; one that cannot be read says nothing."""
    try:
        return Marker.model_validate_json((contents / MARKER).read_bytes())
    except (OSError, pydantic.ValidationError):
        return Marker()


def made_by_builds(folder: Path) -> list[Path]:
    """Return the folders of arrays that builds made in a folder of data."""
    found = [path.parent for path in folder.glob(f"*/{MARKER}") if path.is_file()]
    return [path for path in found if re.fullmatch(NAME, path.name)]


def stamp(contents: Path) -> str:
    """Return a digest of the names, the sizes and the times of the files."""
    known = []
    for path in _files(contents):
        with contextlib.suppress(FileNotFoundError):  # Another process needs its room in a cache.
            found = path.stat()
            known.append((path.name, found.st_size, found.st_mtime_ns))
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def changed_files(contents: Path) -> list[Path]:
    """Return the files whose content is not what the build wrote. This reads them all."""
    digests = read_marker(contents).sha256
    return [
        path
        for path in _files(contents)
        if path.name in digests and _digest(path) != digests[path.name]
    ]


def _files(contents: Path) -> list[Path]:
    """Return the files of a folder that hold arrays or records, by name."""
    found = contents.glob("[!.]*")
    return sorted(path for path in found if path.is_file())


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_named(contents: Path) -> bool:
    """Return whether the dataset.json beside a folder of arrays names it."""
    path = contents.parent / "dataset.json"
    return path.exists() and f'"{contents.name}"' in path.read_text(encoding="utf-8")


def _delete(contents: Path) -> None:
    """Delete a folder of arrays; what else lies there stays. The marker goes last."""
    known = read_marker(contents).sha256  # Empty where the build did not come to its end.
    is_ours = known.__contains__ if known else re.compile(FILES).fullmatch
    ours = [path for path in _files(contents) if is_ours(path.name)]
    # A picture that was being written when a build was killed.
    ours += [path for path in contents.glob(".*.png.tmp") if re.fullmatch(FILES, path.name[1:-4])]
    # Windows cannot delete what a run has mapped; the next build does.
    with contextlib.suppress(OSError):
        for path in (*ours, contents / f".{MARKER}.tmp", contents / MARKER):
            path.unlink(missing_ok=True)
        contents.rmdir()
