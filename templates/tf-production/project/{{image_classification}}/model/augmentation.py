"""Random changes of the training images: `draw` draws them, `augment` applies them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

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
    examples = dataset.examples["train"]
    generator = np.random.default_rng((seed, epoch, 1))
    drawn: dict[str, np.ndarray] = {}
    if reach := parameters.shift:
        drawn["shifts"] = generator.integers(-reach, reach, (examples, 2), endpoint=True)
    if parameters.flip:
        drawn["flips"] = generator.random(examples) < 0.5
    return drawn


def augment(
    inputs: dict[str, tf.Tensor],
    targets: dict[str, tf.Tensor],
    drawn: Mapping[str, tf.Tensor],
    parameters: DataParameters,
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Return a batch with the changes that were drawn for its examples.

    Args:
        inputs: "images" (B, H, W, C) uint8.
        targets: "labels" (B,) int64.
        drawn: the arrays that `draw` returned, with only the rows of these examples.
        parameters: of the data.
    """
    images = inputs["images"]
    if "flips" in drawn:
        images = flip(images, drawn["flips"])
    if "shifts" in drawn:
        images = shift(images, drawn["shifts"], parameters.shift)
    return {**inputs, "images": images}, targets


def flip(images: tf.Tensor, flips: tf.Tensor) -> tf.Tensor:
    """Mirror some images left to right.

    Args:
        images: (B, H, W, C)
        flips: (B,) bool

    Returns:
        (B, H, W, C)
    """
    return tf.where(flips[:, None, None, None], tf.reverse(images, [2]), images)


def shift(images: tf.Tensor, shifts: tf.Tensor, reach: int) -> tf.Tensor:
    """Move each image by its own shift, and fill the edge with black.

    Args:
        images: (B, H, W, C)
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        reach: the largest shift in pixels.

    Returns:
        (B, H, W, C)
    """
    _, height, width, _ = images.shape
    padded = tf.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    rows = tf.range(height, dtype=tf.int64) - shifts[:, :1] + reach  # (B, H), of padded
    columns = tf.range(width, dtype=tf.int64) - shifts[:, 1:] + reach  # (B, W)
    moved = tf.gather(padded, rows, axis=1, batch_dims=1)  # (B, H, W + 2 reach, C)
    return tf.gather(moved, columns, axis=2, batch_dims=1)
