"""Which examples are in which split and batch."""

import numpy as np
import pytest

from machinery.arrays import Ragged
from machinery.sampling import BatchSampler, evaluation_batch_size, fold_seed
from machinery.splits import StratumError, digests, find_leaks, say_groups, split_off


def test_equal_examples_have_equal_digests() -> None:
    images = np.array([[1, 2], [3, 4], [1, 2], [1, 2]])
    words = Ragged.join([np.arange(2), np.arange(2), np.arange(2), np.arange(3)])
    found = digests(images, words)
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3
    assert len(set(digests(words).tolist())) == 2


def test_missing_splits_come_from_train_by_group_and_stratum() -> None:
    count = 1000
    groups = np.arange(count) // 2  # Pairs stay together.
    strata = (groups % 10 == 0).astype(int)  # One in ten is rare.
    splits = split_off(groups, strata, {"train": np.arange(count)}, seed=0)
    assert sorted(np.concatenate([*splits.values()]).tolist()) == [*range(count)]
    assert {name: len(rows) for name, rows in splits.items()} == pytest.approx(
        {"train": 810, "val": 100, "test": 90}, abs=4
    )
    for split in ("val", "test"):
        assert not np.isin(groups[splits[split]], groups[splits["train"]]).any()
        assert strata[splits[split]].mean() == pytest.approx(0.1, abs=0.02)
    assert list(find_leaks(groups, splits)) == []
    again = split_off(groups, strata, {"train": np.arange(count)}, seed=0)
    other = split_off(groups, strata, {"train": np.arange(count)}, seed=1)
    assert np.array_equal(splits["val"], again["val"])
    assert not np.array_equal(splits["val"], other["val"])


def test_how_many_groups_a_split_got_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    splits = {"train": np.array([0, 1, 2, 3]), "val": np.array([4, 5]), "test": np.array([6])}
    say_groups(np.array([*"aabbcde"]), splits)
    say_groups(None, splits)
    assert capsys.readouterr().out == "groups: 2 train, 2 val, 1 test\n"


def test_a_split_that_is_given_stays() -> None:
    given = {"train": np.arange(50), "test": np.arange(50, 60)}
    splits = split_off(np.arange(60), np.zeros(60, int), given, seed=0)
    assert np.array_equal(splits["test"], given["test"])
    assert len(splits["val"]) == 5
    given["val"] = np.arange(55, 60)
    assert split_off(np.arange(60), np.zeros(60, int), given, seed=0) == given


def test_a_stratum_too_small_is_named() -> None:
    strata = np.array([0, 0, 0, 7, 7])
    groups = np.array([0, 1, 2, 3, 3])  # The two of stratum 7 are equal.
    with pytest.raises(StratumError) as error:
        split_off(groups, strata, {"train": np.arange(5)}, seed=0)
    assert error.value.stratum == 7


@pytest.mark.parametrize("leak", ["val", "test"])
def test_leaks_are_found(leak: str) -> None:
    clean = {"val": "test", "test": "val"}[leak]
    splits = {"train": np.array([0, 1]), clean: np.array([2]), leak: np.array([3, 4])}
    ((split, rows),) = find_leaks(np.array([1, 2, 3, 2, 4]), splits)
    assert split == leak
    assert rows.tolist() == [3]


def test_batches_are_a_function_of_the_position() -> None:
    whole = [*BatchSampler(10, 4, seed=3, first_step=0, last_step=6)]
    assert [epoch for epoch, _ in whole] == [0, 0, 0, 1, 1, 1]
    assert [len(rows) for _, rows in whole[:3]] == [4, 3, 3]
    for epoch in (0, 1):
        rows = np.concatenate([rows for e, rows in whole if e == epoch])
        assert sorted(rows.tolist()) == [*range(10)]
    assert not np.array_equal(whole[0][1], whole[3][1])
    _, other_seed = next(iter(BatchSampler(10, 4, seed=4, first_step=0, last_step=6)))
    assert not np.array_equal(whole[0][1], other_seed)
    for first in range(6):
        sampler = BatchSampler(10, 4, seed=3, first_step=first, last_step=6)
        assert len(sampler) == 6 - first
        for (_, rows), (_, expected) in zip(sampler, whole[first:], strict=True):
            assert np.array_equal(rows, expected)


def test_seeds_differ() -> None:
    seeds = {fold_seed(seed, step) for seed in range(10) for step in range(1000)}
    assert len(seeds) == 10_000
    assert fold_seed(0, 1) == fold_seed(0, 1)


@pytest.mark.parametrize(("positions", "size"), [(1, 256), (64, 256), (2**14, 64), (2**30, 1)])
def test_large_examples_are_evaluated_a_few_at_a_time(positions: int, size: int) -> None:
    assert evaluation_batch_size(positions) == size
