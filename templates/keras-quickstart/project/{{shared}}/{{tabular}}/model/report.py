"""What to look at: the metrics, which epoch is the best, a picture, every prediction."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery import predictions
from machinery.class_report import (
    area_under_curve,
    confusion_matrix,
    describe_probabilities,
    draw_confusion_matrix,
    draw_f1,
    f1_scores,
    label_f1_scores,
    measure_labels,
    probability_rows,
    probability_titles,
    write_labels,
    write_predicted_classes,
)
from machinery.files import write_atomically
from machinery.metrics import Objective
from machinery.pictures import draw
from machinery.spreadsheets import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from build_dataset import Dataset
    from machinery.predictions import Predictions, ReadInputs, Unlabelled


def objective(dataset: "Dataset") -> Objective:
    """Return what the best epoch has most or least of.

    For two classes the area under the curve, which sees a gain before the side of 0.5 changes; for
    labels the mean F1 score, in which a rare label counts like a frequent one.
    """
    return {
        "regression": Objective("val_rmse", maximize=False),
        "binary": Objective("val_auc", maximize=True),
        "multiclass": Objective("val_accuracy", maximize=True),
        "multilabel": Objective("val_f1", maximize=True),
    }[dataset.kind]


def initial_loss(dataset: "Dataset") -> float:
    """Return the mean loss of a network that knows nothing.

    It says the mean, whose squared error is the variance, 1 in the units of the loss; or that every
    class, or that a label and its absence, is as likely.
    """
    classes = 2 if dataset.kind == "multilabel" else len(dataset.classes)
    return 1.0 if dataset.kind == "regression" else math.log(classes)


class Evaluation:
    """The metrics of a split, gathered batch by batch.

    Args:
        dataset: says what is predicted.
        keep: keep every prediction, for `write`. They are kept in any case: a few numbers a row,
            of which the area under the curve needs all.
    """

    def __init__(self, dataset: "Dataset", keep: bool = False) -> None:
        del keep
        self.dataset = dataset
        self._targets: list[np.ndarray] = []
        self._predictions: list[np.ndarray] = []
        self._losses: list[np.ndarray] = []

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        losses: np.ndarray,
    ) -> None:
        """Take a batch.

        Args:
            predictions: of net.predict: "values" (B,) for regression, else "probabilities"
                (B, classes).
            targets: "target": (B,) numbers or class numbers, or labels (B, classes) of 0 and 1.
            losses: (B,)
        """
        name = "values" if self.dataset.kind == "regression" else "probabilities"
        self._targets.append(targets["target"])
        self._predictions.append(predictions[name])
        self._losses.append(losses)

    def gathered(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return targets, predictions and losses of all examples so far."""
        targets, predictions, losses = map(
            np.concatenate, (self._targets, self._predictions, self._losses)
        )
        return targets, predictions, losses

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name; "loss" is the mean over the examples.

        Another one that you add to a function below is reported, drawn and tabulated like these.
        One that is not defined for these targets is left out.
        """
        targets, predictions, losses = self.gathered()
        measure = {
            "regression": measure_numbers,
            "binary": measure_classes,
            "multiclass": measure_classes,
            "multilabel": measure_labels,
        }[self.dataset.kind]
        return {"loss": float(losses.mean(dtype=np.float64)), **measure(targets, predictions)}

    def files(self, name: str) -> list[str]:
        """Return the names of the files that `write` writes."""
        pictures = {"regression": "predicted", "multilabel": "f1"}
        picture = pictures.get(self.dataset.kind, "confusion_matrix")
        return [f"metrics_{name}.json", f"{picture}_{name}.png", f"predictions_{name}.csv"]

    def write(self, folder: Path, name: str, ids: np.ndarray, read_inputs: "ReadInputs") -> None:
        """Write metrics, a picture and the predictions, and print the metrics.

        Args:
            folder: the experiment's.
            name: of what was evaluated, for the names of the files, such as "test".
            ids: (N,) str
            read_inputs: returns the inputs of some examples of the split, by name, (rows, ...),
                given their numbers (rows,).
        """
        del read_inputs  # Whoever draws examples needs it.
        targets, predictions, losses = self.gathered()
        kind, classes = self.dataset.kind, self.dataset.classes
        title = f"{folder}, {name}"
        metrics, picture, path = (folder / file for file in self.files(name))
        write_atomically(metrics, json.dumps(self.metrics(), indent=2).encode())
        if kind == "regression":
            draw_numbers(targets, predictions, self.dataset, title, picture)
            write_numbers(path, ids, targets, predictions)
        elif kind == "multilabel":
            draw_f1(label_f1_scores(targets, predictions), classes, title, picture)
            write_labels(path, ids, targets, predictions, losses, classes)
        else:
            matrix = confusion_matrix(targets, predictions.argmax(axis=1), len(classes))
            draw_confusion_matrix(matrix, classes, title, picture)
            write_predicted_classes(path, ids, targets, predictions, classes)
        for metric, value in self.metrics().items():
            print(f"  {metric:10} {value:.4f}")


def measure_numbers(targets: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Return root mean squared error, mean absolute error and share of the variance explained.

    Args:
        targets: (N,)
        values: (N,) as predicted.
    """
    targets, values = targets.astype(np.float64), values.astype(np.float64)
    errors = values - targets
    metrics = {"rmse": float(np.sqrt((errors**2).mean())), "mae": float(np.abs(errors).mean())}
    if variance := float(targets.var()):
        metrics["r2"] = 1 - float((errors**2).mean()) / variance
    return metrics


def measure_classes(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return accuracy and F1; for two classes the area under the curve, too.

    F1 is that of the second of two classes, else the mean over the classes.

    Args:
        labels: (N,) int
        probabilities: (N, classes)
    """
    classes = probabilities.shape[1]
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), classes)
    scores = f1_scores(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))
    metrics = {"accuracy": float(np.trace(matrix) / matrix.sum())}
    if classes > 2:
        return metrics | {"f1": float(scores.mean())}
    area = area_under_curve(labels == 1, probabilities[:, 1])
    return metrics | ({} if area is None else {"auc": area}) | {"f1": float(scores[1])}


def draw_numbers(
    targets: np.ndarray, values: np.ndarray, dataset: "Dataset", title: str, path: Path
) -> None:
    """Draw predicted against true numbers as a PNG."""

    def plot(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.scatter(targets, values, s=12, alpha=0.5, edgecolors="none")
        ends = [float(min(targets.min(), values.min())), float(max(targets.max(), values.max()))]
        axes.plot(ends, ends, color="grey", linestyle=":")  # What is right lies here.
        axes.set_title(f"{title}\n{len(targets):,} rows")
        axes.set_xlabel(dataset.target_columns[0])
        axes.set_ylabel("predicted")
        axes.grid(alpha=0.3)

    draw(path, plot, 5.5, 5)


def write_numbers(path: Path, ids: np.ndarray, targets: np.ndarray, values: np.ndarray) -> None:
    """Write a CSV with a line a row of the table, the largest errors first.

    Args:
        path: the file.
        ids: (N,) str
        targets: (N,)
        values: (N,) as predicted.
    """
    errors = values - targets
    rows = (
        [ids[i], *(f"{each[i]:.6g}" for each in (targets, values, errors))]
        for i in np.argsort(-np.abs(errors), kind="stable")
    )
    write_csv(path, ["id", "target", "predicted", "error"], rows)


class PredictionWriter(predictions.PredictionWriter):
    """What predict.py writes: a row for each row of the table."""

    def titles(self) -> list[str]:
        """Return the names of the columns."""
        if self.dataset.kind in ("binary", "multiclass"):
            return probability_titles(self.dataset.classes)
        return ["id", *self.dataset.target_columns]

    def rows(
        self, examples: "Unlabelled", predictions: "Predictions"
    ) -> Iterator[Sequence[object]]:
        """Yield the row of each: the number, or the probability of every class or label."""
        if self.dataset.kind in ("binary", "multiclass"):
            probabilities = predictions["probabilities"]
            yield from probability_rows(examples.ids, probabilities, self.dataset.classes)
        elif self.dataset.kind == "multilabel":
            for name, each in zip(examples.ids, predictions["probabilities"], strict=True):
                yield [name, *each]
        else:
            yield from zip(examples.ids, predictions["values"], strict=True)

    def describe(self, examples: "Unlabelled", predictions: "Predictions") -> Iterator[str]:
        """Yield the line of each for the terminal."""
        if self.dataset.kind not in ("binary", "multiclass"):
            return super().describe(examples, predictions)
        probabilities = predictions["probabilities"]
        return describe_probabilities(examples.ids, probabilities, self.dataset.classes)
