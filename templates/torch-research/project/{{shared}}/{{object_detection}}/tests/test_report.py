"""Average precision, checked by hand and against what COCO's own code measures."""

import csv
from pathlib import Path

import numpy as np
import pytest

from build_dataset import Dataset, build_scenes, read_dataset
from machinery.average_precision import AveragePrecision, find_right, overlaps
from machinery.box_files import to_original
from machinery.predictions import Unlabelled
from model.report import Evaluation, PredictionWriter, select

BOX = np.array([10.0, 10, 20, 20])
AWAY = BOX + 100


def moved(right: float) -> np.ndarray:
    return BOX + np.array([right, 0, right, 0])


def measure(boxes: list, scores: list, classes: list, true: list, true_classes: list) -> np.ndarray:
    """Return the average precision of two classes at each overlap, over a single image."""
    precision = AveragePrecision(2)
    precision.add(
        np.reshape(boxes, (-1, 4)),
        np.array(classes, np.int64),
        np.array(scores),
        np.reshape(true, (-1, 4)),
        np.array(true_classes, np.int64),
    )
    return precision.by_class()


def test_overlaps() -> None:
    others = np.array([BOX, moved(right=5), AWAY, [10, 10, 10, 10]])
    assert overlaps(BOX[None], others)[0] == pytest.approx([1, 1 / 3, 0, 0])


def test_what_is_found_counts() -> None:
    assert measure([BOX], [0.9], [0], [BOX], [0])[0] == pytest.approx([1] * 10)


def test_of_two_boxes_half_are_found() -> None:
    """Precision 1 up to a recall of 0.5, which is 51 of the 101 points."""
    assert measure([BOX], [0.9], [0], [BOX, AWAY], [0, 0])[0] == pytest.approx([51 / 101] * 10)


def test_a_wrong_box_that_is_more_certain_costs_half() -> None:
    assert measure([AWAY, BOX], [0.9, 0.8], [0, 0], [BOX], [0])[0] == pytest.approx([0.5] * 10)


def test_a_wrong_box_that_is_less_certain_costs_nothing() -> None:
    assert measure([AWAY, BOX], [0.7, 0.8], [0, 0], [BOX], [0])[0] == pytest.approx([1] * 10)


def test_a_box_that_is_found_twice_is_right_once() -> None:
    right = find_right(np.array([BOX, BOX]), BOX[None], np.array([0.5]))
    assert right.tolist() == [[True], [False]]


def test_the_better_fit_is_taken() -> None:
    true = np.array([moved(right=1), BOX])
    right = find_right(np.array([BOX, BOX]), true, np.array([0.5, 0.95]))
    assert right.tolist() == [[True, True], [True, False]]


def test_a_class_that_is_not_there_is_left_out() -> None:
    found = measure([BOX, BOX], [0.9, 0.8], [0, 1], [BOX], [0])
    assert found[0] == pytest.approx([1] * 10)
    assert np.isnan(found[1]).all()


def test_an_overlap_of_six_tenths() -> None:
    """It is right at 0.5, 0.55 and 0.6, and at no higher one."""
    found = measure([np.array([10.0, 10, 20, 16])], [0.9], [0], [BOX], [0])[0]
    assert found == pytest.approx([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])


def make_predictions(boxes: np.ndarray) -> dict[str, np.ndarray]:
    """Return predictions that are the true boxes (B, M, 5)."""
    scores = np.where(boxes[..., 0] >= 0, 0.9, 0.0)
    classes = np.maximum(boxes[..., 0], 0).astype(np.int64)
    return {"boxes": boxes[..., 1:], "scores": scores, "classes": classes}


def test_what_evaluation_writes(tmp_path: Path) -> None:
    build_scenes(tmp_path / "data")
    dataset = read_dataset(tmp_path / "data")
    ids = dataset.read_ids(tmp_path / "data", "test")
    arrays = dataset.read_split(tmp_path / "data", "test")
    boxes = arrays["boxes"].take(np.arange(len(ids)))
    evaluation = Evaluation(dataset, keep=True)
    losses = np.zeros(len(ids))
    predictions = make_predictions(boxes)
    predictions["scores"][7] = 0  # One image in which nothing is found.
    evaluation.add(predictions, {"boxes": boxes}, losses)
    assert 0.95 < evaluation.metrics()["ap50"] < 1
    evaluation.write(
        tmp_path, "test", ids, lambda rows: {"images": arrays["images"].take(rows, axis=0)}
    )
    assert (tmp_path / "boxes_test.png").read_bytes().startswith(b"\x89PNG")
    rows = [*csv.DictReader((tmp_path / "images_test.csv").open(encoding="utf-8"))]
    assert len(rows) == len(ids)
    assert (rows[0]["id"], rows[0]["right"]) == (ids[7], "0")
    assert int(rows[0]["missed"]) == (boxes[7][:, 0] >= 0).sum()
    assert {row["missed"] for row in rows[1:]} == {"0"}


def test_nothing_to_find_has_no_precision() -> None:
    evaluation = Evaluation(Dataset.model_construct(classes=["a"]))
    none = np.full((2, 3, 5), -1.0)
    evaluation.add(make_predictions(none), {"boxes": none}, np.ones(2))
    assert evaluation.metrics() == {"loss": 1}


def test_boxes_are_listed_in_pixels_of_the_picture(tmp_path: Path) -> None:
    """A picture of 200 x 100 pixels is stored as 50 x 25, in the upper left of 50 x 50."""
    shape = (50, 50, 1)
    assert to_original(np.array([[10.0, 5, 60, 20]]), (200, 100), shape).tolist() == [
        [40, 20, 200, 80]
    ]
    dataset = build_scenes(tmp_path / "data")
    writer = PredictionWriter(dataset, tmp_path / "predictions.csv")
    ids, pixels = np.array(["a", "b"]), np.zeros((2, *dataset.image_shape), np.uint8)
    examples = Unlabelled(ids, {"images": pixels}, np.array([[96, 48], [48, 48]]))
    boxes = np.array([[[0.0, 0, 24, 12]], [[0, 0, 0, 0]]])
    scores, classes = np.array([[0.75], [0.0]]), np.array([[3], [0]])
    found = {"boxes": boxes, "scores": scores, "classes": classes}
    rows = [*writer.rows(examples, found)]
    assert rows == [["a", "3", "0.7500", "0.0", "0.0", "48.0", "24.0"], ["b", *[""] * 6]]
    writer.write("network", [(examples, found)])
    assert (tmp_path / "predictions.png").exists()


def test_the_most_certain_box_comes_first() -> None:
    boxes = np.arange(12.0).reshape(1, 3, 4)
    found = {"boxes": boxes, "scores": np.array([[0.2, 0.9, 0]]), "classes": np.array([[1, 2, 3]])}
    chosen = select(found, 0, lowest=0)
    assert chosen.classes.tolist() == [2, 1]
    assert chosen.corners[0].tolist() == [4, 5, 6, 7]
