"""Which texts are in train, val and test."""

import numpy as np

from machinery.errors import InputError
from machinery.splits import StratumError, split_off
from machinery.text_sources import Texts


def split_classes(
    groups: np.ndarray, texts: Texts, source: str, seed: int
) -> dict[str, np.ndarray]:
    """Return the row numbers of train, val and test, keeping the shares of the classes.

    Args:
        groups: (N,), what stays together.
        texts: all of them.
        source: where they came from, for messages.
        seed: of the random split.

    Raises:
        InputError: a class has too few texts.
    """
    advice = "Add texts, remove the class, or say which texts are train, val and test."
    try:
        splits = split_off(groups, texts.labels, texts.given, seed)
    except StratumError as error:
        raise InputError(
            f"{source}: class {texts.classes[error.stratum]} has too few different texts to split; "
            f"expected 3 or more. {advice}"
        ) from None
    counts = np.bincount(texts.labels[splits["train"]], minlength=len(texts.classes))
    if not counts.all():
        raise InputError(
            f"{source}: no text of train is of class {texts.classes[counts.argmin()]}. {advice}"
        )
    return splits
