"""Random changes of the training images: `draw` draws them, `augment` applies them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

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
    inputs: dict[str, torch.Tensor],
    targets: dict[str, torch.Tensor],
    drawn: Mapping[str, torch.Tensor],
    parameters: DataParameters,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a batch with the changes that were drawn for its examples.

    Args:
        inputs: "images" (B, H, W, C) uint8.
        targets: "boxes" (B, M, 5) float32.
        drawn: the arrays that `draw` returned, with only the rows of these examples.
        parameters: of the data.
    """
    images, boxes = inputs["images"], targets["boxes"]
    height, width = images.shape[1:3]
    if "flips" in drawn:
        flips = drawn["flips"].to(images.device)
        images, boxes = image_changes.flip(images, flips), flip_boxes(boxes, flips, width)
    if "shifts" in drawn:
        shifts = drawn["shifts"].to(images.device)
        images = image_changes.shift(images, shifts, parameters.shift)
        boxes = shift_boxes(boxes, shifts, height, width)
    return {**inputs, "images": images}, {**targets, "boxes": boxes}


def flip_boxes(boxes: torch.Tensor, flips: torch.Tensor, width: int) -> torch.Tensor:
    """Mirror the boxes of some images left to right.

    Args:
        boxes: (B, M, 5): class, left, top, right, bottom in pixels; a class of -1 is no box.
        flips: (B,) bool
        width: of the images.

    Returns:
        (B, M, 5)
    """
    number, left, top, right, bottom = boxes.unbind(2)
    mirrored = torch.stack([number, width - right, top, width - left, bottom], dim=2)
    return torch.where(flips[:, None, None] & (boxes[..., :1] >= 0), mirrored, boxes)


def shift_boxes(boxes: torch.Tensor, shifts: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Move the boxes of each image with it, and cut off what is beyond its edge.

    Args:
        boxes: (B, M, 5): class, left, top, right, bottom in pixels; a class of -1 is no box.
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        height: of the images.
        width: of the images.

    Returns:
        (B, M, 5), -1 throughout for a box of which nothing is left in the image
    """
    down, right = shifts[:, None, 0], shifts[:, None, 1]  # (B, 1)
    columns = (boxes[..., 1::2] + right[..., None]).clamp(0, width)  # left and right, (B, M, 2)
    rows = (boxes[..., 2::2] + down[..., None]).clamp(0, height)
    moved = torch.cat([boxes[..., :1], torch.stack([columns, rows], dim=3).flatten(2)], dim=2)
    is_left = (columns[..., 0] < columns[..., 1]) & (rows[..., 0] < rows[..., 1])
    return torch.where((is_left & (boxes[..., 0] >= 0))[..., None], moved, -1.0)
