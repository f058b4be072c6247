"""Whether a difference between experiments is more than chance, and how large it is."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

P_VALUE = 0.05  # below which a difference is more than chance
CONFIDENCE = 0.95

Values = Mapping[str, float]  # of a metric, by unit: the seed, on folds also the fold


class Paired(NamedTuple):
    """The difference of two experiments over the units that both have."""

    n: int  # units
    mean: float
    low: float = math.nan  # ends of the confidence interval; NaN where there is no test
    high: float = math.nan
    p: float = math.nan

    def describe(self, units: int) -> list[str]:
        """Return the difference, its interval and p as the table has them.

        Args:
            units: of the experiment; where the other lacks some, their number is named.
        """
        known = f" (n {self.n})" if self.n < units else ""
        if math.isnan(self.p):
            return [f"{self.mean:+.4f}{known}", "", ""]
        p = f"{self.p:.3f}" if self.p >= 0.001 else "< 0.001"
        return [f"{self.mean:+.4f}{known}", f"{self.low:+.4f} to {self.high:+.4f}", p]


def compare_paired(values: Values, baseline: Values, is_tested: bool = True) -> Paired | None:
    """Return the mean difference to a baseline, its 95 % interval and the paired t-test.

    There is no test of a single unit, nor of equal differences: metrics that count examples are
    often equal by chance, and then a standard deviation of zero would make anything certain.

    Args:
        values: of the experiment.
        baseline: what to compare it with.
        is_tested: test the difference, where there are units enough.

    Returns:
        None if no unit is common to both.
    """
    units = [unit for unit in values if unit in baseline]
    if not units:
        return None
    ours, theirs = [values[unit] for unit in units], [baseline[unit] for unit in units]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = math.fsum(differences) / len(units)
    scale = max(map(abs, [*ours, *theirs]))
    if not is_tested or len(units) < 2 or max(differences) - min(differences) <= 1e-9 * scale:
        return Paired(len(units), mean)
    from scipy.stats import ttest_rel  # Comes with scikit-learn; takes long to import.

    result = ttest_rel(ours, theirs)
    low, high = result.confidence_interval(CONFIDENCE)
    return Paired(len(units), mean, float(low), float(high), float(result.pvalue))


def differ_clearly(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether two samples differ beyond chance (Welch's t-test)."""
    if len({*first}) == 1 and len({*second}) == 1:  # As in compare_paired, or too few.
        return False
    from scipy.stats import ttest_ind

    with warnings.catch_warnings(action="ignore"):  # All seeds may have one value: a perfect score.
        return bool(ttest_ind(first, second, equal_var=False).pvalue < P_VALUE)


def correct_for_many(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number; a NaN stays one and does not count.

    Without it, of twenty experiments that are no better one would seem so. (Holm, A simple
    sequentially rejective multiple test procedure, 1979.)
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = [math.nan] * len(p_values), 0.0
    for place, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p))
        corrected[i] = largest
    return corrected
