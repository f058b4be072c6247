"""Labels from a table of file names; folders that hold something else than classes."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from build_dataset import Dataset, build_images
from machinery.errors import InputError
from machinery.image_labels import LabelTable
from machinery.intervals import read_groups

COUNT = 40


def save(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (6, 5), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty grey images in two folders that are no classes."""
    for number in range(COUNT):
        save(tmp_path / "images" / f"part{number % 3}" / f"im{number}.png", number)
    return tmp_path / "images"


def write_table(source: Path, titles: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path = source.parent / "train.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(titles)
        writer.writerows(rows)
    return path


def build(source: Path, titles: Sequence[str], rows: Sequence[Sequence[object]], **told) -> Dataset:
    columns = {name: told.pop(name) for name in LabelTable._fields if name in told}
    table = LabelTable(write_table(source, titles, rows), **columns)
    return build_images(source.parent / "data", source, table, **told)


def read_labels(source: Path, dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the label of each image by its id."""
    data, found = source.parent / "data", {}
    for split in dataset.examples:
        labels = np.asarray(dataset.read_split(data, split)["labels"])
        found |= dict(zip(dataset.read_ids(data, split).tolist(), labels, strict=True))
    return found


@pytest.mark.parametrize(
    "name", ["part{1}/im{0}.png", "part{1}/im{0}", "im{0}.png", "im{0}", "images/part{1}/im{0}.png"]
)
def test_images_are_found_by_name(source: Path, name: str) -> None:
    rows = [(name.format(n, n % 3), "dog" if n % 2 else "cat") for n in range(COUNT)]
    dataset = build(source, ["id", "label"], rows)
    assert dataset.classes == ["cat", "dog"]
    assert not dataset.multilabel
    found = read_labels(source, dataset)
    assert found == {f"part{n % 3}/im{n}.png": n % 2 for n in range(COUNT)}


def test_numbers_of_classes_are_no_names_of_images(tmp_path: Path) -> None:
    for number in range(COUNT):
        save(tmp_path / "images" / f"{number}.png", number)
    source = tmp_path / "images"
    dataset = build(source, ["n", "digit"], [(n, n % 11) for n in range(COUNT)])
    assert dataset.classes == [str(number) for number in range(11)]  # By number: 10 is the last.


@pytest.mark.parametrize("separator", [" ", "|", ";"])
def test_several_labels_in_a_cell(source: Path, separator: str) -> None:
    sets = [["sun"], ["rain", "sun"], ["wind", "rain"], ["sun", "wind", "rain"]]
    rows = [(f"im{n}", separator.join(sets[n % 4])) for n in range(COUNT)]
    dataset = build(source, ["image", "tags"], rows)
    assert dataset.multilabel
    assert dataset.classes == ["rain", "sun", "wind"]
    found = read_labels(source, dataset)
    for number in range(COUNT):
        expected = [name in sets[number % 4] for name in dataset.classes]
        assert found[f"part{number % 3}/im{number}.png"].tolist() == expected


def test_a_blank_may_be_part_of_a_class(source: Path) -> None:
    names = ["red things", "green things", "blue things"]
    rows = [(f"im{n}", names[n % 3]) for n in range(COUNT)]
    assert build(source, ["image", "tags"], rows).classes == sorted(names)
    assert build(source, ["image", "tags"], rows, separator=" ", overwrite=True).multilabel


def test_a_separator_that_is_none(source: Path) -> None:
    rows = [(f"im{n}", ("a", "b", "a b")[n % 3]) for n in range(COUNT)]
    assert build(source, ["image", "tags"], rows).multilabel
    dataset = build(source, ["image", "tags"], rows, separator="none", overwrite=True)
    assert dataset.classes == ["a", "a b", "b"]


def test_columns_of_0_and_1(source: Path) -> None:
    rows = [(f"im{n}", n % 2, int(n % 3 == 0)) for n in range(COUNT)]
    dataset = build(source, ["image", "even", "third"], rows)
    assert dataset.multilabel
    found = read_labels(source, dataset)
    assert found["part1/im1.png"].tolist() == [1, 0]
    assert found["part0/im6.png"].tolist() == [0, 1]
    assert found["part2/im2.png"].tolist() == [0, 0]
    assert dataset.arrays["labels"].dtype == "float32"


def test_columns_of_which_each_image_has_one_are_classes(
    source: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [(f"im{n}", n % 2, 1 - n % 2) for n in range(COUNT)]
    dataset = build(source, ["image", "cat", "dog"], rows)
    assert not dataset.multilabel
    assert dataset.classes == ["cat", "dog"]
    assert "these are classes" in capsys.readouterr().out
    assert read_labels(source, dataset)["part1/im1.png"] == 0


def test_groups_stay_together(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a patient with images of both classes all are in one split."""
    rows = [(f"im{n}", n % 2, f"p{n // 4}") for n in range(COUNT)]
    dataset = build(source, ["image", "label", "patient"], rows, group="patient")
    assert dataset.examples == {"train": 32, "val": 4, "test": 4}
    of_split = []
    for split in dataset.examples:
        ids = dataset.read_ids(source.parent / "data", split)
        numbers = [int(name.partition("im")[2][:-4]) // 4 for name in ids]
        of_split.append({*numbers})
        groups = read_groups(dataset, source.parent / "data", split)  # Intervals draw them whole.
        assert groups is not None
        assert len({*zip(groups.tolist(), numbers, strict=True)}) == len({*groups.tolist()})
    assert len(set.union(*of_split)) == sum(map(len, of_split)) == COUNT // 4
    train, val, test = map(len, of_split)
    assert f"\ngroups: {train} train, {val} val, {test} test\n" in capsys.readouterr().out


def test_equal_images_join_groups(source: Path) -> None:
    """The first of each patient equals that of the next: so all are in one split."""
    for number in range(4, COUNT, 4):
        save(source / f"part{number % 3}" / f"im{number}.png", 0)
    rows = [(f"im{n}", n % 2, f"p{n // 4}") for n in range(COUNT)]
    with pytest.raises(InputError, match="too few different images"):
        build(source, ["image", "label", "patient"], rows, group="patient")


def test_a_column_of_splits(source: Path) -> None:
    parts = ("train", "train", "train", "Valid", "test")
    rows = [(f"im{n}", n % 2, parts[n % 5]) for n in range(COUNT)]
    dataset = build(source, ["image", "label", "part"], rows, split="part")
    assert dataset.examples == {"train": 24, "val": 8, "test": 8}


def test_what_is_left_out_is_said(source: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [(f"im{n}", "dog" if n % 2 else "cat") for n in range(COUNT - 2)]
    rows += [("im38", ""), ("gone", "cat"), ("im0", "cat"), ("im1", "cat")]
    dataset = build(source, ["image", "label"], rows, skip_bad=True)
    assert sum(dataset.examples.values()) == COUNT - 2
    table = source.parent / "train.csv"
    out = capsys.readouterr().out
    for words in (
        f"{table}: row 40: label: got ''",
        f"{table}: row 41: image: got 'gone'",
        f"{table}: row 42: the same as row 2",
        f"{table}: row 43: label: got 'cat' for 'im1'",
        f"{source / 'part0' / 'im39.png'}: no row",
    ):
        assert f"left out: {words}" in out


def test_small_classes_are_left_out(source: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [(f"im{n}", ("cat", "dog")[n % 2] if n < 38 else "fish") for n in range(COUNT)]
    with pytest.raises(InputError, match=r"class fish .* --drop-small"):
        build(source, ["image", "label"], rows)
    dataset = build(source, ["image", "label"], rows, drop_small=True)
    assert dataset.classes == ["cat", "dog"]
    assert sum(dataset.examples.values()) == 38
    assert "left out: class fish, too small to split: 2 images" in capsys.readouterr().out


def test_small_labels_are_left_out(source: Path) -> None:
    """The images stay, with their other labels."""
    rows = [(f"im{n}", n % 2, int(n % 3 == 0), int(n == 5)) for n in range(COUNT)]
    titles = ["image", "even", "third", "fifth"]
    dataset = build(source, titles, rows, drop_small=True)
    assert dataset.classes == ["even", "third"]
    assert sum(dataset.examples.values()) == COUNT


def test_a_wrapping_folder(source: Path, capsys: pytest.CaptureFixture) -> None:
    dataset = build_images(source.parent / "data", source.parent, drop_small=True)
    assert dataset.classes == ["part0", "part1", "part2"]
    assert f"the classes are taken from {source}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", "a single image.*predict.py"), ("a.csv", "--labels"), ("a.zip", "Unpack it")],
)
def test_a_file_as_source(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=expected):
        build_images(tmp_path / "data", tmp_path / name)


def test_equal_images_of_two_classes_are_said(source: Path, capsys: pytest.CaptureFixture) -> None:
    save(source / "part1" / "again.png", 0)
    (source / "part4").mkdir()
    build_images(source.parent / "data", source)
    out = capsys.readouterr().out
    assert "1 images equal one of another class, such as" in out
    assert "part1/again.png" in out
    assert f"left out: {source / 'part4'}: an empty folder" in out
