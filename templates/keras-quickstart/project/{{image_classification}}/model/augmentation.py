"""Random changes of the training images: `draw` draws them, `augment` applies them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

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
    inputs: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
    parameters: DataParameters,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
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


def flip(images: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Mirror some images left to right.

    Args:
        images: (B, H, W, C)
        flips: (B,) bool

    Returns:
        (B, H, W, C)
    """
    return np.where(flips[:, None, None, None], images[:, :, ::-1], images)


def shift(images: np.ndarray, shifts: np.ndarray, reach: int) -> np.ndarray:
    """Move each image by its own shift, and fill the edge with black.

    Args:
        images: (B, H, W, C)
        shifts: (B, 2) int64, rows down and columns to the right, in pixels.
        reach: the largest shift in pixels.

    Returns:
        (B, H, W, C)
    """
    _, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    batch = np.arange(len(images))[:, None, None]
    rows = np.arange(height) + reach - shifts[:, :1]  # (B, H)
    columns = np.arange(width) + reach - shifts[:, 1:]  # (B, W)
    return padded[batch, rows[:, :, None], columns[:, None, :]]
