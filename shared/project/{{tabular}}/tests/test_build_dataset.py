"""Tables become arrays, and nothing is lost or leaked on the way."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import utils
from build_dataset import (
    Dataset,
    build_breast_cancer,
    build_table,
    prepare_default,
    read_dataset,
)
from machinery.column_roles import Roles
from model.parameters import ModelParameters


def save(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]], **style: Any) -> Path:
    with open(path, "w", newline="", encoding=style.pop("encoding", "utf-8")) as file:
        writer = csv.writer(file, **style)
        writer.writerow(names)
        writer.writerows(rows)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eighty rows of two numbers, a category, an id and a class; every tenth cell is missing."""
    rows = [
        (
            f"id {number}",
            "" if number % 10 == 3 else number / 4,
            "n/a" if number % 10 == 4 else number % 7,
            ("Köln", "São Paulo", "", 'New "York", NY')[number % 4],
            ("ja", "nein")[number // 3 % 2],
        )
        for number in range(80)
    ]
    names = ("name", "weight", "höhe", "Stadt", "bought")
    return save(tmp_path / "table.csv", names, rows, quoting=csv.QUOTE_ALL)


def build(tmp_path: Path, source: Path, *targets: str, **options: Any) -> Dataset:
    common = {name: options.pop(name) for name in ("skip_bad", "overwrite") if name in options}
    dataset = build_table(tmp_path / "data", source, Roles(targets, **options), **common)
    assert dataset == read_dataset(tmp_path / "data")
    return dataset


def read(folder: Path, split: str, name: str) -> np.ndarray:
    """Return an array of one split."""
    dataset = read_dataset(folder)
    if name == "ids":
        return dataset.read_ids(folder, split)
    return np.asarray(dataset.read_split(folder, split)[name])


def load(tmp_path: Path, dataset: Dataset, name: str) -> np.ndarray:
    """Return an array of all splits."""
    return np.concatenate([read(tmp_path / "data", split, name) for split in dataset.examples])


def test_cells_arrive(source: Path, tmp_path: Path) -> None:
    dataset = build(tmp_path, source, "bought", id="name")
    assert dataset.kind == "binary"
    assert dataset.classes == ["ja", "nein"]
    assert dataset.inputs == ("numbers", "categories")
    assert dataset.number_columns == ["weight", "höhe"]
    assert dataset.category_columns == {"Stadt": ["Köln", 'New "York", NY', "São Paulo"]}
    assert sum(dataset.examples.values()) == 80
    arrays = [load(tmp_path, dataset, name) for name in ("ids", "numbers", "categories", "target")]
    for name, numbers, categories, target in zip(*arrays, strict=True):
        row = int(name.removeprefix("id "))
        expected = [row / 4, row % 7]
        if row % 10 in (3, 4):
            expected[row % 10 - 3] = np.nan
        assert numbers.tolist() == pytest.approx(expected, nan_ok=True)
        assert categories.tolist() == [(1, 3, 0, 2)[row % 4]]
        assert target == row // 3 % 2
    assert len({*arrays[0]}) == 80


def test_statistics_are_of_the_training_rows(source: Path, tmp_path: Path) -> None:
    dataset = build(tmp_path, source, "weight", drop=["name"], skip_bad=True)
    numbers, target = (read(tmp_path / "data", "train", name) for name in ("numbers", "target"))
    assert dataset.kind == "regression"
    assert dataset.mean == pytest.approx(np.nanmean(numbers, axis=0).tolist())
    assert dataset.std == pytest.approx(np.nanstd(numbers, axis=0).tolist())
    assert dataset.target_mean == pytest.approx(target.mean())
    assert dataset.target_std == pytest.approx(target.std())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (lambda i: i / 7, "regression"),
        (lambda i: i * 10, "regression"),
        (lambda i: i % 2, "binary"),
        (lambda i: i % 3 * 1.0, "multiclass"),
        (lambda i: ("cat", "dog")[i % 2], "binary"),
        (lambda i: ("none", "mild", "severe")[i % 3], "multiclass"),
    ],
)
def test_kinds_are_guessed(values: Any, kind: str, tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", ("a", "y"), ((i, values(i)) for i in range(60)))
    assert build(tmp_path, path, "y").kind == kind


def test_kinds_can_be_told(tmp_path: Path) -> None:
    rows = [(i, i % 2, i // 2 % 2, i % 5) for i in range(60)]
    path = save(tmp_path / "t.csv", ("a", "x", "y", "z"), rows)
    dataset = build(tmp_path, path, "x", "y", categories=["z"])
    assert dataset.kind == "multilabel"
    assert dataset.classes == ["x", "y"]
    assert load(tmp_path, dataset, "target").shape == (60, 2)
    assert dataset.category_columns == {"z": ["0", "1", "2", "3", "4"]}
    again = {"overwrite": True, "drop": ["a"]}
    assert build(tmp_path, path, "z", kind="regression", **again).target_std > 1
    assert build(tmp_path, path, "x", kind="multilabel", **again).classes == ["x"]


@pytest.mark.parametrize(
    "style", [{"delimiter": ";"}, {"delimiter": "\t"}, {"encoding": "utf-8-sig"}]
)
def test_delimiters_and_marks(style: dict[str, Any], tmp_path: Path) -> None:
    rows = [
        (str(i / 2).replace(".", "," if ";" in style.values() else "."), i % 2) for i in range(40)
    ]
    dataset = build(tmp_path, save(tmp_path / "t.csv", ("a", "y"), rows, **style), "y")
    assert dataset.number_columns == ["a"]
    assert load(tmp_path, dataset, "numbers").max() == 19.5


def test_a_table_of_categories_alone(tmp_path: Path) -> None:
    rows = [(f"level {i % 9}", i % 2) for i in range(60)]
    dataset = build(tmp_path, save(tmp_path / "t.csv", ("a", "y"), rows), "y")
    assert dataset.inputs == ("categories",)
    assert dataset.positions == 1


def test_classes_that_are_numbers_stand_in_their_order(tmp_path: Path) -> None:
    rows = [(i, ("10", "2", "2.0", "1")[i % 4]) for i in range(80)]
    dataset = build(tmp_path, save(tmp_path / "t.csv", ("a", "y"), rows), "y")
    assert dataset.classes == ["1", "2", "10"]
    numbers, target = (load(tmp_path, dataset, name) for name in ("numbers", "target"))
    assert target.tolist() == [(2, 1, 1, 0)[int(number) % 4] for number in numbers[:, 0]]


def test_splits_that_a_column_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = ("train", "Train", "validation", "test")
    rows = [(f"c{i // 40}", i, i % 2, part[i % 40 // 10]) for i in range(80)]
    rows += [("c0", 0, 0, "test"), ("c9", 99, 0, "test")]
    path = save(tmp_path / "t.csv", ("a", "b", "y", "part"), rows)
    dataset = build(tmp_path, path, "y", split="part")
    assert dataset.examples == {"train": 40, "val": 20, "test": 22}
    assert dataset.category_columns == {"a": ["c0", "c1"]}  # c9 is not known in training.
    assert "warning: 1 rows of test are in train too" in capsys.readouterr().out


def test_equal_rows_stay_together(tmp_path: Path) -> None:
    rows = [(i // 2, i // 2 % 2) for i in range(100)]
    dataset = build(tmp_path, save(tmp_path / "t.csv", ("a", "y"), rows), "y")
    splits = [read(tmp_path / "data", split, "numbers") for split in dataset.examples]
    seen = [{*numbers.ravel().tolist()} for numbers in splits]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 50


def test_where_most_rows_are_equal_each_is_split_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(i % 4, i % 2) for i in range(100)]
    dataset = build(tmp_path, save(tmp_path / "t.csv", ("a", "y"), rows), "y")
    printed = capsys.readouterr().out
    assert "Most rows equal another" in printed
    for split in ("val", "test"):
        count = dataset.examples[split]
        assert f"warning: {count} rows of {split} are in train too, such as row-" in printed


def test_shares_are_kept(tmp_path: Path) -> None:
    rows = [(i, i % 10 == 0, i**2) for i in range(500)]
    path = save(tmp_path / "t.csv", ("a", "rare", "y"), rows)
    for split, count in build(tmp_path, path, "rare").examples.items():
        labels = read(tmp_path / "data", split, "target")
        assert labels.mean() == pytest.approx(0.1, abs=0.03), count
    dataset = build(tmp_path, path, "y", drop=["rare"], overwrite=True)
    means = [read(tmp_path / "data", split, "target").mean() for split in dataset.examples]
    assert means == pytest.approx([np.mean(np.arange(500) ** 2)] * 3, rel=0.1)


GOOD = "".join(f"{i},x,{i % 2}\n" for i in range(40))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("is empty",)),
        ("a,b,y\n", ("column names alone",)),
        (f"a,b,z\n{GOOD}", ("no column 'y'", "a, b, z")),
        (f"a,b,yy\n{GOOD}", ("did you mean yy?",)),
        (f"a,a,y\n{GOOD}", ("columns 1 and 2", "'a'")),
        (f",b,y\n{GOOD}", ("column 1 has no name",)),
        (f"a,b,y\n{GOOD}1,2\n", ("row 42: got 2 cells, expected 3", "--skip-bad")),
        (f"a,b,y\n{GOOD}1,2,\n", ("row 42: y: got '', expected a class", "--skip-bad")),
        (f'a,b,y\n{GOOD}"1,2,3\n4,5,6\n', ("row 42", "quote")),
        ("a,b,y\n" + GOOD.replace("x", "ä").encode().decode("latin-1"), ()),
        ("a,b,y\n" + "1,2,0\n" * 30, ("'y' holds 1 classes",)),
        ("a,b,y\n" + "".join(f"{i},2,c{i}\n" for i in range(30)), ("class c0 has too few",)),
        (
            "a,b,y\n" + "".join(f"1,text {i},{i % 2}\n" for i in range(60)),
            ("60 different", "--drop"),
        ),
        ("b,y\n" + "1,0\n1,1\n" * 20, ("no column is left",)),
        (
            "a,b,y\n" + "".join(f"{i},{i},{i % 2}\n" for i in range(60)) + "1,12x,0\n",
            ("row 62: b: got '12x', expected a number",),
        ),
    ],
)
def test_bad_tables_are_refused(content: str, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content, encoding="utf-8")
    if not words:
        build(tmp_path, path, "y")
        return
    with pytest.raises(utils.InputError) as error:
        build(tmp_path, path, "y")
    assert str(path) in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "data").exists()


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,y\n1,0\nK\xf6ln,1\n")
    with pytest.raises(utils.InputError, match=r"t\.csv:3: byte 0xf6 is not UTF-8"):
        build(tmp_path, tmp_path / "t.csv", "y")


def test_bad_options_are_refused(source: Path, tmp_path: Path) -> None:
    for words, options in (
        ("no column 'nam' for --id (did you mean name?)", {"id": "nam"}),
        ("expected train, val or test", {"split": "Stadt"}),
        ("got 'ja', expected a number", {"kind": "regression"}),
    ):
        with pytest.raises(utils.InputError) as error:
            build(tmp_path, source, "bought", categories=["name"], **options)
        assert words in str(error.value)
    with pytest.raises(utils.InputError, match="got 2 columns, expected one"):
        build(tmp_path, source, "bought", "weight", kind="binary")


def test_skip_bad(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with source.open("a", encoding="utf-8") as file:
        file.write('"short"\r\n"id 81","1","2","Köln",""\r\n')
    dataset = build(tmp_path, source, "bought", id="name", skip_bad=True)
    assert sum(dataset.examples.values()) == 80
    printed = capsys.readouterr().out
    assert "table.csv: row 82: got 1 cells" in printed
    assert "table.csv: row 83: bought: got ''" in printed


def test_a_row_that_repeats_another(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with source.open("a", encoding="utf-8") as file:
        file.write('"id 0","0.0","0","Köln","ja"\r\n')
    with pytest.raises(utils.InputError, match="the same as row 2"):
        build(tmp_path, source, "bought", id="name")
    dataset = build(tmp_path, source, "bought", id="name", skip_bad=True)
    assert sum(dataset.examples.values()) == 80
    assert "82: the same as row 2" in capsys.readouterr().out
    with source.open("a", encoding="utf-8") as file:
        file.write('"id 0","0.5","0","Köln","ja"\r\n')
    with pytest.raises(utils.InputError, match="as in row 2, expected a name of its own"):
        build(tmp_path, source, "bought", id="name", skip_bad=True, overwrite=True)


def test_breast_cancer(tmp_path: Path) -> None:
    prepare_default(tmp_path / "data")
    dataset = read_dataset(tmp_path / "data")
    assert dataset.examples == {"train": 398, "val": 57, "test": 114}
    assert dataset.classes == ["benign", "malignant"]
    assert dataset.counts == tuple(np.bincount(read(tmp_path / "data", "train", "target")))
    for split in dataset.examples:
        labels = read(tmp_path / "data", split, "target")
        assert labels.mean() == pytest.approx(212 / 569, abs=0.01)
    assert build_breast_cancer(tmp_path / "again").fingerprint == dataset.fingerprint
    assert build_breast_cancer(tmp_path / "other", seed=1).fingerprint != dataset.fingerprint


def test_balance_needs_counted_classes(source: Path, tmp_path: Path) -> None:
    dataset = build(tmp_path, source, "weight", kind="regression", drop=["name"], skip_bad=True)
    ModelParameters().check_data(dataset)
    with pytest.raises(utils.InputError, match="in regression no row has one class"):
        ModelParameters(balance=0.5).check_data(dataset)
    classes = build_breast_cancer(tmp_path / "classes")
    ModelParameters(balance=0.5).check_data(classes)
    with pytest.raises(utils.InputError, match="Prepare the data again"):
        ModelParameters(balance=0.5).check_data(classes.model_copy(update={"counts": ()}))
