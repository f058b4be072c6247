"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import utils
from backend import make_model
from build_dataset import Dataset
from machinery.arrays import Array
from model import net
from model.parameters import ModelParameters
from model.report import initial_loss
from parameters import Parameters

Shape = tuple[int, int, int]
Arrays = dict[str, np.ndarray]


def make_dataset(image_shape: Shape = (8, 8, 1)) -> Dataset:
    channels = image_shape[2]
    return Dataset(
        task="semantic-segmentation",
        source="test",
        examples={"train": 8, "val": 8, "test": 8},
        arrays={
            "images": Array(dtype="uint8", shape=image_shape),
            "masks": Array(dtype="uint8", shape=image_shape[:2]),
        },
        arrays_folder="arrays-1",
        fingerprint="test",
        classes=["a", "b", "c"],
        values=["0", "1", "2"],
        shares={"train": [0.8, 0.1, 0.1]},
        mean=[128.0] * channels,
        std=[64.0] * channels,
    )


def make_net(
    image_shape: Shape = (8, 8, 1), precision: str = "float32", **changes: float
) -> net.Net:
    model = ModelParameters.model_validate({"width": 4, "stages": 2, **changes})
    return make_model(Parameters(model=model), make_dataset(image_shape), precision)


def make_batch(image_shape: Shape = (8, 8, 1)) -> tuple[Arrays, Arrays]:
    """Bright pixels are of class 1, the rest of class 0, and of some it is not known."""
    images = np.random.default_rng(0).integers(0, 256, (8, *image_shape), np.uint8)
    masks = (images[..., 0] > 127).astype(np.uint8)
    masks[:, 0] = net.IGNORED
    return {"images": images}, {"masks": masks}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("image_shape", [(8, 8, 1), (33, 20, 3), (5, 7, 3)])
def test_shapes(image_shape: Shape, precision: str) -> None:
    """Sizes that cannot be halved come out as they went in."""
    inputs, targets = make_batch(image_shape)
    logits = make_net(image_shape, precision)(inputs)
    height, width, _ = image_shape
    assert logits.shape == (8, height, width, 3)
    assert logits.dtype == tf.float32
    assert net.losses(logits, targets, make_dataset()).shape == (8,)
    predictions = net.predict(logits, make_dataset())
    assert np.array_equal(predictions["masks"], tf.argmax(logits, axis=-1))
    assert predictions["masks"].dtype == tf.uint8
    confidence = predictions["confidence"].numpy()
    assert ((confidence > 1 / 3) & (confidence <= 1)).all()


def test_too_many_stages() -> None:
    ModelParameters(stages=2).check_data(make_dataset())
    with pytest.raises(utils.InputError, match="at most 2"):
        ModelParameters(stages=3).check_data(make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    inputs, targets = make_batch()
    losses = net.losses(make_net()(inputs), targets, make_dataset())
    assert losses.numpy().mean() == pytest.approx(initial_loss(make_dataset()), abs=0.3)


def test_loss_is_a_mean_over_known_pixels() -> None:
    """Whatever the network says where the class is not known."""
    _, targets = make_batch()
    targets["masks"][3] = net.IGNORED
    logits = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)
    found = net.losses(logits, targets, make_dataset()).numpy()
    known = logits[:, 1:] - np.log(np.exp(logits[:, 1:]).sum(axis=-1, keepdims=True))
    masks = np.minimum(targets["masks"][:, 1:, :, None], 2).astype(int)
    expected = -np.take_along_axis(known, masks, axis=-1).mean(axis=(1, 2, 3))
    expected[3] = 0  # Nothing of it is known.
    assert found == pytest.approx(expected, abs=1e-5)
    logits[:, 0] *= -100
    assert np.array_equal(net.losses(logits, targets, make_dataset()), found)


def test_rare_classes_weigh_more_in_training() -> None:
    weights = net.class_weights(make_dataset(), balance=1.0)
    assert weights == pytest.approx([1 / 2.4, 1 / 0.3, 1 / 0.3])
    logits, targets = tf.zeros((1, 1, 1, 3)), {"masks": tf.ones((1, 1, 1), tf.uint8)}
    plain, weighted = (
        float(net.losses(logits, targets, make_dataset(), parameters)[0])
        for parameters in (None, ModelParameters(balance=1))
    )
    assert weighted == pytest.approx(plain / 0.3)


def test_overfits_a_few_examples() -> None:
    model, dataset = make_net(dropout=0, stages=1, width=8), make_dataset()
    optimizer = keras.optimizers.AdamW(1e-2)
    inputs, targets = make_batch()
    optimizer.build(model.trainable_variables)  # Or the step would be traced twice.

    @tf.function(autograph=False)
    def train_step(step: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = model(inputs, seed=tf.stack([0, step]))
            loss = tf.reduce_mean(net.losses(logits, targets, dataset))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    for step in tf.range(50):
        train_step(step)
    masks = net.predict(model(inputs, seed=tf.constant([0, 0])), dataset)["masks"].numpy()
    assert np.array_equal(masks[:, 1:], targets["masks"][:, 1:])


def test_dropout_is_a_function_of_its_seed() -> None:
    model, (inputs, _) = make_net(dropout=0.5), make_batch()
    logits = [model(inputs, seed=tf.constant([0, step])).numpy() for step in (1, 1, 2)]
    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_examples_do_not_mix() -> None:
    """Another example in the batch leaves an example's output as it is."""
    model, (inputs, _) = make_net(), make_batch()
    other = inputs["images"].copy()
    other[3] = 255 - other[3]
    difference = np.abs(model(inputs) - model({"images": other})).max(axis=(1, 2, 3))
    assert (difference > 0).tolist() == [number == 3 for number in range(8)]
