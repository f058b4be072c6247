"""Prepare a table for training: scikit-learn's breast cancer data, or a CSV or Parquet file.

    python build_dataset.py                      # 569 rows of 30 numbers, two classes, no download
    python build_dataset.py --source houses.csv --target price --id address --drop agent

The first line of a CSV file names the columns; commas, semicolons or tabs part the cells. A column
is of numbers where all its cells are, else of categories (so are numbers such as 00123); an empty
cell (also NA, NaN, null, ?) is missing. What each was taken for stands in columns.yaml; --columns
takes a corrected copy.

The target decides what is learned: a number (regression), one of two classes (binary) or of more
(multiclass), or several columns of 0 and 1 (multilabel). About 10 % each are split off for val and
test (of the breast cancer data 10 % and 20 %), keeping the shares of the classes. Rows that are
equal stay in one split, unless most rows equal another: then each is split by itself, and a warning
says how many are in train, too. With --time the earliest rows are train and the latest test; with
--group all rows of a patient, say, are in one split. Neither column is learned from, unless
--columns says so.

Written to data/: arrays of numbers (N, columns) float32, categories (N, columns) int64 and target
for each split, and dataset.json, which is written last: it says that all is there.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from machinery import arrays
from machinery.argument_parser import LARGEST_SEED, ArgumentParser
from machinery.class_balance import balance_classes, count_classes
from machinery.column_file import write_column_file
from machinery.column_roles import Roles
from machinery.columns import Columns, column_statistics, number_levels, read_columns
from machinery.contents import refuse_to_replace
from machinery.errors import exit_codes
from machinery.predictions import Unlabelled
from machinery.row_features import describe_rows, read_features
from machinery.row_splits import split_rows
from machinery.split_columns import read_splits, split_by_time
from machinery.splits import say_groups
from machinery.table_overview import draw_overview, say_overview
from machinery.tables import Bad, Table, read_table, refuse_bad
from machinery.targets import (
    KINDS,
    Kind,
    Target,
    check_kind,
    find_bad_targets,
    guess_kind,
    read_target,
)
from machinery.unlabelled_rows import RowReader


class Dataset(arrays.BaseDataset):
    """What dataset.json says of the columns of a table."""

    task: Literal["tabular"]
    inputs: tuple[str, ...]  # "numbers" and "categories", where the table has such columns
    targets: tuple[str, ...] = ("target",)  # numbers float32, classes int64, (N, labels) float32
    kind: Kind
    number_columns: list[str]
    mean: list[float]  # of each over the training rows that have it
    std: list[float]
    category_columns: dict[str, list[str]]  # Level i of a column is number i + 1 in the array;
    # 0 is a missing cell, or a level that no training row has.
    target_columns: list[str]
    id_column: str | None = None  # names the rows
    classes: list[str]  # The last of two is the positive one. For regression: none.
    target_mean: float  # over the training rows; for classes 0 and 1
    target_std: float
    counts: tuple[int, ...] = ()  # Training rows of each of two or more classes; files of before
    # have none.

    default_source: ClassVar[str] = "scikit-learn's load_breast_cancer()"
    has_units: ClassVar[bool] = True

    def check(self, name: str, array: np.ndarray) -> str:
        """Say so where a number is no category or no class."""
        if name == "categories":
            counts = np.array([len(levels) + 1 for levels in self.category_columns.values()])
        elif name == "target" and self.kind in ("binary", "multiclass"):
            counts = np.array(len(self.classes))
        else:
            return ""
        if (array >= 0).all() and (array < counts).all():
            return ""
        return f"got numbers from {array.min()} to {array.max()}, expected 0 to {counts.max() - 1}"

    def describe(
        self, inputs: Mapping[str, np.ndarray], originals: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return the columns of rows as they are stored, which check_data.py compares."""
        return describe_rows(inputs, self.number_columns, self.category_columns)

    def known_names(self) -> dict[str, tuple[str, ...]]:
        """Return the levels of the columns of categories."""
        return {name: tuple(levels) for name, levels in self.category_columns.items()}

    def read_features(
        self, paths: Sequence[Path], skip_bad: bool, read_unlabelled: object
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the columns of tables in blocks, also where some are missing or hold no numbers."""
        return read_features(paths, self.number_columns, skip_bad)

    def class_weights(self, balance: float) -> tuple[float, ...]:
        """Return what an example of each class counts in the training loss with model.balance."""
        return balance_classes(self.counts, balance)


def read_dataset(folder: Path) -> Dataset:
    """Read dataset.json; raise InputError where it is missing or not ours."""
    return arrays.read_dataset(folder, Dataset)


def open_dataset(folder: Path) -> Dataset:
    """Read dataset.json; where the default folder is empty, prepare the default data there."""
    return arrays.open_dataset(folder, Dataset, prepare_default)


def prepare_default(folder: Path) -> None:
    """Prepare the breast cancer data in a folder that holds nothing."""
    print(f"{folder} holds no dataset yet: preparing scikit-learn's breast cancer data.")
    build_breast_cancer(folder)


def build_breast_cancer(folder: Path, seed: int = 0, overwrite: bool = False) -> Dataset:
    """Write scikit-learn's breast cancer data: 569 rows, 30 numbers, benign or malignant.

    Source: W. Wolberg, O. Mangasarian, N. Street, W. Street, https://doi.org/10.24432/C5DW2B.
    """
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    # There malignant is 0; here it is 1, the positive class.
    labels = 1 - data.target.astype(np.int64)
    columns = Columns(list(map(str, data.feature_names)), data.data, {})
    target = Target("binary", labels, ["benign", "malignant"])
    ids = np.array([f"row-{row}" for row in range(len(labels))])
    source = Dataset.default_source
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels
    )
    train, val = train_test_split(rest, test_size=0.125, random_state=seed, stratify=labels[rest])
    splits = {"train": train, "val": val, "test": test}
    return write_rows(folder, columns, target, ["diagnosis"], ids, splits, source, overwrite)


def build_table(
    folder: Path,
    source: Path,
    roles: Roles,
    seed: int = 0,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Dataset:
    """Read a table, split its rows, and write them.

    Args:
        folder: where the dataset goes.
        source: the file.
        roles: which columns are what.
        seed: chooses what is split off train.
        skip_bad: leave out rows that cannot be used, and say so.
        overwrite: replace the dataset that is there.

    Raises:
        InputError: naming the file, the rows and the columns that cannot be used.
    """
    table = read_table(source, skip_bad)
    roles.check_names(table)
    kind = check_kind(roles.kind, roles.targets) or guess_kind(table, roles.targets)
    bad = Bad()
    find_bad_targets(table, roles.targets, kind, bad)
    roles.find_bad_rows(table, bad)
    names, categories = roles.choose_columns(table, bad)
    refuse_bad(source, len(table), bad, skip_bad)
    table.leave_out(bad)

    target = read_target(table, roles.targets, kind)
    columns = read_columns(table, names, categories)
    ids = table.name_rows(roles.id)
    given = split_by_time(table, roles.time) if roles.time else read_splits(table, roles.split)
    groups = np.array(table.columns[roles.group]) if roles.group else None
    say_columns(table, columns, target, roles.targets)
    splits = split_rows(columns, target, ids, given, str(source), seed, groups)

    def draw(contents: Path) -> None:
        draw_overview(columns, target, splits, contents)
        reasons = roles.reasons(name for name in table.names if name not in names)
        write_column_file(contents / "columns.yaml", table, columns, reasons)

    where = source.as_posix()
    dataset = write_rows(
        *(folder, columns, target, roles.targets, ids, splits, where, overwrite, roles.id, draw),
        groups=groups,
    )
    say_groups(groups, splits)
    say_overview(columns, target, splits)
    pictures = sorted(path.name for path in (folder / dataset.arrays_folder).glob("*.png"))
    shown = ", ".join(["columns.yaml", *pictures])
    print(f"To look at: {shown} in {folder / dataset.arrays_folder}.")
    return dataset


def say_columns(table: Table, columns: Columns, target: Target, targets: Sequence[str]) -> None:
    """Print what was found, so that a column taken for the wrong thing is seen."""
    word = "labels" if target.kind == "multilabel" else "classes"
    what = f"{target.kind}, {len(target.classes)} {word}" if target.classes else target.kind
    print(f"Found {len(table):,} rows in {table.path}. Target {', '.join(targets)}: {what}.")
    for word, names in (("numbers", columns.number_names), ("categories", [*columns.categories])):
        if names:
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            print(f"  {len(names)} of {word}: {shown}")


def write_rows(
    folder: Path,
    columns: Columns,
    target: Target,
    target_names: Sequence[str],
    ids: np.ndarray,
    splits: Mapping[str, np.ndarray],
    source: str,
    overwrite: bool = False,
    id_column: str | None = None,
    draw: Callable[[Path], object] | None = None,
    groups: np.ndarray | None = None,
) -> Dataset:
    """Write the dataset and say so.

    Args:
        folder: where to.
        columns: to learn from, of all rows.
        target: of all rows.
        target_names: its columns.
        ids: (N,) str, names of the rows.
        splits: the row numbers of each.
        source: where they came from, in words.
        overwrite: replace the dataset that is there.
        id_column: held the ids.
        draw: writes beside the arrays what a person may look at.
        groups: (N,) what each row belongs to.
    """
    train = splits["train"]
    found: dict[str, np.ndarray] = {"target": target.values}
    if columns.number_names:
        found["numbers"] = columns.numbers.astype(np.float32)
    of_train = {name: cells[train] for name, cells in columns.categories.items()}
    levels = {name: np.unique(cells[cells != ""]) for name, cells in of_train.items()}
    if levels:
        numbered = [number_levels(columns.categories[name], kept) for name, kept in levels.items()]
        found["categories"] = np.stack(numbered, axis=1)
    mean, std = column_statistics(columns.numbers[train])
    is_number, has_classes = target.kind == "regression", target.kind in ("binary", "multiclass")
    dataset: Dataset = arrays.write_dataset(
        *(folder, Dataset, found, ids, splits, overwrite, draw, groups),
        task="tabular",
        inputs=tuple(name for name in ("numbers", "categories") if name in found),
        source=source,
        kind=target.kind,
        number_columns=columns.number_names,
        mean=mean,
        std=std,
        category_columns={name: kept.tolist() for name, kept in levels.items()},
        target_columns=list(target_names),
        id_column=id_column,
        classes=target.classes,
        target_mean=float(target.values[train].mean(dtype=np.float64)) if is_number else 0.0,
        target_std=float(target.values[train].std(dtype=np.float64)) or 1.0 if is_number else 1.0,
        counts=count_classes(target.values[train], len(target.classes)) if has_classes else (),
    )
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    print(f"Wrote {folder}: {counts} rows.")
    return dataset


def read_unlabelled(
    paths: Sequence[Path], dataset: Dataset, skip_bad: bool = False
) -> Iterator[Unlabelled]:
    """Yield blocks of the rows of tables, without target; see RowReader for what is refused."""
    columns = (dataset.number_columns, dataset.category_columns, dataset.target_columns)
    yield from RowReader(*columns, dataset.id_column, skip_bad).read(paths)


def main() -> None:
    """Prepare the dataset that the command line names."""
    parser = ArgumentParser(__doc__)

    def add_columns(option: str, meaning: str) -> None:
        parser.add_argument(option, nargs="+", default=[], metavar="COLUMN", help=meaning)

    parser.add_argument("--source", type=Path, help="CSV or Parquet file [the breast cancer data]")
    add_columns("--target", "what to predict; several: labels of 0 and 1")
    parser.add_argument("--kind", choices=KINDS, help="[what the target looks like]")
    add_columns("--categories", "numbers that are categories")
    add_columns("--drop", "columns to leave out")
    parser.add_argument("--id", metavar="COLUMN", help="names the rows [row-2, row-3, ...]")
    parser.add_argument("--columns", type=Path, metavar="FILE", help="a corrected columns.yaml")
    splits = parser.add_mutually_exclusive_group()
    splits.add_argument("--split", metavar="COLUMN", help="says train, val or test [at random]")
    splits.add_argument("--time", metavar="COLUMN", help="the earliest rows train, the latest test")
    splits.add_argument("--group", metavar="COLUMN", help="what stays in one split, as a patient")
    parser.add_data_to_write()
    parser.add_argument("--seed", type=int, default=0, help="chooses the random split [0]")
    parser.add_argument("--skip-bad", action="store_true", help="leave out rows of no use")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset in --data")
    arguments = parser.parse_args()
    parser.check_range("--seed", arguments.seed, 0, LARGEST_SEED)
    if not arguments.overwrite:
        refuse_to_replace(arguments.data)
    for name in ("target", "columns", "categories", "drop", "id", "split", "time", "group", "kind"):
        if getattr(arguments, name) and arguments.source is None:
            parser.error(f"--{name}: goes with --source, the file of the table")
    if arguments.columns and (arguments.categories or arguments.drop):
        parser.error(
            "--columns: says which columns are categories or left out, so without "
            "--categories and --drop"
        )
    if arguments.source is None:
        build_breast_cancer(arguments.data, arguments.seed, arguments.overwrite)
    elif not arguments.target:
        parser.error(f"--target: missing; name the column of {arguments.source} to predict")
    else:
        build_from_arguments(arguments)


def build_from_arguments(arguments: argparse.Namespace) -> None:
    """Prepare a table of one's own."""
    roles = Roles(
        arguments.target,
        arguments.kind,
        arguments.categories,
        arguments.drop,
        arguments.id,
        arguments.split,
        arguments.time,
        arguments.group,
        arguments.columns,
    )
    seed, skip_bad, overwrite = arguments.seed, arguments.skip_bad, arguments.overwrite
    build_table(arguments.data, arguments.source, roles, seed, skip_bad, overwrite)


if __name__ == "__main__":
    with exit_codes():
        main()
