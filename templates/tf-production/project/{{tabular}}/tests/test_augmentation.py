"""Cells of training rows are hidden as if they were missing."""

import numpy as np

from build_dataset import Dataset
from machinery.arrays import Array
from model.augmentation import augment, draw
from model.parameters import DataParameters

DATASET = Dataset.model_construct(
    inputs=("numbers", "categories"),
    arrays={
        "numbers": Array(dtype="float32", shape=(3,)),
        "categories": Array(dtype="int64", shape=(2,)),
    },
    examples={"train": 1000},
)


def test_draws_depend_on_seed_and_epoch() -> None:
    assert draw(DATASET, DataParameters(), 0, 0) == {}
    parameters = DataParameters(hide=0.25)
    drawn = draw(DATASET, parameters, 0, 0)
    assert {name: hidden.shape for name, hidden in drawn.items()} == {
        "numbers": (1000, 3),
        "categories": (1000, 2),
    }
    for name, hidden in drawn.items():
        assert abs(hidden.mean() - 0.25) < 0.03
        assert np.array_equal(hidden, draw(DATASET, parameters, 0, 0)[name])
        assert not np.array_equal(hidden, draw(DATASET, parameters, 0, 1)[name])
        assert not np.array_equal(hidden, draw(DATASET, parameters, 1, 0)[name])


def test_hidden_cells_are_missing_and_the_others_stay() -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    categories = np.array([[5, 6], [7, 8]])
    drawn = {
        "numbers": np.array([[False, True, False], [False, False, False]]),
        "categories": np.array([[False, False], [True, False]]),
    }
    target = {"target": np.ones(2, np.float32)}
    inputs = {"numbers": numbers, "categories": categories}
    changed, same = augment(inputs, target, drawn, DataParameters(hide=0.5))
    assert same is target
    assert np.isnan(changed["numbers"]).tolist() == [[False, True, False], [False, False, False]]
    assert changed["numbers"][1].numpy().tolist() == [3, 4, 5]
    assert changed["categories"].numpy().tolist() == [[5, 6], [0, 8]]
    assert changed["numbers"].dtype == "float32"
    assert changed["categories"].dtype == "int64"
    assert not np.isnan(numbers).any()  # The data set itself is left alone.
    assert augment(inputs, target, {}, DataParameters())[0] == inputs
