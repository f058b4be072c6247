"""What serve.py answers: the most probable class, or every label that is likely."""

import json

import numpy as np
import pytest
from answer_schema import check_answer

from build_dataset import Dataset
from machinery.class_answers import answer_probabilities
from machinery.predictions import Unlabelled
from service import Service


@pytest.mark.parametrize("multilabel", [False, True])
def test_an_answer_is_what_is_said_of_it(multilabel: bool) -> None:
    service = Service(Dataset.model_construct(classes=["no", "yes"], multilabel=multilabel))
    examples = Unlabelled(np.array(["request"]), {})
    predictions = {"probabilities": np.array([[0.25, 0.75]], np.float32)}
    (answer,) = service.answer(examples, predictions)
    check_answer(json.loads(json.dumps(answer)), service.schemas()["Answer"])


def test_the_most_probable_class() -> None:
    probabilities = np.array([[0.25, 0.75], [1.0, 0.0]])
    one, other = answer_probabilities(probabilities, ["no", "yes"], multilabel=False)
    shares = {"no": 0.25, "yes": 0.75}
    assert one == {"class": "yes", "probability": 0.75, "probabilities": shares}
    assert other["class"] == "no"


def test_labels_that_are_likely() -> None:
    probabilities = np.array([[0.75, 0.6], [0.5, 0.25]])
    one, other = answer_probabilities(probabilities, ["red", "blue"], multilabel=True)
    assert one == {"labels": ["red", "blue"], "probabilities": {"red": 0.75, "blue": 0.6}}
    assert other["labels"] == []
