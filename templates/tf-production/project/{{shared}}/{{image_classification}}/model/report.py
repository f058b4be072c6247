"""What people see of a network: metrics, the best epoch, a picture, every prediction."""

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
    draw_f1,
    label_f1_scores,
    measure_labels,
    probability_rows,
    probability_titles,
    write_labels,
    write_predicted_classes,
)
from machinery.files import write_atomically
from machinery.metrics import Objective
from machinery.picture_sheets import draw_sheet

if TYPE_CHECKING:
    from build_dataset import Dataset
    from machinery.predictions import Predictions, ReadInputs, Unlabelled

WORST = 12  # images of the greatest loss that are drawn


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
        pictures = [f"{picture}_{name}.png", f"worst_{name}.png"]
        return [f"metrics_{name}.json", *pictures, f"predictions_{name}.csv"]

    def write(self, folder: Path, name: str, ids: np.ndarray, read_inputs: "ReadInputs") -> None:
        """Write metrics, two pictures and the predictions, and print the metrics.

        Args:
            folder: of the experiment.
            name: of the split, with the checkpoint if it is not the best; part of the file names.
            ids: (N,) str
            read_inputs: returns the inputs of some examples of the split, by name, (rows, ...),
                given their numbers (rows,).
        """
        labels, probabilities, losses = self.gathered()
        metrics, picture, worst, predictions = (folder / file for file in self.files(name))
        write_atomically(metrics, json.dumps(self.metrics(), indent=2).encode())
        classes, title = self.dataset.classes, f"{folder}, {name}"
        if self.dataset.multilabel:
            draw_f1(label_f1_scores(labels, probabilities), classes, title, picture)
            write_labels(predictions, ids, labels, probabilities, losses, classes)
        else:
            matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(classes))
            draw_confusion_matrix(matrix, classes, title, picture)
            write_predicted_classes(predictions, ids, labels, probabilities, classes)
        rows = np.argsort(-losses, kind="stable")[:WORST]
        titles = compare_words(labels[rows], probabilities[rows], classes)
        draw_sheet(read_inputs(rows)["images"], titles, worst)
        for metric, value in self.metrics().items():
            print(f"  {metric:10} {value:.4f}")


def compare_words(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> list[str]:
    """Return what images show and, below, what the network says instead.

    Args:
        labels: (N,) int, or for labels (N, classes) of 0 and 1.
        probabilities: (N, classes)
        classes: their names.
    """
    if labels.ndim == 1:
        pairs = zip(labels, probabilities, strict=True)
        return [f"is {classes[i]}\nsaid {classes[p.argmax()]} {p.max():.0%}" for i, p in pairs]

    def listed(found: np.ndarray) -> str:
        return ", ".join(classes[i] for i in np.flatnonzero(found)) or "none"

    pairs = zip(labels, probabilities > 0.5, strict=True)
    return [f"is {listed(each)}\nsaid {listed(predicted)}" for each, predicted in pairs]


class PredictionWriter(predictions.PredictionWriter):
    """What predict.py writes: a row for each image, and a sheet of the first ones."""

    draws = True

    def titles(self) -> list[str]:
        """Return the names of the columns."""
        classes = self.dataset.classes
        return ["id", *classes] if self.dataset.multilabel else probability_titles(classes)

    def rows(
        self, examples: "Unlabelled", predictions: "Predictions"
    ) -> Iterator[Sequence[object]]:
        """Yield the row of each image: its class, unless labels, and every probability."""
        ids, probabilities = examples.ids, predictions["probabilities"]
        if self.dataset.multilabel:
            return ([name, *each] for name, each in zip(ids, probabilities, strict=True))
        return probability_rows(ids, probabilities, self.dataset.classes)

    def describe(self, examples: "Unlabelled", predictions: "Predictions") -> Iterator[str]:
        """Yield the line of each image for the terminal: the most probable classes."""
        return describe_probabilities(
            examples.ids, predictions["probabilities"], self.dataset.classes
        )

    def draw(self, examples: "Unlabelled", predictions: "Predictions", path: Path) -> None:
        """Draw a sheet of images as the network sees them, with what it says of each."""
        probabilities, classes = predictions["probabilities"], self.dataset.classes
        titles = [f"{classes[each.argmax()]} {each.max():.0%}" for each in probabilities]
        if self.dataset.multilabel:  # All that are predicted, one below the other.
            found = [np.flatnonzero(each > 0.5) for each in probabilities]
            lines = zip(probabilities, found, strict=True)
            titles = [
                "\n".join(f"{classes[i]} {each[i]:.0%}" for i in some) for each, some in lines
            ]
        draw_sheet(examples.inputs["images"], titles, path)
