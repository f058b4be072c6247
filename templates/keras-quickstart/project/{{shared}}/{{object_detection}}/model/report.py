"""What people see of a network: metrics, the best epoch, pictures with boxes, the worst images."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machinery import predictions
from machinery.average_precision import THRESHOLDS, AveragePrecision, find_right
from machinery.box_files import to_original
from machinery.box_pictures import Boxes, Picture, Scored, draw_boxes
from machinery.files import write_atomically
from machinery.metrics import Objective
from machinery.spreadsheets import write_csv

if TYPE_CHECKING:
    from build_dataset import Dataset
    from machinery.predictions import Predictions, ReadInputs, Unlabelled

CERTAIN = 0.3  # The score from which a box is counted in images_*.csv, and drawn.
LISTED = 0.05  # The score from which predict.py writes a box.
DRAWN = 8  # Images in boxes_*.png.


def objective(dataset: "Dataset") -> Objective:
    """Return the metric that says which epoch is the best."""
    del dataset  # It is the same for every dataset of this task.
    return Objective("val_ap50", maximize=True)


def initial_loss(dataset: "Dataset") -> None:
    """Return None: the loss before training depends on how many boxes each image has."""
    del dataset


class Evaluation:
    """The metrics of a split, summed up batch by batch.

    Args:
        dataset: names the classes.
        keep: keep every prediction, for `write`.
    """

    def __init__(self, dataset: "Dataset", keep: bool = False) -> None:
        self.dataset, self.keep = dataset, keep
        self.examples, self.loss_sum = 0, 0.0
        self.precision = AveragePrecision(len(dataset.classes))
        self._losses: list[np.ndarray] = []
        self._true: list[Boxes] = []
        self._predicted: list[Scored] = []

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        losses: np.ndarray,
    ) -> None:
        """Add a batch.

        Args:
            predictions: of net.predict: "boxes" (B, K, 4), "scores" (B, K), "classes" (B, K).
            targets: "boxes" (B, M, 5).
            losses: (B,)
        """
        self.examples += len(losses)
        self.loss_sum += float(losses.sum(dtype=np.float64))
        for row, true in enumerate(targets["boxes"]):
            true = true[true[:, 0] >= 0]
            found = Boxes(true[:, 1:], true[:, 0].astype(np.int64))
            predicted = select(predictions, row, lowest=0)
            self.precision.add(*predicted, *found)
            if self.keep:
                self._true.append(found)
                self._predicted.append(select(predictions, row, lowest=CERTAIN))
        if self.keep:
            self._losses.append(losses)

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name; "loss" is the mean over the examples.

        "ap50" is the average precision where an overlap of 0.5 makes a box a right one, and "ap"
        the mean over overlaps from 0.5 to 0.95; both are means over the classes that are there, as
        COCO measures them. Another one that you add here is reported, drawn and tabulated, too.
        """
        found = self.precision.by_class()
        found = found[~np.isnan(found[:, 0])]
        metrics = {"loss": self.loss_sum / self.examples}
        if len(found):  # Otherwise there is no box to find.
            metrics |= {"ap50": float(found[:, 0].mean()), "ap": float(found.mean())}
        return metrics

    def files(self, name: str) -> list[str]:
        """Return the names of the files that `write` writes."""
        return [f"metrics_{name}.json", f"boxes_{name}.png", f"images_{name}.csv"]

    def write(self, folder: Path, name: str, ids: np.ndarray, read_inputs: "ReadInputs") -> None:
        """Write metrics, a picture of some images and a list of all, and print the metrics.

        Args:
            folder: of the experiment.
            name: of the split, with the checkpoint if it is not the best; part of the file names.
            ids: (N,) str
            read_inputs: returns the inputs of some examples of the split, by name, (rows, ...),
                given their numbers (rows,).
        """
        metrics, picture, images = (folder / file for file in self.files(name))
        write_atomically(metrics, json.dumps(self.metrics(), indent=2).encode())
        pixels = read_inputs(np.arange(min(DRAWN, len(ids))))["images"]
        self._draw(picture, f"{folder}, {name}", ids, pixels)
        self._list(images, ids)
        for metric, value in self.metrics().items():
            print(f"  {metric:10} {value:.4f}")
        by_class = self.precision.by_class()[:, 0]
        if not np.isnan(by_class).all():
            worst = int(np.nanargmin(by_class))
            print(f"  lowest ap50 of a class: {self.dataset.classes[worst]} {by_class[worst]:.4f}")

    def _draw(self, path: Path, title: str, ids: np.ndarray, pixels: np.ndarray) -> None:
        """Draw the first images of the split with true and predicted boxes."""
        title = f"{title}: true boxes green, predicted ones from score {CERTAIN} on orange"
        pictures = [
            Picture(str(ids[row]), pixels[row], self._true[row], self._predicted[row])
            for row in range(len(pixels))
        ]
        draw_boxes(path, title, pictures, self.dataset.classes)

    def _list(self, path: Path, ids: np.ndarray) -> None:
        """Write a CSV with one line per image, those with the most mistakes first."""
        losses = np.concatenate(self._losses)
        pairs = [*zip(self._true, self._predicted, strict=True)]
        right = np.array([count_right(true, predicted) for true, predicted in pairs])
        missed, wrong = (np.array([len(each[i].classes) for each in pairs]) - right for i in (0, 1))
        order = np.lexsort((-losses, -missed - wrong))
        titles = ["id", "boxes", "right", "missed", "wrong", "loss"]
        rows = (
            [ids[i], right[i] + missed[i], right[i], missed[i], wrong[i], f"{losses[i]:.4f}"]
            for i in order
        )
        write_csv(path, titles, rows)


def count_right(true: Boxes, predicted: Scored) -> int:
    """Return how many true boxes of an image were found, with an overlap of at least 0.5."""
    right = [
        find_right(
            predicted.corners[predicted.classes == number],
            true.corners[true.classes == number],
            THRESHOLDS[:1],
        )
        for number in np.unique(true.classes)
    ]
    return sum(int(each.sum()) for each in right)


def select(predictions: Mapping[str, np.ndarray], row: int, lowest: float) -> Scored:
    """Return the boxes of one image whose score is above `lowest`, the most certain first."""
    scores = predictions["scores"][row]
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > lowest]
    boxes, classes = predictions["boxes"][row][order], predictions["classes"][row][order]
    return Scored(boxes, classes, scores[order])


class PredictionWriter(predictions.PredictionWriter):
    """Writes a row for each box; an image in which nothing was found has one with empty cells."""

    draws = True

    def titles(self) -> list[str]:
        """Return the names of the columns; places are in pixels of the picture as it came."""
        return ["id", "class", "score", "left", "top", "right", "bottom"]

    def rows(
        self, examples: "Unlabelled", predictions: "Predictions"
    ) -> Iterator[Sequence[object]]:
        """Yield a row for each box, the most certain first."""
        assert examples.originals is not None
        for row, name in enumerate(examples.ids):
            found = select(predictions, row, LISTED)
            size = tuple(examples.originals[row])
            corners = to_original(found.corners, size, self.dataset.image_shape)
            for box, number, score in zip(corners, found.classes, found.scores, strict=True):
                places = (f"{value:.1f}" for value in box)
                yield [name, self.dataset.classes[number], f"{score:.4f}", *places]
            if not len(corners):  # So every image is in the file.
                yield [name, *[""] * 6]

    def draw(self, examples: "Unlabelled", predictions: "Predictions", path: Path) -> None:
        """Draw the first images with their boxes."""
        pictures = [
            Picture(str(name), pixels, predicted=select(predictions, row, CERTAIN))
            for row, (name, pixels) in enumerate(
                zip(examples.ids, examples.inputs["images"], strict=True)
            )
        ]
        title = f"Predicted boxes from score {CERTAIN} on"
        draw_boxes(path, title, pictures, self.dataset.classes)
