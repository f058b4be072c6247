"""Texts of a person with their classes: files in folders, or two columns of a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from machinery.class_folders import find_examples
from machinery.errors import InputError
from machinery.found_files import find_files
from machinery.split_columns import find_bad_splits, read_splits
from machinery.tables import Bad, Table, find_repeated, read_table, refuse_bad
from machinery.words import split_words

EXTENSIONS = (".txt",)


class Texts(NamedTuple):
    """Texts, each of one class."""

    ids: np.ndarray  # (N,) str: where each came from
    texts: list[str]
    labels: np.ndarray  # (N,) int64
    classes: list[str]
    given: dict[str, np.ndarray]  # the row numbers of each split that the source has


def read_folders(source: Path, skip_bad: bool) -> Texts:
    """Read the text files of class folders.

    Args:
        source: the folder; see class_folders.py.
        skip_bad: leave out files that cannot be used, and say so.

    Raises:
        InputError: naming the folder or the files that cannot be used.
    """
    classes, files = find_examples(source, find_texts, "text files", "1.txt")
    texts, bad = read_files([file.path for file in files])
    refuse_bad_files(str(source), len(files), bad, skip_bad)
    good = [file for file in files if file.path not in bad]
    splits = np.array([file.split for file in good])
    return Texts(
        np.array([file.path.relative_to(source).as_posix() for file in good]),
        [texts[file.path] for file in good],
        np.array([file.label for file in good], np.int64),
        classes,
        {name: np.flatnonzero(splits == name) for name in dict.fromkeys(splits.tolist())},
    )


def find_texts(folder: Path) -> list[Path]:
    """Return the text files at any depth below a folder: see find_files."""
    return find_files(folder, EXTENSIONS)


def read_files(paths: Sequence[Path]) -> tuple[dict[Path, str], dict[Path, str]]:
    """Return the texts of files in UTF-8, and why others cannot be used."""
    texts, bad = dict[Path, str](), dict[Path, str]()
    for path in paths:
        try:
            text = path.read_bytes().decode("utf-8-sig")  # Some editors begin UTF-8 with a mark.
        except UnicodeDecodeError as error:
            bad[path] = f"byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8"
        except OSError as error:
            bad[path] = error.strerror or "cannot be read"
        else:
            if split_words(text):
                texts[path] = text
            else:
                bad[path] = "holds no word"
    return texts, bad


def refuse_bad_files(source: str, count: int, bad: dict[Path, str], skip: bool) -> None:
    """Print which files are left out because they cannot be used.

    Args:
        source: where they are, for the message.
        count: how many files there are.
        bad: why a file cannot be used.
        skip: leave them out.

    Raises:
        InputError: there are some, and they are not to be left out; or they are all.
    """
    if bad and (not skip or len(bad) == count):
        shown = "\n  ".join(f"{path}: {why}" for path, why in list(bad.items())[:5])
        shown += f"\n  and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise InputError(
            f"{source}: {len(bad)} of {count} texts cannot be used; nothing was written.\n  "
            f"{shown}\nMend or remove them (iconv -f windows-1252 -t utf-8 makes UTF-8), or leave "
            "them out with --skip-bad."
        )
    for path, why in bad.items():
        print(f"left out: {path}: {why}")


def read_columns(
    source: Path,
    text: str,
    target: str,
    id_column: str | None,
    split_column: str | None,
    skip_bad: bool,
) -> Texts:
    """Read texts and classes from the columns of a table.

    Args:
        source: the file; see tables.py.
        text: the column of the texts.
        target: the column of the classes.
        id_column: names the texts; None: the rows do.
        split_column: says train, val or test; None: chosen at random.
        skip_bad: leave out rows that cannot be used, and say so.

    Raises:
        InputError: naming the file, the rows and the columns that cannot be used.
    """
    table = read_table(source, skip_bad)
    told = {"--text": text, "--target": target, "--id": id_column, "--split": split_column}
    for option, name in told.items():
        table.check_names(option, [name] if name else [])
    bad = Bad()
    bad.add(table, find_wordless(table, text), text, "a text with a word")
    bad.add(table, table.is_missing(target), target, "a class")
    if split_column:
        find_bad_splits(table, split_column, bad)
    if id_column:
        find_repeated(table, bad)
    refuse_bad(source, len(table), bad, skip_bad)
    table.leave_out(bad)
    classes, labels = np.unique(np.array(table.columns[target]), return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"{source}: {target!r} holds {str(classes[0])!r} in every row, expected two classes or "
            "more."
        )
    return Texts(
        table.name_rows(id_column),
        table.columns[text],
        labels.astype(np.int64),
        classes.tolist(),
        read_splits(table, split_column),
    )


def find_wordless(table: Table, column: str) -> np.ndarray:
    """Return where the texts of a column hold no word, (N,) bool."""
    return np.array([not split_words(cell) for cell in table.columns[column]], bool)
