"""What to check by hand before a long training, after A. Karpathy's recipe for neural networks
(https://karpathy.github.io/2019/04/25/recipe/).
"""

import math

import keras
import numpy as np
import pytest

import utils
from build_dataset import Dataset
from evaluate import evaluate
from model import net
from model.data_loader import Split
from model.parameters import ModelParameters


def make_model(
    image_shape: tuple[int, int, int] = (8, 8, 1), dropout: float = 0.2, stages: int = 2
) -> keras.Model:
    channels = image_shape[2]
    dataset = Dataset(
        task="image-classification",
        source="test",
        classes=["a", "b", "c"],
        image_shape=image_shape,
        examples={"train": 8, "val": 8, "test": 8},
        mean=[128.0] * channels,
        std=[64.0] * channels,
        fingerprint="test",
    )
    keras.utils.set_random_seed(0)
    return net.build_model(
        ModelParameters(width=8, dropout=dropout, stages=stages), dataset, seed=0
    )


def make_batch(image_shape: tuple[int, int, int] = (8, 8, 1)) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (8, *image_shape), np.uint8)
    return images, np.eye(3, dtype=np.float32)[np.arange(8) % 3]


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (33, 20, 3), (1, 1, 3)])
def test_shapes(image_shape: tuple[int, int, int]) -> None:
    images, _ = make_batch(image_shape)
    assert make_model(image_shape, stages=1)(images).shape == (8, 3)


def test_too_many_stages() -> None:
    make_model(stages=4)
    with pytest.raises(utils.InputError, match="at most 4"):
        make_model(stages=5)


def test_loss_at_the_start() -> None:
    """A network that knows nothing is as sure of one class as of another."""
    images, targets = make_batch()
    loss = keras.ops.convert_to_numpy(net.loss()(targets, make_model()(images)))
    assert float(loss) == pytest.approx(math.log(3), abs=0.2)


def test_overfits_a_few_examples() -> None:
    images, targets = make_batch()
    model = make_model(dropout=0.0)
    model.compile(keras.optimizers.AdamW(1e-2), net.loss(), jit_compile=False)
    loss = model.fit(images, targets, epochs=50, verbose=0).history["loss"]
    assert loss[-1] < 0.1 < loss[0]


def test_examples_do_not_mix() -> None:
    """What one image shows changes the output of that image alone."""
    model, (images, _) = make_model(), make_batch()
    changed = images.copy()
    changed[3] = 255 - changed[3]
    before, after = (keras.ops.convert_to_numpy(model(batch)) for batch in (images, changed))
    moved = np.abs(after - before).max(axis=1) > 1e-4
    assert moved.tolist() == [number == 3 for number in range(8)]


def test_accuracy() -> None:
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    hits = net.metrics["accuracy"](np.eye(2)[[0, 1, 1]], logits)
    assert keras.ops.convert_to_numpy(hits).mean() == pytest.approx(2 / 3)


def test_a_metric_object_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' own sum up over the calls until they are reset."""
    monkeypatch.setitem(net.metrics, "same", keras.metrics.CategoricalAccuracy())
    model, (images, targets) = make_model(), make_batch()
    for part in (slice(0, 3), slice(3, 8)):
        values, _ = evaluate(model, Split(images[part], targets[part]))
        assert values["same"] == pytest.approx(values["accuracy"])
