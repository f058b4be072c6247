"""How much an example of each class counts in training, where classes are not equally frequent."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from machinery.errors import InputError

if TYPE_CHECKING:  # Parameters are refused before NumPy is imported.
    import numpy as np


def count_classes(labels: "np.ndarray", classes: int) -> tuple[int, ...]:
    """Return how many examples each class has.

    Args:
        labels: (N,) int
        classes: how many there are.
    """
    counts = Counter(labels.tolist())
    return tuple(counts[number] for number in range(classes))


def balance_classes(counts: Sequence[int], balance: float) -> tuple[float, ...]:
    """Return the weight of an example of each class: counts ** -balance, scaled to a mean of 1.

    The mean is over the examples, so the loss keeps its size:
    weight[c] = counts[c] ** -balance * N / sum of counts ** (1 - balance), with N = sum of counts.
    With balance 0 every weight is 1; with 1 each class counts as much as another, however few its
    examples are.

    Args:
        counts: of the training examples of each class.
        balance: from 0 to 1.
    """
    # A class without examples needs no weight.
    weights = [max(count, 1) ** -balance for count in counts]
    weighted = sum(count * weight for count, weight in zip(counts, weights, strict=True))
    return tuple(weight * sum(counts) / weighted for weight in weights)


def refuse_balance(balance: float, counts: Sequence[int], impossible: str = "") -> None:
    """Raise InputError where classes cannot be balanced.

    Args:
        balance: the parameter model.balance.
        counts: as dataset.json has them; empty where it was written before they were counted.
        impossible: why there are no classes to balance; empty: there are.
    """
    if balance and impossible:
        raise InputError(
            f"model.balance: got {balance}, expected 0: {impossible}. Change it with --from."
        )
    if balance and not counts:
        raise InputError(
            f"model.balance: got {balance}, and dataset.json does not say how many training "
            "examples each class has. Prepare the data again: build_dataset.py with --overwrite "
            "and the options of before; the same data keep their fingerprint."
        )
