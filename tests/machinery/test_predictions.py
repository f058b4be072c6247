"""Predictions: batches of one size from blocks of any, and a file that is whole or not there."""

import argparse
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from machinery import predictions
from machinery.errors import InputError
from machinery.predictions import Predictions, Unlabelled, read_ahead, regroup
from machinery.trained import check_places


def block(first: int, size: int) -> Unlabelled:
    numbers = np.arange(first, first + size)
    return Unlabelled(np.array([f"n{n}" for n in numbers]), {"x": numbers}, numbers * 2)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1], [7], [2, 3, 9], [4], [8, 4, 1], [0, 5, 0], []])
def test_batches_have_one_size(sizes: list[int]) -> None:
    starts = np.cumsum([0, *sizes])
    blocks = (block(start, size) for start, size in zip(starts, sizes, strict=False))
    batches = [*regroup(blocks, 4)]
    total = sum(sizes)
    assert [len(b.ids) for b in batches] == [4] * (total // 4) + [total % 4] * (total % 4 > 0)
    found = [n for b in batches for n in b.inputs["x"].tolist()]
    assert found == [*range(total)]
    assert [n for b in batches for n in b.ids.tolist()] == [f"n{n}" for n in found]
    originals = [b.originals for b in batches if b.originals is not None]
    assert [n for each in originals for n in each.tolist()] == [2 * n for n in found]


def test_the_first_block_is_read_at_once() -> None:
    def read(count: int) -> Iterator[Unlabelled]:
        yield from (block(number, 1) for number in range(count))
        raise InputError("bad")

    assert len([*zip(range(2), read_ahead(read(2)), strict=False)]) == 2
    with pytest.raises(InputError):
        read_ahead(read(0))


class Writer(predictions.PredictionWriter):
    draws = True

    def titles(self) -> list[str]:
        return ["id", "double"]

    def rows(self, examples: Unlabelled, predictions: Predictions) -> Iterator[Sequence[object]]:
        yield from zip(examples.ids, predictions["y"], strict=True)

    def draw(self, examples: Unlabelled, predictions: Predictions, path: Path) -> None:
        path.write_text(f"{len(examples.ids)} {len(predictions['y'])}")


def results(count: int, size: int) -> Iterator[tuple[Unlabelled, Predictions]]:
    for first in range(0, count, size):
        examples = block(first, min(size, count - first))
        yield examples, {"y": examples.inputs["x"] * 2.0}


def test_all_is_written_and_the_first_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Writer(None, tmp_path / "p.csv").write("net", results(1000, 3))
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines == ["id,double", *(f"n{n},{2.0 * n}" for n in range(1000))]
    assert (tmp_path / "p.png").read_text() == "16 16"
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == ["net, 1,000 examples:", "  n0: double 0.0", "  n1: double 2.0"]
    assert printed[6] == "  and 995 more"


@pytest.mark.parametrize("there", ["p.csv", "p.png"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(InputError, match=r"is there already.*--overwrite"):
        Writer(None, tmp_path / "p.csv")
    Writer(None, tmp_path / "p.csv", overwrite=True).write("net", results(2, 2))
    assert (tmp_path / there).read_text() != "mine"


def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("old")

    def failing() -> Iterator[tuple[Unlabelled, Predictions]]:
        yield from results(5000, 100)
        raise InputError("row 5001")

    writer = Writer(None, tmp_path / "p.csv", overwrite=True)
    for bad, message in ((failing(), "row 5001"), (results(0, 1), "no example")):
        with pytest.raises(InputError, match=message):
            writer.write("net", bad)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"p.csv": "old"}


def test_few_batches_are_in_memory(tmp_path: Path) -> None:
    seen: list[weakref.ref[np.ndarray]] = []
    most = 0

    def watched() -> Iterator[Unlabelled]:
        nonlocal most
        for first in range(0, 3000, 30):
            examples = block(first, 30)
            seen.append(weakref.ref(examples.inputs["x"]))
            most = max(most, sum(array() is not None for array in seen))
            yield examples

    batches = ((b, {"y": b.inputs["x"]}) for b in regroup(watched(), 20))
    Writer(None, tmp_path / "p.csv").write("net", batches)
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 3001
    assert most <= 5


def test_a_misspelled_path_to_predict_is_shown_whole(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    (tmp_path / "new").touch()
    arguments = argparse.Namespace(paths=[tmp_path / "nwe"], output=Path("p.csv"))
    with pytest.raises(InputError) as error:
        check_places(arguments)
    assert f"(did you mean {tmp_path / 'new'}?)" in str(error.value)
