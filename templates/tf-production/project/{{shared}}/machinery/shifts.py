"""Whether new examples are like those of the training: one feature after the other.

Numbers are compared by the distance of their distributions (the two-sample test of Kolmogorov and
Smirnov: N. Smirnov 1948, https://doi.org/10.1214/aoms/1177730256) and by how many lie beyond the
least and the largest of the training (the exceedance test: B. Epstein 1954,
https://doi.org/10.1214/aoms/1177728793). Shares of names, and of examples without any, are compared
by Fisher's exact test. How often a new name is to be expected, the names that a single training
example has tell (I. Good 1953, https://doi.org/10.1093/biomet/40.3-4.237).

All these hold for any number of examples. As many are made at once, the probability of each is
multiplied by their number (Bonferroni; for the names of a feature once more by theirs), so that of
a thousand checks of unchanged data about three raise an alarm, at most. As a million examples make
the least difference sure, a difference must be large enough to matter, too: see FAR and EFFECT.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from machinery.features import Features
from machinery.parameter_file import nearest
from machinery.statistics_file import Names, Numbers

ALARM = 0.003  # The probability that a check of unchanged data raises an alarm.
FAR = 0.05  # The least distance of two distributions of numbers that counts.
# The least difference of two shares that counts, as twice the difference of the arc sines of their
# square roots: 0 and 0.25 %, 1 and 2.2 %, 50 and 55 %. J. Cohen 1988, Statistical Power Analysis
# for the Behavioral Sciences, chapter 6, calls 0.2 small.
EFFECT = 0.1
MOST_NAMES = 50  # Names that are compared one by one: the most frequent; the rest counts as one.
SHOWN = 3  # Names that a finding shows.

# What a number may have been multiplied by, and what was added then, where its unit was changed.
UNITS = {
    **{f"times {factor:,}": (factor, 0.0) for factor in (10, 24, 60, 100, 1000, 3600, 10**6)},
    **{f"divided by {factor:,}": (1 / factor, 0.0) for factor in (10, 24, 60, 100, 1000, 3600)},
    **{"times -1": (-1, 0.0), "inches in cm": (2.54, 0.0), "cm in inches": (1 / 2.54, 0.0)},
    **{"feet in m": (0.3048, 0.0), "m in feet": (1 / 0.3048, 0.0)},
    **{"miles in km": (1.609344, 0.0), "km in miles": (1 / 1.609344, 0.0)},
    **{"pounds in kg": (0.45359237, 0.0), "kg in pounds": (1 / 0.45359237, 0.0)},
    **{"Celsius in Fahrenheit": (1.8, 32.0), "Fahrenheit in Celsius": (1 / 1.8, -32 / 1.8)},
    **{"Celsius in kelvin": (1, 273.15), "kelvin in Celsius": (1, -273.15)},
}
UNIT_NEAR = 0.3  # The least distance for which another unit is an explanation,
UNIT_FAR = 0.8  # and for which one with another zero is.

UNIT, NEW, SMALL, LARGE = "another unit", "new", "too small", "too large"  # problems
MEND = "Mend what writes the data: the network gets what it cannot understand."
RETRAIN = "If this is how things are now, train anew with such examples; else mend the source."


class Finding(NamedTuple):
    """What was found of a feature that is not as it was in training."""

    feature: str
    problem: str
    expected: str
    found: str
    next_step: str
    size: float  # from 0 to 1: the distance of the distributions, or the difference of two shares
    probability: float  # of so large a difference by chance, if nothing has changed
    counts: bool  # The difference is large enough to matter.
    broken: bool = False  # Rather a fault of the data than a change in the world.
    tests: int = 1  # that it is the worst of
    noted: bool = False  # It is worth telling even where it may be chance.


def compare(
    expected: Mapping[str, Numbers | Names], found: Features, has_units: bool = True
) -> tuple[list[Finding], int]:
    """Return where new examples differ from those of the training, the worst first.

    The probabilities of what is returned are corrected for the number of tests. What is new but
    may be chance is returned, too, with counts False.

    Args:
        expected: the statistics of the training, by feature.
        found: the features of the new examples. One that is missing is a finding.
        has_units: numbers were measured in some unit, which may have changed.

    Returns:
        the findings; the number of tests
    """
    results = []
    for name, statistics in expected.items():
        if name not in found:
            others = [other for other in found if other not in expected]
            results.append(_not_there(name, statistics, others))
        elif isinstance(statistics, Numbers):
            results += compare_numbers(name, statistics, found[name], has_units)
        else:
            results += compare_names(name, statistics, found[name])
    tests = sum(each.tests for each in results)
    corrected = [
        each._replace(probability=min(1, each.probability * each.tests * len(results)))
        for each in results
    ]
    alarms = [each for each in corrected if each.counts and each.probability < ALARM]
    explained = {each.feature for each in alarms if each.problem == UNIT}
    shown = [each for each in corrected if each.feature not in explained or each.problem == UNIT]
    alarms = [each for each in shown if each in alarms]
    alarms.sort(key=lambda each: (-each.size, each.feature))
    noted = [each for each in shown if each.noted and each not in alarms]
    return alarms + [each._replace(counts=False) for each in noted], tests


def _not_there(name: str, statistics: Numbers | Names, others: list[str]) -> Finding:
    beside = nearest(name, others)
    next_step = f"Bring it back under this name{beside}: without it nothing can be predicted."
    expected = describe(statistics)
    return Finding(name, "not there", expected, "nothing", next_step, 1, 0, True, True, tests=0)


def describe(statistics: Numbers | Names) -> str:
    """Return in words what a feature is like."""
    if isinstance(statistics, Names):
        return describe_shares(statistics.counts, statistics.count + statistics.missing)
    if not statistics.count:
        return "none"
    low, middle, high = np.quantile(statistics.sorted, [0, 0.5, 1])
    return f"{shorten(low)} to {shorten(high)}, median {shorten(middle)}"


def shorten(number: float) -> str:
    """Return a number with its first four figures."""
    return f"{float(f'{number:.4g}'):,.10g}"


def describe_shares(counts: Mapping[str, int], total: int) -> str:
    """Return the most frequent names with their shares, in words."""
    names = sorted(counts, key=lambda name: -counts[name])
    shown = [f"{name} {percent(counts[name] / total)}" for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(shown) + more or "none"


def percent(share: float) -> str:
    """Return a share in words."""
    return f"{100 * share:.3g} %"


# --- numbers


def compare_numbers(
    name: str, expected: Numbers, values: np.ndarray, has_units: bool
) -> Iterator[Finding]:
    """Yield the result of each test of a feature of numbers; see compare."""
    there = np.sort(values[~np.isnan(values)]).astype(np.float32)
    yield _compare_missing(name, expected, len(values) - len(there), len(there))
    if not len(there) or not expected.count:
        return
    found = Numbers(count=len(there), missing=0, values=there.tolist())
    distance, probability = compare_distributions(expected, there)
    surely = has_units and probability < ALARM
    unit = find_unit(expected, there, distance) if surely else ""
    words = f"{f'as if {unit}: ' if unit else ''}{describe(found)}"
    problem = UNIT if unit else "shifted"
    next_step = "Give it in the unit of the training." if unit else RETRAIN
    yield Finding(
        *(name, problem, describe(expected), words, next_step, distance, probability),
        *(distance >= FAR, bool(unit)),
    )
    low, high = expected.sorted[[0, -1]]
    yield _compare_beyond(name, expected, SMALL, f"at least {shorten(low)}", low - there)
    yield _compare_beyond(name, expected, LARGE, f"at most {shorten(high)}", there - high)


def _compare_beyond(
    name: str, expected: Numbers, problem: str, limit: str, beyond: np.ndarray
) -> Finding:
    """Return the result of the test of how many numbers lie beyond all of the training.

    Args:
        name: of the feature.
        expected: of the training.
        problem: in words.
        limit: in words.
        beyond: (N,) how far each new number lies beyond it.
    """
    low, high = expected.sorted[[0, -1]]
    far = np.sort(beyond[beyond > 0])
    share = len(far) / len(beyond)
    most = float(far[-1]) if len(far) else 0.0
    such = low - most if problem == SMALL else high + most
    return Finding(
        *(name, problem, limit, f"{percent(share)} beyond, up to {shorten(such)}"),
        *(f"Look at these {len(far):,} examples. {RETRAIN}", share),
        exceedance(len(far), len(beyond), expected.count),
        bool(effect(share, 1 / (expected.count + 1)) >= EFFECT),
        noted=bool(most > high - low),  # As a code for what is missing is.
    )


def compare_distributions(expected: Numbers, there: np.ndarray) -> tuple[float, float]:
    """Return the distance of two distributions, and how probable so large a one is by chance.

    Args:
        expected: of the training.
        there: (N,) float32, sorted.
    """
    known, count = expected.sorted, expected.count
    places = np.concatenate([known, there])
    shares = [np.searchsorted(each, places, "right") / len(each) for each in (known, there)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    if len(known) < count:  # The values between those that are kept are not known.
        distance = max(0.0, distance - 1 / (len(known) - 1))
    size = max(1, round(count * len(there) / (count + len(there))))
    return distance, float(stats.kstwo.sf(distance, size))


def find_unit(expected: Numbers, there: np.ndarray, distance: float) -> str:
    """Return the change of unit, in words, that explains a distance; empty: none does."""
    results = []
    for words, (factor, offset) in UNITS.items():
        if distance < (UNIT_FAR if offset else UNIT_NEAR):
            continue
        back = np.sort((there.astype(np.float64) - offset) / factor).astype(np.float32)
        results.append((*compare_distributions(expected, back), words))
    best, probability, words = min(results, default=(1.0, 0.0, ""))
    # Of many examples, a small shift beside the other unit is no chance any more.
    return words if best < distance / 2 and (probability > ALARM or best < FAR) else ""


def exceedance(beyond: int, found: int, known: int) -> float:
    """Return the probability that so many of the examples found lie beyond all that are known.

    If nothing has changed, the outermost examples of both are of either in any order.
    """
    ranks = np.arange(beyond)
    return float(np.exp(np.log((found - ranks) / (known + found - ranks)).sum()))


# --- names, and examples without any


def compare_names(name: str, expected: Names, values: np.ndarray) -> Iterator[Finding]:
    """Yield the result of each test of a feature of names; see compare."""
    names, counts = np.unique(values[values != ""], return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    total, known = len(values), expected.count + expected.missing
    yield _compare_missing(name, expected, total - sum(found.values()), sum(found.values()))
    new = {each: count for each, count in found.items() if each not in expected.counts}
    once, twice = (sum(count == times for count in expected.counts.values()) for times in (1, 2))
    # The estimate of what training did not have is less certain than a share of so many examples:
    # its variance is (once + 2 twice) / known^2. (Good 1953, doi.org/10.1093/biomet/40.3-4.237)
    factor = 1 + 2 * twice / max(1, once)
    looser = round(once / factor), round(known / factor)
    share, usual = sum(new.values()) / total, once / known
    yield Finding(
        *(name, NEW, f"{percent(usual)} that training did not have", describe_shares(new, total)),
        "Write it as in training, if it is a known one; else train anew with examples of it.",
        *(share, float(fisher(sum(new.values()), total, *looser))),
        bool(share > usual and effect(share, usual) >= EFFECT),
        noted=bool(new),
    )
    if found or expected.count:
        yield _compare_shares(name, expected, found, total)


def _compare_shares(name: str, expected: Names, found: Mapping[str, int], total: int) -> Finding:
    """Return the worst result of the tests of the share of each name.

    Args:
        name: of the feature.
        expected: of the training.
        found: how many new examples have each name.
        total: of the new examples.
    """
    # Chosen by the examples of both: one side's most frequent are less so on the other by chance.
    both = Counter(expected.counts) + Counter(found)
    words = sorted(both, key=lambda each: (-both[each], each))[:MOST_NAMES]
    now = np.array([found.get(each, 0) for each in words])
    then = np.array([expected.counts.get(each, 0) for each in words])
    known = expected.count + expected.missing
    if len(both) > MOST_NAMES:
        words.append("the rest")
        now = np.append(now, sum(found.values()) - now.sum())
        then = np.append(then, expected.count - then.sum())
    probabilities = fisher(now, total, then, known)
    large = effect(now / total, then / known) >= EFFECT
    # Where some differences are large enough to matter, the others are no concern.
    order = np.lexsort((probabilities, ~large))
    shown = [i for i in order if large[i] and probabilities[i] < ALARM][:SHOWN] or order[:1]
    return Finding(
        *(name, "shares", ", ".join(f"{words[i]} {percent(then[i] / known)}" for i in shown)),
        *(", ".join(f"{words[i]} {percent(now[i] / total)}" for i in shown), RETRAIN),
        *(float(abs(now / total - then / known)[order[0]]), float(probabilities[order[0]])),
        *(bool(large[order[0]]), False, len(words)),
    )


def _compare_missing(name: str, expected: Numbers | Names, missing: int, there: int) -> Finding:
    """Return the result of the test of how many examples lack a feature."""
    total, known = missing + there, expected.missing + expected.count
    share, usual = missing / total, expected.missing / known
    return Finding(
        *(name, "empty" if share > usual else "no longer empty", f"{percent(usual)} empty"),
        *(f"{percent(share)} empty", f"Find out why. {MEND if share > usual else RETRAIN}"),
        abs(share - usual),
        float(fisher(missing, total, expected.missing, known)),
        *(bool(effect(share, usual) >= EFFECT), bool(share > usual)),
    )


def effect(share: Any, other: Any) -> Any:
    """Return how far apart two shares are, or arrays of them; see EFFECT."""
    return 2 * np.abs(np.arcsin(np.sqrt(share)) - np.arcsin(np.sqrt(other)))


def fisher(found: Any, total: int, known: Any, known_total: int) -> Any:
    """Return how probable so different counts are by chance: Fisher's exact test, two-sided.

    Args:
        found: how many of `total` new examples have something, or an array of such counts.
        total: of the new examples.
        known: how many of `known_total` training examples have it.
        known_total: of the training examples.
    """
    places = (total + known_total, found + known, total)
    above = stats.hypergeom.sf(found - 1, *places)
    below = stats.hypergeom.cdf(found, *places)
    return np.minimum(1, 2 * np.minimum(above, below))
