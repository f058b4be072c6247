"""The interval of a metric, beside SciPy's; and how often it holds the truth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from machinery import intervals

NUMBERS = np.random.default_rng(1).exponential(size=200)


def mean(examples: intervals.Examples) -> dict[str, float]:
    return {"mean": float(examples["losses"].mean())}


class Spread:
    """An Evaluation whose metric is no mean over the examples."""

    def __init__(self) -> None:
        self.values: list[np.ndarray] = []

    def add(self, predictions: Any, targets: Any, losses: np.ndarray) -> None:
        self.values.append(predictions["values"] - targets["values"])
        assert len(losses) == len(self.values[-1])

    def metrics(self) -> Mapping[str, float]:
        return {"spread": float(np.concatenate(self.values).std())}


def evaluated(values: np.ndarray) -> dict[str, np.ndarray]:
    zeros = np.zeros(len(values))
    return intervals.merge({"values": values}, {"values": zeros}, zeros)


def test_an_interval_is_that_of_scipy() -> None:
    """They draw other resamples, so they agree as far as a thousand of these do."""
    measure = intervals.measuring(Spread)
    found = intervals.metric_intervals(measure, evaluated(NUMBERS))["spread"]
    known = stats.bootstrap((NUMBERS,), np.std, method="percentile", rng=2, n_resamples=5000)
    assert found == pytest.approx([*known.confidence_interval], abs=0.03)


def test_the_interval_of_a_difference_is_that_of_scipy_in_pairs() -> None:
    others = NUMBERS + np.random.default_rng(3).normal(0.1, 0.2, size=200)

    def difference(first: np.ndarray, second: np.ndarray) -> float:
        return first.std() - second.std()

    pair = evaluated(NUMBERS), evaluated(others)
    found = intervals.difference_interval(intervals.measuring(Spread), *pair, "spread")
    known = stats.bootstrap(
        (NUMBERS, others),
        difference,
        method="percentile",
        paired=True,
        vectorized=False,
        rng=4,
        n_resamples=3000,
    )
    assert found == pytest.approx([*known.confidence_interval], abs=0.01)


def test_an_interval_of_groups_is_that_of_scipy_over_groups() -> None:
    """Of 40 groups of 1 to 9 examples, which are alike within a group, and in any order."""
    generator = np.random.default_rng(6)
    groups = generator.permutation(np.repeat(np.arange(40), generator.integers(1, 10, 40)))
    values = generator.normal(size=40)[groups] + 0.1 * generator.normal(size=len(groups))

    def spread(drawn: np.ndarray) -> float:
        return np.concatenate([values[groups == group] for group in drawn]).std()

    known = stats.bootstrap(
        (np.arange(40),), spread, method="percentile", vectorized=False, rng=7, n_resamples=3000
    )
    measure, alone = intervals.measuring(Spread), evaluated(values)
    together = intervals.with_groups(alone, groups)
    found = intervals.metric_intervals(measure, together)["spread"]
    assert found == pytest.approx([*known.confidence_interval], abs=0.02)
    low, high = intervals.metric_intervals(measure, alone)["spread"]
    assert found[1] - found[0] > 1.5 * (high - low)
    # A version that was written before groups were kept is drawn as the other one.
    others = evaluated(np.zeros(len(values)))
    for pair in ((together, others), (alone, intervals.with_groups(others, groups))):
        assert intervals.difference_interval(measure, *pair, "spread") == pytest.approx(found)


def test_fewer_than_twenty_groups_have_no_interval() -> None:
    """Over few groups it is too narrow; examples that stand for themselves may be as few."""
    measure, alone, others = intervals.measuring(Spread), *map(evaluated, (NUMBERS, NUMBERS**2))
    for count in (1, 2, 19, 20):
        grouped = intervals.with_groups(alone, np.arange(200) % count)
        assert bool(intervals.metric_intervals(measure, grouped)) == (count == 20)
        for pair in ((grouped, others), (others, grouped)):
            found = intervals.difference_interval(measure, *pair, "spread")
            assert (found is not None) == (count == 20)
    assert "all examples of test are of one group" in intervals.too_few(1)
    assert "of 19 groups, and over fewer than 20" in intervals.too_few(19)
    assert intervals.too_few(0) == intervals.too_few(20) == ""
    assert intervals.metric_intervals(measure, evaluated(NUMBERS[:19]))


def test_a_group_is_drawn_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two groups, both are drawn in half of the resamples, each alone in a quarter of them."""
    monkeypatch.setattr(intervals, "FEWEST_GROUPS", 2)
    examples = {"losses": np.array([0, 4, 0, 0.0]), "groups": np.array([7, 3, 7, 7])}
    means = [one["mean"] for (one,) in intervals.resample(mean, examples)]
    shares = {value: means.count(value) / len(means) for value in {*means}}
    assert shares == pytest.approx({0.0: 0.25, 1.0: 0.5, 4.0: 0.25}, abs=0.04)
    assert intervals.count_groups(examples) == 2
    assert intervals.count_groups({"losses": NUMBERS}) == 0
    assert intervals.with_groups({}, examples["groups"]) == {}  # Too much to be kept.


def test_it_holds_the_truth_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
    generator, held = np.random.default_rng(5), 0
    for _ in range(200):
        found = intervals.metric_intervals(mean, {"losses": generator.normal(size=80)})["mean"]
        held += found[0] < 0 < found[1]
    assert 184 <= held <= 196  # 190 are expected, with a deviation of 3.


def test_the_same_examples_have_the_same_interval() -> None:
    found = [intervals.metric_intervals(mean, {"losses": NUMBERS}) for _ in range(2)]
    assert found[0] == found[1]


def test_where_there_is_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    assert intervals.metric_intervals(mean, {}) == {}
    assert intervals.metric_intervals(mean, {"losses": np.ones(9)}) == {}  # No resample differs.

    def sometimes(examples: intervals.Examples) -> dict[str, float]:
        return mean(examples) if examples["losses"][0] > 1 else {}

    assert intervals.metric_intervals(sometimes, {"losses": NUMBERS}) == {}
    pair = evaluated(NUMBERS), evaluated(NUMBERS)
    pair[1]["targets.values"] = np.ones(200)  # Of other examples.
    measure = intervals.measuring(Spread)
    assert intervals.difference_interval(measure, *pair, "spread") is None
    assert intervals.difference_interval(measure, pair[0], {}, "spread") is None
    monkeypatch.setattr(intervals, "MOST_SECONDS", 0)
    assert intervals.metric_intervals(mean, {"losses": NUMBERS}) == {}


def test_what_is_much_or_of_several_shapes_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [np.ones(4), np.ones(3)]

    def record(*values: np.ndarray) -> intervals.KeptExamples:
        evaluation = Spread()
        found = intervals.KeptExamples(evaluation)
        for each in values:
            evaluation.add({"values": each}, {"values": each}, np.ones(len(each)))
        assert len(evaluation.values) == len(values)
        return found

    assert len(record(*batches).examples()["losses"]) == 7
    assert record(*batches, np.ones((3, 2))).examples() == {}
    monkeypatch.setattr(intervals, "MOST_BYTES", 4 * 3 * 8)
    assert len(record(*batches[:1]).examples()["losses"]) == 4
    assert record(*batches, *batches).examples() == {}


def test_a_file_that_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "examples_test.npz"
    intervals.write_examples(path, {"losses": NUMBERS, "targets.values": NUMBERS})
    whole = path.read_bytes()
    flipped = [whole[:n] + bytes([whole[n] ^ 255]) + whole[n + 1 :] for n in range(len(whole))]
    for content in (b"", b"PK\x03\x04", b"x", whole[: len(whole) // 2], *flipped[::7]):
        path.write_bytes(content)
        assert all(len(array) for array in intervals.read_examples(path).values())
    path.write_bytes(whole[: len(whole) // 2])
    assert intervals.read_examples(path) == {}
    assert intervals.read_examples(tmp_path / "none") == {}
    intervals.write_examples(path, {"losses": NUMBERS})
    assert (intervals.read_examples(path)["losses"] == NUMBERS).all()
