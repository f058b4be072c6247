"""The order of the examples in an epoch, some shards at a time: a function of seed and epoch."""

import os
from collections.abc import Callable, Sequence

import numpy as np

from machinery.sampling import Order


class WindowedOrder(Order):
    """The shards in a random order, in windows of some; within a window, the examples at random.

    So only the shards of one window have to be at hand, or of two where one ends. A window of all
    shards gives the order of arrays in one piece.

    Args:
        sizes: examples of each shard.
        window: shards that are shuffled together.
        announce: called with the shards of the next window when a batch of one is asked for.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        window: int,
        announce: Callable[[tuple[int, ...]], None] | None = None,
    ) -> None:
        super().__init__(sum(sizes))
        self.sizes, self.window, self.announce = np.array(sizes, np.int64), window, announce
        self.firsts = self.sizes.cumsum() - self.sizes  # the first row of each shard
        self.planned: tuple[int, int] | None = None  # the seed and the epoch of the two:
        self.windows: list[np.ndarray] = []  # the shards of each window, and
        self.ends = np.zeros(0, np.int64)  # its end in the order of the epoch
        self.position: tuple[int, ...] = ()  # seed, epoch, window of the rows that are at hand
        self.rows = np.zeros(0, np.int64)
        self.after: dict[int, tuple[int, ...]] = {}  # by shard: those of the window after its own
        self.process = 0  # that knows them

    def take(self, seed: int, epoch: int, first: int, last: int) -> np.ndarray:
        """Return the rows from a place in the order of an epoch up to, without, another one."""
        if self.window >= len(self.sizes):
            return super().take(seed, epoch, first, last)
        if self.planned != (seed, epoch):
            self._plan(seed, epoch)
        parts = []
        for number in range(int(np.searchsorted(self.ends, first, "right")), len(self.windows)):
            start = int(self.ends[number - 1]) if number else 0
            if start >= last:
                break
            parts.append(self._rows_of(seed, epoch, number)[max(first - start, 0) : last - start])
        return np.concatenate(parts)

    def _plan(self, seed: int, epoch: int) -> None:
        self.windows, self.planned = self._draw_windows(seed, epoch), (seed, epoch)
        self.ends = np.array([self.sizes[shards].sum() for shards in self.windows]).cumsum()
        following = [*self.windows[1:], self._draw_windows(seed, epoch + 1)[0]]
        self.after = {
            int(shard): tuple(map(int, after))
            for shards, after in zip(self.windows, following, strict=True)
            for shard in shards
        }
        self.process = os.getpid()

    def _draw_windows(self, seed: int, epoch: int) -> list[np.ndarray]:
        shards = np.random.default_rng((seed, epoch, 3)).permutation(len(self.sizes))
        return np.split(shards, range(self.window, len(shards), self.window))

    def _rows_of(self, seed: int, epoch: int, number: int) -> np.ndarray:
        """Return all rows of a window; where it is a new one, announce the next."""
        if self.position != (seed, epoch, number):
            shards = self.windows[number]
            each = [self.firsts[shard] + np.arange(self.sizes[shard]) for shard in shards]
            generator = np.random.default_rng((seed, epoch, 0, number))
            self.rows = generator.permutation(np.concatenate(each))
            self.position = (seed, epoch, number)
            if self.announce:
                self.announce(self.after[int(shards[0])])
        return self.rows

    def shards_after(self, shard: int) -> tuple[int, ...]:
        """Return the shards of the window after that of a shard; none where nobody knows them.

        Only the process that makes the order knows, and not those that it started.
        """
        return self.after.get(shard, ()) if self.process == os.getpid() else ()
