"""What check_data.py compares of texts: their length, and the words that are not known."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from machinery.features import Described
from machinery.words import PADDING, UNKNOWN


class TextFeatures(Described):
    """A dataset of texts."""

    # A word of a training text is known by that text, where it stands there twice.
    held_out: ClassVar[tuple[str, ...]] = ("share of unknown words",)

    def describe(
        self, inputs: Mapping[str, np.ndarray], originals: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return the features of texts as they are stored, each (N,) float64.

        Args:
            inputs: "tokens" (N, words) int32, padded.
            originals: nothing; other tasks have some.
        """
        del originals
        tokens = inputs["tokens"]
        length = (tokens != PADDING).sum(axis=1)
        unknown = (tokens == UNKNOWN).sum(axis=1)
        return {
            "words": length.astype(np.float64),
            "share of unknown words": unknown / np.maximum(length, 1),
        }
