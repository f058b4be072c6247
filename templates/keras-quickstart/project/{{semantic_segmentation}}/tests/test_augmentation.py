"""The random changes of training images: each image gets those that were drawn for it."""

import numpy as np

from build_dataset import Dataset
from model.augmentation import augment, draw
from model.parameters import DataParameters

DATASET = Dataset.model_construct(examples={"train": 1000})
PARAMETERS = DataParameters(shift=1, flip=True)


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


def test_masks_change_with_their_images() -> None:
    """Beyond the edge, an image is black and the class is not known."""
    image = np.array([[[1, 2, 3], [4, 5, 6]]] * 3, np.uint8)
    drawn = {
        "shifts": np.array([[0, 0], [1, 0], [0, -1]]),
        "flips": np.array([False, False, True]),
    }
    inputs, targets = augment({"images": image[..., None]}, {"masks": image}, drawn, PARAMETERS)
    images, masks = np.asarray(inputs["images"])[..., 0], np.asarray(targets["masks"])
    assert images[0].tolist() == masks[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert images[1].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert masks[1].tolist() == [[255, 255, 255], [1, 2, 3]]
    assert images[2].tolist() == [[2, 1, 0], [5, 4, 0]]
    assert masks[2].tolist() == [[2, 1, 255], [5, 4, 255]]
    assert masks.dtype == np.uint8
