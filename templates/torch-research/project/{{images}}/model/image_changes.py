"""Random changes of images, for the augmentation of every task that has images."""

import numpy as np
import torch
from torch.nn import functional


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


def flip(images: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
    """Mirror some images left to right.

    Args:
        images: (B, H, W, C)
        flips: (B,) bool

    Returns:
        (B, H, W, C)
    """
    return torch.where(flips[:, None, None, None], images.flip(2), images)


def shift(images: torch.Tensor, shifts: torch.Tensor, reach: int, fill: int = 0) -> torch.Tensor:
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
    padded = functional.pad(images, (0, 0, reach, reach, reach, reach), value=fill)
    # Every window of an image's size, by its upper left corner: a view, nothing is copied.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (B, 2r + 1, 2r + 1, C, H, W)
    windows = windows.permute(0, 1, 2, 4, 5, 3)  # (B, 2r + 1, 2r + 1, H, W, C)
    top, left = (reach - shifts).unbind(1)
    return windows[torch.arange(len(images), device=images.device), top, left]
