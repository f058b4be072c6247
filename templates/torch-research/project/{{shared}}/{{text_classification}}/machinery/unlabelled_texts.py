"""Texts to predict: files, folders of them, and columns of tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from machinery import tables
from machinery.errors import InputError
from machinery.tables import EXTENSIONS, Bad, Table
from machinery.text_sources import find_texts, find_wordless, read_files, refuse_bad_files

BLOCK = 256  # Texts that are read at a time.


def read_blocks(
    paths: Sequence[Path], column: str, skip_bad: bool
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yield blocks of texts: where each came from, (N,) str, and the texts.

    Args:
        paths: .txt files, folders of them at any depth, and tables, CSV, Parquet or JSON lines.
        column: of the texts in a table; empty: "text".
        skip_bad: leave out what cannot be used, and say so.

    Raises:
        InputError: naming the files, or the rows, that cannot be used.
    """
    for path in paths:
        if path.suffix.lower() in EXTENSIONS:
            prefix = f"{path.as_posix()}:" if len(paths) > 1 else ""
            yield from _read_table(path, column or "text", skip_bad, prefix)
            continue
        if not path.exists():
            expected = ".txt files, folders of them, or tables (.csv, .parquet, .jsonl)"
            raise InputError(f"{path}: not found. Give {expected}.")
        files = find_texts(path) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: no text files. Give a folder with .txt files.")
        for first in range(0, len(files), BLOCK):
            yield from _read_files(path, files[first : first + BLOCK], skip_bad)


def _read_files(
    path: Path, files: Sequence[Path], skip_bad: bool
) -> Iterator[tuple[np.ndarray, list[str]]]:
    texts, bad = read_files(files)
    if bad and not skip_bad:
        refuse_bad_files(str(path), len(files), bad, skip=False)
    for file, why in bad.items():
        print(f"left out: {file}: {why}")
    if texts:
        yield np.array([file.as_posix() for file in texts]), list(texts.values())


def _read_table(
    path: Path, column: str, skip_bad: bool, prefix: str
) -> Iterator[tuple[np.ndarray, list[str]]]:
    def check_names(names: Sequence[str]) -> None:
        Table(path, names, []).check_names("the texts", [column])

    def find_bad(table: Table, bad: Bad) -> None:
        bad.add(table, find_wordless(table, column), column, "a text with a word")

    for table in tables.read_blocks(path, BLOCK, check_names, find_bad, skip_bad):
        yield np.array([f"{prefix}row-{row}" for row in table.rows]), table.columns[column]
