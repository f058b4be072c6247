"""Random changes of images, for the augmentation of every task that has images."""

import numpy as np


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


def flip(images: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Mirror some images left to right.

    Args:
        images: (B, H, W, C)
        flips: (B,) bool

    Returns:
        (B, H, W, C)
    """
    return np.where(flips[:, None, None, None], images[:, :, ::-1], images)


def shift(images: np.ndarray, shifts: np.ndarray, reach: int, fill: int = 0) -> np.ndarray:
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
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), constant_values=fill)
    batch = np.arange(len(images))[:, None, None]
    rows = np.arange(height) + reach - shifts[:, :1]  # (B, H)
    columns = np.arange(width) + reach - shifts[:, 1:]  # (B, W)
    return padded[batch, rows[:, :, None], columns[:, None, :]]
