"""What is changed at random in the training rows: drawn by `draw`, done by `augment`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.parameters import DataParameters

if TYPE_CHECKING:
    from build_dataset import Dataset

MISSING = {"numbers": torch.nan, "categories": 0}  # What the arrays hold for a missing cell.


def draw(
    dataset: "Dataset", parameters: DataParameters, seed: int, epoch: int
) -> dict[str, np.ndarray]:
    """Draw what happens to every training example in an epoch.

    Returns:
        Where hiding is switched on, the cells of each input to hide: (examples, columns) bool.
    """
    if not parameters.hide:
        return {}
    generator, examples = np.random.default_rng((seed, epoch, 1)), dataset.examples["train"]
    shapes = {name: (examples, *dataset.arrays[name].batch_shape) for name in dataset.inputs}
    return {
        name: generator.random(shape, np.float32) < parameters.hide
        for name, shape in shapes.items()
    }


def augment(
    inputs: dict[str, torch.Tensor],
    targets: dict[str, torch.Tensor],
    drawn: Mapping[str, torch.Tensor],
    parameters: DataParameters,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a batch as it was drawn for its examples.

    Args:
        inputs: "numbers" (B, columns) float32, "categories" (B, columns) int64, or one of them.
        targets: "target".
        drawn: the rows of these examples of what `draw` returned.
        parameters: of the data.
    """
    del parameters  # What they say was drawn.
    changed = {
        name: inputs[name].masked_fill(hidden.to(inputs[name].device), MISSING[name])
        for name, hidden in drawn.items()
    }
    return {**inputs, **changed}, targets
