"""Random changes of the training images: `draw` draws them, `augment` applies them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

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
    inputs: dict[str, torch.Tensor],
    targets: dict[str, torch.Tensor],
    drawn: Mapping[str, torch.Tensor],
    parameters: DataParameters,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a batch with the changes that were drawn for its examples.

    Args:
        inputs: "images" (B, H, W, C) uint8.
        targets: "labels" (B,) int64.
        drawn: the arrays that `draw` returned, with only the rows of these examples.
        parameters: of the data.
    """
    images = inputs["images"]
    if "flips" in drawn:
        images = flip(images, drawn["flips"].to(images.device))
    if "shifts" in drawn:
        images = shift(images, drawn["shifts"].to(images.device), parameters.shift)
    return {**inputs, "images": images}, targets


def flip(images: torch.Tensor, flips: torch.Tensor) -> torch.Tensor:
    """Mirror some images left to right.

    Args:
        images: (B, H, W, C)
        flips: (B,) bool

    Returns:
        (B, H, W, C)
    """
    return torch.where(flips[:, None, None, None], images.flip(2), images)


def shift(images: torch.Tensor, shifts: torch.Tensor, reach: int) -> torch.Tensor:
    """Move each image by its own shift, and fill the edge with black.

    Args:
        images: (B, H, W, C)
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        reach: the largest shift in pixels.

    Returns:
        (B, H, W, C)
    """
    _, height, width, _ = images.shape
    padded = functional.pad(images, (0, 0, reach, reach, reach, reach))
    # Every window of an image's size, by its upper left corner: a view, nothing is copied.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (B, 2r + 1, 2r + 1, C, H, W)
    windows = windows.permute(0, 1, 2, 4, 5, 3)  # (B, 2r + 1, 2r + 1, H, W, C)
    top, left = (reach - shifts).unbind(1)
    return windows[torch.arange(len(images), device=images.device), top, left]
