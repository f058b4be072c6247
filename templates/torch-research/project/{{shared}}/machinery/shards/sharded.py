"""Arrays in shards, with the methods of an array in one piece.

A shard's files are mapped into memory when one of its examples is asked for, and let go when others
were asked for since. Where the data set is at a URL, they are fetched before that.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from machinery.errors import InputError
from machinery.ragged import Ragged
from machinery.shards.shard_cache import ShardCache
from machinery.shards.shard_list import Shard, ShardList, stem, write_again
from machinery.shards.shard_order import WindowedOrder

MAPPED = 256  # Files of a split that are mapped at a time, unless its window has more.

# Maps an array: its name, its place (the path without ".npy"), its examples.
Read = Callable[[str, Path, int], np.ndarray | Ragged]


class Shards:
    """The shards of a split, of which some are mapped into memory.

    Args:
        contents: the folder of the files.
        found: what its shards.json says.
        split: train, val or test.
        names: of the arrays.
        read: maps one of them.

    Raises:
        InputError: a shard is missing, or the cache has no room for two windows of them.
    """

    def __init__(
        self, contents: Path, found: ShardList, split: str, names: Sequence[str], read: Read
    ) -> None:
        self.contents, self.split, self.names, self.read = contents, split, tuple(names), read
        self.shards = found.shards[split]
        self.starts = np.array([0, *(each.examples for each in self.shards)]).cumsum()
        window = found.window_of(split)
        self.opened: dict[int, dict[str, np.ndarray | Ragged]] = {}  # the last opened one last
        self.cache = ShardCache.of(contents)
        self.most = 2 * window
        if self.cache:  # The disk keeps a deleted file as long as it is mapped.
            self.cache.refuse_small(self.shards, window)
        else:
            self.most = max(self.most, MAPPED // max(1, len(names)))
            for shard in self.shards:
                self._refuse_missing(shard)
        sizes = [each.examples for each in self.shards]
        self.order = WindowedOrder(sizes, window, self._announce if self.cache else None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": {}}  # Another process opens what it needs.

    def open(self, number: int) -> dict[str, np.ndarray | Ragged]:
        """Return the arrays of a shard by name. Any thread may call this.

        Raises:
            InputError: a file is missing, or is not what shards.json and dataset.json say.
        """
        found = self.opened.pop(number, None)  # Two threads may open the same one: no harm.
        if found is None:
            if self.cache:
                shard = self.shards[number]
                found = self.cache.open(stem(self.split, number), shard, lambda: self._map(number))
                self._announce(self._following(number))
            else:
                found = self._map(number)
        self.opened[number] = found
        while len(self.opened) > self.most:
            with contextlib.suppress(KeyError, RuntimeError):  # Another thread was faster.
                del self.opened[next(iter(self.opened))]
        return found

    def _map(self, number: int) -> dict[str, np.ndarray | Ragged]:
        begin, count = stem(self.split, number), self.shards[number].examples
        paths = {name: self.contents / f"{begin}_{name}" for name in self.names}
        return {name: self.read(name, path, count) for name, path in paths.items()}

    def _refuse_missing(self, shard: Shard) -> None:
        for name in shard.sha256:
            if not (self.contents / name).exists():
                raise InputError(
                    f"{self.contents / name}: not found, though {self.contents / 'shards.json'} "
                    f"lists it. {write_again(self.contents.parent)}"
                )

    def _following(self, number: int) -> tuple[int, ...]:
        if self.split == "train":
            return self.order.shards_after(number)
        return (number + 1,) if number + 1 < len(self.shards) else ()

    def _announce(self, numbers: tuple[int, ...]) -> None:
        if self.cache and numbers:
            self.cache.fetch_ahead({stem(self.split, each): self.shards[each] for each in numbers})


class Sharded:
    """An array of all examples of a split, in shards.

    Args:
        shards: of the split.
        name: of the array.
        dtype: of its values.
        shape: of an example in a batch, where ragged ones are padded.
    """

    def __init__(self, shards: Shards, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self.shards, self.name = shards, name
        self.dtype, self.shape = np.dtype(dtype), (int(shards.starts[-1]), *shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> np.ndarray:
        """Return one example, not padded."""
        number = int(np.searchsorted(self.shards.starts, row, "right")) - 1
        return self.shards.open(number)[self.name][row - int(self.shards.starts[number])]

    @property
    def nbytes(self) -> int:
        """Bytes of all values, where ragged ones are padded."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def take(self, rows: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return some examples, ragged ones padded: (len(rows), ...)."""
        assert axis == 0
        numbers = np.searchsorted(self.shards.starts, rows, "right") - 1
        grouped = np.argsort(numbers, kind="stable")  # Shard by shard: faster than to and fro.
        found, firsts = np.unique(numbers[grouped], return_index=True)
        taken = np.empty((len(rows), *self.shape[1:]), self.dtype)
        lasts = np.append(firsts, len(rows))[1:]
        for number, first, last in zip(found, firsts, lasts, strict=True):
            here = rows[grouped[first:last]] - self.shards.starts[number]
            taken[first:last] = self.shards.open(int(number))[self.name].take(here, axis=0)
        return taken.take(np.argsort(grouped), axis=0)

    def beginning(self, most: int) -> np.ndarray | Ragged:
        """Return the examples of the first shards, as many as have about so many bytes."""
        each = self.nbytes // max(1, len(self))
        count = min(len(self), max(1, most // max(1, each)))
        number = int(np.searchsorted(self.shards.starts, count, "left"))
        parts = [self.shards.open(i)[self.name] for i in range(number)]
        examples = [part[row] for part in parts for row in range(len(part))][:count]
        if parts and isinstance(parts[0], Ragged):
            return Ragged.join(examples, parts[0].fill)
        return np.stack(examples) if examples else self.take(np.arange(0))


def order_of(arrays: Mapping[str, Any]) -> WindowedOrder | None:
    """Return the order in which the shards of a split are trained on; None: it is in one piece."""
    found = (array.shards.order for array in arrays.values() if isinstance(array, Sharded))
    return next(found, None)
