"""Reports on classes: metrics, the confusion matrix, the list of predictions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery.pictures import draw
from machinery.spreadsheets import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PROBABLE = 3  # Classes of an example that the terminal shows.
LARGEST_LEGIBLE = 40  # Classes whose names and counts a confusion matrix can show.


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


def f1_scores(found: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the F1 score of each class: the harmonic mean of precision and recall.

    Args:
        found: (classes,) how many examples of the class were predicted as such.
        labelled: (classes,) how many there are.
        predicted: (classes,) how many were predicted.

    Returns:
        (classes,), 0 for a class that is neither there nor predicted
    """
    return 2 * found / np.maximum(labelled + predicted, 1)


def area_under_curve(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the area under the ROC curve: how likely a positive example has the higher score.

    Computed from ranks (Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747);
    among equal scores, half of the pairs count.

    Args:
        positive: (N,) bool
        scores: (N,)

    Returns:
        the area, or None where all examples are positive or none is: then it is not defined.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = counts.cumsum() - (counts - 1) / 2  # From 1 on; equal scores share the mean of theirs.
    pairs = ranks[places][positive].sum() - positives * (positives + 1) / 2
    return float(pairs / (positives * negatives))


def draw_confusion_matrix(
    matrix: np.ndarray, classes: Sequence[str], title: str, path: Path
) -> None:
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
        axes.set_ylabel("label, with its recall")

    side = 2.5 + 0.4 * min(len(classes), LARGEST_LEGIBLE)
    draw(path, plot, side + 0.5, side)


def write_predicted_classes(
    path: Path,
    ids: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write a CSV with one line per example, the most certain mistakes first.

    Args:
        path: the file.
        ids: (N,) str
        labels: (N,) int
        probabilities: (N, classes)
        classes: their names.
    """
    predicted, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.lexsort((-certainty, predicted == labels))
    rows = (
        [ids[i], classes[labels[i]], classes[predicted[i]], f"{certainty[i]:.4f}"] for i in order
    )
    write_csv(path, ["id", "label", "predicted", "probability"], rows)


def probability_titles(classes: Sequence[str]) -> list[str]:
    """Return the titles of a CSV file of probabilities; see probability_rows."""
    return ["id", "predicted", *classes]


def probability_rows(
    ids: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Iterator[Sequence[object]]:
    """Yield a row for each example: its id, the predicted class, the probability of each class.

    Args:
        ids: (N,) str
        probabilities: (N, classes) float32, which are written with all their digits.
        classes: their names.
    """
    for name, each in zip(ids, probabilities, strict=True):
        yield [name, classes[each.argmax()], *each]


def describe_probabilities(
    ids: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Iterator[str]:
    """Yield a line for each example: its id, and the most probable classes.

    Args:
        ids: (N,) str
        probabilities: (N, classes)
        classes: their names.
    """
    for name, each in zip(ids, probabilities, strict=True):
        best = np.argsort(-each, kind="stable")[:MOST_PROBABLE]
        yield f"{name}: " + ", ".join(f"{classes[place]} {each[place]:.4f}" for place in best)
