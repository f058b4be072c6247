"""Random changes of the training images: `draw` draws them, `augment` applies them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

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
    inputs: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
    parameters: DataParameters,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
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
        flips = drawn["flips"]
        images, boxes = image_changes.flip(images, flips), flip_boxes(boxes, flips, width)
    if "shifts" in drawn:
        shifts = drawn["shifts"]
        images = image_changes.shift(images, shifts, parameters.shift)
        boxes = shift_boxes(boxes, shifts, height, width)
    return {**inputs, "images": images}, {**targets, "boxes": boxes}


def flip_boxes(boxes: np.ndarray, flips: np.ndarray, width: int) -> np.ndarray:
    """Mirror the boxes of some images left to right.

    Args:
        boxes: (B, M, 5): class, left, top, right, bottom in pixels; a class of -1 is no box.
        flips: (B,) bool
        width: of the images.

    Returns:
        (B, M, 5)
    """
    mirrored = boxes.copy()
    mirrored[..., 1], mirrored[..., 3] = width - boxes[..., 3], width - boxes[..., 1]
    return np.where(flips[:, None, None] & (boxes[..., :1] >= 0), mirrored, boxes)


def shift_boxes(boxes: np.ndarray, shifts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Move the boxes of each image with it, and cut off what is beyond its edge.

    Args:
        boxes: (B, M, 5): class, left, top, right, bottom in pixels; a class of -1 is no box.
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        height: of the images.
        width: of the images.

    Returns:
        (B, M, 5), -1 throughout for a box of which nothing is left in the image
    """
    moved = boxes.copy()
    moved[..., 1::2] = (boxes[..., 1::2] + shifts[:, None, 1:]).clip(0, width)
    moved[..., 2::2] = (boxes[..., 2::2] + shifts[:, None, :1]).clip(0, height)
    is_left = (moved[..., 1:3] < moved[..., 3:5]).all(axis=2) & (boxes[..., 0] >= 0)
    return np.where(is_left[..., None], moved, np.float32(-1))
