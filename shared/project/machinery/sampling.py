"""Which examples are in which batch: a function of seed, epoch and index.

So any batch can be made without the ones before it, in any process and any framework.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from machinery.share import ALONE, Share


def fold_seed(*position: int) -> int:
    """Mix a seed and a position, such as (seed, step), into one seed of 63 bits."""
    digest = hashlib.blake2b(repr(position).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Order:
    """The order of the examples in an epoch: all of them at random."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.at_hand: tuple[int, int] | None = None  # the seed and the epoch of `permutation`
        self.permutation = np.zeros(0, np.int64)

    def take(self, seed: int, epoch: int, first: int, last: int) -> np.ndarray:
        """Return the rows from a place in the order of an epoch up to, without, another one."""
        if self.at_hand != (seed, epoch):
            self.permutation = np.random.default_rng((seed, epoch, 0)).permutation(self.examples)
            self.at_hand = (seed, epoch)
        return self.permutation[first:last]


class BatchSampler:
    """Yields (epoch, indices) for the steps from `first_step` up to, without, `last_step`.

    Each epoch has an order of its own. Of several processes, each gets its share of a batch.
    """

    def __init__(
        self,
        examples: int,
        batch_size: int,
        seed: int,
        first_step: int,
        last_step: int,
        share: Share = ALONE,
        order: Order | None = None,
    ) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.steps, self.share = range(first_step, last_step), share
        self.order = order or Order(examples)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        steps_per_epoch = -(-self.examples // self.batch_size)
        # Nearly equal batches: batch normalisation cannot compute with a single example.
        smallest, larger = divmod(self.examples, steps_per_epoch)
        for step in self.steps:
            epoch, batch = divmod(step, steps_per_epoch)
            first = batch * smallest + min(batch, larger)
            last = first + smallest + (batch < larger)
            yield epoch, self.share.take(self.order.take(self.seed, epoch, first, last))


def examples_of_batch(examples: int, steps_per_epoch: int, step: int) -> int:
    """Return how many examples the batch of a step has, in all processes together."""
    smallest, larger = divmod(examples, steps_per_epoch)
    return smallest + (step % steps_per_epoch < larger)


def evaluation_batch_size(positions: int) -> int:
    """Return how many examples to evaluate at a time, given the positions of each (pixels, ...)."""
    return max(1, min(256, 2**20 // positions))
