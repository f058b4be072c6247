"""What serve.py takes and gives for this task.

    curl --data-binary @picture.png http://127.0.0.1:8000/predict

    {"model": "model", "version": 1, "answers": [
        {"class": "3", "probability": 0.98, "probabilities": {"0": 0.001, ...}}]}

Where a picture may have several labels, an answer has "labels" in place of the first two.
"""

from typing import TYPE_CHECKING, Any

from machinery.class_answers import LABELS, ONE_CLASS, answer_probabilities
from machinery.picture_requests import CONTENT, FORM, read_picture

if TYPE_CHECKING:
    from build_dataset import Dataset
    from machinery.predictions import Predictions, Unlabelled

__all__ = ["CONTENT", "Service"]


class Service:
    """Reads a picture, and answers with classes.

    Args:
        dataset: what the network was trained on.
    """

    def __init__(self, dataset: "Dataset") -> None:
        self.dataset = dataset

    def form(self) -> dict[str, Any]:
        """Return what the page asks for."""
        return FORM

    def schemas(self) -> dict[str, Any]:
        """Return what /openapi.json says of an answer."""
        return {"Answer": LABELS if self.dataset.multilabel else ONE_CLASS}

    def read(self, body: bytes, content_type: str) -> "Unlabelled":
        """Return the picture of a request; raise InputError where there is none."""
        del content_type  # The file itself says what it is.
        return read_picture(body, self.dataset.image_shape)

    def answer(self, examples: "Unlabelled", predictions: "Predictions") -> list[dict[str, Any]]:
        """Return what people read of each picture."""
        del examples
        probabilities, classes = predictions["probabilities"], self.dataset.classes
        return answer_probabilities(probabilities, classes, self.dataset.multilabel)
