"""Examples that differ in length, such as texts, in one array."""

from typing import Self

import numpy as np


class Ragged:
    """Examples of different lengths: all their values in one array, and where each begins.

    Args:
        values: (sum of the lengths, ...)
        offsets: (N + 1,) int64, where each example begins, and the end of the last.
        longest: the length to which batches are padded.
        fill: the value of the padding.
    """

    def __init__(self, values: np.ndarray, offsets: np.ndarray, longest: int, fill: int) -> None:
        self.values, self.offsets = values, offsets
        self.longest, self.fill = longest, fill

    @classmethod
    def join(cls, examples: list[np.ndarray], fill: int = 0) -> Self:
        """Return the examples, each (length, ...), as one ragged array."""
        lengths = np.array([len(example) for example in examples], np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        return cls(np.concatenate(examples), offsets, max(int(lengths.max()), 1), fill)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self.values.nbytes

    def take(self, rows: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return some examples, padded: (len(rows), longest, ...)."""
        assert axis == 0
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        steps = np.arange(self.longest)
        inside = steps < lengths[:, None]  # (B, longest)
        shape = (len(rows), self.longest, *self.values.shape[1:])
        padded = np.full(shape, self.fill, self.values.dtype)
        padded[inside] = self.values[(starts[:, None] + steps)[inside]]
        return padded
