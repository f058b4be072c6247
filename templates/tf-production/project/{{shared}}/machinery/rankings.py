"""Lists whose order the network decides: things found in each example, by their scores.

Two entries may be almost equally good. Another runtime rounds otherwise, so they change places, or
one is left out and all below it move up: the same entries, elsewhere in the list.
"""

from collections.abc import Callable, Mapping

import numpy as np

# Takes numbers, those expected, and what is usual; returns how far they are, as shares.
Differences = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
Outputs = Mapping[str, np.ndarray]


def ranked(outputs: Outputs) -> list[str]:
    """Return the names of the outputs that together are a list of each example, the best first.

    They have shape (N, K, ...), at least one (N, K, D, ...), and the numbers of one of shape (N, K)
    fall in each example, but for those of entries that do not count, which are 0. (Shares of K
    answers, which fall by chance, are no such list.)
    """
    floats = (a for a in outputs.values() if a.ndim == 2 and np.issubdtype(a.dtype, np.floating))
    scores = next((array for array in floats if array.shape[1] > 1 and _falls(array)), None)
    if scores is None:
        return []
    names = [name for name, array in outputs.items() if array.shape[:2] == scores.shape]
    return names if any(outputs[name].ndim > 2 for name in names) else []


def _falls(scores: np.ndarray) -> bool:
    lowest = np.minimum.accumulate(np.where(scores > 0, scores, np.inf), axis=1)
    return bool(np.all(scores[:, 1:] <= lowest[:, :-1]))


def reordered(
    found: Outputs, expected: Outputs, usual: Mapping[str, float], far: Differences, most: float
) -> dict[str, np.ndarray]:
    """Return outputs with each entry of a list where one like it is expected.

    Args:
        found: the outputs, (N, ...) each.
        expected: what they should be.
        usual: how large numbers of an output are.
        far: tells how far two entries are.
        most: how far entries are that count as the same.
    """
    result = dict(found)
    if not (names := ranked(expected)) or not ranked(found):
        return result
    result |= {name: found[name].copy() for name in names}
    count, entries = expected[names[0]].shape[:2]
    for example in range(count):
        alike = np.ones((entries, entries), bool)  # expected by found
        for name in names:
            mine, other = expected[name][example], found[name][example]
            each = far(other[None], mine[:, None], usual[name])
            alike &= (each <= most).reshape(entries, entries, -1).all(axis=2)
        order = _match(alike)
        for name in names:
            result[name][example] = found[name][example][order]
    return result


def _match(alike: np.ndarray) -> np.ndarray:
    """Return which entry found to put at each place: one like that expected there, if there is."""
    order = np.where(np.diagonal(alike), np.arange(len(alike)), -1)
    free = np.ones(len(alike), bool)
    free[order[order >= 0]] = False
    for place in np.flatnonzero(order < 0):
        if len(candidates := np.flatnonzero(alike[place] & free)):
            order[place] = candidates[0]
            free[candidates[0]] = False
    order[order < 0] = np.flatnonzero(free)
    return order
