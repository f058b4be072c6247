"""What serve.py answers: boxes in pixels of the picture as it came."""

import io
from pathlib import Path

import numpy as np
import pytest
from answer_schema import check_answer
from PIL import Image

from build_dataset import Dataset, write_images
from service import Service


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    images = np.arange(6 * 32 * 32, dtype=np.uint8).reshape(6, 32, 32, 1)
    boxes = [np.array([[row % 2, 1, 1, 9, 9]], np.float32) for row in range(6)]
    splits = {"train": np.arange(4), "val": np.array([4]), "test": np.array([5])}
    ids = np.arange(6).astype(str)
    return write_images(tmp_path, images, boxes, ids, splits, ["cat", "dog"], "made here")


def test_boxes_are_those_of_the_picture(dataset: Dataset) -> None:
    """Twice as wide as what the network sees, and half as high: it is scaled by a half."""
    file = io.BytesIO()
    Image.new("L", (64, 32)).save(file, "png")
    service = Service(dataset)
    examples = service.read(file.getvalue(), "image/png")
    predictions = {
        "boxes": np.array([[[1, 2, 9, 10], [0, 0, 40, 40], [5, 5, 6, 6]]], np.float32),
        "scores": np.array([[0.5, 0.75, 0.1]], np.float32),
        "classes": np.array([[1, 0, 0]]),
    }
    (answer,) = service.answer(examples, predictions)
    schema = service.schemas()["Answer"]
    check_answer(answer, schema)
    check_answer(answer["objects"][0], schema["properties"]["objects"]["items"])
    assert (answer["width"], answer["height"]) == (64, 32)
    places = {"left": 0, "top": 0, "right": 64, "bottom": 32}  # Inside the picture.
    first, second = answer["objects"]
    assert first == {"class": "cat", "score": 0.75, **places}
    places = {"left": 2, "top": 4, "right": 18, "bottom": 20}
    assert second == {"class": "dog", "score": 0.5, **places}
