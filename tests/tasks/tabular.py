"""What the tests know of tabular data."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks import BadSource, BadUnlabelled, Effect, Misfit, OwnData, Task, always_most_frequent

TARGET = ("--target", "y")
REGRESSION = (*TARGET, "--kind", "regression")
TIME = (*TARGET, "--drop", "d", "--time")
GROUP = (*TARGET, "--group", "d", "--drop")
ONE_GROUP = (*TARGET, "--group", "a", "--drop", "t", "d")
FILE = (*TARGET, "--columns", "{source}")
NUMBERS = "a,y\n" + "".join(f"{row},{row % 2}\n" for row in range(40))
# A day in January or February, a text, a number that is always the same, and a class.
DATED = "t,d,a,b,y\n" + "".join(
    f"2026-{1 + row // 31:02}-{1 + row % 31:02},d{row},1,{row},{row % 2}\n" for row in range(40)
)


def _text(content: str | bytes) -> Callable[[Path], object]:
    """Return what writes a file of this content."""
    return lambda source: source.write_bytes(
        content.encode() if isinstance(content, str) else content
    )


# More of them are tested by the project itself.
bad_sources = {
    "missing file": BadSource(lambda source: None, ("source",), TARGET),
    "folder": BadSource(Path.mkdir, ("source",), TARGET),
    "no target": BadSource(_text(NUMBERS), ("--target",)),
    "unknown target": BadSource(_text(NUMBERS), ("'yy'", "did you mean y?"), ("--target", "yy")),
    "uneven rows": BadSource(
        _text(f"{NUMBERS}1,2,3\n"), ("row 42", "3 cells", "--skip-bad"), TARGET
    ),
    "not UTF-8": BadSource(_text(b"a,y\n1,0\nK\xf6ln,1\n"), (":3", "UTF-8"), TARGET),
    "UTF-16": BadSource(_text(NUMBERS.encode("utf-16")), ("UTF-16", "CSV UTF-8"), TARGET),
    "workbook": BadSource(_text(b"PK\x03\x04\x14\x00"), ("an Excel workbook",), TARGET),
    "empty file": BadSource(_text(""), ("is empty",), TARGET),
    "column names alone": BadSource(_text("a,y\n"), ("column names alone",), TARGET),
    "two columns of one name": BadSource(_text("a,a,y\n1,2,0\n"), ("1 and 2", "'a'"), TARGET),
    "column without a name": BadSource(_text(f",{NUMBERS}1"), ("column 1 has no name",), TARGET),
    "quote that is not closed": BadSource(_text(f'{NUMBERS}"1,0\n'), ("row 42", "quote"), TARGET),
    "text in numbers": BadSource(
        _text(f"{NUMBERS}4x,0\n"), ("row 42: a: got '4x', expected a number", "--skip-bad"), TARGET
    ),
    "infinite number": BadSource(_text(f"{NUMBERS}inf,0\n"), ("row 42: a: got 'inf'",), TARGET),
    "no class": BadSource(
        _text(f"{NUMBERS}1,?\n"), ("row 42: y: got '?', expected a class",), TARGET
    ),
    "infinite target": BadSource(
        _text(f"{NUMBERS}1,inf\n"), ("row 42: y: got 'inf', expected a number",), REGRESSION
    ),
    "target that is NaN": BadSource(
        _text(f"{NUMBERS}1,nan\n"), ("row 42: y: got 'nan'",), REGRESSION
    ),
    "one target": BadSource(_text("a,y\n" + "1,7\n2,7\n" * 20), ("'y'",), TARGET),
    "class of one row": BadSource(
        _text("a,y\n" + "1,cat\n2,dog\n3,cat\n4,dog\n" * 9 + "5,fish\n"), ("class fish",), TARGET
    ),
    "mark that is neither 0 nor 1": BadSource(
        _text("a,y,z\n" + "1,0,1\n2,1,0\n" * 20 + "3,1,2\n"),
        ("row 42: z: got '2', expected 0 or 1",),
        (*TARGET, "z"),
    ),
    "texts that are all different": BadSource(
        _text("a,y\n" + "".join(f"text {i},{i % 2}\n" for i in range(40))),
        ("'a' holds 40 different texts", "--drop"),
        TARGET,
    ),
    "unknown split": BadSource(
        _text("a,d,y\n" + "1,train,0\n2,val,1\n" * 20 + "3,tset,0\n"),
        ("row 42: d: got 'tset', expected train, val or test",),
        (*TARGET, "--split", "d"),
    ),
    "time that is none": BadSource(
        _text(DATED.replace("2026-01-31", "31 Jan")),
        ("row 32: t: got '31 Jan', expected a date", "--skip-bad"),
        (*TIME, "t"),
    ),
    "no time": BadSource(
        _text(DATED.replace("2026-01-31", "")), ("row 32: t: got ''",), (*TIME, "t")
    ),
    "one time": BadSource(
        _text(DATED), ("column 'a' holds 1 different times",), (*TIME, "a", "--drop", "t", "d")
    ),
    "no group": BadSource(
        _text(DATED.replace("d39", "")), ("row 41: d: got '', expected a group",), (*GROUP, "t")
    ),
    "everything in one group": BadSource(_text(DATED), ("1 different groups",), ONE_GROUP),
    "no columns.yaml": BadSource(_text(DATED), ("no.yaml: not found",), (*FILE[:-1], "no.yaml")),
    "another file for columns.yaml": BadSource(_text(DATED), ("expected `name:",), FILE),
    "two rows of one name": BadSource(
        _text(DATED.replace("d39", "d3")),
        ("row 41: d: got 'd3' as in row 5", "--id"),
        (*TARGET, "--id", "d", "--drop", "t"),
    ),
    "two ways to split": BadSource(_text(DATED), ("--time", "--group"), (*GROUP, "t", "--time=t")),
}


def _target_out_of_range(data: Path) -> None:
    dataset = json.loads((data / "dataset.json").read_text())
    target = np.full(dataset["examples"]["train"], 2, np.int64)
    np.save(data / dataset["arrays_folder"] / "train_target.npy", target)


def make_own_data(folder: Path) -> OwnData:
    """A table with numbers, categories, gaps, quoted and non-ASCII text, and a class to predict."""
    generator = np.random.default_rng(0)
    kinds, places = ("Ärger, groß", 'a "b"', "$5_to_$10"), ("Köln", "", "São Paulo")
    source = folder / "table.csv"
    with open(source, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["number $", "noise", "place", "kind"])
        for row in range(300):
            kind = (0, 1, 0, 2, 0, 1)[row % 6]  # They are not equally frequent.
            number = "" if row % 10 == 9 else f"{generator.normal() + 4 * kind:.3f}"
            noise = f"{generator.normal():.3f}"
            writer.writerow([number, noise, places[row // 3 % 3], kinds[kind]])
    parameters = {"model.width": 16, "training.epochs": 30, "data.batch_size": 16}
    printed = ("300 rows", "multiclass, 3 classes", "2 of numbers", "1 of categories")
    return OwnData(source, printed, parameters, bar=0.75, options=("--target", "kind"))


# ---------------------------------------------------------------------------------------------
# What is predicted.


def write_unlabelled(
    path: Path, inputs: Mapping[str, np.ndarray], dataset: Mapping[str, Any]
) -> None:
    """Write rows as a table with all digits; the columns stand backwards, beside one more."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*dataset["number_columns"][::-1], "note, which nobody needs"])
        writer.writerows([*map(str, row[::-1]), "x"] for row in inputs["numbers"])


def _edit(change: Callable[[list[list[str]]], object]) -> Callable[[Path], object]:
    """Return what changes the cells of a table, of which the first row names the columns."""

    def spoil(path: Path) -> None:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        change(rows)
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    return spoil


def _cell(row: int, column: int, text: str) -> Callable[[Path], object]:
    return _edit(lambda rows: rows[row].__setitem__(column, text))


bad_unlabelled = {
    "not there": BadUnlabelled(Path.unlink, ("rows.csv", "not found")),
    "folder": BadUnlabelled(lambda path: (path.unlink(), path.mkdir()), ("rows.csv", "CSV")),
    "empty file": BadUnlabelled(lambda path: path.write_bytes(b""), ("is empty",)),
    "column names alone": BadUnlabelled(
        _edit(lambda rows: rows.__delitem__(slice(1, None))), ("no example",)
    ),
    "a column of another name": BadUnlabelled(
        _cell(0, 0, "worst fractal dimensions"),
        ("'worst fractal dimension' (did you mean worst fractal dimensions?)", "trained on"),
    ),
    "all columns of other names": BadUnlabelled(
        _edit(lambda rows: rows.__setitem__(0, [f"x{i}" for i in range(len(rows[0]))])),
        ("'mean radius'", "and 25 more"),
    ),
    "two columns of one name": BadUnlabelled(_cell(0, 0, "mean radius"), ("mean radius", "both")),
    "text in a column of numbers": BadUnlabelled(
        _cell(2, 0, "many"),
        ("rows.csv: row 3: worst fractal dimension: got 'many', expected a number", "--skip-bad"),
        left_out=1,
    ),
    "a number that float32 cannot hold": BadUnlabelled(
        _cell(2, 0, "1e50"), ("rows.csv: row 3", "'1e50'"), left_out=1
    ),
    "uneven rows": BadUnlabelled(
        _edit(lambda rows: rows[4].append("one more")), ("rows.csv: row 5", "32 cells"), left_out=1
    ),
    "workbook": BadUnlabelled(
        lambda path: path.write_bytes(b"PK\x03\x04\x14\x00"), ("an Excel workbook",)
    ),
    "not UTF-8": BadUnlabelled(
        lambda path: path.write_bytes(path.read_bytes().replace(b",x", b",\xf6")), (":2", "0xf6")
    ),
    "a quote that is not closed": BadUnlabelled(
        lambda path: path.write_text(path.read_text() + '"'), ("quote",)
    ),
}


# ---------------------------------------------------------------------------------------------
# What the parameters do.

HIDDEN, BALANCE = 0.3, 0.7
Arrays = Mapping[str, np.ndarray]


def check_hide(before: Arrays, after: Arrays) -> None:
    """Of each kind of column so many cells are missing that were there, and the rest stays."""
    there = {"numbers": ~np.isnan(before["numbers"]), "categories": before["categories"] > 0}
    missing = {"numbers": np.isnan(after["numbers"]), "categories": after["categories"] == 0}
    for name in there:
        assert missing[name][~there[name]].all()
        assert abs(missing[name][there[name]].mean() - HIDDEN) < 0.1
        kept = ~missing[name]
        assert np.array_equal(before[name][kept], after[name][kept])


def rarest(targets: Arrays) -> list[int]:
    """Return the rows of the class that has the fewest."""
    return np.flatnonzero(targets["target"] == np.bincount(targets["target"]).argmin()).tolist()


def check_balance(plain: Arrays, balanced: Arrays, targets: Arrays) -> None:
    """A row of a class counts counts**-BALANCE, in units of the mean over all rows."""
    counts = np.bincount(targets["target"])
    weights = counts**-BALANCE / np.mean((counts**-BALANCE)[targets["target"]])
    weight = weights[counts.argmin()]
    assert weight > 1.2
    close = 1e-4 * max(np.abs(array).max() for array in plain.values())
    for name in plain:
        np.testing.assert_allclose(balanced[name], weight * plain[name], rtol=0, atol=close)


def count_weights(parameters: Mapping[str, Any], dataset: Mapping[str, Any]) -> int:
    """An embedding of each level and of what is not known, a linear layer, residual layers with a
    norm and two linear layers each, a norm, and a linear layer.
    """
    width, embedding = parameters["model.width"], parameters["model.embedding"]
    levels = [len(names) for names in dataset["category_columns"].values()]
    features = 2 * len(dataset["number_columns"]) + embedding * len(levels)
    layer = 2 * width + (width + 1) * 2 * width + (2 * width + 1) * width
    count = embedding * (1 + sum(levels)) + (features + 1) * width
    count += parameters["model.layers"] * layer + 2 * width
    return count + (width + 1) * len(dataset["classes"])


task = Task(
    name="tabular",
    overlays=("classes", "tables"),
    words=r"tabular|csv|categor(y(?!=)|ies|ical)|columns? of (a|the) table"
    r"|missing (cell|number|value)|regression|binary|multiclass|multilabel"
    r"|rmse|(?<![a-z0-9])(mae|auc|f1|r2)(?![a-z0-9])|breast",
    tiny={
        "seed": 1,
        **{"data.batch_size": 80, "data.hide": 0.1},
        **{"model.width": 8, "model.layers": 1, "model.embedding": 2},
        "training.epochs": 2,
    },
    without_dropout={"model.dropout": 0.0},
    plain={"data.hide": 0.0, "model.dropout": 0.0},
    normalises_over_batch=False,
    changes_data={"data.hide": Effect(HIDDEN, check_hide)},
    changes_loss={"model.balance": Effect(BALANCE, check_balance, rarest)},
    sizes=("model.width", "model.layers", "model.embedding"),
    count_weights=count_weights,
    other_network={"width": 16},
    out_of_memory={"data.batch_size": 1000, "model.width": 30000},
    metric="accuracy",
    maximize=True,
    bar=0.9,
    metrics=("loss", "accuracy", "auc", "f1"),
    evaluation_files=("confusion_matrix_{name}.png", "predictions_{name}.csv"),
    pictures={"confusion_matrix_test.png": 1},
    trivial=always_most_frequent("target"),
    prepared="preparing scikit-learn's breast cancer data",
    space="  training.learning_rate: {low: 0.001, high: 0.01, log: true}\n"
    "  model.width: {choices: [8, 16]}\n",
    misfits={
        "more parts than a batch has examples": Misfit(
            {"data.batch_size": 8, "training.accumulate": 9},
            ("training.accumulate: got 9", "at most 7"),
        )
    },
    damage={"target out of range": (_target_out_of_range, ("2", "0 to 1"))},
    bad_sources=bad_sources,
    bad_build_options=("--kind=x", "--target=y"),
    write_unlabelled=write_unlabelled,
    unlabelled_name="rows.csv",
    bad_unlabelled=bad_unlabelled,
    make_own_data=make_own_data,
    own_data_shows_more=True,
)
