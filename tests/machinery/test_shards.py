"""Data in shards: the order, the arrays, and runs on them."""

import argparse
import json
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset, build
from machinery import arrays, intervals, records
from machinery.arrays import Ragged
from machinery.checkup_data import some
from machinery.errors import InputError, StoppedError
from machinery.run import Run
from machinery.sampling import BatchSampler
from machinery.shards.shard_order import WindowedOrder
from machinery.shards.shard_writer import parse_command_line, write_shards
from machinery.shards.sharded import Sharded, order_of
from machinery.share import Share
from test_run import content, stop_at

SIZES = (7, 3, 5, 5, 5, 5, 2)


def shard(data: Path, output: Path, dataset: Any, **options: Any) -> Any:
    """Write a data set as shards; return what the new dataset.json says."""
    usual = {"shard_examples": 10, "window": 2, "seed": 0, "keep_order": False, "overwrite": False}
    write_shards(argparse.Namespace(data=data, output=output, **usual | options), dataset)
    return arrays.read_dataset(output, type(dataset))


def batches(order: WindowedOrder | None, first: int, last: int, **options: Any) -> list[list[int]]:
    sampler = BatchSampler(sum(SIZES), 6, 1, first, last, order=order, **options)
    return [rows.tolist() for _, rows in sampler]


def test_a_window_of_all_shards_gives_the_order_without_shards() -> None:
    for window in (len(SIZES), 99):
        assert batches(WindowedOrder(SIZES, window), 0, 18) == batches(None, 0, 18)
    order = np.random.default_rng((1, 2, 0)).permutation(sum(SIZES))
    expected = [part.tolist() for part in np.array_split(order, 6)]
    assert batches(None, 12, 18) == expected


@pytest.mark.parametrize("window", [1, 2, 3, 6])
def test_an_epoch_goes_through_windows_of_shards(window: int) -> None:
    order, count = WindowedOrder(SIZES, window), sum(SIZES)
    epochs = []
    for epoch in range(3):
        rows = order.take(1, epoch, 0, count)
        assert sorted(rows) == [*range(count)]
        shards = np.repeat(np.arange(len(SIZES)), SIZES)[rows]
        found = np.split(shards, order.ends[:-1])
        assert [{*here} for here in found] == [{*here} for here in order.windows]
        assert {len(here) for here in order.windows[:-1]} <= {window}
        epochs.append(rows.tolist())
    assert epochs[0] != epochs[1] != epochs[2]
    assert WindowedOrder(SIZES, window).take(1, 1, 0, count).tolist() == epochs[1]
    assert WindowedOrder(SIZES, window).take(2, 1, 0, count).tolist() != epochs[1]


@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_batches_in_shards_do_not_depend_on_what_was_read_before(window: int) -> None:
    """Whoever resumes at a step, and whichever process has a share of a batch."""
    whole = batches(WindowedOrder(SIZES, window), 0, 18)
    for step in range(18):
        assert batches(WindowedOrder(SIZES, window), step, 18) == whole[step:]
    halves = [
        batches(WindowedOrder(SIZES, window), 0, 18, share=Share(number, 2, 2)) for number in (0, 1)
    ]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole


def test_the_next_window_is_announced_when_one_begins() -> None:
    announced: list[tuple[int, ...]] = []
    order = WindowedOrder(SIZES, 2, announced.append)
    rows = order.take(1, 0, 0, sum(SIZES))
    shards = np.repeat(np.arange(len(SIZES)), SIZES)[rows]
    assert len(announced) == 4
    assert {*announced[0]} <= {*shards[:17]}
    assert announced[:3] == [order.shards_after(int(shards[0])), *announced[1:3]]
    following = order.take(1, 1, 0, 1)  # Then comes the first window of the next epoch.
    assert np.repeat(np.arange(len(SIZES)), SIZES)[following[0]] in announced[3]


class Texts(arrays.BaseDataset):
    """Examples of different lengths."""

    inputs: tuple[str, ...] = ("tokens",)
    targets: tuple[str, ...] = ("labels",)


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    generator = np.random.default_rng(0)
    tokens = Ragged.join([generator.integers(1, 9, size) for size in generator.integers(0, 6, 57)])
    ids = np.array([f"text {row}" for row in range(57)])
    splits = {"train": np.arange(40), "val": np.arange(40, 57), "test": np.arange(0)}
    found = {"tokens": tokens, "labels": np.arange(57)}
    folder = tmp_path / "data"
    facts: dict[str, Any] = {"task": "texts", "source": "drawn", "groups": np.arange(57) // 3}
    return arrays.write_dataset(folder, Texts, found, ids, splits, **facts)


@pytest.mark.parametrize("keep_order", [True, False])
def test_arrays_in_shards_are_those_in_one_piece(
    tmp_path: Path, texts: Texts, keep_order: bool
) -> None:
    output = tmp_path / "shards"
    dataset = shard(tmp_path / "data", output, texts, shard_examples=9, keep_order=keep_order)
    for split, count in texts.examples.items():
        order = np.arange(count)
        if split == "train" and not keep_order:
            order = np.random.default_rng(0).permutation(count)
        ids = texts.read_ids(tmp_path / "data", split)[order]
        assert dataset.read_ids(output, split).tolist() == ids.tolist()
        groups = intervals.read_groups(texts, tmp_path / "data", split)
        found = intervals.read_groups(dataset, output, split)
        assert groups is not None
        assert found is not None
        assert found.tolist() == groups[order].tolist()
        whole, parts = texts.read_split(tmp_path / "data", split), dataset.read_split(output, split)
        for rows in (np.arange(count), np.random.default_rng(1).permutation(count)[:13]):
            for name, array in parts.items():
                taken = array.take(rows, axis=0)
                expected = whole[name].take(order[rows], axis=0)
                assert (taken.dtype, taken.tolist()) == (expected.dtype, expected.tolist())
        for row in range(count):
            assert parts["tokens"][row].tolist() == whole["tokens"][order[row]].tolist()
        copy = pickle.loads(pickle.dumps(parts))
        assert isinstance(copy["tokens"], Sharded)
        assert (
            copy["tokens"].take(np.arange(count)).tolist()
            == parts["tokens"].take(np.arange(count)).tolist()
        )
        if keep_order and count:
            assert some(parts["labels"]).tolist() == some(whole["labels"]).tolist()
            assert some(parts["tokens"]).tolist() == some(whole["tokens"]).tolist()


def test_few_shards_are_mapped_at_a_time(
    tmp_path: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinery.shards.sharded.MAPPED", 6)
    dataset = shard(tmp_path / "data", tmp_path / "shards", texts, shard_examples=1, window=1)
    array: Any = dataset.read_split(tmp_path / "shards", "train")["labels"]
    assert len({*array.take(np.arange(40))}) == 40
    assert [*array.shards.opened] == [37, 38, 39]


def test_training_on_all_shards_at_a_time_is_training_without(
    tmp_path: Path, data: Path, dataset: Dataset, train_run: Callable[..., Run]
) -> None:
    output = tmp_path / "shards"
    sharded = shard(data, output, dataset, window=0, keep_order=True)
    assert sharded.fingerprint == dataset.fingerprint
    train_run(tmp_path / "whole")
    train_run(tmp_path / "cut", data=output, dataset=sharded)
    assert content(tmp_path / "whole") == content(tmp_path / "cut")


@pytest.mark.parametrize("when", [2, 9])
def test_a_run_on_shards_that_was_stopped_anywhere_ends_the_same(
    tmp_path: Path, data: Path, dataset: Dataset, train_run: Callable[..., Run], when: int
) -> None:
    output = tmp_path / "shards"
    train = partial(train_run, data=output, dataset=shard(data, output, dataset))
    train(tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(tmp_path / "cut", stop=stop_at(when))
    train(tmp_path / "cut")
    assert content(tmp_path / "whole") == content(tmp_path / "cut")


def test_another_window_seed_or_size_is_another_data_set(
    tmp_path: Path, data: Path, dataset: Dataset
) -> None:
    """A run on one cannot go on with another, as the order would be another."""
    found = {dataset.fingerprint}
    for number, options in enumerate(
        [{}, {"window": 3}, {"seed": 1}, {"shard_examples": 16}, {"keep_order": True}]
    ):
        found.add(shard(data, tmp_path / str(number), dataset, **options).fingerprint)
    assert len(found) == 6


def test_what_is_wrong_with_shards_is_said(tmp_path: Path, data: Path, dataset: Dataset) -> None:
    output = tmp_path / "shards"
    sharded = shard(data, output, dataset)
    contents = output / sharded.arrays_folder
    again = rf"Write the shards again: python build_shards.py --data ARRAYS --output {output}"
    missing = contents / "train-00003_labels.npy"
    missing.rename(contents / "elsewhere")
    with pytest.raises(InputError, match=rf"{missing}: not found, though .* lists it. {again}"):
        sharded.read_split(output, "train")
    (contents / "elsewhere").rename(missing)
    np.save(missing, np.zeros(3, np.int64))
    array: Any = sharded.read_split(output, "train")["labels"]
    with pytest.raises(InputError, match=rf"{missing}: got \(3,\) int64, expected \(10,\)"):
        array.take(np.arange(64))
    path = contents / "shards.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"fingerprint": "0" * 16}))
    with pytest.raises(InputError, match=rf"{path}: got fingerprint 0000000000000000, expected"):
        sharded.read_split(output, "val")
    path.write_text(json.dumps(found | {"window": -1}))
    with pytest.raises(InputError, match=rf"{path}: window: .* {again}"):
        sharded.read_ids(output, "val")
    path.unlink()
    with pytest.raises(InputError, match=rf"{path}: No such file"):
        sharded.read_split(output, "val")
    with pytest.raises(InputError, match=r"holds shards, expected the arrays of build_dataset\.py"):
        shard(output, tmp_path / "other", sharded)


def test_changed_shards_are_found_when_a_run_goes_on(
    tmp_path: Path, data: Path, dataset: Dataset, train_run: Callable[..., Run]
) -> None:
    output = tmp_path / "shards"
    train = partial(train_run, data=output, dataset=shard(data, output, dataset))
    with pytest.raises(StoppedError):
        train(tmp_path / "run", stop=stop_at(3))
    path = next(output.rglob("train-00000_points.npy"))
    np.save(path, np.load(path)[::-1])
    with pytest.raises(InputError, match=rf"the content of {path.name} is not what"):
        train(tmp_path / "run")
    assert not records.is_finished(tmp_path / "run")


def test_the_command_line_of_the_shards(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def parse(*words: object) -> argparse.Namespace:
        monkeypatch.setattr("sys.argv", ["build_shards.py", *map(str, words)])
        return parse_command_line("Writes.")

    assert parse("--data", tmp_path).output == tmp_path / "shards"
    for words, message in (
        (("--shard-examples", 0), "--shard-examples: got 0, expected 1 to 1000000000"),
        (("--window", -1), "--window: got -1, expected 0 to 100000"),
    ):
        with pytest.raises(SystemExit) as error:
            parse(*words)
        assert error.value.code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(InputError, match=f"--output: {data} holds a data set in another form"):
        parse("--output", data)
    build(tmp_path / "mine")
    (tmp_path / "mine" / "arrays-1").rename(tmp_path / "mine" / "other")
    with pytest.raises(InputError, match="exists"):
        parse("--output", tmp_path / "mine")


def test_the_order_of_arrays_in_one_piece_is_no_other(data: Path, dataset: Dataset) -> None:
    assert order_of(dataset.read_split(data, "train")) is None
