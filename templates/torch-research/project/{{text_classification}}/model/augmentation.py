"""Random changes of the training texts: `draw` draws them, `augment` applies them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.parameters import DataParameters

if TYPE_CHECKING:
    from build_dataset import Dataset

UNKNOWN = 1  # What tokens hold for a word that is not in the vocabulary.


def draw(
    dataset: "Dataset", parameters: DataParameters, seed: int, epoch: int
) -> dict[str, np.ndarray]:
    """Draw the changes of every training example in an epoch.

    Returns:
        If hiding is switched on, "hidden" (examples, words) bool, where a word is hidden.
    """
    if not parameters.hide:
        return {}
    shape = (dataset.examples["train"], *dataset.arrays["tokens"].batch_shape)
    generator = np.random.default_rng((seed, epoch, 1))
    return {"hidden": generator.random(shape, np.float32) < parameters.hide}


def augment(
    inputs: dict[str, torch.Tensor],
    targets: dict[str, torch.Tensor],
    drawn: Mapping[str, torch.Tensor],
    parameters: DataParameters,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a batch with the changes that were drawn for its examples.

    Args:
        inputs: "tokens" (B, words) int32, 0 where a text is padded.
        targets: "labels" (B,) int64.
        drawn: the arrays that `draw` returned, with only the rows of these examples.
        parameters: of the data.
    """
    del parameters  # What they say was drawn.
    tokens = inputs["tokens"]
    if "hidden" in drawn:
        hidden = drawn["hidden"].to(tokens.device) & (tokens > 0)  # Padding stays padding.
        tokens = tokens.masked_fill(hidden, UNKNOWN)
    return {**inputs, "tokens": tokens}, targets
