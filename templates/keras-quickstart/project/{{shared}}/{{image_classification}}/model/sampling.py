"""Which examples are in which batch, and how each is augmented: functions of seed, epoch and index.

So a batch can be had without those before it, in any process and any framework.
"""

from collections.abc import Iterator

import numpy as np

from model.parameters import DataParameters


class BatchSampler:
    """Yields (epoch, indices) for every step from `first_step` on; each epoch has its order."""

    def __init__(
        self, examples: int, batch_size: int, seed: int, first_step: int, last_step: int
    ) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.steps = range(first_step, last_step)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        steps_per_epoch = -(-self.examples // self.batch_size)
        batches_epoch, batches = -1, []
        for step in self.steps:
            epoch, batch = divmod(step, steps_per_epoch)
            if epoch != batches_epoch:
                order = np.random.default_rng((self.seed, epoch, 0)).permutation(self.examples)
                # Nearly equal batches: batch normalisation cannot do with a last one of one.
                batches_epoch, batches = epoch, np.array_split(order, steps_per_epoch)
            yield epoch, batches[batch]


def draw_augmentation(
    examples: int, parameters: DataParameters, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the augmentation of every training example in an epoch.

    Returns:
        shifts (examples, 2) int64, rows down and columns to the right, in pixels; flips
        (examples,) bool, mirror left to right.
    """
    generator = np.random.default_rng((seed, epoch, 1))
    reach = parameters.shift
    shifts = generator.integers(-reach, reach, size=(examples, 2), endpoint=True)
    return shifts, (generator.random(examples) < 0.5) & parameters.flip
