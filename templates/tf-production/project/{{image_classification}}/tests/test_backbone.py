"""A pretrained network in place of the stages: it stays as it is, or learns at its own rate."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_model import make_batch, make_dataset

import backend
from framework import pretrained
from machinery.errors import InputError
from model import net
from model.parameters import ModelParameters
from model.serving import Served
from parameters import Parameters, TrainingParameters
from train import TrainingSteps

SHAPE, RATE = (32, 32, 1), 1e-2


def tiny(include_top: bool, weights: str | None, input_shape: tuple[int, int, int]) -> keras.Model:
    """Return a network like those of keras.applications, but small."""
    assert not include_top
    if weights == "imagenet":
        raise OSError("URL fetch failure on https://example.org/tiny.h5")
    images = keras.Input(input_shape)
    x = keras.layers.Conv2D(4, 3, strides=4, name="convolution")(images)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, noise_shape=(None, 1, 1, 1))(x)  # As in EfficientNetV2.
    network = keras.Model(images, x)
    if weights:
        network.load_weights(weights)
    return network


def preprocess_input(images: Any) -> Any:
    """Scale the images as `tiny` expects them."""
    return images / 127.5 - 1


@pytest.fixture(autouse=True)
def small_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.applications, "Tiny", tiny, raising=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights that no network begins with."""
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    keras.utils.set_random_seed(99)
    network = tiny(include_top=False, weights=None, input_shape=(*SHAPE[:2], 3))
    network.set_weights([array + 0.1 for array in network.get_weights()])
    network.save_weights(path)
    return path


def make_parameters(**changes: Any) -> Parameters:
    model = ModelParameters.model_validate({"backbone": "Tiny", **changes})
    return Parameters(model=model, training=TrainingParameters(precision="float32"))


def make_model(**changes: Any) -> net.Net:
    return backend.make_model(make_parameters(**changes), make_dataset(SHAPE), "float32")


def begin(weights: Path, rate: float) -> tuple[TrainingSteps, backend.State]:
    """Return the steps of a network as train.py starts with it, and its state."""
    parameters = make_parameters(backbone_weights=str(weights), backbone_learning_rate=rate)
    model = backend.make_model(parameters, make_dataset(SHAPE), "float32")
    adamw = pretrained.at_own_rates(keras.optimizers.AdamW, model, RATE)
    optimizer = adamw(RATE, weight_decay=0.1, name="optimizer")
    optimizer.build(model.trainable_variables)
    state = backend.State(model, optimizer)
    state.start()
    return TrainingSteps(model, optimizer, parameters, make_dataset(SHAPE)), state


def train(steps: TrainingSteps, count: int = 2) -> None:
    inputs, targets = tf.nest.map_structure(tf.constant, make_batch(SHAPE))
    step = tf.function(steps.step, autograph=False)
    for _ in range(count):
        step(inputs, targets)


def values(layer: Any) -> list[np.ndarray]:
    """Return copies of what a layer has."""
    return [np.array(each) for each in layer.get_weights()]


def test_it_begins_with_the_weights_of_the_file(weights: Path) -> None:
    steps, _ = begin(weights, 0)
    expected = tiny(include_top=False, weights=str(weights), input_shape=(32, 32, 3))
    for found, array in zip(values(steps.model.backbone), expected.get_weights(), strict=True):
        assert np.array_equal(found, array)
    images = make_batch(SHAPE)[0]["images"]
    colour = preprocess_input(np.repeat(images, 3, axis=3).astype(np.float32))
    features = steps.model.backbone(images)
    assert features.numpy() == pytest.approx(expected(colour).numpy(), abs=1e-4)


def test_frozen_nothing_in_it_changes(weights: Path) -> None:
    steps, _ = begin(weights, 0)
    part, classifier = steps.model.backbone, steps.model.classifier
    before, head = values(part), values(classifier)
    train(steps)
    assert all(map(np.array_equal, values(part), before))
    assert not np.array_equal(values(classifier)[0], head[0])
    images = make_batch(SHAPE)[0]["images"]
    trained, evaluated = (part(images, training=how).numpy() for how in (True, False))
    assert np.array_equal(trained, evaluated)


def test_it_learns_at_its_own_rate(weights: Path) -> None:
    """Its first step is a share of the one that it takes at the rate of the others."""
    changes, heads = [], []
    for rate in (RATE, RATE / 10):
        steps, _ = begin(weights, rate)
        before = values(steps.model.backbone)
        train(steps, 1)
        after = values(steps.model.backbone)
        moved = [one - other for one, other in zip(after, before, strict=True)]
        changes.append(np.concatenate([each.ravel() for each in moved[:4]]))  # Not the statistics.
        heads.append(values(steps.model.classifier))
    assert np.abs(changes[0]).max() > RATE / 2
    assert changes[1] == pytest.approx(changes[0] / 10, abs=1e-6)
    assert all(map(np.array_equal, *heads))


def test_it_continues_to_the_same_bits(weights: Path) -> None:
    steps, state = begin(weights, RATE / 10)
    train(steps)
    arrays = {name: np.array(array) for name, array in state.to_arrays().items()}
    train(steps)
    again, other = begin(weights, RATE / 10)
    other.load(arrays, Path("checkpoint"))
    train(again)
    whole, resumed = state.to_arrays(), other.to_arrays()
    assert all(whole[name].tobytes() == resumed[name].tobytes() for name in whole | resumed)


def test_a_trained_network_needs_no_file(weights: Path, tmp_path: Path) -> None:
    """Neither to be evaluated nor to be exported."""
    steps, state = begin(weights, 0)
    again = make_model(backbone_weights="gone.h5")
    backend.load_weights(again, dict(state.to_arrays()), Path("checkpoint"))
    served = Served(again, make_dataset(SHAPE))
    tf.saved_model.save(served, str(tmp_path), signatures=served.signatures())
    inputs = make_batch(SHAPE)[0]
    expected = tf.nn.softmax(steps.model(inputs))
    predict = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    found = predict(images=tf.constant(inputs["images"]))["probabilities"]
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backbone": "ResNet5"}, "model.backbone: got 'ResNet5'.*did you mean ResNet50"),
        ({"backbone": "MobileNetV2"}, "at least 32x32.*--image-size"),
        ({"backbone_weights": "gone.h5"}, "model.backbone_weights: gone.h5: not found"),
        ({"backbone_weights": __file__}, "model.backbone_weights: .*test_backbone.py"),
        ({}, "model.backbone: .*https://example.org/tiny.h5.*--model.backbone_weights"),
    ],
)
def test_what_is_refused(changes: dict[str, str], expected: str) -> None:
    shape = (8, 8, 3) if "MobileNetV2" in changes.values() else SHAPE
    with pytest.raises(InputError, match=expected):
        pretrained.load(
            backend.make_model(make_parameters(**changes), make_dataset(shape), "float32")
        )


@pytest.mark.parametrize("changes", [{"backbone_weights": "file"}, {"backbone_learning_rate": 0.1}])
def test_what_is_set_for_no_backbone(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="without model"):
        ModelParameters.model_validate(changes).check_data(make_dataset())
