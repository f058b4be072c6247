"""What people see of a network: metrics, the best epoch, the worst masks, predicted masks."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from machinery import predictions
from machinery.files import refuse_to_overwrite, remove, write_atomically
from machinery.mask_report import (
    IGNORED,
    class_ious,
    confusion_matrix,
    mean_iou,
    paint,
    plot_panels,
)
from machinery.metrics import Objective
from machinery.pictures import draw
from machinery.predicted_masks import to_original_size, write_mask
from machinery.spreadsheets import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from build_dataset import Dataset
    from machinery.predictions import Predictions, ReadInputs, Unlabelled

WORST = 8  # Images that the picture shows.
IN_A_LINE = 2  # Images that the sheet of predictions shows side by side, each with its mask.


def objective(dataset: "Dataset") -> Objective:
    """Return the metric that says which epoch is the best."""
    del dataset  # It is the same for every dataset of this task.
    return Objective("val_iou", maximize=True)


def initial_loss(dataset: "Dataset") -> float:
    """Return the mean loss of a network that knows nothing: every class is as probable."""
    return math.log(len(dataset.classes))


class Compared(NamedTuple):
    """An image's mask beside the predicted one."""

    iou: float  # mean over the classes that are in one of them
    row: int  # of the split
    mask: np.ndarray  # (height, width) uint8
    predicted: np.ndarray  # (height, width) uint8


class Evaluation:
    """The metrics of a split, summed up batch by batch.

    Args:
        dataset: names the classes.
        keep: keep the overlap of every image and the worst masks, for `write`.
    """

    def __init__(self, dataset: "Dataset", keep: bool = False) -> None:
        self.dataset, self.keep = dataset, keep
        self.examples, self.loss_sum = 0, 0.0
        classes = len(dataset.classes)
        self.matrix = np.zeros((classes, classes), np.int64)  # See confusion_matrix.
        self._ious: list[float] = []  # of each image
        self._losses: list[float] = []
        self._worst: list[Compared] = []

    def add(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        losses: np.ndarray,
    ) -> None:
        """Add a batch.

        Args:
            predictions: of net.predict: "masks" (B, height, width) uint8.
            targets: "masks" (B, height, width) uint8, class numbers, and 255 where not known.
            losses: (B,)
        """
        masks, predicted = targets["masks"], predictions["masks"]
        classes = len(self.dataset.classes)
        if self.keep:
            for row, pair in enumerate(zip(masks, predicted, strict=True), start=self.examples):
                matrix = confusion_matrix(*pair, classes)
                self.matrix += matrix
                self._ious.append(mean_iou(matrix))
                self._worst.append(Compared(self._ious[-1], row, *pair))
            self._losses += losses.tolist()
            kept = sorted(self._worst, key=lambda each: each[:2])[:WORST]
            # A copy, as a view would keep the whole batch in memory.
            self._worst = [each._replace(predicted=each.predicted.copy()) for each in kept]
        else:
            self.matrix += confusion_matrix(masks, predicted, classes)
        self.examples += len(masks)
        self.loss_sum += float(losses.sum(dtype=np.float64))

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name; "loss" is the mean over the examples.

        "iou" is the mean over the classes of the intersection over union, each counted over the
        pixels of the whole split. Another one that you add here is reported, drawn and tabulated
        like these.
        """
        return {
            "loss": self.loss_sum / self.examples,
            "iou": mean_iou(self.matrix),
            "pixel_accuracy": float(np.trace(self.matrix) / max(self.matrix.sum(), 1)),
        }

    def files(self, name: str) -> list[str]:
        """Return the names of the files that `write` writes."""
        return [
            f"metrics_{name}.json",
            f"masks_{name}.png",
            f"classes_{name}.csv",
            f"images_{name}.csv",
        ]

    def write(self, folder: Path, name: str, ids: np.ndarray, read_inputs: "ReadInputs") -> None:
        """Write metrics, the worst masks, and the overlap by class and by image; print the metrics.

        Args:
            folder: of the experiment.
            name: of the split, with the checkpoint if it is not the best; part of the file names.
            ids: (N,) str
            read_inputs: returns the inputs of some examples of the split, by name, (rows, ...),
                given their numbers (rows,).
        """
        metrics, picture, by_class, by_image = (folder / file for file in self.files(name))
        write_atomically(metrics, json.dumps(self.metrics(), indent=2).encode())
        rows = np.array([each.row for each in self._worst])
        images = read_inputs(rows)["images"]
        names = [str(name) for name in ids[rows]]
        draw_compared(
            self._worst, images, names, self.dataset.classes, f"{folder}, {name}", picture
        )
        ious = class_ious(self.matrix)
        columns = (self.dataset.classes, ious, self.matrix.sum(axis=1), self.matrix.sum(axis=0))
        write_csv(
            by_class,
            ["class", "iou", "pixels", "predicted_pixels"],
            (
                [each, "" if math.isnan(iou) else f"{iou:.4f}", *counts]
                for each, iou, *counts in zip(*columns, strict=True)
            ),
        )
        worst_first = np.argsort(self._ious, kind="stable")
        rows = ([ids[i], f"{self._ious[i]:.4f}", f"{self._losses[i]:.4f}"] for i in worst_first)
        write_csv(by_image, ["id", "iou", "loss"], rows)
        for metric, value in self.metrics().items():
            print(f"  {metric:14} {value:.4f}")


def draw_compared(
    compared: list[Compared],
    images: np.ndarray,
    names: list[str],
    classes: list[str],
    title: str,
    path: Path,
) -> None:
    """Draw images, their masks, what was predicted, and where these differ, as a PNG."""

    def plot(figure: "Figure") -> None:
        panels = []
        for (_, _, mask, predicted), image in zip(compared, without_grey_axis(images), strict=True):
            known = mask != IGNORED
            wrong = np.where(known & (mask != predicted), 0, 255).astype(np.uint8)
            panels.append(
                [image, paint(mask, len(classes)), paint(predicted, len(classes)), wrong],
            )
        beside = [
            f"{name[-24:]}\nIoU {each.iou:.2f}" for name, each in zip(names, compared, strict=True)
        ]
        heading = f"{title}: the {len(compared)} images with the least overlap"
        titles = ["image", "truth", "predicted", "wrong"]
        plot_panels(figure, panels, titles, beside, classes, heading)

    draw(path, plot, 7, 1.7 * len(compared) + 1.5)


def without_grey_axis(images: np.ndarray) -> np.ndarray:
    """Return images (N, height, width, channels) without the last axis where they are grey."""
    return images[..., 0] if images.shape[-1] == 1 else images


class PredictionWriter(predictions.PredictionWriter):
    """What predict.py writes: a row and a mask for each image, and a sheet of the first ones.

    The masks go into a folder beside the CSV file, as PNGs of class numbers in the size of the
    image; 255 is what lies beyond the square that the network saw.
    """

    draws = True

    def __init__(self, dataset: "Dataset", path: Path, overwrite: bool = False) -> None:
        super().__init__(dataset, path, overwrite)
        self.folder = path.with_name(f"{path.stem}_masks")
        self.written: list[Path] = []
        if not overwrite:
            refuse_to_overwrite(self.folder)

    def titles(self) -> list[str]:
        """Return the names of the columns: a class has the share of the image's pixels."""
        return ["id", "mask", "confidence", *self.dataset.classes]

    def rows(
        self, examples: "Unlabelled", predictions: "Predictions"
    ) -> Iterator[Sequence[object]]:
        """Write the mask of each image, and yield its row."""
        assert examples.originals is not None  # build_dataset.py gives the sizes of the images.
        masks, shares = predictions["masks"], self.shares(predictions)
        self.folder.mkdir(exist_ok=True)
        for row, name in enumerate(examples.ids):
            stem = Path(str(name)).stem
            path = self.folder / f"{len(self.written) + 1:05}_{stem}.png"
            whole = to_original_size(masks[row], examples.originals[row])
            self.written.append(path)
            write_mask(path, whole, len(self.dataset.classes))
            file = f"{self.folder.name}/{path.name}"
            confidence = f"{predictions['confidence'][row]:.4f}"
            yield [name, file, confidence, *(f"{share:.4f}" for share in shares[row])]

    def write(self, network: str, results: "Iterable[tuple[Unlabelled, Predictions]]") -> None:
        """Write all; if that fails, nothing is left of it."""
        try:
            super().write(network, results)
        except BaseException:
            for path in self.written:
                remove(path)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()
            raise
        print(f"The masks are in {self.folder}.")

    def shares(self, predictions: "Predictions") -> np.ndarray:
        """Return the share of each class in the pixels of each mask, (N, classes)."""
        classes = len(self.dataset.classes)
        counts = [np.bincount(mask.ravel(), minlength=classes) for mask in predictions["masks"]]
        return np.array(counts) / predictions["masks"][0].size

    def describe(self, examples: "Unlabelled", predictions: "Predictions") -> Iterator[str]:
        """Yield the line of each image for the terminal: the classes with the most pixels."""
        for name, shares in zip(examples.ids, self.shares(predictions), strict=True):
            most = [number for number in np.argsort(-shares, kind="stable")[:4] if shares[number]]
            shown = (f"{self.dataset.classes[number]} {shares[number]:.1%}" for number in most)
            yield f"{name}: {', '.join(shown)}"

    def draw(self, examples: "Unlabelled", predictions: "Predictions", path: Path) -> None:
        """Draw a sheet of images as the network sees them, each with its mask beside it."""
        images, classes = examples.inputs["images"], self.dataset.classes
        pictures = without_grey_axis(images)
        masks = paint(predictions["masks"], len(classes))
        blank = np.full(masks.shape[1:], 255, np.uint8)

        def plot(figure: "Figure") -> None:
            panels, names = [], []
            for first in range(0, len(images), IN_A_LINE):
                line = range(first, min(first + IN_A_LINE, len(images)))
                shown = [each for row in line for each in (pictures[row], masks[row])]
                panels.append(shown + [blank] * (2 * IN_A_LINE - len(shown)))
                names.append("\n".join(str(examples.ids[row])[-24:] for row in line))
            titles = ["image", "predicted"] * IN_A_LINE
            plot_panels(figure, panels, titles, names, classes, f"{path.name}")

        draw(path, plot, 7, 1.6 * math.ceil(len(images) / IN_A_LINE) + 1.5)
