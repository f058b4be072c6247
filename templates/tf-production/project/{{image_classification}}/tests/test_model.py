"""What to check by hand before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import utils
from build_dataset import Dataset
from evaluate import choose_device, choose_policy, make_model
from model import net
from model.parameters import ModelParameters
from parameters import Parameters, TrainingParameters
from train import WarmupCosine


def make_dataset(image_shape: tuple[int, int, int] = (8, 8, 1)) -> Dataset:
    channels = image_shape[2]
    return Dataset(
        task="image-classification",
        source="test",
        classes=["a", "b", "c"],
        image_shape=image_shape,
        examples={"train": 8, "val": 8, "test": 8},
        mean=[128.0] * channels,
        std=[64.0] * channels,
        fingerprint="test",
    )


def make_net(image_shape: tuple[int, int, int] = (8, 8, 1), **parameters: float) -> net.Net:
    keras.utils.set_random_seed(0)
    model = ModelParameters.model_validate(parameters)
    return make_model(Parameters(model=model), make_dataset(image_shape), "float32")


def make_batch(image_shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (8, *image_shape), np.uint8)
    return images, np.arange(8) % 3


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (28, 28, 1), (33, 20, 3), (1, 1, 3)])
def test_shapes(image_shape: tuple[int, int, int]) -> None:
    images, _ = make_batch(image_shape)
    assert make_net(image_shape, stages=1)(images).shape == (8, 3)


def test_too_many_stages() -> None:
    net.Net(ModelParameters(stages=4, width=1), make_dataset())
    with pytest.raises(utils.InputError, match="at most 4"):
        net.Net(ModelParameters(stages=5), make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    images, labels = make_batch((8, 8, 1))
    assert float(net.loss(make_net()(images), labels)) == pytest.approx(math.log(3), abs=0.3)


def test_label_smoothing() -> None:
    """The best that can be said is no certainty: it costs the entropy of the smoothed label."""
    share = np.array([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    lowest = net.loss(tf.constant(np.log(share)[None], tf.float32), np.array([0]), 0.1)
    assert float(lowest) == pytest.approx(-(share * np.log(share)).sum(), rel=1e-5)


def test_overfits_a_few_examples() -> None:
    model = make_net(dropout=0)
    optimizer = keras.optimizers.AdamW(1e-2)
    images, labels = make_batch((8, 8, 1))

    @tf.function
    def train_step(step: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = net.loss(model(images, seed=tf.stack([0, step])), labels)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    for step in tf.range(50):
        train_step(step)
    logits = model(images, seed=tf.constant([0, 0]))
    assert net.accuracy(logits, labels) == 1


def test_dropout_is_a_function_of_its_seed() -> None:
    model, (images, _) = make_net(dropout=0.5), make_batch((8, 8, 1))
    logits = [model(images, seed=tf.constant([0, step])).numpy() for step in (1, 1, 2)]
    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_examples_do_not_mix() -> None:
    """Another example in the batch leaves an example's output as it is."""
    model, (images, _) = make_net(), make_batch((8, 8, 1))
    other = images.copy()
    other[3] = 255 - other[3]
    changed = np.abs(model(images) - model(other)).sum(axis=1) > 0
    assert changed.tolist() == [number == 3 for number in range(8)]


def test_accuracy() -> None:
    logits = tf.constant([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    assert float(net.accuracy(logits, np.array([0, 1, 1]))) == pytest.approx(2 / 3)


def test_precision() -> None:
    assert choose_policy("cpu", "bfloat16") == "mixed_bfloat16"
    assert choose_policy("cpu", "float32") == "float32"
    assert choose_policy(choose_device("cpu"), "auto") in ("mixed_bfloat16", "float32")
    logits = make_model(Parameters(), make_dataset(), "mixed_bfloat16")(make_batch((8, 8, 1))[0])
    assert logits.dtype == tf.float32


def test_learning_rate() -> None:
    """It rises for two epochs of ten steps and falls to zero at the end of the fourth."""
    training = TrainingParameters(epochs=4, warmup_epochs=2, learning_rate=1.0)
    rates = [float(WarmupCosine(10, training)(step)) for step in range(41)]
    assert rates[0] == pytest.approx(1 / 21)
    assert rates[20] == pytest.approx(1)
    assert rates[30] == pytest.approx(0.5)
    assert rates[40] == pytest.approx(0)
    assert rates[:21] == sorted(rates[:21])
    all_rise = TrainingParameters(epochs=2, warmup_epochs=2, learning_rate=1.0)
    assert float(WarmupCosine(10, all_rise)(19)) == pytest.approx(20 / 21)
