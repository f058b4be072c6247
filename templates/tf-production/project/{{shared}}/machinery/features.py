"""What check_data.py compares of examples, new and old: a task's dataset says which features.

A feature is a number or a name that each example has, or lacks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

# By name, (N,) float64 with NaN where an example has none, or (N,) str with "" there.
Features = Mapping[str, np.ndarray]
# Yields blocks of Unlabelled, given paths, a dataset, and whether to leave out what is of no use.
ReadUnlabelled = Callable[[Sequence[Path], Any, bool], Iterator[Any]]


class Described:
    """A dataset whose examples have features; a task overrides what it needs."""

    # Features that training examples have otherwise than new ones, as the data was prepared by
    # them: what is expected of these is how they are in val.
    held_out: ClassVar[tuple[str, ...]] = ()
    has_units: ClassVar[bool] = False  # Numbers were measured in some unit, which may change.

    def describe(
        self, inputs: Mapping[str, np.ndarray], originals: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return the features of some examples, each (N,).

        Args:
            inputs: of the network, (N, ...), as they are stored.
            originals: of Unlabelled; None: they are not known.
        """
        del inputs, originals
        return {}

    def known_names(self) -> dict[str, tuple[str, ...]]:
        """Return all names that a feature of names has in the training examples."""
        return {}

    def recorded_statistics(self) -> dict[str, Any]:
        """Return Numbers or Names by feature, of what was known when the dataset was prepared."""
        return {}

    def read_features(
        self, paths: Sequence[Path], skip_bad: bool, read_unlabelled: ReadUnlabelled
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the features of new examples, a block at a time.

        Args:
            paths: what to read.
            skip_bad: leave out what cannot be used, and say so.
            read_unlabelled: of build_dataset.py.

        Raises:
            InputError: naming what cannot be used.
        """
        for block in read_unlabelled(paths, self, skip_bad):
            yield self.describe(block.inputs, block.originals)


def concatenate_features(parts: Sequence[Features]) -> dict[str, np.ndarray]:
    """Return the features of all parts; what not every part has is left out."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def to_feature(cells: Sequence[str]) -> np.ndarray:
    """Return texts as a feature: of numbers, where all that are not empty are numbers."""
    try:
        return np.array([float(cell) if cell else math.nan for cell in cells], np.float64)
    except ValueError:
        return np.array(cells, np.str_)
