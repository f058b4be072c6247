"""Eight small competitions as Kaggle would give them, with answers that nobody is shown.

python -c "import competitions as c; print(c.COMPETITIONS['binary'].write(Path('data/raw')))"

Each is learnable within seconds, and has the dirt of real ones: missing cells, a column that test
lacks, and a category that only test has.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

ROWS, TEST_ROWS = 320, 120
TABLE = {"task": "tabular", "train": "train.csv", "test": "test.csv"}
SAMPLE = {"sample_submission": "sample_submission.csv"}


class Competition(NamedTuple):
    """A competition, and what a person would find out about it."""

    task: str  # the answer to the question
    schema: Mapping[str, Any]  # what schema.yaml has to say, defaults left out
    # Writes the files into a folder; returns the right answers, a row for each row of
    # sample_submission.csv, in its columns.
    write: Callable[[Path], pd.DataFrame]


def _people(generator: np.random.Generator, rows: int) -> pd.DataFrame:
    """Return columns to learn from: two numbers and a category."""
    return pd.DataFrame(
        {
            "age": generator.normal(40, 12, rows).round(1),
            "income": np.exp(generator.normal(10, 0.5, rows)).round(),
            "noise": generator.normal(size=rows).round(3),
            "city": generator.choice(["Köln", "Lyon", "Porto, old town"], rows),
        }
    )


def _signals(frame: pd.DataFrame) -> np.ndarray:
    """Return three numbers of about -2 to 2 for each row, (N, 3), which targets depend on."""
    place = frame["city"].map({"Köln": -1.0, "Lyon": 0.0}).fillna(1.0)
    age, income = (frame["age"] - 40) / 12, (np.log(frame["income"]) - 10) / 0.5
    return np.stack([age, income, place], axis=1)


def _write_tables(
    folder: Path, frame: pd.DataFrame, ids: str, sample: Mapping[str, Any], test: np.ndarray
) -> pd.DataFrame:
    """Spoil some cells, write the three files; return the right answers.

    Args:
        folder: gets the files.
        frame: all rows; the columns to predict have the names of `sample`, or `sample` marks the
            classes of the last column.
        ids: what the column that names the rows is called.
        sample: what sample_submission.csv says of every row, by column.
        test: (N,) bool, which rows are to be predicted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(1)
    targets = [name for name in sample if name in frame] or [frame.columns[-1]]
    named = frame.assign(**{ids: np.arange(1, len(frame) + 1)})
    named = named[[ids, *frame.columns]]
    answers = named.loc[test, [ids, *targets]]
    if targets != [*sample]:
        marks = {name: (answers[targets[0]] == name).astype(int) for name in sample}
        answers = pd.DataFrame({ids: answers[ids], **marks})
    if "city" in named:
        rare = generator.choice(np.flatnonzero(test), 5, replace=False)
        named.loc[rare, "city"] = "elsewhere"
    for name in ("age", "income", "city", "keyword"):
        if name in named:
            named.loc[generator.random(len(named)) < 0.05, name] = None
    clerks = generator.choice(["anna", "ben"], (~test).sum())
    named[~test].assign(entered_by=clerks).to_csv(folder / "train.csv", index=False)
    named[test].drop(columns=targets).to_csv(folder / "test.csv", index=False)
    answers.assign(**sample).to_csv(folder / "sample_submission.csv", index=False)
    return answers.reset_index(drop=True)


def _last(rows: int = ROWS, test_rows: int = TEST_ROWS) -> np.ndarray:
    """Return which rows are to be predicted, (N,) bool: the last."""
    return np.arange(rows + test_rows) >= rows


def write_binary(folder: Path) -> pd.DataFrame:
    """Who stays? A probability is wanted."""
    generator = np.random.default_rng(10)
    frame = _people(generator, ROWS + TEST_ROWS)
    noise = generator.normal(0, 0.5, len(frame))
    frame["stayed"] = (_signals(frame).sum(axis=1) + noise > 0).astype(int)
    return _write_tables(folder, frame, "person_id", {"stayed": 0.5}, _last())


def write_multiclass(folder: Path) -> pd.DataFrame:
    """Which plan? A column of probabilities for each class is wanted."""
    generator = np.random.default_rng(11)
    frame = _people(generator, ROWS + TEST_ROWS)
    scores = _signals(frame) + generator.normal(0, 0.3, (len(frame), 3))
    frame["plan"] = np.array(["basic", "family", "premium"])[scores.argmax(axis=1)]
    sample = dict.fromkeys(("basic", "family", "premium"), 0.333)
    return _write_tables(folder, frame, "id", sample, _last())


def write_multilabel(folder: Path) -> pd.DataFrame:
    """Which of three faults? A probability of each is wanted."""
    generator = np.random.default_rng(12)
    frame = _people(generator, ROWS + TEST_ROWS)
    scores = _signals(frame) + generator.normal(0, 0.3, (len(frame), 3))
    faults = ("scratch", "dent", "stain")
    for name, column in zip(faults, scores.T, strict=True):
        frame[name] = (column > 0.3).astype(int)
    return _write_tables(folder, frame, "id", dict.fromkeys(faults, 0.5), _last())


def write_regression(folder: Path) -> pd.DataFrame:
    """What does it cost?"""
    generator = np.random.default_rng(13)
    frame = _people(generator, ROWS + TEST_ROWS)
    noise = generator.normal(0, 0.3, len(frame))
    score = _signals(frame) @ np.array([1.0, 1.5, 0.8]) + noise
    frame["price"] = (180_000 + 30_000 * score).round(2)
    return _write_tables(folder, frame, "Id", {"price": 180_000.5}, _last())


def write_grouped(folder: Path) -> pd.DataFrame:
    """Does the treatment help, at each visit of patients of whom none is in both files? 0 or 1."""
    generator = np.random.default_rng(14)
    patients = np.repeat(np.arange(1000, 1080), generator.integers(4, 8, 80))
    # What is measured at all visits of a patient is much the same, and so is the outcome.
    of_patient = _people(generator, 80).iloc[patients - 1000].reset_index(drop=True)
    frame = of_patient.assign(age=(of_patient["age"] + generator.normal(0, 1, len(patients))))
    frame["age"] = frame["age"].round(1)
    luck = generator.normal(0, 0.7, 80)[patients - 1000]
    frame.insert(0, "patient", [f"P{number}" for number in patients])
    frame["helped"] = (_signals(frame).sum(axis=1) + luck > 0).astype(int)
    test = np.isin(patients, generator.choice(np.arange(1000, 1080), 22, replace=False))
    return _write_tables(folder, frame, "visit_id", {"helped": 0}, test)


def write_time(folder: Path) -> pd.DataFrame:
    """What do two shops sell on the days after those that are known?"""
    generator = np.random.default_rng(15)
    days = pd.date_range("2025-01-01", periods=220)
    frame = pd.DataFrame({"date": days.repeat(2)})
    frame["shop"] = np.tile(["north", "south"], 220)
    frame["weekday"] = frame["date"].dt.day_name()
    frame["offer"] = generator.integers(0, 2, len(frame))
    week = frame["date"].dt.day_of_week.to_numpy()
    north, offer = (frame["shop"] == "north").to_numpy(), frame["offer"].to_numpy()
    noise = generator.normal(0, 3, len(frame))
    frame["sold"] = (100 + 20 * north + 15 * offer + 8 * (week > 4) + noise).round(1)
    test = (frame["date"] >= "2025-06-15").to_numpy()
    frame["date"] = frame["date"].dt.strftime("%Y-%m-%d")
    return _write_tables(folder, frame, "row_id", {"sold": 0.0}, test)


def write_images(folder: Path) -> pd.DataFrame:
    """How does the bar run? The files are named without their extension; test has no table."""
    generator = np.random.default_rng(16)
    names = ["across", "down", "slanting"]
    bars = [np.zeros((16, 16)), np.zeros((16, 16)), np.eye(16) + np.eye(16, k=1)]
    bars[0][7:9] = bars[1][:, 7:9] = 1
    rows = []
    for number in range(160 + 48):
        split = "train" if number < 160 else "test"
        label = int(generator.integers(3))
        moved = np.roll(bars[label], generator.integers(-3, 4, 2), axis=(0, 1))
        grey = 60 + 140 * moved[..., None] + generator.normal(0, 15, (16, 16, 3))
        path = folder / f"{split}_images" / f"{generator.integers(16**8):08x}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(path)
        rows.append((path.stem, names[label], split))
    frame = pd.DataFrame(rows, columns=["id_code", "label", "split"])
    train, test = (frame[frame["split"] == split].iloc[:, :2] for split in ("train", "test"))
    train.assign(taken_in=2025).to_csv(folder / "train.csv", index=False)
    test.assign(label=names[0]).to_csv(folder / "sample_submission.csv", index=False)
    return test.reset_index(drop=True)


# What texts of each class say, and what all say.
WORDS: Mapping[str, Sequence[str]] = {
    "complaint": ["broken", "refund", "never again", "too late", "wrong size"],
    "praise": ["lovely", "thank you", "great", "five stars ⭐", "well made"],
    "question": ["when", "how do I", "which", "is there", "could you"],
}
COMMON = ['the "parcel"', "came, it seems,", "on monday\n", "with my order", "of shoes", "again"]


def write_texts(folder: Path) -> pd.DataFrame:
    """What does the customer want? The name of the class is wanted."""
    generator = np.random.default_rng(17)
    kinds = generator.choice([*WORDS], 240 + 90)
    texts = []
    for number, kind in enumerate(kinds):
        words = [*generator.choice(COMMON, 3), *generator.choice(WORDS[kind], 2)]
        texts.append(" ".join(generator.permutation(words)) + f" no {number}")
    keywords = generator.choice(["parcel", "shoes", "shop"], len(kinds))
    frame = pd.DataFrame({"keyword": keywords, "text": texts, "kind": kinds})
    return _write_tables(folder, frame, "id", {"kind": "praise"}, _last(240, 90))


def _table(kind: str, names: Sequence[str], answer: str, **others: Any) -> Mapping[str, Any]:
    """Return the schema of a table: its kind, the column of names and the target, and others."""
    ids, *targets = names
    drop = {"drop": ["entered_by"]}
    return (
        TABLE
        | SAMPLE
        | {"kind": kind, "id": ids, "targets": targets, "answer": answer}
        | (drop | others)
    )


COMPETITIONS = {
    "binary": Competition(
        "tabular",
        _table("binary", ["person_id", "stayed"], "probabilities", scheme="stratified"),
        write_binary,
    ),
    "multiclass": Competition(
        "tabular",
        _table(
            "multiclass",
            ["id", "plan"],
            "probabilities",
            classes=["basic", "family", "premium"],
            scheme="stratified",
        ),
        write_multiclass,
    ),
    "multilabel": Competition(
        "tabular",
        _table(
            "multilabel", ["id", "scratch", "dent", "stain"], "probabilities", scheme="stratified"
        ),
        write_multilabel,
    ),
    "regression": Competition(
        "tabular",
        _table("regression", ["Id", "price"], "values", scheme="stratified"),
        write_regression,
    ),
    "grouped": Competition(
        "tabular",
        _table(
            "binary",
            ["visit_id", "helped"],
            "labels",
            drop=["entered_by", "patient"],
            scheme="group",
            fold_column="patient",
        ),
        write_grouped,
    ),
    "time": Competition(
        "tabular",
        _table(
            "regression",
            ["row_id", "sold"],
            "values",
            drop=["entered_by", "date"],
            scheme="time",
            fold_column="date",
        ),
        write_time,
    ),
    "images": Competition(
        "image-classification",
        {
            **SAMPLE,
            "task": "image-classification",
            "kind": "multiclass",
            "train": "train.csv",
            "test": "sample_submission.csv",
            "id": "id_code",
            "targets": ["label"],
            "classes": ["across", "down", "slanting"],
            "answer": "labels",
            "drop": ["taken_in"],
            "images": "train_images",
            "test_images": "test_images",
            "scheme": "stratified",
        },
        write_images,
    ),
    "texts": Competition(
        "text-classification",
        _table(
            "multiclass",
            ["id", "kind"],
            "labels",
            task="text-classification",
            classes=["complaint", "praise", "question"],
            text="text",
            scheme="stratified",
        ),
        write_texts,
    ),
}
