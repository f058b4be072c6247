"""What serve.py takes and gives for this task.

    curl --data-binary @picture.png http://127.0.0.1:8000/predict

    {"model": "model", "version": 1, "answers": [{"width": 640, "height": 480, "confidence": 0.97,
        "shares": {"sky": 0.6, ...}, "colours": {"sky": "#4e79a7", ...}, "mask": "iVBORw0KG..."}]}

"mask" is a PNG of class numbers in the size of the picture, in base64; 255 is what lies beyond the
square that the network saw. Viewers show the numbers in "colours".
"""

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from machinery.mask_report import class_colours
from machinery.picture_requests import CONTENT, FORM, read_picture
from machinery.predicted_masks import encode_mask, to_original_size

if TYPE_CHECKING:
    from build_dataset import Dataset
    from machinery.predictions import Predictions, Unlabelled

__all__ = ["CONTENT", "Service"]

ANSWER = {
    "type": "object",
    "required": ["width", "height", "confidence", "shares", "colours", "mask"],
    "properties": {
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "confidence": {"type": "number"},
        "shares": {"type": "object", "additionalProperties": {"type": "number"}},
        "colours": {"type": "object", "additionalProperties": {"type": "string"}},
        "mask": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"},
    },
}


class Service:
    """Reads a picture, and answers with a mask.

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
        return read_picture(body, self.dataset.image_shape)

    def answer(self, examples: "Unlabelled", predictions: "Predictions") -> list[dict[str, Any]]:
        """Return the mask of each picture, and the share of each class in its pixels."""
        assert examples.originals is not None
        classes = self.dataset.classes
        colours = ["#{:02x}{:02x}{:02x}".format(*c) for c in class_colours(len(classes)).tolist()]
        answers = []
        for row, (width, height) in enumerate(examples.originals.tolist()):
            mask = predictions["masks"][row]
            whole = to_original_size(mask, np.array([height, width]))
            counts = np.bincount(mask.ravel(), minlength=len(classes)) / mask.size
            answers.append(
                {
                    "width": width,
                    "height": height,
                    "confidence": float(predictions["confidence"][row]),
                    "shares": dict(zip(classes, counts.tolist(), strict=True)),
                    "colours": dict(zip(classes, colours, strict=False)),
                    "mask": base64.b64encode(encode_mask(whole, len(classes))).decode(),
                }
            )
        return answers
