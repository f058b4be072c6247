"""What serve.py takes and gives for this task.

    curl --data-binary @picture.png http://127.0.0.1:8000/predict

    {"model": "model", "version": 1, "answers": [{"width": 640, "height": 480, "objects": [
        {"class": "3", "score": 0.93, "left": 10.0, "top": 4.5, "right": 52.0, "bottom": 60.0}]}]}

Places are in pixels of the picture as it came.
"""

from typing import TYPE_CHECKING, Any

from machinery.box_files import letterbox, to_original
from machinery.picture_requests import CONTENT, FORM, read_picture
from model.report import CERTAIN, select

if TYPE_CHECKING:
    from build_dataset import Dataset
    from machinery.predictions import Predictions, Unlabelled

__all__ = ["CONTENT", "Service"]

EDGES = ("left", "top", "right", "bottom")
_OBJECT = {"class": {"type": "string"}, "score": {"type": "number"}}
_OBJECT |= {name: {"type": "number"} for name in EDGES}
_OBJECTS = {"type": "object", "required": [*_OBJECT], "properties": _OBJECT}
ANSWER = {
    "type": "object",
    "required": ["width", "height", "objects"],
    "properties": {
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "objects": {"type": "array", "items": _OBJECTS},
    },
}


class Service:
    """Reads a picture, and answers with boxes.

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
        return {"Answer": ANSWER}

    def read(self, body: bytes, content_type: str) -> "Unlabelled":
        """Return the picture of a request; raise InputError where there is none."""
        del content_type  # The file itself says what it is.
        return read_picture(body, self.dataset.image_shape, letterbox)

    def answer(self, examples: "Unlabelled", predictions: "Predictions") -> list[dict[str, Any]]:
        """Return the boxes of each picture that are certain enough, the most certain first."""
        assert examples.originals is not None
        answers = []
        for row, (width, height) in enumerate(examples.originals.tolist()):
            found = select(predictions, row, CERTAIN)
            corners = to_original(found.corners, (width, height), self.dataset.image_shape)
            names = [self.dataset.classes[number] for number in found.classes]
            objects = [
                {"class": name, "score": score, **dict(zip(EDGES, edges, strict=True))}
                for name, score, edges in zip(
                    names, found.scores.tolist(), corners.tolist(), strict=True
                )
            ]
            answers.append({"width": width, "height": height, "objects": objects})
        return answers
