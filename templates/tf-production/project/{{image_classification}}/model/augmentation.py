"""Random changes of the training images: `draw` draws them, `augment` applies them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from model import image_changes
from model.parameters import DataParameters

if TYPE_CHECKING:
    from build_dataset import Dataset


def draw(
    dataset: "Dataset", parameters: DataParameters, seed: int, epoch: int
) -> dict[str, np.ndarray]:
    """Draw the changes of every training example in an epoch.

    Returns:
        For what is switched on: "shifts" (examples, 2) int64, rows down and columns to the right,
        in pixels; "flips" (examples,) bool, whether to mirror left to right.
    """
    return image_changes.draw(
        dataset.examples["train"], parameters.shift, parameters.flip, seed, epoch
    )


def augment(
    inputs: dict[str, tf.Tensor],
    targets: dict[str, tf.Tensor],
    drawn: Mapping[str, tf.Tensor],
    parameters: DataParameters,
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Return a batch with the changes that were drawn for its examples.

    Args:
        inputs: "images" (B, H, W, C) uint8.
        targets: "labels", unchanged.
        drawn: the arrays that `draw` returned, with only the rows of these examples.
        parameters: of the data.
    """
    images = inputs["images"]
    if "flips" in drawn:
        images = image_changes.flip(images, drawn["flips"])
    if "shifts" in drawn:
        images = image_changes.shift(images, drawn["shifts"], parameters.shift)
    return {**inputs, "images": images}, targets
