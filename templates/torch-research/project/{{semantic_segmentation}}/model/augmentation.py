"""Random changes of the training images and of their masks: `draw` draws, `augment` applies."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from model import image_changes
from model.net import IGNORED
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
    inputs: dict[str, torch.Tensor],
    targets: dict[str, torch.Tensor],
    drawn: Mapping[str, torch.Tensor],
    parameters: DataParameters,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a batch with the changes that were drawn for its examples.

    An image and its mask change together. Where a shift leaves nothing, the image is black and the
    class of the mask is not known.

    Args:
        inputs: "images" (B, H, W, C) uint8.
        targets: "masks" (B, H, W) uint8.
        drawn: the arrays that `draw` returned, with only the rows of these examples.
        parameters: of the data.
    """
    images, masks = inputs["images"], targets["masks"][..., None]
    if "flips" in drawn:
        flips = drawn["flips"].to(images.device)
        images, masks = image_changes.flip(images, flips), image_changes.flip(masks, flips)
    if "shifts" in drawn:
        shifts, reach = drawn["shifts"].to(images.device), parameters.shift
        images = image_changes.shift(images, shifts, reach)
        masks = image_changes.shift(masks, shifts, reach, fill=IGNORED)
    return {**inputs, "images": images}, {**targets, "masks": masks[..., 0]}
