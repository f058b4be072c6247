"""Scenes to learn from without a download: handwritten digits scattered over noisy pictures.

What is where is known, so every scene has a mask of its pixels and a box around each digit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SIDE = 48  # Height and width of a scene in pixels.
MOST = 4  # Digits in a scene, at most; the fewest is one.
SCALES = (1, 2)  # A digit is 8 x 8 or 16 x 16 pixels.
INK = 64  # Grey level above which a pixel belongs to the digit.
CLASSES = tuple(str(digit) for digit in range(10))


class Scenes(NamedTuple):
    """Scenes, with what is in each."""

    images: np.ndarray  # (N, side, side, 1) uint8
    masks: np.ndarray  # (N, side, side) uint8: 0 is background, else the digit plus 1
    boxes: list[np.ndarray]  # for each (digits, 5) int64: class, left, top, right, bottom


def make_scenes(
    digits: np.ndarray,
    labels: np.ndarray,
    scenes: int,
    seed: int,
    side: int = SIDE,
    most: int = MOST,
    scales: Sequence[int] = SCALES,
) -> Scenes:
    """Scatter digits over scenes, so that no two touch.

    Args:
        digits: (N, 8, 8) uint8, grey levels.
        labels: (N,) int, which digit each is.
        scenes: how many to make.
        seed: of what is drawn.
        side: height and width of a scene in pixels.
        most: digits in a scene, at most.
        scales: by which a digit is enlarged, one of them at random.
    """
    generator = np.random.default_rng(seed)
    images = generator.integers(0, INK // 2, (scenes, side, side), np.uint8)
    masks, boxes = np.zeros((scenes, side, side), np.uint8), []
    for image, mask in zip(images, masks, strict=True):
        found = []
        taken = np.zeros((side, side), bool)
        for row in generator.integers(0, len(digits), generator.integers(1, most, endpoint=True)):
            digit = digits[row].repeat(scale := generator.choice(scales), 0).repeat(scale, 1)
            ink = digit > INK
            rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
            top, left = generator.integers(0, side - len(digit), 2, endpoint=True)
            place = np.s_[top : top + len(digit), left : left + len(digit)]
            if taken[place].any():  # It would cover another one: the scene has one digit fewer.
                continue
            taken[place] = True
            image[place] = np.maximum(image[place], digit)
            mask[place] = np.where(ink, labels[row] + 1, 0)
            edges = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
            found.append([labels[row], *edges])
        boxes.append(np.array(found, np.int64))
    return Scenes(images[..., None], masks, boxes)
