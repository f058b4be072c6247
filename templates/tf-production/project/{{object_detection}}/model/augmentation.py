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


def flip_boxes(boxes: tf.Tensor, flips: tf.Tensor, width: int) -> tf.Tensor:
    """Mirror the boxes of some images left to right.

    Args:
        boxes: (B, M, 5): class, left, top, right, bottom in pixels; a class of -1 is no box.
        flips: (B,) bool
        width: of the images.

    Returns:
        (B, M, 5)
    """
    number, left, top, right, bottom = tf.unstack(boxes, axis=2)
    mirrored = tf.stack([number, width - right, top, width - left, bottom], axis=2)
    return tf.where(flips[:, None, None] & (boxes[..., :1] >= 0), mirrored, boxes)


def shift_boxes(boxes: tf.Tensor, shifts: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Move the boxes of each image with it, and cut off what is beyond its edge.

    Args:
        boxes: (B, M, 5): class, left, top, right, bottom in pixels; a class of -1 is no box.
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        height: of the images.
        width: of the images.

    Returns:
        (B, M, 5), -1 throughout for a box of which nothing is left in the image
    """
    number, left, top, right, bottom = tf.unstack(boxes, axis=2)  # (B, M) each
    down, across = tf.unstack(tf.cast(shifts, boxes.dtype)[:, None], axis=2)  # (B, 1) each
    left, right = (tf.clip_by_value(x + across, 0, width) for x in (left, right))
    top, bottom = (tf.clip_by_value(x + down, 0, height) for x in (top, bottom))
    moved = tf.stack([number, left, top, right, bottom], axis=2)
    is_left = (left < right) & (top < bottom) & (number >= 0)
    return tf.where(is_left[..., None], moved, -1.0)
