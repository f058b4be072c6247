"""The random changes of training images: each image gets those that were drawn for it."""

import numpy as np
import tensorflow as tf

from build_dataset import Dataset
from machinery.arrays import Array
from model.augmentation import augment, draw, erase, mix
from model.image_changes import flip, shift
from model.parameters import DataParameters

IMAGES = Array(dtype="uint8", shape=(8, 9, 2))
DATASET = Dataset.model_construct(
    examples={"train": 1000}, arrays={"images": IMAGES}, mean=[3.2, 99.7], std=[1.0, 1.0]
)


def test_drawn_is_a_function_of_seed_and_epoch() -> None:
    parameters = DataParameters(shift=2, flip=True)
    first, again, later = (draw(DATASET, parameters, 0, epoch) for epoch in (3, 3, 4))
    assert np.abs(first["shifts"]).max() == 2
    assert 0 < first["flips"].sum() < 1000
    for name in ("shifts", "flips"):
        assert np.array_equal(first[name], again[name])
        assert not np.array_equal(first[name], later[name])


def test_nothing_is_drawn_where_all_is_off() -> None:
    parameters = DataParameters(shift=0, flip=False)
    assert draw(DATASET, parameters, 0, 0) == {}
    images, targets = tf.zeros((2, 3, 3, 1), tf.uint8), {"labels": tf.zeros(2, tf.int64)}
    inputs, _ = augment({"images": images}, targets, {}, parameters)
    assert inputs["images"] is images


def test_shift_and_flip() -> None:
    image = tf.reshape(tf.constant([[1, 2, 3], [4, 5, 6]], tf.uint8), (1, 2, 3, 1))
    images = tf.repeat(image, 4, axis=0)
    shifts = tf.constant([[0, 0], [0, 0], [1, 0], [0, -1]], tf.int64)
    flips = tf.constant([False, True, False, True])
    moved = shift(flip(images, flips), shifts, reach=1).numpy()[..., 0]
    assert moved[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert moved[1].tolist() == [[3, 2, 1], [6, 5, 4]]
    assert moved[2].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert moved[3].tolist() == [[2, 1, 0], [5, 4, 0]]


def test_erase() -> None:
    """What of the square lies beyond the edge is not missed elsewhere."""
    images, middles = (
        tf.fill((2, 4, 5, 1), tf.constant(9, tf.uint8)),
        tf.constant([[1, 1], [3, 4]], tf.int64),
    )
    erased = erase(images, middles, tf.constant([[2], [3]], tf.uint8), side=3).numpy()[..., 0]
    assert erased[0].tolist() == [[2, 2, 2, 9, 9]] * 3 + [[9] * 5]
    assert erased[1].tolist() == [[9] * 5] * 2 + [[9, 9, 9, 3, 3]] * 2


def test_mix() -> None:
    images = tf.reshape(tf.constant([0, 100, 200], tf.uint8), (3, 1, 1, 1))
    shares = tf.constant([1.0, 0.25, 0.5])
    assert mix(images, shares).numpy().ravel().tolist() == [0, 25, 150]


def test_draws_of_what_is_erased_and_mixed() -> None:
    drawn = draw(DATASET, DataParameters(cutout=4, mixup=0.5), seed=0, epoch=0)
    rows, columns = drawn["middles"].T
    assert ({*rows.tolist()}, {*columns.tolist()}) == ({*range(8)}, {*range(9)})
    assert drawn["fills"][7].tolist() == [3, 100]
    shares = drawn["shares"]
    assert ((shares >= 0) & (shares <= 1)).all()
    assert abs(shares.mean() - 1.5 / 2) < 0.05  # The mean of Beta(1.5, 0.5).
    assert (shares != draw(DATASET, DataParameters(cutout=4, mixup=0.5), 0, 1)["shares"]).any()
