"""What a person wants to see of images before they train: some of each class."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from machinery.class_overview import CLASSES_SHOWN, count_by_split
from machinery.pictures import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES_SHOWN = 8  # of each class
LARGEST_SHOWN = 96  # pixels; larger images are made smaller for the sheet.


def draw_samples(
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    classes: Sequence[str],
    path: Path,
) -> None:
    """Draw some images of each class as a PNG: a line for each of the largest classes.

    Args:
        images: (N, height, width, channels) uint8
        labels: (N,) int, or (N, classes) of 0 and 1.
        rows: which of them to choose from, evenly.
        classes: their names.
        path: the file.
    """
    total = count_by_split(labels, {"": rows}, classes)[""]
    shown = np.argsort(-total, kind="stable")[:CLASSES_SHOWN]
    factor = max(1.0, max(images.shape[1:3]) / LARGEST_SHOWN)
    height, width = (max(1, round(side / factor)) for side in images.shape[1:3])
    gap = max(1, height // 16)
    lines = (len(shown), IMAGES_SHOWN)
    sheet = np.full((lines[0] * (height + gap), lines[1] * (width + gap), 3), 255, np.uint8)
    for line, number in enumerate(shown):
        of_class = rows[labels[rows] == number if labels.ndim == 1 else labels[rows, number] > 0]
        places = np.linspace(0, len(of_class) - 1, IMAGES_SHOWN).round().astype(int)
        for column, row in enumerate(of_class[np.unique(places)]):
            top, left = line * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = _shrink(images[row], (width, height))

    def plot(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.imshow(sheet)
        middles = np.arange(len(shown)) * (height + gap) + height / 2
        axes.set_yticks(middles, [classes[number] for number in shown])
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if len(shown) < len(classes):
            axes.set_title(f"the {len(shown)} largest of {len(classes):,} classes")

    draw(path, plot, 8, 0.6 + 6.5 * sheet.shape[0] / sheet.shape[1])


def _shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image (height, width, channels) in colour and at most as large as `size`."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    return np.asarray(picture if picture.size == size else picture.resize(size))
