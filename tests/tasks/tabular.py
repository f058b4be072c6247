"""What the tests know of tabular data."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tasks import BadSource, Misfit, OwnData, Task


def _table(path: Path, rows: int = 60, **columns: Callable[[int], Any]) -> None:
    """Write a CSV of some columns, each a function of the row number."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([make(row) for make in columns.values()] for row in range(rows))


def _numbers(row: int) -> float:
    return round(np.random.default_rng(row).normal(), 3)


def _named(path: Path, **columns: Callable[[int], Any]) -> None:
    _table(path, a=_numbers, **columns)


TARGET = ("--target", "y")

bad_sources = {
    "missing file": BadSource(lambda source: None, ("source",), TARGET),
    "folder": BadSource(Path.mkdir, ("source",), TARGET),
    "empty file": BadSource(lambda source: source.write_text(""), ("source",), TARGET),
    "header alone": BadSource(lambda source: source.write_text("a,y\n"), ("source",), TARGET),
    "no such target": BadSource(lambda source: _named(source, z=_numbers), ("'y'",), TARGET),
    "no target": BadSource(lambda source: _named(source, y=_numbers), ("--target",)),
    "nothing but the target": BadSource(
        lambda source: _table(source, y=_numbers), ("source",), TARGET
    ),
    "uneven rows": BadSource(
        lambda source: source.write_text("a,y\n" + "1,2\n" * 30 + "1,2,3\n"), (":32",), TARGET
    ),
    "twice the same column": BadSource(
        lambda source: source.write_text("a,a,y\n" + "1,2,3\n" * 30), ("'a'",), TARGET
    ),
    "not UTF-8": BadSource(
        lambda source: source.write_bytes(b"a,y\n" + b"\xff,2\n" * 30), ("UTF-8",), TARGET
    ),
}


def _target_out_of_range(data: Path) -> None:
    dataset = json.loads((data / "dataset.json").read_text())
    folder = data / dataset["arrays_folder"]
    targets = np.load(folder / "train_target.npy")
    np.save(folder / "train_target.npy", np.full_like(targets, 99))


def make_own_data(folder: Path) -> OwnData:
    """A table with numbers, categories, gaps, quoted and non-ASCII text, and a class to predict."""

    def kind(row: int) -> str:
        return ("Ärger, groß", 'a "b"', "$5_to_$10")[row % 3]

    def number(row: int) -> str:
        value = np.random.default_rng(row).normal() + 4 * (row % 3)
        return "" if row % 10 == 9 else f"{value:.3f}"

    source = folder / "table.csv"
    _table(
        source,
        rows=300,
        number=number,
        noise=_numbers,
        place=lambda row: ("Köln", "", "Paris")[row % 7 % 3],
        kind=kind,
    )
    parameters = {"training.epochs": 20, "data.batch_size": 32}
    return OwnData(source, ("300",), parameters, bar=0.8, options=("--target", "kind"))


task = Task(
    name="tabular",
    tiny={
        "seed": 1,
        "data.batch_size": 80,
        "model.width": 8,
        "training.epochs": 2,
    },
    without_dropout={"model.dropout": 0.0},
    other_network={"width": 16},
    other_name="model.width",
    out_of_memory={"data.batch_size": 1000, "model.width": 300000},
    weights=0,
    metric="accuracy",
    maximize=True,
    bar=0.9,
    metrics=("loss", "accuracy"),
    evaluation_files=("predictions_{name}.csv",),
    prepared="preparing",
    space="  training.learning_rate: {low: 0.001, high: 0.01, log: true}\n"
    "  model.width: {choices: [8, 16]}\n",
    misfits=dict[str, Misfit](),
    damage={"target out of range": (_target_out_of_range, ("99",))},
    bad_sources=bad_sources,
    bad_build_options=(),
    make_own_data=make_own_data,
)
