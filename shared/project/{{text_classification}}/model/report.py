"""What people see of a network: metrics, the best epoch, the confusion matrix, every prediction."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery import predictions
from machinery.class_report import (
    confusion_matrix,
    describe_probabilities,
    draw_confusion_matrix,
    f1_scores,
    probability_rows,
    probability_titles,
)
from machinery.files import write_atomically
from machinery.metrics import Objective
from machinery.spreadsheets import write_csv

if TYPE_CHECKING:
    from build_dataset import Dataset
    from machinery.predictions import Predictions, ReadInputs, Unlabelled


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
        classes = len(dataset.classes)
        self.matrix, self.loss_sum = np.zeros((classes, classes), np.int64), 0.0
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
        self.matrix += confusion_matrix(labels, probabilities.argmax(axis=1), len(self.matrix))
        self.loss_sum += float(losses.sum(dtype=np.float64))
        if self.keep:
            self._labels.append(labels)
            self._probabilities.append(probabilities)

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name; "loss" is the mean over the examples.

        F1 is the mean over the classes, so that a rare class counts like a frequent one. Another
        metric that you add here is reported, drawn and tabulated like these.
        """
        matrix, examples = self.matrix, self.matrix.sum()
        scores = f1_scores(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))
        return {
            "loss": self.loss_sum / float(examples),
            "accuracy": float(np.trace(matrix) / examples),
            "f1": float(scores.mean()),
        }

    def files(self, name: str) -> list[str]:
        """Return the names of the files that `write` writes."""
        return [f"metrics_{name}.json", f"confusion_matrix_{name}.png", f"predictions_{name}.csv"]

    def write(self, folder: Path, name: str, ids: np.ndarray, read_inputs: "ReadInputs") -> None:
        """Write metrics, confusion matrix and predictions, and print the metrics.

        Args:
            folder: of the experiment.
            name: of the split, with the checkpoint if it is not the best; part of the file names.
            ids: (N,) str, where each text came from, a tab and how it begins.
            read_inputs: returns the inputs of some examples of the split, by name, (rows, ...),
                given their numbers (rows,).
        """
        del read_inputs  # Whoever draws examples needs it.
        labels, probabilities = map(np.concatenate, (self._labels, self._probabilities))
        metrics, picture, path = (folder / file for file in self.files(name))
        write_atomically(metrics, json.dumps(self.metrics(), indent=2).encode())
        classes = self.dataset.classes
        draw_confusion_matrix(self.matrix, classes, f"{folder}, {name}", picture)
        write_predicted_texts(path, ids, labels, probabilities, classes)
        for metric, value in self.metrics().items():
            print(f"  {metric:10} {value:.4f}")


class PredictionWriter(predictions.PredictionWriter):
    """What predict.py writes: a row for each text."""

    def titles(self) -> list[str]:
        """Return the names of the columns."""
        return probability_titles(self.dataset.classes)

    def rows(
        self, examples: "Unlabelled", predictions: "Predictions"
    ) -> Iterator[Sequence[object]]:
        """Yield the row of each text: the predicted class, the probability of every class."""
        return probability_rows(examples.ids, predictions["probabilities"], self.dataset.classes)

    def describe(self, examples: "Unlabelled", predictions: "Predictions") -> Iterator[str]:
        """Yield the line of each text for the terminal."""
        probabilities = predictions["probabilities"]
        return describe_probabilities(examples.ids, probabilities, self.dataset.classes)


def write_predicted_texts(
    path: Path,
    ids: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write a CSV with a line for each text, the most certain mistakes first.

    Args:
        path: the file.
        ids: (N,) str, where each text came from, a tab and how it begins.
        labels: (N,) int
        probabilities: (N, classes)
        classes: their names.
    """
    predicted, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    rows = []
    for i in np.lexsort((-certainty, predicted == labels)):
        name, _, beginning = str(ids[i]).partition("\t")
        found = [classes[labels[i]], classes[predicted[i]], f"{certainty[i]:.4f}"]
        rows.append([name, *found, beginning])
    write_csv(path, ["id", "label", "predicted", "probability", "text"], rows)
