"""check_data.py finds what is not as in training, in rows of a table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset, build_table
from machinery.column_roles import Roles

Columns = dict[str, list[str]]
Check = Callable[[Path], tuple[dict[str, Any], str]]


def make_rows(seed: int, count: int) -> Columns:
    """Rows of two numbers and a category, a tenth of the ages missing."""
    generator = np.random.default_rng(seed)
    ages = [f"{age:.0f}" for age in generator.normal(40, 10, count)]
    return {
        "age": [age if generator.random() > 0.1 else "" for age in ages],
        "height": [f"{height:.2f}" for height in generator.normal(1.7, 0.1, count)],
        "town": generator.choice(["Ulm", "Köln", "Bonn"], count, p=[0.6, 0.3, 0.1]).tolist(),
        "price": [f"{price:.1f}" for price in generator.normal(9, 2, count)],
    }


def write(path: Path, columns: Columns) -> Path:
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    path.write_text("\n".join(map(";".join, rows)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def check(
    tmp_path_factory: pytest.TempPathFactory, check_against: Callable[[Dataset, Path], Check]
) -> Check:
    folder = tmp_path_factory.mktemp("trained")
    source = write(folder / "trained.csv", make_rows(0, 500))
    return check_against(build_table(folder / "data", source, Roles(["price"])), folder / "data")


def first(columns: Columns, name: str, cells: list[str]) -> None:
    columns[name][: len(cells)] = cells


# What is done to new rows, and what is to be found: the column and words of the finding.
PLANTED: dict[str, tuple[Callable[[Columns], object], str, tuple[str, ...]]] = {
    "a column that is missing": (
        lambda rows: rows.update(Height=rows.pop("height")),
        "height",
        ("not there", "did you mean Height?"),
    ),
    "another unit": (
        lambda rows: rows.update(height=[f"{float(cell) * 100:.0f}" for cell in rows["height"]]),
        "height",
        ("another unit", "as if times 100: "),
    ),
    "numbers that are shifted": (
        lambda rows: rows.update(height=[f"{float(cell) + 0.1:.2f}" for cell in rows["height"]]),
        "height",
        ("shifted", "train anew"),
    ),
    "a code for what is missing": (
        lambda rows: first(rows, "height", ["-99"] * 10),
        "height",
        ("too small", "up to -99"),
    ),
    "cells that are empty": (
        lambda rows: first(rows, "height", [""] * 15),
        "height",
        ("empty", "5 % empty"),
    ),
    "cells that are no numbers": (
        lambda rows: first(rows, "height", ["unknown"] * 15),
        "height",
        ("empty", "5 % empty"),
    ),
    "a new category": (
        lambda rows: first(rows, "town", ["Rom"] * 12),
        "town",
        ("new", "Rom 4 %"),
    ),
    "other shares of the categories": (
        lambda rows: first(rows, "town", ["Bonn"] * 100),
        "town",
        ("shares", "Bonn"),
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_found(check: Check, tmp_path: Path, case: str) -> None:
    plant, column, words = PLANTED[case]
    rows = make_rows(1, 300)
    plant(rows)
    report, printed = check(write(tmp_path / "new.csv", rows))
    assert report["exit_code"] == 65
    assert {each["feature"] for each in report["findings"]} == {column}
    for word in words:
        assert word in printed


def test_what_is_as_in_training_is_clean(check: Check, tmp_path: Path) -> None:
    report, printed = check(write(tmp_path / "new.csv", make_rows(2, 300)))
    assert report["findings"] == []
    assert report["verdict"] == "clean"
    assert "Nothing has shifted." in printed


def test_one_new_category_is_no_alarm(check: Check, tmp_path: Path) -> None:
    rows = make_rows(3, 300)
    first(rows, "town", ["Rom"])
    report, printed = check(write(tmp_path / "new.csv", rows))
    assert report["exit_code"] == 0
    assert "(new)" in printed
    assert "Rom" in printed


def test_a_log_of_requests(check: Check, tmp_path: Path) -> None:
    """Lines of JSON, in which other things may stand, too."""
    rows = make_rows(4, 300)
    rows["town"] = ["Rom"] * 300
    path = tmp_path / "requests.jsonl"
    lines = [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
    numbers = [{**line, "height": float(line["height"]), "age": None} for line in lines]
    path.write_text("\n".join(map(json.dumps, numbers)), encoding="utf-8")
    report, _ = check(path)
    found = {(each["feature"], each["problem"]) for each in report["findings"]}
    assert {("town", "new"), ("age", "empty")} <= found
    assert "height" not in {feature for feature, _ in found}
