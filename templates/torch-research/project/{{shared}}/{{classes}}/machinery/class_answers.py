"""What people read of probabilities, as JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np

LIKELY = 0.5  # A label is predicted above this probability.
# The JSON Schemas of what answer_probabilities() returns of an example.
NUMBER = {"type": "number"}
NAMES = {"type": "array", "items": {"type": "string"}}
_PROBABILITIES = {"type": "object", "additionalProperties": NUMBER}
ONE_CLASS: dict[str, Any] = {
    "type": "object",
    "required": ["class", "probability", "probabilities"],
    "properties": {
        "class": {"type": "string"},
        "probability": NUMBER,
        "probabilities": _PROBABILITIES,
    },
}
LABELS: dict[str, Any] = {
    "type": "object",
    "required": ["labels", "probabilities"],
    "properties": {"labels": NAMES, "probabilities": _PROBABILITIES},
}


def answer_probabilities(
    probabilities: np.ndarray, classes: Sequence[str], multilabel: bool
) -> list[dict[str, Any]]:
    """Return the most probable class of each example, or its labels, and all probabilities.

    Args:
        probabilities: (N, classes)
        classes: their names.
        multilabel: an example may have any number of them.
    """
    answers = []
    for row in probabilities.tolist():
        named = dict(zip(classes, row, strict=True))
        if multilabel:
            found: dict[str, Any] = {"labels": [n for n, p in named.items() if p > LIKELY]}
        else:
            found = {"class": max(named, key=lambda name: named[name]), "probability": max(row)}
        answers.append({**found, "probabilities": named})
    return answers
