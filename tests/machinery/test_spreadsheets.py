"""CSV files: no text of a person's is a formula, and a file is whole."""

import csv
from pathlib import Path

import pytest

from machinery.spreadsheets import as_text, write_csv


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "-", "+49 30", "--1", "-inf", "=1"]
)
def test_a_formula_becomes_text(text: str) -> None:
    assert as_text(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["-0.5", "+3", "-1e-05", "-.5", "-3.", "cat", "a=1", "photos/-1.png", "", " =1", "'=1"]
)
def test_what_is_none_stays_as_it_is(text: str) -> None:
    assert as_text(text) == text


def test_cells_come_back(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows = [["=a,b", 'say "x"', "-0.5"], ["two\nlines", "grün", 3], ["\udcff.png", "", None]]
    write_csv(path, ["id", "@label", "value"], rows)
    assert b"\r" not in path.read_bytes()
    with open(path, newline="", encoding="utf-8") as file:
        assert [*csv.reader(file)] == [
            ["id", "'@label", "value"],
            ["'=a,b", 'say "x"', "-0.5"],
            ["two\nlines", "grün", "3"],
            [r"\udcff.png", "", "None"],
        ]
    assert [*tmp_path.iterdir()] == [path]
