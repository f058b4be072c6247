"""The random changes of training images: each image gets those that were drawn for it."""

import numpy as np

from build_dataset import Dataset
from machinery.arrays import Array
from model.augmentation import augment, draw, erase, mix
from model.image_changes import flip, shift
from model.parameters import DataParameters

IMAGES = Array(dtype="uint8", shape=(8, 9, 2))
DATASET = Dataset.model_construct(
    examples={"train": 1000}, arrays={"images": IMAGES}, mean=[3.2, 99.7], std=[1.0, 1.0]
)

IMAGE = np.array([[1, 2, 3], [4, 5, 6]], np.uint8).reshape(1, 2, 3, 1)


def test_draws_are_a_function_of_seed_and_epoch() -> None:
    parameters = DataParameters(shift=2, flip=True)
    draws = [
        draw(DATASET, parameters, seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    for name in ("shifts", "flips"):
        first, again, *others = [drawn[name] for drawn in draws]
        assert np.array_equal(first, again)
        assert not any(np.array_equal(first, other) for other in others)
    assert np.unique(draws[0]["shifts"]).tolist() == [-2, -1, 0, 1, 2]


def test_what_is_switched_off_is_not_drawn() -> None:
    assert draw(DATASET, DataParameters(shift=0, flip=False), seed=0, epoch=0) == {}


def test_flip() -> None:
    mirrored = flip(IMAGE.repeat(2, axis=0), np.array([False, True]))[..., 0]
    assert mirrored.tolist() == [[[1, 2, 3], [4, 5, 6]], [[3, 2, 1], [6, 5, 4]]]


def test_shift() -> None:
    shifts = np.array([[0, 0], [1, 0], [0, -1]])
    moved = shift(IMAGE.repeat(3, axis=0), shifts, reach=1)[..., 0]
    assert moved[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert moved[1].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert moved[2].tolist() == [[2, 3, 0], [5, 6, 0]]


def test_images_are_mirrored_before_they_are_moved() -> None:
    drawn = {"flips": np.array([True]), "shifts": np.array([[0, -1]])}
    inputs, targets = augment({"images": IMAGE}, {"labels": np.array([7])}, drawn, DataParameters())
    assert inputs["images"][0, ..., 0].tolist() == [[2, 1, 0], [5, 4, 0]]
    assert targets["labels"].tolist() == [7]


def test_erase() -> None:
    """What of the square lies beyond the edge is not missed elsewhere."""
    images, middles = np.full((2, 4, 5, 1), 9, np.uint8), np.array([[1, 1], [3, 4]])
    erased = erase(images, middles, np.array([[2], [3]], np.uint8), side=3)[..., 0]
    assert erased[0].tolist() == [[2, 2, 2, 9, 9]] * 3 + [[9] * 5]
    assert erased[1].tolist() == [[9] * 5] * 2 + [[9, 9, 9, 3, 3]] * 2


def test_mix() -> None:
    images = np.array([0, 100, 200], np.uint8).reshape(3, 1, 1, 1)
    shares = np.array([1, 0.25, 0.5], np.float32)
    assert mix(images, shares).ravel().tolist() == [0, 25, 150]


def test_draws_of_what_is_erased_and_mixed() -> None:
    drawn = draw(DATASET, DataParameters(cutout=4, mixup=0.5), seed=0, epoch=0)
    rows, columns = drawn["middles"].T
    assert ({*rows.tolist()}, {*columns.tolist()}) == ({*range(8)}, {*range(9)})
    assert drawn["fills"][7].tolist() == [3, 100]
    shares = drawn["shares"]
    assert ((shares >= 0) & (shares <= 1)).all()
    assert abs(shares.mean() - 1.5 / 2) < 0.05  # The mean of Beta(1.5, 0.5).
    assert (shares != draw(DATASET, DataParameters(cutout=4, mixup=0.5), 0, 1)["shares"]).any()
