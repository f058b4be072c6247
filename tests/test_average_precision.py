"""Our average precision is that of pycocotools, on random boxes with ties and gaps."""

import contextlib
import importlib.util
import io
import sys
from typing import Any

import numpy as np
import pytest

from conftest import root

pycocotools = pytest.importorskip("pycocotools.cocoeval")

CLASSES = 5
FILE = root / "shared/project/{{object_detection}}/machinery/average_precision.py"
_spec = importlib.util.spec_from_file_location("average_precision", FILE)
assert _spec
assert _spec.loader
average_precision: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = average_precision
_spec.loader.exec_module(average_precision)


def draw_image(generator: np.random.Generator, most: int) -> tuple[np.ndarray, ...]:
    """Return predicted corners, classes and scores, and true corners and classes of an image.

    Many scores are equal, some true boxes are found twice, and the last class has no true box.
    """
    true = generator.integers(0, 40, (generator.integers(0, 8), 4)).astype(np.float64)
    true[:, 2:] = true[:, :2] + generator.integers(2, 12, (len(true), 2))
    true_classes = generator.integers(0, CLASSES - 1, len(true))
    boxes = generator.integers(0, 40, (generator.integers(0, most), 4)).astype(np.float64)
    boxes[:, 2:] = boxes[:, :2] + generator.integers(1, 12, (len(boxes), 2))
    classes = generator.integers(0, CLASSES, len(boxes))
    for row in range(len(boxes) if len(true) else 0):
        if generator.random() < 0.7:
            found = generator.integers(len(true))
            boxes[row] = true[found] + generator.integers(-2, 3, 4)
            boxes[row, 2:] = np.maximum(boxes[row, 2:], boxes[row, :2] + 1)
            classes[row] = true_classes[found]
    return boxes, classes, generator.integers(1, 12, len(boxes)) / 12, true, true_classes


def as_annotations(image: int, corners: np.ndarray, classes: np.ndarray) -> list[dict[str, Any]]:
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return [
        {"image_id": image, "category_id": int(number), "bbox": box.tolist()}
        for number, box in zip(classes, boxes, strict=True)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_that_of_pycocotools(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ours = average_precision.AveragePrecision(CLASSES)
    truth, found = [], []
    images = range(1, int(generator.integers(2, 30)))
    for image in images:
        boxes, classes, scores, *true = draw_image(generator, 250 if seed % 5 == 0 else 25)
        ours.add(boxes, classes, scores, *true)
        truth += as_annotations(image, true[0], true[1])
        found += [
            {**each, "score": float(score)}
            for each, score in zip(as_annotations(image, boxes, classes), scores, strict=True)
        ]
    for number, each in enumerate(truth, start=1):
        each |= {"id": number, "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = importlib.import_module("pycocotools.coco").COCO()
        coco.dataset = {
            "images": [{"id": image} for image in images],
            "annotations": truth,
            "categories": [{"id": number} for number in range(CLASSES)],
        }
        coco.createIndex()
        evaluation = pycocotools.COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # overlaps, recalls, classes
    theirs = np.where(precision.max(axis=(0, 1)) < 0, np.nan, precision.mean(axis=1))
    np.testing.assert_allclose(ours.by_class().T, theirs, atol=1e-12)
