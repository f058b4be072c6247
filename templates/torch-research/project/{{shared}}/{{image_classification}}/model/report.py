"""What to look at: the metrics, which epoch is the best, the confusion matrix, every prediction."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery.files import write_atomically
from machinery.metrics import Objective
from machinery.pictures import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from build_dataset import Dataset

LARGEST_LEGIBLE = 40  # Classes whose names and counts a confusion matrix can show.


def objective(dataset: "Dataset") -> Objective:
    """Return what the best epoch has most of."""
    del dataset  # For every dataset of this task the same.
    return Objective("val_accuracy", maximize=True)


class Evaluation:
    """The metrics of a split, gathered batch by batch.

    Args:
        dataset: names the classes.
        keep: keep every prediction, for `write`.
    """

    def __init__(self, dataset: "Dataset", keep: bool = False) -> None:
        self.dataset, self.keep = dataset, keep
        self.examples, self.right, self.loss_sum = 0, 0, 0.0
        self._labels: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        losses: np.ndarray,
    ) -> None:
        """Take a batch.

        Args:
            predictions: of net.predict: "probabilities" (B, classes).
            targets: "labels" (B,) int.
            losses: (B,)
        """
        labels, probabilities = targets["labels"], predictions["probabilities"]
        self.examples += len(labels)
        self.right += int((probabilities.argmax(axis=1) == labels).sum())
        self.loss_sum += float(losses.sum(dtype=np.float64))
        if self.keep:
            self._labels.append(labels)
            self._probabilities.append(probabilities)

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name; "loss" is the mean over the examples.

        Another one that you add here is reported, drawn and tabulated like these.
        """
        return {
            "loss": self.loss_sum / self.examples,
            "accuracy": self.right / self.examples,
        }

    def write(self, folder: Path, name: str, ids: np.ndarray) -> list[str]:
        """Write metrics, confusion matrix and predictions, and print the metrics.

        Args:
            folder: the experiment's.
            name: of what was evaluated, for the names of the files, such as "test".
            ids: (N,) str

        Returns:
            The names of the files.
        """
        labels, probabilities = map(np.concatenate, (self._labels, self._probabilities))
        files = [f"metrics_{name}.json", f"confusion_matrix_{name}.png", f"predictions_{name}.csv"]
        content = json.dumps(self.metrics(), indent=2)
        write_atomically(folder / files[0], content.encode())
        classes = self.dataset.classes
        matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
        draw_confusion_matrix(matrix, classes, f"{folder}, {name}", folder / files[1])
        write_predictions(folder / files[2], ids, labels, probabilities, classes)
        for metric, value in self.metrics().items():
            print(f"  {metric:10} {value:.4f}")
        return files


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


def draw_confusion_matrix(matrix: np.ndarray, classes: list[str], title: str, path: Path) -> None:
    """Draw a confusion matrix as a PNG: colours by share of the label, counts written in."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)

    def plot(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(classes) <= LARGEST_LEGIBLE:
            recalls = [
                f"{name}  {share:.0%}" for name, share in zip(classes, np.diag(shares), strict=True)
            ]
            axes.set_xticks(range(len(classes)), classes, rotation=90)
            axes.set_yticks(range(len(classes)), recalls)
            for row, column in np.argwhere(matrix):
                colour = "white" if shares[row, column] > 0.5 else "black"
                text = str(matrix[row, column])
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        axes.set_title(f"{title}\n{np.trace(matrix):,} of {matrix.sum():,} right")
        axes.set_xlabel("predicted")
        axes.set_ylabel("label, and the share of it that was found")

    side = 2.5 + 0.4 * min(len(classes), LARGEST_LEGIBLE)
    draw(path, plot, side + 0.5, side)


def write_predictions(
    path: Path, ids: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: list[str]
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
