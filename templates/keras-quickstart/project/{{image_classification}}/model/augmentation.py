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
        in pixels; "flips" (examples,) bool, whether to mirror left to right; "middles"
        (examples, 2) int64, row and column of the square to erase, and "fills" (examples, C) uint8,
        what it becomes, the mean of the training images; "shares" (examples,) float32, of each
        image in its mixture with another.
    """
    examples = dataset.examples["train"]
    drawn = image_changes.draw(examples, parameters.shift, parameters.flip, seed, epoch)
    generator = np.random.default_rng((seed, epoch, 2))
    if parameters.cutout:
        height, width, channels = dataset.image_shape
        drawn["middles"] = generator.integers(0, (height, width), (examples, 2))
        mean = np.rint(dataset.mean).astype(np.uint8)
        drawn["fills"] = np.broadcast_to(mean, (examples, channels))
    if alpha := parameters.mixup:
        drawn["shares"] = generator.beta(alpha + 1, alpha, examples).astype(np.float32)
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
        targets: "labels", unchanged.
        drawn: the arrays that `draw` returned, with only the rows of these examples.
        parameters: of the data.
    """
    images = inputs["images"]
    if "flips" in drawn:
        images = image_changes.flip(images, drawn["flips"])
    if "shifts" in drawn:
        images = image_changes.shift(images, drawn["shifts"], parameters.shift)
    if "middles" in drawn:
        middles, fills = drawn["middles"], drawn["fills"]
        images = erase(images, middles, fills, parameters.cutout)
    if "shares" in drawn:
        images = mix(images, drawn["shares"])
    return {**inputs, "images": images}, targets


def erase(images: np.ndarray, middles: np.ndarray, fills: np.ndarray, side: int) -> np.ndarray:
    """Erase a square of each image, or what of the square lies in it.

    This is cutout (DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552).

    Args:
        images: (B, H, W, C) uint8
        middles: (B, 2) int64, row and column of the square.
        fills: (B, C) uint8, what it becomes.
        side: of the square, in pixels.

    Returns:
        (B, H, W, C) uint8
    """
    _, height, width, _ = images.shape
    first = middles - side // 2
    rows = np.arange(height) - first[:, :1]  # (B, H), of the square
    columns = np.arange(width) - first[:, 1:]  # (B, W)
    rows, columns = ((each >= 0) & (each < side) for each in (rows, columns))
    erased = rows[:, :, None] & columns[:, None, :]
    return np.where(erased[..., None], fills[:, None, None, :], images)


def mix(images: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mix each image with the one before it in the batch.

    This is mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412), as F. Huszár writes it
    (https://www.inference.vc/mixup-data-dependent-data-augmentation/): the shares are of
    Beta(alpha + 1, alpha), and the labels stay those of the image itself. The paper has shares of
    Beta(alpha, alpha) and the losses for both labels by their shares. The expected loss is the
    same, as a share times its density there is half the density here.

    Args:
        images: (B, H, W, C) uint8
        shares: (B,) float32, of the image itself.

    Returns:
        (B, H, W, C) uint8
    """
    shares = shares[:, None, None, None]
    mixed = shares * images + (1 - shares) * np.roll(images, 1, axis=0)
    return np.rint(mixed).astype(np.uint8)
