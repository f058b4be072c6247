"""What is planted in the tables is found, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from machinery.competition import CompetitionSchema
from machinery.leak_audit import audit, say_differences


def make_schema(**values: Any) -> CompetitionSchema:
    common: dict[str, Any] = {"task": "tabular", "train": "train.csv", "test": "test.csv"}
    common |= {"sample_submission": "sample_submission.csv", "id": "id", "targets": ["y"]}
    common |= {"kind": "binary", "answer": "probabilities", "scheme": "stratified"}
    return CompetitionSchema.model_validate(common | values)


def make_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train and test, two numbers and a category each, with a target that they tell in part."""
    generator = np.random.default_rng(0)
    count = 300
    frame = pd.DataFrame({"id": [f"{number:04}" for number in range(count)]})
    frame = frame.assign(size=generator.normal(size=count), age=generator.normal(size=count))
    frame = frame.assign(town=generator.choice(["Köln", "Lyon", "Porto"], count))
    frame["y"] = (frame["size"] + generator.normal(size=count) > 0).astype(int)
    return frame[:200].copy(), frame[200:].drop(columns="y").reset_index(drop=True)


def found(schema: CompetitionSchema, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, str]:
    return {leak.column: leak.finding for leak in audit(schema, train, test, Path())}


def test_nothing_is_found_where_nothing_is() -> None:
    train, test = make_tables()
    assert found(make_schema(), train, test) == {}
    assert found(make_schema(kind="regression", targets=["size"]), train, test) == {}
    words = test.astype({"age": object})
    words.loc[3, "age"] = "unknown"  # Among numbers.
    assert found(make_schema(), train, words) == {}


def test_groups_that_folds_would_split() -> None:
    train, test = make_tables()
    train["who"], test["who"] = np.arange(200) // 5, np.arange(100) // 5 + 40
    assert "40 values repeat" in found(make_schema(), train, test)["who"]
    schema = make_schema(scheme="group", fold_column="who", drop=["who"])
    assert found(schema, train, test) == {}
    test.loc[:4, "who"] = 3
    assert "5 rows of test are of a value of train" in found(schema, train, test)["who"]


def test_folds_that_learn_from_the_future() -> None:
    train, test = make_tables()
    days = pd.date_range("2025-01-01", periods=300).strftime("%d.%m.%Y")
    train["day"], test["day"] = days[:200], days[200:]
    assert "from the future" in found(make_schema(drop=["day"]), train, test)["day"]
    schema = make_schema(scheme="time", fold_column="day", drop=["day"])
    assert found(schema, train, test) == {}


def test_equal_rows() -> None:
    train, test = make_tables()
    features = ["size", "age", "town"]
    test.loc[7, features] = train.loc[0, features]
    assert "1 rows of test equal rows of train, 0207" in found(make_schema(), train, test)["rows"]
    train, test = make_tables()
    train.loc[1, [*features, "y"]] = train.loc[0, [*features, "y"]]
    assert "2 rows of train equal others with the same" in found(make_schema(), train, test)["rows"]
    train.loc[1, "y"] = 1 - train.loc[0, "y"]
    assert "2 rows of train equal others that have an" in found(make_schema(), train, test)["rows"]
    # Equal rows of one group are in one fold.
    schema = make_schema(scheme="group", fold_column="who", drop=["who"])
    assert found(schema, train.assign(who=np.arange(200) // 2), test.assign(who=-1)) == {}


def test_a_column_that_tells_the_target() -> None:
    train, test = make_tables()
    words = np.where(train["y"] == 1, "paid", "open")
    assert (
        "tells y nearly" in found(make_schema(), train.assign(a=words), test.assign(a="open"))["a"]
    )
    number = np.exp(train["size"])
    schema = make_schema(kind="regression", targets=["size"])
    assert "tells size" in found(schema, train.assign(b=number), test.assign(b=1.0))["b"]
    dropped = make_schema(drop=["a"])
    assert found(dropped, train.assign(a=words), test.assign(a="open")) == {}


def test_the_order_of_the_rows_that_tells_the_target() -> None:
    train, test = make_tables()
    train["y"] = (np.arange(200) >= 80).astype(int)
    assert "tells y nearly" in found(make_schema(), train, test)["id"]


def test_names_that_are_not_of_one_row() -> None:
    train, test = make_tables()
    train.loc[3, "id"] = test.loc[0, "id"]
    assert "1 rows of train have names of test" in found(make_schema(), train, test)["id"]


def test_equal_images(tmp_path: Path) -> None:
    for name, grey in (("train/1", 10), ("train/2", 200), ("test/3", 90), ("test/4", 10)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), grey).save(path)
    train, test = pd.DataFrame({"id": [1, 2], "y": ["a", "b"]}), pd.DataFrame({"id": [3, 4]})
    schema = make_schema(task="image-classification", images="train", test_images="test")
    (leak,) = audit(schema, train, test, tmp_path)
    assert (leak.column, leak.finding) == (
        "images",
        "1 rows of test equal rows of train, 4 for one",
    )


def test_the_column_by_which_train_and_test_differ(capsys: pytest.CaptureFixture[str]) -> None:
    train, test = make_tables()
    say_differences(make_schema(), train, test)
    assert "Most of it" not in capsys.readouterr().out
    say_differences(make_schema(), train, test.assign(age=test["age"] + 4))
    assert "Most of it by age" in capsys.readouterr().out
