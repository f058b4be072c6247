"""Checks before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import keras
import numpy as np
import pytest

import backend
from build_dataset import Dataset
from machinery.arrays import Array
from machinery.errors import InputError
from model import net
from model.parameters import ModelParameters
from model.report import initial_loss

Shape = tuple[int, int, int]


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


def make_model(image_shape: Shape = (8, 8, 1), **changes: float) -> keras.Model:
    keras.utils.set_random_seed(0)
    parameters = ModelParameters.model_validate({"width": 4, "stages": 2, **changes})
    return net.build_model(parameters, make_dataset(image_shape), seed=0)


def make_batch(image_shape: Shape = (8, 8, 1)) -> tuple[dict, dict]:
    """Bright pixels are of class 1, the rest of class 0, and of some it is not known."""
    images = np.random.default_rng(0).integers(0, 256, (8, *image_shape), np.uint8)
    masks = (images[..., 0] > 127).astype(np.uint8)
    masks[:, 0] = net.IGNORED
    return {"images": images}, {"masks": masks}


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (33, 20, 3), (5, 7, 3)])
def test_shapes(image_shape: Shape) -> None:
    """Sizes that cannot be halved come out as they went in."""
    inputs, targets = make_batch(image_shape)
    outputs = make_model(image_shape)(inputs)
    height, width, _ = image_shape
    assert outputs["masks"].shape == (8, height, width, 3)
    losses = net.losses(outputs, backend.to_tensors(targets), make_dataset(image_shape))
    assert losses.shape == (8,)
    predictions = backend.to_numpy(net.predict(outputs, make_dataset()))
    logits = backend.to_numpy(outputs)["masks"]
    assert np.array_equal(predictions["masks"], logits.argmax(axis=-1))
    assert predictions["masks"].dtype == np.uint8
    confidence = predictions["confidence"]
    assert ((confidence > 1 / 3) & (confidence <= 1)).all()


def test_too_many_stages() -> None:
    ModelParameters(stages=2).check_data(make_dataset())
    with pytest.raises(InputError, match="at most 2"):
        ModelParameters(stages=3).check_data(make_dataset())


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    inputs, targets = make_batch()
    losses = net.losses(make_model()(inputs), backend.to_tensors(targets), make_dataset())
    expected = initial_loss(make_dataset())
    assert backend.to_numpy(losses).mean() == pytest.approx(expected, abs=0.3)


def test_loss_is_a_mean_over_known_pixels() -> None:
    """Whatever the network says where the class is not known."""
    _, targets = make_batch()
    targets["masks"][3] = net.IGNORED
    logits = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)
    tensors, dataset = backend.to_tensors(targets), make_dataset()

    def losses() -> np.ndarray:
        return backend.to_numpy(net.losses(backend.to_tensors({"masks": logits}), tensors, dataset))

    found = losses()
    known = logits[:, 1:] - np.log(np.exp(logits[:, 1:]).sum(axis=-1, keepdims=True))
    masks = np.minimum(targets["masks"][:, 1:, :, None], 2).astype(int)
    expected = -np.take_along_axis(known, masks, axis=-1).mean(axis=(1, 2, 3))
    expected[3] = 0  # Nothing of it is known.
    assert found == pytest.approx(expected, abs=1e-5)
    logits[:, 0] *= -100
    assert np.array_equal(losses(), found)


@pytest.mark.parametrize("parameters", [None, ModelParameters(balance=0.5)])
def test_fit_minimises_the_mean_of_the_losses(parameters: ModelParameters | None) -> None:
    """The loss of `compile` and the function `losses` agree."""
    inputs, targets = make_batch()
    model, dataset = make_model(), make_dataset()
    outputs, tensors = model(inputs), backend.to_tensors(targets)
    losses = backend.to_numpy(net.losses(outputs, tensors, dataset, parameters))
    model.compile(loss=net.loss(dataset, parameters), jit_compile=False)
    mean = model.evaluate(inputs, targets, verbose=0, return_dict=True)["loss"]
    assert mean == pytest.approx(losses.mean(), rel=1e-5)


def test_rare_classes_weigh_more_in_training() -> None:
    weights = net.class_weights(make_dataset(), balance=1.0)
    assert weights == pytest.approx([1 / 2.4, 1 / 0.3, 1 / 0.3])
    outputs = backend.to_tensors({"masks": np.zeros((1, 1, 1, 3), np.float32)})
    targets = backend.to_tensors({"masks": np.ones((1, 1, 1), np.uint8)})
    plain, weighted = (
        backend.to_numpy(net.losses(outputs, targets, make_dataset(), parameters))[0]
        for parameters in (None, ModelParameters(balance=1))
    )
    assert weighted == pytest.approx(plain / 0.3)


def test_overfits_a_few_examples() -> None:
    inputs, targets = make_batch()
    model = make_model(dropout=0.0, stages=1, width=8)
    jit = keras.backend.backend() == "jax"  # Its operations are slow one by one.
    model.compile(keras.optimizers.AdamW(1e-2), net.loss(make_dataset()), jit_compile=jit)
    loss = model.fit(inputs, targets, epochs=50, verbose=0).history["loss"]
    assert loss[-1] < 0.1 < loss[0]


def test_examples_do_not_mix() -> None:
    """What one image shows changes the output of that image alone."""
    model, (inputs, _) = make_model(), make_batch()
    changed = inputs["images"].copy()
    changed[3] = 255 - changed[3]
    before, after = (
        keras.ops.convert_to_numpy(model({"images": images})["masks"])
        for images in (inputs["images"], changed)
    )
    moved = np.abs(after - before).max(axis=(1, 2, 3)) > 1e-4
    assert moved.tolist() == [number == 3 for number in range(8)]
