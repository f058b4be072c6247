"""What a person wants to see of images before they train: counts, and some images of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from machinery.pictures import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES_SHOWN = 20
IMAGES_SHOWN = 8  # of each class
LARGEST_SHOWN = 96  # pixels; larger images are made smaller for the sheet.


def count_classes(
    labels: np.ndarray, splits: Mapping[str, np.ndarray], classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return how many images of each class a split has, (classes,) int64 by split.

    Args:
        labels: (N,) int, or (N, classes) of 0 and 1.
        splits: the row numbers of each.
        classes: their names.
    """
    if labels.ndim == 2:
        return {split: labels[rows].sum(axis=0).astype(int) for split, rows in splits.items()}
    found = {split: labels[rows] for split, rows in splits.items()}
    return {split: np.bincount(each, minlength=len(classes)) for split, each in found.items()}


def say_counts(counts: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """Print a line for each class, the largest first: how many images each split has."""
    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")
    width = max(len(classes[number]) for number in order[:CLASSES_SHOWN])
    print(f"  {'':{width}}" + "".join(f"{split:>9}" for split in counts))
    for number in order[:CLASSES_SHOWN]:
        cells = "".join(f"{each[number]:>9,}" for each in counts.values())
        print(f"  {classes[number]:{width}}{cells}")
    if len(rest := total[order[CLASSES_SHOWN:]]):
        print(f"  and {len(rest)} more, of {rest.min():,} to {rest.max():,} images each")


def draw_counts(counts: Mapping[str, np.ndarray], classes: Sequence[str], path: Path) -> None:
    """Draw how many images each class has as a PNG of bars, the largest first."""
    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")
    named = len(classes) <= 2 * CLASSES_SHOWN

    def plot(figure: "Figure") -> None:
        axes = figure.subplots()
        left = np.zeros(len(classes))
        for split, each in counts.items():
            axes.barh(range(len(classes)), each[order], left=left, height=0.8, label=split)
            left += each[order]
        names = [classes[number] for number in order] if named else []
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xlabel("images")
        if not named:
            axes.set_ylabel(f"{len(classes):,} classes, the largest first")
        figure.legend(loc="outside upper center", ncols=len(counts))  # It covers no bar.

    draw(path, plot, 6.5, 1.5 + 0.25 * min(len(classes), 2 * CLASSES_SHOWN))


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
    total = count_classes(labels, {"": rows}, classes)[""]
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
