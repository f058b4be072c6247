"""Cells of training rows are hidden as if they were missing."""

import numpy as np

from model.augmentation import DRAWN, augment, draw
from model.parameters import DataParameters


def test_draws_depend_on_seed_and_epoch() -> None:
    assert draw(10, DataParameters(), 0, 0) == {}
    parameters = DataParameters(hide=0.25)
    drawn = draw(1000, parameters, 0, 0)["hidden"]
    assert drawn.shape == (1000, DRAWN)
    assert abs(drawn.mean() - 0.25) < 0.01
    assert np.array_equal(drawn, draw(1000, parameters, 0, 0)["hidden"])
    assert not np.array_equal(drawn, draw(1000, parameters, 0, 1)["hidden"])
    assert not np.array_equal(drawn, draw(1000, parameters, 1, 0)["hidden"])


def test_hidden_cells_are_missing_and_the_others_stay() -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    categories = np.array([[5, 6], [7, 8]])
    hidden = np.zeros((2, DRAWN), bool)
    hidden[0, 1] = hidden[1, 3] = True
    target = {"target": np.ones(2, np.float32)}
    inputs = {"numbers": numbers, "categories": categories}
    changed, same = augment(inputs, target, {"hidden": hidden}, DataParameters(hide=0.5))
    assert same is target
    assert np.isnan(changed["numbers"]).tolist() == [[False, True, False], [False, False, False]]
    assert changed["numbers"][1].numpy().tolist() == [3, 4, 5]
    assert changed["categories"].numpy().tolist() == [[5, 6], [0, 8]]
    assert changed["numbers"].dtype == "float32"
    assert changed["categories"].dtype == "int64"
    assert not np.isnan(numbers).any()  # The data set itself is left alone.
    alone, _ = augment({"categories": categories}, target, {"hidden": hidden}, DataParameters())
    assert alone["categories"].numpy().tolist() == [[5, 0], [7, 8]]
    assert augment(inputs, target, {}, DataParameters())[0] is inputs
