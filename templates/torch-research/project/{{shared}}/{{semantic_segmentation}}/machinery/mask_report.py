"""Reports on masks: the overlap of truth and prediction, pictures of masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IGNORED = 255  # The value of a mask where the class is not known.
LEGEND = 20  # Classes that a legend names, at most.


def confusion_matrix(masks: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count known pixels by class (row) and predicted class (column).

    Args:
        masks: uint8, class numbers, and 255 where the class is not known.
        predicted: uint8, of the same shape.
        classes: how many there are.

    Returns:
        (classes, classes) int64
    """
    known = masks != IGNORED
    pairs = masks[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def class_ious(matrix: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each class, also called Jaccard index.

    Of the pixels that are of a class or are predicted so, the share that is both (Everingham et al.
    2010, https://doi.org/10.1007/s11263-009-0275-4, section 4.2).

    Args:
        matrix: (classes, classes), see confusion_matrix.

    Returns:
        (classes,), NaN for a class that is neither there nor predicted
    """
    both = np.diag(matrix)
    either = matrix.sum(axis=0) + matrix.sum(axis=1) - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def mean_iou(matrix: np.ndarray) -> float:
    """Return the mean intersection over union of the classes that are there or predicted.

    Without a known pixel there is none to be wrong: 1.
    """
    ious = class_ious(matrix)
    return float(np.nanmean(ious)) if not np.isnan(ious).all() else 1.0


def class_colours(classes: int) -> np.ndarray:
    """Return a colour for each class and, last, that of ignored pixels: (classes + 1, 3) uint8.

    The first class, often the background, is nearly black, and what is ignored white.
    """
    import matplotlib

    listed = np.array(matplotlib.colormaps["tab20"].colors)  # ty: ignore[missing-attribute]
    order = [*range(0, 20, 2), *range(1, 20, 2)]  # The strong ones first.
    rows = np.resize(np.array(order), max(classes - 1, 0))
    colours = np.round(255 * listed[rows]).astype(np.uint8).reshape(-1, 3)
    return np.concatenate([[[24, 24, 24]], colours, [[255, 255, 255]]]).astype(np.uint8)


def paint(masks: np.ndarray, classes: int) -> np.ndarray:
    """Return masks (..., height, width) in the colours of their classes, (..., 3) uint8."""
    return class_colours(classes)[np.where(masks == IGNORED, classes, masks)]


def plot_panels(
    figure: "Figure",
    panels: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    names: Sequence[str],
    classes: Sequence[str],
    heading: str,
) -> None:
    """Draw rows of pictures, with a legend of the classes below.

    Args:
        figure: an empty one.
        panels: for each row its pictures, (height, width[, 3]).
        titles: of the columns.
        names: of the rows, such as the file of an image.
        classes: their names.
        heading: above all.
    """
    from matplotlib.patches import Patch

    grid = figure.subplots(len(panels), len(titles), squeeze=False)
    for axes_row, pictures, name in zip(grid, panels, names, strict=True):
        for axes, picture in zip(axes_row, pictures, strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        axes_row[0].set_ylabel(name, fontsize=7)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    figure.suptitle(heading, fontsize=10)
    colours = class_colours(len(classes)) / 255
    handles = [
        Patch(facecolor=tuple(colour), edgecolor="grey", label=name)
        for name, colour in zip(classes[:LEGEND], colours, strict=False)
    ]
    handles.append(Patch(facecolor="white", edgecolor="grey", label="not known"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=7)
