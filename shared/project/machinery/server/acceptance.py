"""Whether a version may take the place of the one in service, by the metrics on the test split."""

import math
from typing import NamedTuple

from machinery.errors import InputError
from machinery.metrics import Objective
from machinery.server.model_versions import Facts

NORMAL_95 = 1.959964  # Between minus and plus so many standard deviations lie 95 %.
NOT_BETTER = "To accept it nevertheless, add --anyway: the history will say so."


class Comparison(NamedTuple):
    """What the test split says of two versions."""

    refused: bool
    words: str
    margin: float  # how much worse it might have been


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` independent examples.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    z = NORMAL_95**2 / count
    middle = (share + z / 2) / (1 + z)
    spread = math.sqrt(share * (1 - share) * z + z**2 / 4) / (1 + z)
    return max(0.0, middle - spread), min(1.0, middle + spread)


def describe(value: float, facts: Facts, objective: Objective) -> str:
    """Return a value of the metric in words, with its interval where it is a share."""
    if not (objective.maximize and 0 <= value <= 1 and facts.test_examples):
        return f"{value:.4g}"
    low, high = wilson_interval(value, facts.test_examples)
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


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
    new: tuple[int, Facts], old: tuple[int, Facts], objective: Objective, margin: float | None
) -> Comparison:
    """Compare a new version with the one in service.

    Args:
        new: the number of the new version, and what it says.
        old: those of the one in service.
        objective: which metric decides.
        margin: how much worse than the old version the new one may be, in units of the metric;
            None: what is usual.

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
    if "(" in words:
        words += (
            "; in brackets Wilson's 95 % interval, which is meant for shares of examples and is "
            "rough for other metrics"
        )
    margin = objective.usual_margin(values[1]) if margin is None else margin
    change = f"worse by {worse:.4g}" if worse > 0 else f"better by {-worse:.4g}"
    refused = worse > margin and not math.isclose(worse, margin)  # 0.95 - 0.94 is above 0.01.
    return Comparison(refused, f"{words}. It is {change if worse else 'as good'}.", margin)
