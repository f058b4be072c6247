"""Shifts are found, and unchanged data raises no alarm."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from machinery.features import to_feature
from machinery.shifts import ALARM, compare, compare_distributions, exceedance, fisher
from machinery.statistics_file import KEPT, Names, Numbers, summarize

Draw = Callable[[np.random.Generator, int], np.ndarray]


def draw_names(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.choice(["a", "b", "c"], count, p=[0.6, 0.3, 0.1])


def draw_rare_names(generator: np.random.Generator, count: int) -> np.ndarray:
    """Many names, of which new ones turn up in any sample."""
    return np.array([f"n{number}" for number in generator.zipf(1.5, count)])


def draw_gaps(generator: np.random.Generator, count: int) -> np.ndarray:
    return np.where(generator.random(count) < 0.1, np.nan, generator.normal(size=count))


# Features of all kinds: even and skewed, with ties and gaps.
DRAWN: dict[str, Draw] = {
    "normal": lambda generator, count: generator.normal(size=count),
    "skewed": lambda generator, count: generator.lognormal(1, 1, count),
    "counted": lambda generator, count: generator.poisson(2, count).astype(np.float64),
    "either": lambda generator, count: (generator.random(count) < 0.2).astype(np.float64),
    "gaps": draw_gaps,
    "names": draw_names,
    "rare": draw_rare_names,
    "even": lambda generator, count: generator.integers(0, 150, count).astype(str),
}


def draw(generator: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    return {name: function(generator, count) for name, function in DRAWN.items()}


def train(generator: np.random.Generator, count: int) -> dict[str, Numbers | Names]:
    return {name: summarize(values) for name, values in draw(generator, count).items()}


def count_alarms(checks: int, training: int, new: int) -> int:
    """Return in how many checks of unchanged examples, each with its own training, is an alarm."""
    generator = np.random.default_rng(training + new)
    findings = (compare(train(generator, training), draw(generator, new))[0] for _ in range(checks))
    return sum(any(each.counts for each in found) for found in findings)


def test_unchanged_examples_raise_no_alarm() -> None:
    assert count_alarms(checks=40, training=400, new=100) == 0


@pytest.mark.deep
@pytest.mark.parametrize(("training", "new"), [(400, 100), (400, 3000), (5000, 1000), (300, 20)])
def test_under_one_percent_of_a_thousand_checks_raise_an_alarm(training: int, new: int) -> None:
    assert count_alarms(1000, training, new) < 10


# What is done to new examples: the feature, a change of it, and the problem that is to be found.
SHIFTS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], str]] = {
    "moved by half a deviation": ("normal", lambda values: values + 0.5, "shifted"),
    "spread twice as far": ("normal", lambda values: 2 * values, "shifted"),
    "times a thousand": ("skewed", lambda values: 1000 * values, "another unit"),
    "one value": ("skewed", lambda values: np.full_like(values, 2), "shifted"),
    "more often": ("either", lambda values: np.maximum(values, values[::-1]), "shifted"),
    "some far away": ("normal", lambda values: np.r_[[-999] * 9, values[9:]], "too small"),
    "more gaps": ("gaps", lambda values: np.r_[[np.nan] * 50, values[50:]], "empty"),
    "no gaps": ("gaps", lambda values: np.nan_to_num(values), "no longer empty"),
    "a new name": ("names", lambda values: np.r_[["d"] * 8, values[8:]], "new"),
    "other shares": ("names", lambda values: np.r_[["c"] * 60, values[60:]], "shares"),
    "no name": ("names", lambda values: np.r_[[""] * 8, values[8:]], "empty"),
}


@pytest.mark.parametrize("case", SHIFTS)
def test_a_shift_is_found(case: str) -> None:
    """In 400 examples, beside features that are unchanged."""
    feature, change, problem = SHIFTS[case]
    generator = np.random.default_rng(0)
    expected, found = train(generator, 1000), draw(generator, 400)
    found[feature] = change(found[feature])
    findings, tests = compare(expected, found)
    alarms = [each for each in findings if each.counts]
    assert {each.feature for each in alarms} == {feature}
    assert problem in {each.problem for each in alarms}
    assert all(each.probability < ALARM for each in alarms)
    assert tests > 20


def test_a_feature_that_is_missing_comes_first() -> None:
    generator = np.random.default_rng(0)
    expected, found = train(generator, 1000), draw(generator, 400)
    found["Normal"] = found.pop("normal")
    found["skewed"] = found["skewed"] + 1
    first, *_ = compare(expected, found)[0]
    assert (first.feature, first.problem, first.broken) == ("normal", "not there", True)
    assert "did you mean Normal?" in first.next_step


def test_a_little_difference_does_not_matter() -> None:
    """A million examples make it sure, and it is small all the same."""
    generator = np.random.default_rng(0)
    expected = {"normal": summarize(generator.normal(size=5000))}
    findings, _ = compare(expected, {"normal": generator.normal(0.05, 1, 10**6)})
    assert findings == []


def test_one_new_name_is_told_and_no_alarm() -> None:
    generator = np.random.default_rng(0)
    names = draw_names(generator, 400)
    names[0] = "d"
    (finding,), _ = compare({"names": summarize(draw_names(generator, 1000))}, {"names": names})
    assert (finding.problem, finding.found, finding.counts) == ("new", "d 0.25 %", False)


def test_a_number_far_away_is_told_and_no_alarm() -> None:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=400)
    numbers[0] = -999
    (finding,), _ = compare({"normal": summarize(generator.normal(size=1000))}, {"normal": numbers})
    assert (finding.problem, finding.counts) == ("too small", False)
    assert "up to -999" in finding.found


def test_known_names_are_not_new() -> None:
    """Those of training examples that were not in the sample."""
    expected = {"names": summarize(np.array(["a", "b"] * 100), known=("a", "b", "c"))}
    findings, _ = compare(expected, {"names": np.array(["a", "b"] * 20 + ["c"])})
    assert findings == []


def test_distances_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 300)).astype(np.float32)
    expected = summarize(one)
    assert isinstance(expected, Numbers)
    distance, probability = compare_distributions(expected, np.sort(other))
    result = stats.ks_2samp(one, other, method="exact")
    assert distance == pytest.approx(result.statistic)
    assert probability == pytest.approx(result.pvalue, rel=0.1)


def test_of_many_values_quantiles_are_kept() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    expected = summarize(values)
    assert isinstance(expected, Numbers)
    assert (len(expected.values), expected.count) == (KEPT, 4000)
    assert expected.sorted[[0, -1]].tolist() == [np.float32(values.min()), np.float32(values.max())]
    there = np.sort(values).astype(np.float32)
    assert compare_distributions(expected, there)[0] < 1e-6


def test_shares_are_compared_as_by_scipy() -> None:
    table = [[12, 88], [20, 480]]
    above = stats.fisher_exact(table, "greater").pvalue
    assert fisher(12, 100, 20, 500) == pytest.approx(2 * above)


def test_how_probable_values_beyond_all_others_are() -> None:
    """Of 3 new and 2 known values, 10 orders are as likely; in one the first two new are lowest."""
    assert exceedance(0, 3, 2) == 1
    assert exceedance(1, 3, 2) == pytest.approx(3 / 5)
    assert exceedance(2, 3, 2) == pytest.approx(3 / 5 * 2 / 4)


def test_numbers_in_texts() -> None:
    assert to_feature(["1", "", "2.5"]).tolist()[::2] == [1, 2.5]
    assert to_feature(["1", "one"]).tolist() == ["1", "one"]
