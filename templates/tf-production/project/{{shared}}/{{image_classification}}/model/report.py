"""What people see of a network: metrics, the best epoch, a picture, every prediction."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery.class_report import (
    confusion_matrix,
    draw_confusion_matrix,
    draw_f1,
    label_f1_scores,
    measure_labels,
    write_labels,
    write_predicted_classes,
)
from machinery.files import write_atomically
from machinery.metrics import Objective

if TYPE_CHECKING:
    from build_dataset import Dataset


def objective(dataset: "Dataset") -> Objective:
    """Return the metric that says which epoch is the best.

    For labels it is the mean F1 score, in which a rare label counts like a frequent one.
    """
    return Objective("val_f1" if dataset.multilabel else "val_accuracy", maximize=True)


def initial_loss(dataset: "Dataset") -> float:
    """Return the mean loss, in nats, of a network that holds all answers for equally likely."""
    return math.log(2 if dataset.multilabel else len(dataset.classes))


class Evaluation:
    """The metrics of a split, summed up batch by batch.

    Args:
        dataset: names the classes.
        keep: keep every prediction, for `write`. Those of labels are kept in any case: the area
            under the curve needs all.
    """

    def __init__(self, dataset: "Dataset", keep: bool = False) -> None:
        self.dataset, self.keep = dataset, keep or dataset.multilabel
        self.examples, self.right, self.loss_sum = 0, 0, 0.0
        self._labels: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []
        self._losses: list[np.ndarray] = []

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        losses: np.ndarray,
    ) -> None:
        """Add a batch.

        Args:
            predictions: of net.predict: "probabilities" (B, classes).
            targets: "labels" (B,) int, or for labels (B, classes) of 0 and 1.
            losses: (B,)
        """
        labels, probabilities = targets["labels"], predictions["probabilities"]
        self.examples += len(labels)
        self.loss_sum += float(losses.sum(dtype=np.float64))
        if not self.dataset.multilabel:
            self.right += int((probabilities.argmax(axis=1) == labels).sum())
        if self.keep:
            self._labels.append(labels)
            self._probabilities.append(probabilities)
            self._losses.append(losses)

    def gathered(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return labels, probabilities and losses of all examples that were kept."""
        labels, probabilities, losses = map(
            np.concatenate, (self._labels, self._probabilities, self._losses)
        )
        return labels, probabilities, losses

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name; "loss" is the mean over the examples.

        Another one that you add here is reported, drawn and tabulated like these.
        """
        metrics = {"loss": self.loss_sum / self.examples}
        if self.dataset.multilabel:
            labels, probabilities, _ = self.gathered()
            return metrics | measure_labels(labels, probabilities)
        return metrics | {"accuracy": self.right / self.examples}

    def files(self, name: str) -> list[str]:
        """Return the names of the files that `write` writes."""
        picture = "f1" if self.dataset.multilabel else "confusion_matrix"
        return [f"metrics_{name}.json", f"{picture}_{name}.png", f"predictions_{name}.csv"]

    def write(self, folder: Path, name: str, ids: np.ndarray) -> None:
        """Write metrics, a picture and the predictions, and print the metrics.

        Args:
            folder: of the experiment.
            name: of the split, with the checkpoint if it is not the best; part of the file names.
            ids: (N,) str
        """
        labels, probabilities, losses = self.gathered()
        metrics, picture, predictions = (folder / file for file in self.files(name))
        write_atomically(metrics, json.dumps(self.metrics(), indent=2).encode())
        classes, title = self.dataset.classes, f"{folder}, {name}"
        if self.dataset.multilabel:
            draw_f1(label_f1_scores(labels, probabilities), classes, title, picture)
            write_labels(predictions, ids, labels, probabilities, losses, classes)
        else:
            matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
            draw_confusion_matrix(matrix, classes, title, picture)
            write_predicted_classes(predictions, ids, labels, probabilities, classes)
        for metric, value in self.metrics().items():
            print(f"  {metric:10} {value:.4f}")
