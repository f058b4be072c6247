"""What people see of a network: metrics, the best epoch, the confusion matrix, every prediction."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery.class_report import (
    confusion_matrix,
    draw_confusion_matrix,
    write_predicted_classes,
)
from machinery.files import write_atomically
from machinery.metrics import Objective

if TYPE_CHECKING:
    from build_dataset import Dataset


def objective(dataset: "Dataset") -> Objective:
    """Return the metric that says which epoch is the best."""
    del dataset  # It is the same for every dataset of this task.
    return Objective("val_accuracy", maximize=True)


def initial_loss(dataset: "Dataset") -> float:
    """Return the mean loss of a network that knows nothing: each class is as likely as another."""
    return math.log(len(dataset.classes))


class Evaluation:
    """The metrics of a split, summed up batch by batch.

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
        """Add a batch.

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

    def files(self, name: str) -> list[str]:
        """Return the names of the files that `write` writes."""
        return [f"metrics_{name}.json", f"confusion_matrix_{name}.png", f"predictions_{name}.csv"]

    def write(self, folder: Path, name: str, ids: np.ndarray) -> None:
        """Write metrics, confusion matrix and predictions, and print the metrics.

        Args:
            folder: of the experiment.
            name: of the split, with the checkpoint if it is not the best; part of the file names.
            ids: (N,) str
        """
        labels, probabilities = map(np.concatenate, (self._labels, self._probabilities))
        metrics, picture, predictions = (folder / file for file in self.files(name))
        write_atomically(metrics, json.dumps(self.metrics(), indent=2).encode())
        classes = self.dataset.classes
        matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
        draw_confusion_matrix(matrix, classes, f"{folder}, {name}", picture)
        write_predicted_classes(predictions, ids, labels, probabilities, classes)
        for metric, value in self.metrics().items():
            print(f"  {metric:10} {value:.4f}")
