"""How much an example of each class counts in training, where classes are not equally frequent."""

from collections.abc import Sequence

import numpy as np

from machinery.errors import InputError


def count_classes(labels: np.ndarray, classes: int) -> tuple[int, ...]:
    """Return how many examples each class has.

    Args:
        labels: (N,) int
        classes: how many there are.
    """
    return tuple(np.bincount(labels, minlength=classes).tolist())


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
    examples = np.maximum(counts, 1).astype(np.float64)  # A class without examples needs no weight.
    weights = examples**-balance
    return tuple((weights * np.sum(counts) / np.sum(counts * weights)).tolist())


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
