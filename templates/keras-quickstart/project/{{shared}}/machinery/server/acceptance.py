"""Whether a version may take the place of the one in service, by the metrics on the test split."""

import math
from collections.abc import Callable
from typing import NamedTuple

from machinery.errors import InputError
from machinery.intervals import Interval, in_words, too_few
from machinery.metrics import Objective
from machinery.server.model_versions import Facts

HOW = (
    "in brackets 95 % intervals by the bootstrap{}: other examples of the same kind could give "
    "those"
)
NO_INTERVAL = (
    "there is no interval: a version holds no predictions of test (evaluate.py, then export.py, "
    "bring them), or they are not of the same examples, too many, or all alike"
)
NOT_BETTER = "To accept it nevertheless, add --anyway: the history will say so."


class Comparison(NamedTuple):
    """What the test split says of two versions."""

    refused: bool
    words: str
    margin: float  # how much worse it might have been


def describe(value: float, facts: Facts, objective: Objective) -> str:
    """Return a value of the metric in words, with its interval.

    A version of an earlier state of the project may hold one over too few groups.
    """
    if too_few(facts.test_groups):
        return f"{value:.4g}"
    interval = facts.test_intervals.get(metric_name(objective))
    return f"{value:.4g}{in_brackets(interval)}"


def no_interval(*versions: Facts) -> str:
    """Return why versions have no interval where it is for want of groups; else nothing."""
    few = next(filter(None, (too_few(facts.test_groups) for facts in versions)), "")
    return few and f"there is no interval: {few}"


def in_brackets(interval: Interval | None) -> str:
    """Return an interval as it stands behind a number; nothing where there is none."""
    return f" ({in_words(interval)})" if interval else ""


def test_value(facts: Facts, objective: Objective, number: int) -> float:
    """Return the metric that decides, on the test split.

    Raises:
        InputError: the version does not hold it.
    """
    name = metric_name(objective)
    value = (facts.test_metrics or {}).get(name)
    if value is None or not math.isfinite(value):
        raise InputError(
            f"version {number} says nothing of {name} on the test split. Evaluate its experiment "
            f"and export it again: python evaluate.py --experiment {facts.experiment}, then "
            f"python export.py --experiment {facts.experiment}. {NOT_BETTER}"
        )
    return value


def metric_name(objective: Objective) -> str:
    """Return the name of the metric that decides, without that of its split."""
    return objective.metric.removeprefix("val_")


def compare(
    new: tuple[int, Facts],
    old: tuple[int, Facts],
    objective: Objective,
    margin: float | None,
    difference: Callable[[], Interval | None],
) -> Comparison:
    """Compare a new version with the one in service.

    Args:
        new: the number of the new version, and what it says.
        old: those of the one in service.
        objective: which metric decides.
        margin: how much worse than the old version the new one may be, in units of the metric;
            None: what is usual.
        difference: returns the interval of the new version's metric less that of the old one.

    Raises:
        InputError: a version has no metrics, or they are of other data.
    """
    (new_number, new_facts), (old_number, old_facts) = new, old
    values = (
        test_value(new_facts, objective, new_number),
        test_value(old_facts, objective, old_number),
    )
    prints = [facts.dataset.get("fingerprint") for facts in (new_facts, old_facts)]
    if prints[0] != prints[1]:
        raise InputError(
            f"version {new_number} was tested on other data ({prints[0]}) than version "
            f"{old_number} ({prints[1]}), so their metrics cannot be compared. Train the older "
            f"one's parameters on the new data (--from), and accept that first. {NOT_BETTER}"
        )
    worse = values[1] - values[0] if objective.maximize else values[0] - values[1]
    shown = [
        describe(value, facts, objective)
        for value, facts in zip(values, (new_facts, old_facts), strict=True)
    ]
    words = (
        f"{metric_name(objective)} on {new_facts.test_examples:,} examples of test: version "
        f"{new_number} {shown[0]}, version {old_number} in service {shown[1]}"
    )
    margin = objective.usual_margin(values[1]) if margin is None else margin
    refused = worse > margin and not math.isclose(worse, margin)  # 0.95 - 0.94 is above 0.01.
    interval, sign = difference(), 1 if (worse > 0) != objective.maximize else -1
    if interval:
        low, high = sorted(sign * bound for bound in interval)
        interval = low, high
    change = f"{'worse' if worse > 0 else 'better'} by {abs(worse):.4g}{in_brackets(interval)}"
    groups = new_facts.test_groups or old_facts.test_groups
    drawn = f", which draws {groups:,} groups whole" if groups else ""
    none = no_interval(new_facts, old_facts) or NO_INTERVAL
    how = HOW.format(drawn) if interval else none
    words += f". It is {change if worse else 'as good'}; {how}."
    return Comparison(refused, words, margin)
