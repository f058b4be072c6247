"""A dataset for each of the frozen folds.

data/raw-with-folds/fold-0.csv the training rows with a column that says train, val or test
data/fold-0                    the dataset that build_dataset.py makes of it
data/all                       a dataset whose train split is all rows
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from machinery.argument_parser import LARGEST_SEED
from machinery.competition import (
    CompetitionSchema,
    check_kind,
    find_raw,
    fold_folders,
    read_schema,
)
from machinery.competition_columns import check_columns, is_missing, read_frame
from machinery.competition_images import file_name, find_images, link_or_copy
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.fold_assignment import choose_splits
from machinery.frozen_folds import (
    FOLDS,
    check_folds,
    digest_of,
    learned_schema,
    read_description,
    read_folds,
    to_csv,
    write_description,
    write_folds,
)
from machinery.submission_file import class_values, encode_truth

DATA = Path("data")
TABLES = DATA / "raw-with-folds"
COPIED = ("val", "test")  # Splits of data/all, whose rows are copies of rows of train.


def prepare_folds(count: int, seed: int, overwrite: bool, options: Sequence[str]) -> None:
    """Write folds.csv, unless it is there, and the datasets that are not there yet.

    Args:
        count: of the folds.
        seed: chooses them.
        overwrite: replace the folds and all datasets.
        options: of build_dataset.py, beside those that schema.yaml gives; none: those that the
            folds were made with, if they are there and stay.

    Raises:
        InputError: the folds are not of these rows or of this schema; or a dataset cannot be made.
    """
    if count < 2:
        raise InputError(f"--count: got {count}, expected two folds or more.")
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed: got {seed}, expected 0 to {LARGEST_SEED}.")
    schema, raw = read_schema(), find_raw()
    check_kind(schema)
    path = raw / schema.train
    frame = read_frame(path, as_text=True)
    check_rows(frame, schema, path)
    check_columns([*frame], schema, raw)
    wanted = {"scheme": schema.scheme, "column": schema.fold_column, "count": count, "seed": seed}
    wanted["train_sha256"] = digest_of(path.read_bytes())
    if extra := [folder for folder in fold_folders() if int(folder.name[5:]) >= count]:
        raise InputError(
            f"{extra[0]}: is of more folds than --count {count}. Remove it, so that nothing is "
            "trained on it."
        )
    if FOLDS.exists() and not overwrite:
        check_folds(wanted)
        options = options or read_description()["options"]
    else:
        write_folds(frame, schema, wanted)
    folds = read_folds()
    values = folds["fold"].to_numpy()
    print(f"{FOLDS}: {_describe_sizes(values)}, {schema.scheme}.")
    for number in range(count):
        splits = choose_splits(frame, schema, values, number, seed)
        build(raw, frame, splits, f"fold-{number}", schema, overwrite, options)
        if number == 0:  # build_dataset.py takes them.
            write_description({**read_description(), "options": [*options]})
    splits = choose_splits(frame, schema, values, count - 1, seed)
    build(raw, frame, splits, "all", schema, overwrite, options)
    write_description({**read_description(), "schema": learned_schema(schema)})
    print(
        f"The rows of val and test in {DATA / 'all'} are copies of rows of train: what is measured "
        "on them means nothing."
    )
    new = "--experiment experiments/first --from experiments/baseline"
    print(f"Next: python train.py {new} --folds all")


def check_rows(frame: pd.DataFrame, schema: CompetitionSchema, path: Path) -> None:
    """Raise InputError where the training rows lack a column, a target, or a name of their own."""
    named = [schema.id, *schema.targets, *filter(None, [schema.fold_column, schema.text])]
    if missing := [name for name in named if name not in frame.columns]:
        raise InputError(f"{path}: no column {missing[0]!r}, which schema.yaml names.")
    if schema.scheme in ("group", "time") and not schema.fold_column:
        raise InputError(f"schema.yaml: `scheme: {schema.scheme}` needs a `fold_column`.")
    twice = frame[schema.id].duplicated()
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise InputError(
            f"{path}:{row + 2}: {schema.id}: got {frame[schema.id].iloc[row]!r} as in an earlier "
            "row, expected a name of its own for each row. Merge or remove such rows."
        )
    check_targets(frame, schema, path)


def check_targets(frame: pd.DataFrame, schema: CompetitionSchema, path: Path) -> None:
    """Raise InputError where a target is missing, or is none of its kind, or no class has a row."""
    for name in schema.targets:
        wrong = is_missing(frame[name])
        expected = "0 or 1" if schema.kind == "multilabel" else "a class"
        if schema.kind == "regression":
            numbers = pd.to_numeric(frame[name], errors="coerce")
            wrong, expected = ~np.isfinite(numbers.astype(float)), "a number"
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise InputError(
                f"{path}:{row + 2}: {name}: got {frame[name].iloc[row]!r}, expected {expected}. "
                f"Remove such rows: there are {wrong.sum():,}."
            )
    classes = class_values(schema, frame)
    encode_truth(schema, classes, frame)
    expected = "two classes" if schema.kind == "binary" else f"rows of {', '.join(classes)}"
    found = sorted({*frame[schema.targets[0]]})
    if classes and ({*found} != {*classes} or (schema.kind == "binary" and len(found) != 2)):
        raise InputError(
            f"{path}: {schema.targets[0]}: got {', '.join(found[:10])}, expected {expected}. "
            "Correct `kind` or `classes` in competition/schema.yaml."
        )


def build(
    raw: Path,
    frame: pd.DataFrame,
    splits: np.ndarray,
    name: str,
    schema: CompetitionSchema,
    overwrite: bool,
    options: Sequence[str],
) -> None:
    """Make a dataset with build_dataset.py, unless it is there with the same rows and options.

    Args:
        raw: the folder of the competition's files.
        frame: the training rows, as text.
        splits: (N,) str, of each row; "" where it is in none.
        name: of the dataset, such as fold-0.
        schema: says what the columns are.
        overwrite: replace a dataset that is there, whatever it was made of.
        options: of build_dataset.py, beside those that the schema gives.

    Raises:
        InputError: build_dataset.py refused; it has said why.
    """
    column = name_split_column(frame)
    rows = frame.assign(**{column: splits})[splits != ""]
    if Path(name).name == "all":
        rows = copy_rows(rows, schema.id, column)
    table, folder = TABLES / f"{name}.csv", DATA / name
    given = [*options_of(schema, table, column), *options]
    content = to_csv(rows)
    stamp = digest_of(content + json.dumps([str(table), *given]).encode())
    stamp_path = table.with_suffix(".sha256")
    known = stamp_path.exists() and stamp_path.read_text("utf-8").strip() == stamp
    is_there = (folder / "dataset.json").exists()
    if known and is_there and not overwrite:
        print(f"{folder}: is there.")
        return
    # One that this command made is replaced where the schema has changed since.
    overwrite = overwrite or (is_there and stamp_path.exists())
    TABLES.mkdir(parents=True, exist_ok=True)
    write_atomically(table, content)
    words = [sys.executable, "build_dataset.py", "--data", str(folder), *given]
    with_images = schema.task == "image-classification"
    if with_images:
        link_images(raw / schema.images, rows[schema.id], TABLES / name)
    try:
        result = run_script([*words, *(["--overwrite"] if overwrite else [])])
    finally:
        if with_images:
            shutil.rmtree(TABLES / name)
    if result.returncode:
        raise InputError(f"{folder}: not made: build_dataset.py refused {table}, see above.")
    write_atomically(stamp_path, f"{stamp}\n".encode())
    print(result.stdout.strip() if name == "fold-0" else _last_words(result.stdout))


def run_script(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a script of the project; return what it prints, except for errors."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        words, stdout=subprocess.PIPE, encoding="utf-8", env=environment, check=False
    )


def options_of(schema: CompetitionSchema, table: Path, split: str) -> Iterator[str]:
    """Yield the options of build_dataset.py that the schema gives.

    Args:
        schema: says what the columns are.
        table: the training rows.
        split: the column there that says train, val or test.
    """
    if schema.task == "image-classification":
        yield from ("--source", str(table.with_suffix("")), "--labels", str(table))
        yield from ("--image", schema.id, "--target", *schema.targets)
        yield from ["--separator", "none"] if len(schema.targets) == 1 else []
    elif schema.task == "text-classification":
        yield from ("--source", str(table), "--id", schema.id, "--text", schema.text)
        yield from ("--target", *schema.targets)
    else:
        yield from ("--source", str(table), "--id", schema.id, "--kind", schema.kind)
        yield from ("--target", *schema.targets)
        yield from ["--drop", *schema.drop] if schema.drop else []
    yield from ("--split", split)


def copy_rows(rows: pd.DataFrame, ids: str, column: str) -> pd.DataFrame:
    """Return all rows as train, and those of val again as val and as test, under other names."""
    copies = rows[rows[column] == "val"]
    again = [copies.assign(**{ids: f"{name}-" + copies[ids], column: name}) for name in COPIED]
    return pd.concat([rows.assign(**{column: "train"}), *again], ignore_index=True)


def link_images(source: Path, ids: pd.Series, folder: Path) -> None:
    """Put the images of some rows into a folder of their own, as links where the disk has them.

    Raises:
        InputError: a row names no image.
    """
    shutil.rmtree(folder, ignore_errors=True)
    known = find_images(source)
    for cell in ids:
        prefix = next((f"{p}-" for p in COPIED if cell not in known and cell.startswith(p)), "")
        path = known.get(cell.removeprefix(prefix))
        if path is None:
            raise InputError(
                f"{source}: no image there, or more than one, is named {cell}, as schema.yaml's id "
                "says."
            )
        link_or_copy(path, folder / file_name(cell, path))


def name_split_column(frame: pd.DataFrame) -> str:
    """Return a name that no column has."""
    name = "split"
    while name in frame.columns:
        name += "_"
    return name


def _describe_sizes(folds: np.ndarray) -> str:
    sizes = ", ".join(f"{(folds == number).sum():,}" for number in range(folds.max() + 1))
    never = f" ({(folds < 0).sum():,} earliest rows are in none)" if (folds < 0).any() else ""
    return f"{folds.max() + 1} folds of {sizes} rows{never}"


def _last_words(output: str) -> str:
    """Return the lines that say what was written, and what was left out."""
    lines = [line for line in output.splitlines() if line.startswith(("Wrote", "left out:"))]
    return "\n".join(lines)
