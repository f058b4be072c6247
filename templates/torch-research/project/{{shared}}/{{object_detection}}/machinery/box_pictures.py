"""Pictures with boxes drawn on them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from machinery.pictures import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUE, PREDICTED = "#2ca02c", "#ff7f0e"  # green and orange


class Boxes(NamedTuple):
    """True boxes of one picture."""

    corners: np.ndarray  # (M, 4): left, top, right, bottom in pixels
    classes: np.ndarray  # (M,) int


class Scored(NamedTuple):
    """Predicted boxes of one picture."""

    corners: np.ndarray  # (M, 4): left, top, right, bottom in pixels
    classes: np.ndarray  # (M,) int
    scores: np.ndarray  # (M,), from 0 to 1


class Picture(NamedTuple):
    """One picture to draw."""

    title: str
    pixels: np.ndarray  # (height, width, channels) uint8
    true: Boxes | None = None
    predicted: Scored | None = None


def draw_boxes(
    path: Path, title: str, pictures: Sequence[Picture], classes: Sequence[str], columns: int = 4
) -> None:
    """Draw pictures side by side, true boxes in green and predicted ones in orange and dashed.

    Args:
        path: the PNG.
        title: of all.
        pictures: what to draw.
        classes: their names.
        columns: pictures in a line.
    """
    columns = max(1, min(columns, len(pictures)))
    lines = max(1, math.ceil(len(pictures) / columns))

    def plot(figure: "Figure") -> None:
        grid: Any = figure.subplots(lines, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, picture in zip(grid.flat, pictures, strict=False):
            pixels = picture.pixels
            height, width, channels = pixels.shape
            # A box at the edge is whole: pixel 0 reaches from 0 to 1.
            axes.imshow(
                pixels[..., 0] if channels == 1 else pixels,
                cmap="gray",
                vmin=0,
                vmax=255,
                extent=(0, width, height, 0),
            )
            name = picture.title if len(picture.title) <= 28 else f"...{picture.title[-25:]}"
            axes.set_title(name, fontsize=8)
            _add(axes, picture.true, classes, TRUE, above=True)
            _add(axes, picture.predicted, classes, PREDICTED, above=False)
        figure.suptitle(title, fontsize=10)

    draw(path, plot, 2.7 * columns, 2.9 * lines + 0.4)


def _add(
    axes: Any, boxes: Boxes | Scored | None, classes: Sequence[str], colour: str, above: bool
) -> None:
    """Draw boxes, with the name of the class above its box or, with the score, below it."""
    if boxes is None:
        return
    from matplotlib.patches import Rectangle

    for row, (number, corners) in enumerate(zip(boxes.classes, boxes.corners, strict=True)):
        left, top, right, bottom = corners
        style = "-" if above else "--"
        size = (right - left, bottom - top)
        box = Rectangle((left, top), *size, fill=False, color=colour, linestyle=style)
        axes.add_patch(box)
        score = f" {boxes.scores[row]:.2f}" if isinstance(boxes, Scored) else ""
        axes.text(
            left,
            top if above else bottom,
            f"{classes[number]}{score}",
            color=colour,
            fontsize=7,
            va="bottom" if above else "top",
            clip_on=True,
        )
