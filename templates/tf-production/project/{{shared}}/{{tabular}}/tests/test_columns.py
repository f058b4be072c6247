"""Columns that say the split, columns.yaml, Parquet, and what is said before training."""

import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset, build_table
from machinery.column_roles import Roles
from machinery.columns import Columns, find_categories
from machinery.errors import InputError
from machinery.intervals import read_groups
from machinery.table_overview import find_giveaways
from machinery.tables import Bad, Table
from machinery.targets import Target

NAMES = ("when", "who", "size", "town", "price")
NASTY = 'a: "b"\n#\u2028ä'  # A name that YAML would take for something else.


def write(path: Path, rows: Sequence[Sequence[Any]], names: Sequence[str] = NAMES) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def make_rows(count: int = 100) -> list[list[Any]]:
    """Rows whose number is the size: a day each, ten people, three towns, a price."""
    order = np.random.default_rng(0).permutation(count).tolist()
    return [
        [f"2026-{1 + i // 28:02}-{1 + i % 28:02}", f"p{i // 10}", i, "abc"[i % 3], i % 7 * 1.5]
        for i in order
    ]


def build(tmp_path: Path, source: Path, **roles: Any) -> Dataset:
    return build_table(tmp_path / "data", source, Roles(["price"], **roles), overwrite=True)


def sizes(tmp_path: Path, dataset: Dataset) -> dict[str, list[float]]:
    """Return the sizes in each split: which rows there are."""
    place = dataset.number_columns.index("size")
    arrays = {split: dataset.read_split(tmp_path / "data", split) for split in dataset.examples}
    return {split: np.asarray(a["numbers"])[:, place].tolist() for split, a in arrays.items()}


@pytest.mark.parametrize("form", [str, lambda day: f"{day}T10:00+02:00", lambda day: day[5:7]])
def test_the_earliest_rows_are_train(tmp_path: Path, form: Callable[[str], str]) -> None:
    rows = [[form(when), *rest] for when, *rest in make_rows()]
    dataset = build(tmp_path, write(tmp_path / "t.csv", rows), time="when", drop=["who"])
    found = sizes(tmp_path, dataset)
    assert dataset.number_columns == ["size"]  # Not the time.
    assert max(found["train"]) < min(found["val"]) <= max(found["val"]) < min(found["test"])
    if form is str:
        assert [len(each) for each in found.values()] == [80, 10, 10]


def test_rows_of_one_time_are_in_the_later_split(tmp_path: Path) -> None:
    rows = make_rows()
    for row in rows:
        row[0] = 82 if 82 <= row[2] < 95 else row[2]
    source = write(tmp_path / "t.csv", rows)
    found = sizes(tmp_path, build(tmp_path, source, time="when", drop=["who"]))
    assert sorted(found["val"]) == [80, 81]
    assert sorted(found["test"]) == [*range(82, 100)]


def test_a_time_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    rows = make_rows()
    rows[3][0], rows[5][0] = "", "31.12.2026"
    source = write(tmp_path / "t.csv", rows)
    with pytest.raises(
        InputError, match=r"row 5: when: got '', .*\n.*row 7: when: got '31.12.2026'"
    ):
        build(tmp_path, source, time="when", drop=["who"])
    for row in rows:
        row[0] = "2026"
    with pytest.raises(InputError, match="holds 1 different times"):
        build(tmp_path, write(tmp_path / "t.csv", rows), time="when", drop=["who"])


def test_a_group_is_in_one_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make_rows()
    source = write(tmp_path / "t.csv", rows)
    dataset = build(tmp_path, source, group="who", drop=["when"])
    found = sizes(tmp_path, dataset)
    people = [{size // 10 for size in each} for each in found.values()]
    assert sum(map(len, people)) == len(set.union(*people)) == 10
    counts = ", ".join(f"{len(each)} {split}" for split, each in zip(found, people, strict=True))
    assert f"\ngroups: {counts}\n" in capsys.readouterr().out
    for split, each in found.items():  # Intervals draw whole groups.
        groups = read_groups(dataset, tmp_path / "data", split)
        assert groups is not None
        assert len({*zip(groups.tolist(), (size // 10 for size in each), strict=True)}) == len(
            {*groups.tolist()}
        )
    rows[0][1] = ""
    with pytest.raises(InputError, match=r"row 2: who: got '', expected a group"):
        build(tmp_path, write(tmp_path / "t.csv", rows), group="who", drop=["when"])


def test_what_columns_were_taken_for_is_written_and_can_be_corrected(tmp_path: Path) -> None:
    names = ("when", "who", "size", NASTY, "price")
    source = write(tmp_path / "t.csv", make_rows(), names)
    dataset = build(tmp_path, source, time="when", drop=["who"])
    written = tmp_path / "data" / dataset.arrays_folder / "columns.yaml"
    text = written.read_text(encoding="utf-8")
    assert '"when": left out  # --time' in text
    assert '"size": numbers  # 0 missing, from 0 to 99' in text
    assert 'categories  # 0 missing, 3 different: "a", "b", "c"' in text
    assert '"price": left out  # the target' in text
    same = build(tmp_path, source, time="when", file=written.rename(tmp_path / "same.yaml"))
    assert same.fingerprint == dataset.fingerprint
    copy = tmp_path / "copy.yaml"
    corrected = text.replace('"who": left out', '"who": categories')
    copy.write_text(corrected.replace('"size": numbers', '"size": categories'), encoding="utf-8")
    dataset = build(tmp_path, source, time="when", file=copy)
    assert [*dataset.category_columns] == ["who", "size", NASTY]
    copy.write_text(corrected.replace('"size": numbers', '"size": left out'), encoding="utf-8")
    dataset = build(tmp_path, source, time="when", file=copy)
    written = tmp_path / "data" / dataset.arrays_folder / "columns.yaml"
    text = written.read_text(encoding="utf-8")
    assert '"size": left out  # --columns' in text
    assert '"when": left out  # --time' in text


def test_names_are_taken_as_they_are_written(tmp_path: Path) -> None:
    names = ("true", "1.50", "1.5", "~", "price")
    source = write(tmp_path / "t.csv", make_rows(), names)
    copy = tmp_path / "copy.yaml"
    kinds = "true: left out\n1.50: left out\n1.5: numbers\n~: categories\nprice: left out\n"
    copy.write_text(kinds, encoding="utf-8")
    dataset = build(tmp_path, source, file=copy)
    assert [*dataset.number_columns, *dataset.category_columns] == ["1.5", "~"]
    copy.write_text(f"{kinds}<<: numbers", encoding="utf-8")
    with pytest.raises(InputError, match=r":6: .* has no column '<<'"):
        build(tmp_path, source, file=copy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"size": numbers', '"size": number', r":5: size: got 'number', expected numbers, categ"),
        ('"size"', '"sizes"', r":5: .* has no column 'sizes' \(did you mean size\?\)"),
        ('"size": numbers', "", "no line for column 'size'"),
        ('"price": left out', '"price": numbers', ":7: price: .* it is the target"),
        (
            '"town": categories',
            '"town": numbers',
            r"t\.csv: row 2: town: got '.', expected a number",
        ),
        ('"size": numbers', '"size": [', ":.* not valid YAML"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    source, copy = write(tmp_path / "t.csv", make_rows()), tmp_path / "copy.yaml"
    dataset = build(tmp_path, source, drop=["when", "who"])
    written = tmp_path / "data" / dataset.arrays_folder / "columns.yaml"
    copy.write_text(written.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        build(tmp_path, source, file=copy)


def test_parquet_is_read_as_csv(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [[*row, row[2] % 2 == 0] for row in make_rows()]
    rows[4][2] = None
    names = [*NAMES, "flag"]
    padded = [f" {name}\t" for name in names]
    columns = dict(zip(padded, map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(arrow.table(columns), tmp_path / "t.parquet")
    expected = build(tmp_path, write(tmp_path / "t.csv", rows, names), drop=["when", "who"])
    arrays = expected.read_split(tmp_path / "data", "train")
    arrays = {name: np.array(array) for name, array in arrays.items()}
    found = build(tmp_path, tmp_path / "t.parquet", drop=["when", "who"])
    for name, array in found.read_split(tmp_path / "data", "train").items():
        np.testing.assert_array_equal(array, arrays[name])
    assert found.category_columns == expected.category_columns
    parquet.write_table(
        arrow.table(columns | {"__index_level_0__": [0] * 100}), tmp_path / "i.parquet"
    )
    with pytest.raises(InputError, match=r"'__index_level_0__' holds .* index=False"):
        build(tmp_path, tmp_path / "i.parquet", drop=["when", "who"])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1, and then nothing")
    with pytest.raises(InputError, match=r"bad\.parquet: cannot be read as Parquet: "):
        build(tmp_path, tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=r"is Parquet\. Rename it to end in \.parquet\.$"):
        build(tmp_path, (tmp_path / "bad.parquet").rename(tmp_path / "bad.csv"))


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="install pyarrow"):
        build(tmp_path, tmp_path / "t.parquet")


def test_what_is_said_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[i, "" if i % 4 else "x", "one", "ab"[i % 2], f"c{i % 2}"] for i in range(60)]
    rows += [[0, "x", "one", "a", "c1"]]
    source = write(tmp_path / "t.csv", rows, ("n", "gaps", "same", "tells", "y"))
    dataset = build_table(tmp_path / "data", source, Roles(["y"]))
    folder = tmp_path / "data" / dataset.arrays_folder
    printed = capsys.readouterr().out
    assert "column 'same', which holds the same in every row" in printed
    assert "missing cells: gaps 45 (73.8%)" in printed
    assert "warning: 1 rows equal one of another class, such as row-2 and row-62" in printed
    assert printed.count("c1 ") == 1  # How many rows of it each split has.
    names = {path.name for path in folder.iterdir()}
    assert {"target.png", "missing.png", "columns.yaml"} < names


def giveaways(kind: Any, values: np.ndarray, **columns: np.ndarray) -> set[str]:
    numbers = {name: cells for name, cells in columns.items() if cells.dtype.kind == "f"}
    texts = {name: cells for name, cells in columns.items() if name not in numbers}
    found = Columns(list(numbers), np.stack([*numbers.values()], 1), texts)
    classes = [] if kind == "regression" else ["a", "b", "c"][: int(values.max()) + 1]
    return {name for name, _ in find_giveaways(found, Target(kind, values, classes))}


def test_columns_that_tell_the_target() -> None:
    generator = np.random.default_rng(0)
    labels, noise = generator.integers(0, 2, 100), generator.normal(size=100)
    columns = {
        "noise": noise,
        "number": labels * 7.0,
        "range": noise + 20 * labels,
        "gap": np.where(labels == 1, np.nan, noise),
        "text": np.array(["no", "yes"])[labels],
        "name": np.arange(100).astype(str),  # Each row its own: that says nothing.
    }
    assert giveaways("binary", labels, **columns) == {"number", "range", "gap", "text"}
    price = generator.random(100)
    other = {"dollars": price * 1.08 + 3, "near": price + noise / 10}
    assert giveaways("regression", price, **other) == {"dollars"}


@pytest.mark.parametrize(
    ("make", "is_category", "said"),
    [
        (lambda i: f"2026-01-{1 + i % 30:02}", True, "30 different dates, taken as categories"),
        (lambda i: f"{1 + i % 30}.1.2026 10:00", True, "30 different dates, taken as categories"),
        (lambda i: f"street {i % 30}", True, "30 different texts in 100 rows, taken as categories"),
        (lambda i: f"town {i % 9}", True, ""),
        (lambda i: f"{i % 30:03}", True, "numbers such as 000: taken as categories"),
        (lambda i: f"{i:03}", False, "numbers such as 000, 100 different in 100 rows, taken as nu"),
        (lambda i: f"{i % 30}", False, ""),
        (lambda i: f"{i % 30 / 10:04}", False, ""),
    ],
)
def test_what_a_column_is_taken_for(
    make: Callable[[int], str], is_category: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table(Path("t.csv"), ["a"], [(i + 2, [make(i)]) for i in range(100)])
    assert find_categories(table, ["a"], [], Bad()) == ["a"][:is_category]
    printed = capsys.readouterr().out
    assert said in printed if said else not printed
    assert find_categories(table, ["a"], ["a"], Bad()) == ["a"]
    assert not capsys.readouterr().out  # A person said so.
