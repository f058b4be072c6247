"""Differences and chance: the paired comparison, its interval, and many of them at once."""

import math

import numpy as np
import pytest
from scipy import stats

from machinery.noise import compare_paired, correct_for_many, differ_clearly

BASE = {"0": 0.90, "1": 0.80, "2": 0.85, "3": 0.70}


def test_pairs_are_those_of_one_seed() -> None:
    """Seeds that both have, whatever their order; what each seed shares is no noise."""
    values = {"3": 0.72, "7": 0.1, "2": 0.86, "1": 0.83, "0": 0.92}
    found = compare_paired(values, BASE)
    assert found
    differences = np.array([0.02, 0.01, 0.03, 0.02])
    assert found.n == 4
    assert found.mean == pytest.approx(0.02)
    error = differences.std(ddof=1) / 2
    t = stats.t.ppf(0.975, df=3)
    assert (found.low, found.high) == pytest.approx((0.02 - t * error, 0.02 + t * error))
    assert found.p == pytest.approx(2 * stats.t.sf(0.02 / error, df=3))
    assert found.p < 0.02
    assert not differ_clearly([*values.values()], [*BASE.values()])  # Not paired, it is noise.


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = clear = 0
    for _ in range(400):
        seeds = generator.normal(0.8, 0.1, 5)
        first, second = seeds + generator.normal(0, 0.01, (2, 5))
        one, other = ({str(i): v for i, v in enumerate(x)} for x in (first, second))
        found = compare_paired(one, other)
        assert found
        held += found.low <= 0 <= found.high
        clear += found.p < 0.05
    assert 0.925 < held / 400 < 0.975
    assert held + clear == 400


@pytest.mark.parametrize("values", [{"0": 0.91}, {"0": 0.91, "1": 0.81}, dict(BASE)])
def test_one_pair_or_equal_differences_are_no_test(values: dict[str, float]) -> None:
    found = compare_paired(values, BASE)
    assert found
    assert found.n == len(values)
    assert math.isnan(found.p)
    assert found.describe(5)[1:] == ["", ""]
    assert f"(n {found.n})" in found.describe(5)[0]


def test_nothing_in_common_is_no_comparison() -> None:
    assert compare_paired({"9": 0.5}, BASE) is None
    assert compare_paired({}, BASE) is None


def test_many_comparisons_are_corrected() -> None:
    """The example is of Holm's procedure: 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1."""
    corrected = correct_for_many([0.03, math.nan, 0.01, 0.04, 0.02])
    assert corrected[2] == pytest.approx(0.04)
    assert corrected[4] == pytest.approx(0.06)
    assert corrected[0] == pytest.approx(0.06)  # No smaller than the one before.
    assert corrected[3] == pytest.approx(0.06)
    assert math.isnan(corrected[1])
    assert correct_for_many([0.7, 0.9]) == [1.0, 1.0]
