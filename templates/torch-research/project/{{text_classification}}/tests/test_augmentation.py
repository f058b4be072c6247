"""Words of training texts are hidden as if they were unknown."""

import numpy as np
import torch

from build_dataset import Dataset
from machinery.arrays import Array
from model.augmentation import augment, draw
from model.parameters import DataParameters

DATASET = Dataset.model_construct(
    arrays={"tokens": Array(dtype="int32", shape=(None,), longest=5)}, examples={"train": 1000}
)


def test_draws_depend_on_seed_and_epoch() -> None:
    assert draw(DATASET, DataParameters(hide=0), 0, 0) == {}
    parameters = DataParameters(hide=0.25)
    hidden = draw(DATASET, parameters, 0, 0)["hidden"]
    assert hidden.shape == (1000, 5)
    assert abs(hidden.mean() - 0.25) < 0.03
    assert np.array_equal(hidden, draw(DATASET, parameters, 0, 0)["hidden"])
    assert not np.array_equal(hidden, draw(DATASET, parameters, 0, 1)["hidden"])
    assert not np.array_equal(hidden, draw(DATASET, parameters, 1, 0)["hidden"])


def test_hidden_words_are_unknown_and_the_rest_stays() -> None:
    tokens = torch.tensor([[5, 6, 7, 0], [1, 8, 0, 0]], dtype=torch.int32)
    hidden = torch.tensor([[False, True, False, True], [True, False, True, True]])
    inputs = {"tokens": tokens, "row": torch.arange(2)}
    targets = {"labels": torch.tensor([0, 1])}
    changed, same = augment(inputs, targets, {"hidden": hidden}, DataParameters())
    assert changed["tokens"].tolist() == [[5, 1, 7, 0], [1, 8, 0, 0]]
    assert changed["tokens"].dtype == torch.int32
    assert changed["row"] is inputs["row"]
    assert same is targets
    assert tokens[0, 1] == 6  # The data set itself is left alone.
