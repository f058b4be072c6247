"""A pretrained network in place of the stages: it stays as it is, or learns at its own rate."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from test_model import make_batch, make_dataset

import backend
from framework import keras_file, pretrained
from machinery.errors import InputError
from model import net
from model.parameters import ModelParameters
from parameters import Parameters, TrainingParameters

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


def make_model(**changes: Any) -> keras.Model:
    parameters = ModelParameters.model_validate({"backbone": "Tiny", **changes})
    training = TrainingParameters(precision="float32")
    return backend.make_model(
        Parameters(model=parameters, training=training), make_dataset(SHAPE), "cpu"
    )


def begin(weights: Path, rate: float) -> tuple[keras.Model, backend.State]:
    """Return a network as train.py starts with it, and its state."""
    model = make_model(backbone_weights=str(weights), backbone_learning_rate=rate)
    adamw = pretrained.at_own_rates(keras.optimizers.AdamW, model, RATE)
    model.compile(adamw(RATE, weight_decay=0.1), net.loss(make_dataset()), jit_compile=False)
    state = backend.State(model)
    state.start()
    return model, state


def train(model: keras.Model) -> None:
    """Take two steps."""
    inputs, targets = make_batch(SHAPE)
    model.fit(inputs, targets, batch_size=4, shuffle=False, verbose=0)


def values(model: keras.Model, *names: str) -> list[np.ndarray]:
    """Return copies of what the backbone has, or the other layers of these names."""
    backend.synchronize(model)
    layers = [model.get_layer(name) for name in names or ("backbone",)]
    return [np.array(each) for layer in layers for each in layer.get_weights()]


def test_it_begins_with_the_weights_of_the_file(weights: Path) -> None:
    model, _ = begin(weights, 0)
    expected = tiny(include_top=False, weights=str(weights), input_shape=(32, 32, 3))
    for found, array in zip(values(model), expected.get_weights(), strict=True):
        assert np.array_equal(found, array)
    images = make_batch(SHAPE)[0]["images"]
    colour = preprocess_input(np.repeat(images, 3, axis=3).astype(np.float32))
    features = backend.to_numpy(model.get_layer("backbone")(images))
    assert features == pytest.approx(backend.to_numpy(expected(colour)), abs=1e-4)


def test_frozen_nothing_in_it_changes(weights: Path) -> None:
    model, _ = begin(weights, 0)
    before, head = values(model), values(model, "labels")
    train(model)
    assert all(map(np.array_equal, values(model), before))
    assert not np.array_equal(values(model, "labels")[0], head[0])
    images = make_batch(SHAPE)[0]["images"]
    part = model.get_layer("backbone")
    trained, evaluated = (backend.to_numpy(part(images, training=how)) for how in (True, False))
    assert np.array_equal(trained, evaluated)


def test_it_learns_at_its_own_rate(weights: Path) -> None:
    """Its first step is a share of the one that it takes at the rate of the others."""
    changes, heads = [], []
    for rate in (RATE, RATE / 10):
        model, _ = begin(weights, rate)
        before = values(model)
        inputs, targets = make_batch(SHAPE)
        model.train_on_batch(inputs, targets)
        moved = [after - start for after, start in zip(values(model), before, strict=True)]
        changes.append(np.concatenate([each.ravel() for each in moved[:4]]))  # Not the statistics.
        heads.append(values(model, "labels"))
    assert np.abs(changes[0]).max() > RATE / 2
    assert changes[1] == pytest.approx(changes[0] / 10, abs=1e-6)
    assert all(map(np.array_equal, *heads))


def test_it_continues_to_the_same_bits(weights: Path) -> None:
    model, state = begin(weights, RATE / 10)
    train(model)
    arrays = {name: np.array(array) for name, array in state.to_arrays().items()}
    train(model)
    again, other = begin(weights, RATE / 10)
    other.load(arrays, Path("checkpoint"))
    train(again)
    whole, resumed = state.to_arrays(), other.to_arrays()
    assert all(whole[name].tobytes() == resumed[name].tobytes() for name in whole | resumed)


def test_a_trained_network_needs_no_file(weights: Path, tmp_path: Path) -> None:
    model, state = begin(weights, 0)
    again = make_model(backbone_weights="gone.h5")
    backend.load_weights(again, dict(state.to_arrays()), Path("checkpoint"))
    keras_file.save(
        keras.Model(again.input, net.predict(again.output, make_dataset())), tmp_path / "best.keras"
    )
    inputs = make_batch(SHAPE)[0]
    expected = keras.ops.softmax(model(inputs)["labels"])
    found = keras.models.load_model(tmp_path / "best.keras")(inputs)["probabilities"]
    assert backend.to_numpy(found) == pytest.approx(backend.to_numpy(expected), abs=1e-6)


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
    parameters = ModelParameters.model_validate({"backbone": "Tiny", **changes})
    with pytest.raises(InputError, match=expected):
        pretrained.load(net.build_model(parameters, make_dataset(shape), seed=0))


@pytest.mark.parametrize("changes", [{"backbone_weights": "file"}, {"backbone_learning_rate": 0.1}])
def test_what_is_set_for_no_backbone(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="without model"):
        ModelParameters.model_validate(changes).check_data(make_dataset())
