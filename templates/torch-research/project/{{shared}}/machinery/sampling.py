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
    ) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.steps, self.share = range(first_step, last_step), share

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        steps_per_epoch = -(-self.examples // self.batch_size)
        batches_epoch, batches = -1, []
        for step in self.steps:
            epoch, batch = divmod(step, steps_per_epoch)
            if epoch != batches_epoch:
                order = np.random.default_rng((self.seed, epoch, 0)).permutation(self.examples)
                # Nearly equal batches: batch normalisation cannot compute with a single example.
                batches_epoch, batches = epoch, np.array_split(order, steps_per_epoch)
            yield epoch, self.share.take(batches[batch])


def examples_of_batch(examples: int, steps_per_epoch: int, step: int) -> int:
    """Return how many examples the batch of a step has, in all processes together."""
    smallest, larger = divmod(examples, steps_per_epoch)
    return smallest + (step % steps_per_epoch < larger)


def evaluation_batch_size(positions: int) -> int:
    """Return how many examples to evaluate at a time, given the positions of each (pixels, ...)."""
    return max(1, min(256, 2**20 // positions))
