"""What serve.py answers: a mask in the size of the picture, and what its numbers mean."""

import base64
import io
import json
from typing import Any

import numpy as np
from answer_schema import check_answer
from PIL import Image

from build_dataset import Dataset
from service import Service


def test_the_mask_has_the_size_of_the_picture() -> None:
    """What was cropped off, left and right of the middle, is not known."""
    arrays: dict[str, Any] = {"images": {"dtype": "uint8", "shape": (32, 32, 3)}}
    arrays["masks"] = {"dtype": "uint8", "shape": (32, 32)}
    facts: dict[str, Any] = {"task": "semantic-segmentation", "source": "", "arrays": arrays}
    facts |= {"classes": ["sky", "road"], "values": ["0", "1"], "shares": {}, "mean": [], "std": []}
    facts |= {"examples": {}, "arrays_folder": "arrays-1", "fingerprint": ""}
    service = Service(Dataset.model_validate(facts))
    file = io.BytesIO()
    Image.new("RGB", (128, 64)).save(file, "png")
    examples = service.read(file.getvalue(), "image/png")
    masks = np.zeros((1, 32, 32), np.uint8)
    masks[0, :8] = 1
    predictions = {"masks": masks, "confidence": np.array([0.5], np.float32)}
    (answer,) = service.answer(examples, predictions)
    check_answer(json.loads(json.dumps(answer)), service.schemas()["Answer"])
    assert answer["shares"] == {"sky": 0.75, "road": 0.25}
    assert answer["confidence"] == 0.5
    with Image.open(io.BytesIO(base64.b64decode(answer["mask"]))) as image:
        assert image.size == (128, 64) == (answer["width"], answer["height"])
        numbers = np.asarray(image)
        colours = np.asarray(image.convert("RGB"))
    assert (numbers[:, :32] == 255).all()
    assert (numbers[:16, 32:96] == 1).all()
    assert (numbers[16:, 32:96] == 0).all()
    assert "#{:02x}{:02x}{:02x}".format(*colours[0, 64]) == answer["colours"]["road"]
