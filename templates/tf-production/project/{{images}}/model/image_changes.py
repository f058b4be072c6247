"""Random changes of images, for the augmentation of every task that has images."""

import numpy as np
import tensorflow as tf


def draw(examples: int, reach: int, flip: bool, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """Draw a shift and a flip of every training example in an epoch.

    Args:
        examples: how many there are.
        reach: the largest shift in pixels; 0: none.
        flip: whether half of them are mirrored.
        seed: of the training.
        epoch: its number.

    Returns:
        For what is switched on: "shifts" (examples, 2) int64, rows down and columns to the right,
        in pixels; "flips" (examples,) bool, whether to mirror left to right.
    """
    generator = np.random.default_rng((seed, epoch, 1))
    drawn: dict[str, np.ndarray] = {}
    if reach:
        drawn["shifts"] = generator.integers(-reach, reach, (examples, 2), endpoint=True)
    if flip:
        drawn["flips"] = generator.random(examples) < 0.5
    return drawn


def flip(images: tf.Tensor, flips: tf.Tensor) -> tf.Tensor:
    """Mirror some images left to right.

    Args:
        images: (B, H, W, C)
        flips: (B,) bool

    Returns:
        (B, H, W, C)
    """
    return tf.where(flips[:, None, None, None], tf.reverse(images, [2]), images)


def shift(images: tf.Tensor, shifts: tf.Tensor, reach: int, fill: int = 0) -> tf.Tensor:
    """Move each image by its own shift, and fill what is beyond its edge.

    Args:
        images: (B, H, W, C)
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        reach: the largest shift in pixels.
        fill: the value beyond the edge; 0 is black.

    Returns:
        (B, H, W, C)
    """
    _, height, width, _ = images.shape
    padded = tf.pad(
        images,
        ((0, 0), (reach, reach), (reach, reach), (0, 0)),
        constant_values=tf.cast(fill, images.dtype),
    )
    rows = tf.range(height, dtype=tf.int64) - shifts[:, :1] + reach  # (B, H), of padded
    columns = tf.range(width, dtype=tf.int64) - shifts[:, 1:] + reach  # (B, W)
    moved = tf.gather(padded, rows, axis=1, batch_dims=1)  # (B, H, W + 2 reach, C)
    return tf.gather(moved, columns, axis=2, batch_dims=1)
