"""What to look at: the score of an epoch, the confusion matrix, the prediction for every image."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import utils


def score(row: dict[str, float]) -> tuple[float, float]:
    """What the best epoch has most of: accuracy on val, then the lower loss among equals."""
    return row["val_accuracy"], -row["val_loss"]


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count examples by label (row) and predicted class (column).

    Args:
        labels: (N,) int
        predicted: (N,) int
        classes: how many there are.

    Returns:
        (classes, classes) int64
    """
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def plot_confusion_matrix(
    matrix: np.ndarray, classes: Sequence[str], title: str, path: Path
) -> None:
    """Draw a confusion matrix as a PNG: colours by share of the label, counts written in."""
    from matplotlib.figure import Figure  # pyplot would look for a display.

    side = 2.5 + 0.4 * min(len(classes), 40)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= 40:  # More would not be legible.
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = str(matrix[row, column])
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    correct = np.trace(matrix)
    axes.set_title(f"{title}\n{correct:,} of {matrix.sum():,} right")
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    figure.savefig(path, dpi=120)


def write_predictions(
    path: Path,
    ids: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write a CSV with a line an image, the most certain mistakes first.

    Args:
        path: the file.
        ids: (N,) str
        labels: (N,) int
        probabilities: (N, classes)
        classes: their names.
    """
    predicted, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.lexsort((-certainty, predicted == labels))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "label", "predicted", "probability"])
        for i in order:
            row = [ids[i], classes[labels[i]], classes[predicted[i]], f"{certainty[i]:.4f}"]
            writer.writerow(row)


def write_report(
    folder: Path,
    name: str,
    classes: Sequence[str],
    metrics: dict[str, float],
    ids: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
) -> None:
    """Write metrics, confusion matrix and predictions, and print the metrics.

    Args:
        folder: the experiment's.
        name: of what was evaluated, for the names of the files, such as "test".
        classes: their names.
        metrics: by name.
        ids: (N,) str
        labels: (N,) int
        probabilities: (N, classes)
    """
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
    title, picture = f"{folder}, {name}", folder / f"confusion_matrix_{name}.png"
    plot_confusion_matrix(matrix, classes, title, picture)
    write_predictions(folder / f"predictions_{name}.csv", ids, labels, probabilities, classes)
    content = json.dumps(metrics, indent=2)
    utils.write_atomically(folder / f"metrics_{name}.json", content.encode())
    for metric, value in metrics.items():
        print(f"  {metric:10} {value:.4f}")
