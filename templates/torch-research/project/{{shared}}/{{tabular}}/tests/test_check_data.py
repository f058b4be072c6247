"""check_data.py finds what is not as in training, in rows of a table."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from build_dataset import build_table, read_unlabelled
from machinery.column_roles import Roles
from machinery.errors import InputError
from machinery.features import concatenate_features
from machinery.shifts import Finding, compare
from machinery.statistics_file import collect

Columns = dict[str, list[str]]
Find = Callable[[Path], list[Finding]]


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
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Return what finds the differences of new examples to those of the training."""
    folder = tmp_path_factory.mktemp("trained")
    source = write(folder / "trained.csv", make_rows(0, 500))
    dataset = build_table(folder / "data", source, Roles(["price"]))
    expected = collect(dataset, folder / "data").features

    def find(path: Path) -> list[Finding]:
        parts = [*dataset.read_features([path], False, read_unlabelled)]
        return compare(expected, concatenate_features(parts), dataset.has_units)[0]

    return find


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
def test_what_is_planted_is_found(find: Find, tmp_path: Path, case: str) -> None:
    plant, column, words = PLANTED[case]
    rows = make_rows(1, 300)
    plant(rows)
    findings = find(write(tmp_path / "new.csv", rows))
    assert {each.feature for each in findings} == {column}
    assert any(each.counts for each in findings)
    for word in words:
        assert word in str(findings)


def test_what_is_as_in_training_is_clean(find: Find, tmp_path: Path) -> None:
    assert find(write(tmp_path / "new.csv", make_rows(2, 300))) == []


def test_one_new_category_is_no_alarm(find: Find, tmp_path: Path) -> None:
    rows = make_rows(3, 300)
    first(rows, "town", ["Rom"])
    (finding,) = find(write(tmp_path / "new.csv", rows))
    assert (finding.problem, finding.counts) == ("new", False)
    assert "Rom" in finding.found


def test_a_log_of_requests(find: Find, tmp_path: Path) -> None:
    """Lines of JSON, in which other things may stand, too."""
    rows = make_rows(4, 300)
    rows["town"] = ["Rom"] * 300
    path = tmp_path / "requests.jsonl"
    lines = [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
    numbers = [{**line, "height": float(line["height"]), "age": None} for line in lines]
    path.write_text("\n".join(map(json.dumps, numbers)), encoding="utf-8")
    found = {(each.feature, each.problem) for each in find(path) if each.counts}
    assert {("town", "new"), ("age", "empty")} <= found
    assert "height" not in {feature for feature, _ in found}


@pytest.mark.parametrize("line", ["{", "[1]", '"one"'])
def test_lines_that_are_no_json(find: Find, tmp_path: Path, line: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(f'{{"height": 1}}\n{line}\n', encoding="utf-8")
    with pytest.raises(InputError, match="an object each"):
        find(path)
