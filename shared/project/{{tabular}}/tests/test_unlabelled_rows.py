"""Rows to predict: the columns found by name, what is not known, and a large table in pieces."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from build_dataset import Dataset, build_table, read_unlabelled
from machinery.column_roles import Roles
from machinery.errors import InputError
from machinery.predictions import concatenate

TRAINED = "name,size,town,price\n" + "".join(
    f"h{row},{row * 0.7},{('Ulm', 'Köln', 'Bonn')[row % 3]},{row * 1.5}\n" for row in range(60)
)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    source = tmp_path / "trained.csv"
    source.write_text(TRAINED, encoding="utf-8")
    return build_table(tmp_path / "data", source, Roles(["price"], id="name"))


def write(tmp_path: Path, text: str, name: str = "new.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_found_by_name(
    tmp_path: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cells of another order and form; categories that no row had; missing cells."""
    rows = ["Ulm;1,5;a;x", "Paris;;b;y", ";2;c;z", "Rom;3;d;z"]
    path = write(tmp_path, "\ufefftown;size;name;colour\n" + "\n".join(rows))
    capsys.readouterr()
    (block,) = read_unlabelled([path], dataset)
    assert block.ids.tolist() == ["a", "b", "c", "d"]
    assert block.inputs["numbers"].dtype == np.float32
    np.testing.assert_array_equal(block.inputs["numbers"][:, 0], [1.5, np.nan, 2, 3])
    levels = dataset.category_columns["town"]
    assert block.inputs["categories"][:, 0].tolist() == [levels.index("Ulm") + 1, 0, 0, 0]
    printed = capsys.readouterr().out
    assert "not used: colour" in printed
    assert "town: 2 cells hold what no training row had" in printed


def test_rows_without_ids_are_numbered(tmp_path: Path, dataset: Dataset) -> None:
    one = write(tmp_path, "size,town,price\n1,Ulm,3\n\n2,Ulm,3\n", "one.csv")
    other = write(tmp_path, "town,size\nUlm,1\n", "other.csv")
    (block,) = read_unlabelled([one], dataset)
    assert block.ids.tolist() == ["row-2", "row-4"]
    both = concatenate([*read_unlabelled([other, one], dataset)])
    names = [f"{other.as_posix()}:row-2", *(f"{one.as_posix()}:row-{n}" for n in (2, 4))]
    assert both.ids.tolist() == names


def test_bad_rows_are_named_or_left_out(
    tmp_path: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "size,town\n1,Ulm\nbig,Ulm\n1,Ulm,2\n2,Bonn\n")
    with pytest.raises(
        InputError, match=r"row 3: size: got 'big', expected a number\n.*row 4: got 3"
    ):
        list(read_unlabelled([path], dataset))
    (block,) = read_unlabelled([path], dataset, skip_bad=True)
    assert block.ids.tolist() == ["row-2", "row-5"]
    assert capsys.readouterr().out.count("left out: ") == 2
    assert not list(read_unlabelled([write(tmp_path, "size,town\n1\n")], dataset, skip_bad=True))


def test_missing_columns_are_named(tmp_path: Path, dataset: Dataset) -> None:
    path = write(tmp_path, "sizes,town\n1,Ulm\n")
    with pytest.raises(InputError, match=r"'size' \(did you mean sizes\?\)"):
        list(read_unlabelled([path], dataset))


def test_a_large_table_is_read_in_pieces(tmp_path: Path, dataset: Dataset) -> None:
    path = write(tmp_path, "size,town\n" + "".join(f"{row},Ulm\n" for row in range(20_000)))
    tracemalloc.start()
    rows = sum(len(block.ids) for block in read_unlabelled([path], dataset))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 20_000
    assert peak < 2**21  # All cells would take 3 MB.
