"""What the tests know of text classification."""

import csv
import itertools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks import BadSource, BadUnlabelled, Effect, Misfit, OwnData, Task, always_most_frequent

COLUMNS = ("--text", "words", "--target", "class")
ROWS = "words,class\n" + "".join(f"text number {row},{'ab'[row % 2]}\n" for row in range(40))


def _texts(folder: Path, *classes: str, count: int = 4) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.txt").write_text(f"{name} has the text {i}", "utf-8", "replace")


def _spoiled(spoil: Callable[[Path], object], name: str) -> Callable[[Path], None]:
    """Return what makes two good classes and spoils one of the files."""

    def make(source: Path) -> None:
        _texts(source, "good", "bad")
        spoil(source / name)

    return make


def _splits(*classes: str, **others: tuple[str, ...]) -> Callable[[Path], None]:
    """Return what makes train/ of some classes, and other splits."""

    def make(source: Path) -> None:
        _texts(source / "train", *classes)
        for split, found in others.items():
            (source / split).mkdir()
            _texts(source / split, *found)

    return make


def _table(content: str | bytes) -> Callable[[Path], object]:
    """Return what writes a file of this content."""
    return lambda source: source.write_bytes(
        content.encode() if isinstance(content, str) else content
    )


bad_sources = {
    "missing folder": BadSource(lambda source: None, ("not a folder",)),
    "empty folder": BadSource(Path.mkdir, ("none", "two or more")),
    "one class": BadSource(lambda source: _texts(source, "good"), ("good", "two or more")),
    "file that is not UTF-8 inside": BadSource(
        _spoiled(lambda path: path.write_bytes(b"K\xf6ln"), "bad/1.txt"),
        ("bad/1.txt", "byte 0xf6 at 1", "--skip-bad"),
    ),
    "empty file": BadSource(
        _spoiled(lambda path: os.truncate(path, 0), "bad/1.txt"), ("bad/1.txt: holds no word",)
    ),
    "no word": BadSource(
        _spoiled(lambda path: path.write_text("... ?!"), "good/2.txt"),
        ("good/2.txt: holds no word",),
    ),
    "too few to split": BadSource(
        lambda source: _texts(source, "good", "bad", count=2), ("3 or more", "class")
    ),
    "unknown split": BadSource(_splits("a", "b", tset=("a",)), ("tset", "test/")),
    "class only in test": BadSource(_splits("a", "b", test=("a", "c")), ("class c", "train")),
    "class that is not UTF-8": BadSource(
        lambda source: _texts(source, "good", os.fsdecode(b"K\xf6ln")),
        ("K\\xf6ln/", "not read as UTF-8"),
    ),
    "columns of a folder": BadSource(
        lambda source: _texts(source, "good", "bad"), ("--text",), COLUMNS
    ),
    "no column of texts": BadSource(_table(ROWS), ("--text and --target: missing", "words, class")),
    "no target": BadSource(_table(ROWS), ("error: --target: missing",), COLUMNS[:2]),
    "unknown column": BadSource(
        _table(ROWS), ("'word'", "did you mean words?"), ("--text", "word", *COLUMNS[2:])
    ),
    "uneven rows": BadSource(
        _table(f"{ROWS}a,b,c\n"), ("row 42", "3 cells", "--skip-bad"), COLUMNS
    ),
    "missing label": BadSource(
        _table(f"{ROWS}a text,\n"), ("row 42: class: got '', expected a class",), COLUMNS
    ),
    "empty text": BadSource(
        _table(f"{ROWS},a\n"), ("row 42: words: got '', expected a text",), COLUMNS
    ),
    "table that is not UTF-8": BadSource(
        _table(b"words,class\nK\xf6ln,1\n"), (":2", "UTF-8"), COLUMNS
    ),
    "workbook": BadSource(_table(b"PK\x03\x04\x14\x00"), ("an Excel workbook",), COLUMNS),
    "empty table": BadSource(_table(""), ("is empty",), COLUMNS),
    "table without rows": BadSource(_table("words,class\n"), ("rows below",), COLUMNS),
    "two columns of one name": BadSource(
        _table(f"words,{ROWS}"), ("columns 1 and 2", "'words'"), COLUMNS
    ),
    "unknown split in the table": BadSource(
        _table("words,class,part\n" + "a text,a,train\nb text,b,tset\n" * 9),
        ("row 3: part: got 'tset'", "train, val or test"),
        (*COLUMNS, "--split", "part"),
    ),
    "two rows of one name": BadSource(
        _table("words,class,name\n" + "a text,a,1\nb text,b,2\nc text,b,1\n"),
        ("row 4: name: got '1' as in row 2", "--id"),
        (*COLUMNS, "--id", "name"),
    ),
    "one class in a table": BadSource(
        _table("words,class\n" + "a text,a\n" * 30), ("'a' in every row",), COLUMNS
    ),
    "split without train": BadSource(
        _table("words,class,part\n" + "a text,a,val\nb text,b,val\n" * 9),
        ("no row has train",),
        (*COLUMNS, "--split", "part"),
    ),
    "class that is not in train": BadSource(
        _table("words,class,part\n" + "a text,a,train\nb text,b,val\nc text,a,test\n" * 9),
        ("no text of train is of class b",),
        (*COLUMNS, "--split", "part"),
    ),
}


def _out_of_range(name: str) -> Callable[[Path], None]:
    """Return what gives an array of train numbers that are too high."""

    def change(data: Path) -> None:
        path = data / json.loads((data / "dataset.json").read_text())["arrays_folder"]
        array = np.load(path / f"train_{name}.npy")
        np.save(path / f"train_{name}.npy", np.full_like(array, 10**6))

    return change


def make_own_data(folder: Path) -> OwnData:
    """Sixty texts of each of three classes, in four languages, whose words say the class."""
    generator = np.random.default_rng(0)
    source = folder / "texts"
    words = {
        "good things": ["prima", "schön", "отлично", "很好", "great"],
        "bad $5_to_$10": ["schlecht", "плохо", "不好", "awful", "naja"],
        "Größe": ["groß", "klein", "большой", "大", "tiny"],
    }
    others = ["the", "film", "ist", "это", "電影", "was", "it", "2026"]
    for name, own in words.items():
        (source / name).mkdir(parents=True)
        for number in range(60):
            count = int(generator.integers(3, 30))
            found = [*generator.choice(others, count), *generator.choice(own, 1 + count // 5)]
            text = " ".join(generator.permutation(found))
            (source / name / f"{number}.txt").write_text(f"{text}, {number}!\n", "utf-8")
    parameters = {
        **{"model.width": 16, "model.blocks": 1},
        **{"training.epochs": 15, "data.batch_size": 16},
    }
    return OwnData(source, ("180 texts of 3 classes", "60 Größe", "unknown"), parameters, bar=0.9)


# ---------------------------------------------------------------------------------------------
# What is predicted.


def write_unlabelled(
    path: Path, inputs: Mapping[str, np.ndarray], dataset: Mapping[str, Any]
) -> None:
    """Write texts of the same words as a table, beside a column that nobody needs."""
    words = np.array(["", "unheard", *dataset["vocabulary"]])
    assert words[1] not in dataset["vocabulary"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["note", "text"])
        for first, last in itertools.pairwise(inputs["tokens_offsets"]):
            text = ", ".join(words[inputs["tokens"][first:last]])
            writer.writerow(["x", f"{text}!\n".capitalize()])


def _edit(old: str, new: str) -> Callable[[Path], object]:
    """Return what replaces a text that a file begins with."""

    def spoil(path: Path) -> None:
        content = path.read_text("utf-8")
        assert content.startswith(old)
        path.write_text(new + content.removeprefix(old), "utf-8")

    return spoil


def _first_row(*cells: str) -> Callable[[Path], object]:
    """Return what writes other cells into the first row of a table."""

    def spoil(path: Path) -> None:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        rows[1] = [*cells]
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    return spoil


bad_unlabelled = {
    "not there": BadUnlabelled(Path.unlink, ("texts.csv", "not found")),
    "empty file": BadUnlabelled(lambda path: path.write_bytes(b""), ("is empty",)),
    "column names alone": BadUnlabelled(
        lambda path: path.write_text("note,text\n"), ("no example",)
    ),
    "a column of another name": BadUnlabelled(
        _edit("note,text", "note,texts"), ("no column 'text'", "did you mean texts?")
    ),
    "a text without words": BadUnlabelled(
        _first_row("x", "..."),
        ("texts.csv: row 2: text: got '...', expected a text with a word", "--skip-bad"),
        left_out=1,
    ),
    "a row that is too long": BadUnlabelled(
        _first_row("x", "y", "z"),
        ("texts.csv: row 2: got 3 cells, expected 2", "--skip-bad"),
        left_out=1,
    ),
    "not UTF-8": BadUnlabelled(
        lambda path: path.write_bytes(b"text\nK\xf6ln\n"), (":2: byte 0xf6 is not UTF-8",)
    ),
}


# ---------------------------------------------------------------------------------------------
# What the parameters do.

HIDDEN, SMOOTHING = 0.3, 0.3
Arrays = Mapping[str, np.ndarray]


def check_hide(before: Arrays, after: Arrays) -> None:
    """So many words have become unknown, and the rest stays, padding too."""
    tokens, found = before["tokens"], after["tokens"]
    known = tokens > 1
    hidden = known & (found == 1)
    assert np.array_equal(tokens[~hidden], found[~hidden])
    assert abs(hidden[known].mean() - HIDDEN) < 0.02


def check_label_smoothing(plain: Arrays, smoothed: Arrays, targets: Arrays) -> None:
    """The gradient of a class's bias is the mean of its probability less its share of the label."""
    frequencies = np.bincount(targets["labels"]) / len(targets["labels"])
    (name,) = [name for name, array in plain.items() if array.shape == frequencies.shape]
    moved = SMOOTHING * (frequencies - 1 / len(frequencies))
    assert np.abs(moved).max() > 1e-4  # Rounding cannot hide it.
    np.testing.assert_allclose(smoothed[name], plain[name] + moved, rtol=0, atol=1e-5)


def count_weights(parameters: Mapping[str, Any], dataset: Mapping[str, Any]) -> int:
    """An embedding of each word, of what is unknown and of padding; blocks of a norm and two
    convolutions over three words; a norm and a linear layer over mean and maximum.
    """
    width, classes = parameters["model.width"], len(dataset["classes"])
    block = 2 * width + 2 * (3 * width + 1) * width
    count = (len(dataset["vocabulary"]) + 2) * width + parameters["model.blocks"] * block
    return count + 4 * width + (2 * width + 1) * classes


task = Task(
    name="text-classification",
    overlays=("classes", "folders", "tables"),
    words=r"text.classification|vocabular(y|ies)|tokeni[sz]|docstrings of",
    tiny={
        "seed": 1,
        **{"data.batch_size": 400, "data.hide": 0.1},
        # So many features that no other weights have the shape of the bias of the classes.
        **{"model.width": 6, "model.blocks": 1},
        "training.epochs": 2,
    },
    without_dropout={"model.dropout": 0.0},
    plain={"data.hide": 0.0, "model.dropout": 0.0, "model.label_smoothing": 0.0},
    normalises_over_batch=False,
    changes_data={"data.hide": Effect(HIDDEN, check_hide)},
    changes_loss={"model.label_smoothing": Effect(SMOOTHING, check_label_smoothing)},
    sizes=("model.width", "model.blocks"),
    count_weights=count_weights,
    other_network={"width": 10},
    out_of_memory={"data.batch_size": 1000, "model.width": 30000},
    metric="accuracy",
    maximize=True,
    bar=0.78,
    metrics=("loss", "accuracy", "f1"),
    evaluation_files=("confusion_matrix_{name}.png", "predictions_{name}.csv"),
    pictures={"confusion_matrix_test.png": 1},
    trivial=always_most_frequent("labels"),
    prepared="preparing the docstrings",
    space="  training.learning_rate: {low: 0.001, high: 0.01, log: true}\n"
    "  model.width: {choices: [4, 6]}\n",
    misfits={
        "more parts than a batch has examples": Misfit(
            {"data.batch_size": 8, "training.accumulate": 9},
            ("training.accumulate: got 9", "at most 7"),
        ),
    },
    damage={
        "label out of range": (_out_of_range("labels"), ("1000000", "0 to 7")),
        "word out of range": (_out_of_range("tokens"), ("1000000", "expected 1 to")),
    },
    bad_sources=bad_sources,
    bad_build_options=("--vocabulary=0", "--longest=0", "--longest=x", "--text=a", "--target=a"),
    write_unlabelled=write_unlabelled,
    unlabelled_name="texts.csv",
    bad_unlabelled=bad_unlabelled,
    make_own_data=make_own_data,
    own_data_shows_more=False,
    tested_in_projects=tuple(
        f"model.backbone{what}" for what in ("", "_weights", "_learning_rate")
    ),
)
