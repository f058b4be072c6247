"""Sheets of images with a line above each, to look at."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery.pictures import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_A_LINE = 4


def draw_sheet(images: np.ndarray, titles: Sequence[str], path: Path) -> None:
    """Draw images side by side as a PNG.

    Args:
        images: (N, height, width, channels) uint8
        titles: a line for each.
        path: the file.
    """
    columns = min(len(images), IN_A_LINE)
    lines = math.ceil(len(images) / columns)

    def plot(figure: "Figure") -> None:
        for place, (image, title) in enumerate(zip(images, titles, strict=True), start=1):
            axes = figure.add_subplot(lines, columns, place)
            shown = image[..., 0] if image.shape[-1] == 1 else image
            axes.imshow(shown, cmap="gray", vmin=0, vmax=255)
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()

    draw(path, plot, 2 * columns, 2.2 * lines)
