"""What serve.py takes and gives for this task.

    curl -H "Content-Type: text/plain" -d 'A sentence.' http://127.0.0.1:8000/predict
    curl -H "Content-Type: application/json" -d '{"text": "A sentence."}' \\
        http://127.0.0.1:8000/predict

    {"model": "model", "version": 1, "answers": [
        {"class": "linalg", "probability": 0.98, "probabilities": {"linalg": 0.98, ...}}]}

JSON may hold several: {"text": ["One.", "Another one."]}.
"""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from machinery.class_answers import ONE_CLASS, answer_probabilities
from machinery.errors import InputError
from machinery.predictions import Unlabelled
from machinery.text_numbers import TextReader
from machinery.words import split_words

if TYPE_CHECKING:
    from build_dataset import Dataset
    from machinery.predictions import Predictions

MOST_TEXTS = 1000
_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MOST_TEXTS}
CONTENT: dict[str, Any] = {
    "text/plain": {"schema": _TEXT},
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["text"],
            "properties": {"text": {"anyOf": [_TEXT, _TEXTS]}},
        }
    },
}


class Service:
    """Reads texts, and answers with classes.

    Args:
        dataset: what the network was trained on.
    """

    def __init__(self, dataset: "Dataset") -> None:
        self.dataset = dataset
        longest = dataset.arrays["tokens"].longest
        self._reader = TextReader(dataset.vocabulary, longest, dataset.backbone)
        self._reader.number(["word"])  # Says at the start if a package is missing for it.

    def form(self) -> dict[str, Any]:
        """Return what the page asks for."""
        return {"kind": "text"}

    def schemas(self) -> dict[str, Any]:
        """Return what /openapi.json says of an answer."""
        return {"Answer": ONE_CLASS}

    def read(self, body: bytes, content_type: str) -> Unlabelled:
        """Return the texts of a request; raise InputError where there are none."""
        texts = _read_texts(body, content_type)
        if not all(map(split_words, texts)):
            raise InputError("the request: expected a text with a word")
        tokens = self._reader.pad(self._reader.number(texts))
        return Unlabelled(
            np.array([f"text-{row}" for row in range(len(texts))]), {"tokens": tokens}
        )

    def answer(self, examples: Unlabelled, predictions: "Predictions") -> list[dict[str, Any]]:
        """Return what people read of each text."""
        del examples
        probabilities, classes = predictions["probabilities"], self.dataset.classes
        return answer_probabilities(probabilities, classes, multilabel=False)


def _read_texts(body: bytes, content_type: str) -> list[str]:
    try:
        text = body.decode("utf-8-sig")
        if content_type != "application/json":
            return [text]
        found = json.loads(text)
    except UnicodeDecodeError:
        raise InputError("the request: is not UTF-8") from None
    except (ValueError, RecursionError):
        advice = "for a text as it is send Content-Type: text/plain"
        raise InputError(f"the request: is not JSON; {advice}") from None
    texts = found.get("text") if isinstance(found, dict) else None
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise InputError('the request: expected {"text": "A sentence."}, or several in a list')
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise InputError(f"the request: got {len(texts):,} texts, expected 1 to {MOST_TEXTS:,}")
    return texts
