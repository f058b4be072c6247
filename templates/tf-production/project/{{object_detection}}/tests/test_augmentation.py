"""The random changes of training images and of their boxes, checked pixel by pixel."""

import numpy as np
import tensorflow as tf

from build_dataset import Dataset
from model.augmentation import augment, draw, flip_boxes, shift_boxes
from model.parameters import DataParameters

DATASET = Dataset.model_construct(examples={"train": 1000})
NONE = [-1.0] * 5


def test_flip() -> None:
    boxes = tf.repeat(tf.constant([[[2.0, 1, 2, 4, 6], NONE]]), 2, axis=0)
    flipped = flip_boxes(boxes, tf.constant([True, False]), width=10).numpy()
    assert flipped[0].tolist() == [[2, 6, 2, 9, 6], NONE]
    assert np.array_equal(flipped[1], boxes[1])


def test_shift() -> None:
    """A box is cut off at the edge; one that leaves the image is none."""
    boxes = tf.repeat(tf.constant([[[2.0, 1, 2, 4, 6], [0, 7, 0, 9, 3], NONE]]), 3, axis=0)
    shifts = tf.constant([[0, 0], [1, 3], [-3, -2]], tf.int64)
    moved = shift_boxes(boxes, shifts, height=8, width=10).numpy()
    assert np.array_equal(moved[0], boxes[0])
    assert moved[1].tolist() == [[2, 4, 3, 7, 7], NONE, NONE]
    assert moved[2].tolist() == [[2, 0, 0, 2, 3], NONE, NONE]


def test_boxes_stay_around_what_they_show() -> None:
    """After any change, a box holds exactly the bright pixels."""
    parameters = DataParameters(shift=3, flip=True)
    images = np.zeros((1000, 12, 16, 1), np.uint8)
    images[:, 4:7, 5:9] = 255
    boxes = tf.repeat(tf.constant([[[1.0, 5, 4, 9, 7]]]), 1000, axis=0)
    drawn = {name: tf.constant(a) for name, a in draw(DATASET, parameters, 0, 0).items()}
    inputs, targets = augment({"images": images}, {"boxes": boxes}, drawn, parameters)
    found = targets["boxes"].numpy()
    assert len(np.unique(found, axis=0)) > 50
    for image, (number, *edges) in zip(inputs["images"].numpy(), found[:, 0], strict=True):
        left, top, right, bottom = (int(edge) for edge in edges)
        assert number == 1
        assert (image[top:bottom, left:right] == 255).all()
        assert (image == 255).sum() == (right - left) * (bottom - top) == 12


def test_the_rest_of_a_batch_stays_as_it_is() -> None:
    parameters = DataParameters(shift=0, flip=False)
    assert draw(DATASET, parameters, 0, 0) == {}
    inputs = {"images": tf.ones((3, 4, 4, 1), tf.uint8), "row": tf.range(3)}
    targets = {"boxes": tf.zeros((3, 2, 5))}
    augmented, same = augment(inputs, targets, {}, parameters)
    assert augmented["images"] is inputs["images"]
    assert augmented["row"] is inputs["row"]
    assert same["boxes"] is targets["boxes"]
