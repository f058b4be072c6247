"""The schedule, and what the hardware computes in."""

from pathlib import Path

import pytest

from backend import State, choose_device, choose_precision, make_schedule, scaling_loss

# isort: split
import keras
import tensorflow as tf

from parameters import TrainingParameters


def test_precision() -> None:
    assert choose_precision("cpu", "bfloat16") == "bfloat16"
    assert choose_precision("cpu", "float32") == "float32"
    assert choose_precision(choose_device("cpu"), "auto") in ("bfloat16", "float32")


@pytest.mark.parametrize(
    ("capability", "fastest"),
    [((6, 1), "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16")],
)
def test_the_fastest_precision_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], fastest: str
) -> None:
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["the GPU"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
    assert choose_precision("gpu", "auto") == fastest


def test_the_scale_of_the_loss_in_float16() -> None:
    """The step is that of float32, unless gradients are infinite: then none, and half the scale."""
    plain = keras.optimizers.SGD(1.0)
    assert scaling_loss(plain, "bfloat16") is plain
    optimizer = scaling_loss(plain, "float16")
    weight = keras.Variable(1.0)
    optimizer.build([weight])
    scale = float(optimizer.scale_loss(1.0))
    optimizer.apply([0.25 * scale])
    assert float(weight) == 0.75
    optimizer.apply([float("inf")])
    assert float(weight) == 0.75
    assert float(optimizer.scale_loss(1.0)) == scale / 2


def make_state(precision: str) -> tuple[State, keras.Optimizer]:
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = scaling_loss(keras.optimizers.Adam(), precision)
    optimizer.build(model.trainable_variables)
    return State(model, optimizer), optimizer


@pytest.mark.parametrize("precisions", [("float16", "float32"), ("float32", "float16")])
def test_a_run_goes_on_in_another_precision(precisions: tuple[str, str]) -> None:
    """What scales the loss stays as it is where the checkpoint has none of it."""
    written, optimizer = make_state(precisions[0])
    optimizer.iterations.assign(7)
    arrays = written.to_arrays()
    read, optimizer = make_state(precisions[1])
    read.load(arrays, Path("last.safetensors"))
    assert int(optimizer.iterations) == 7
    for state, precision in zip((written, read), precisions, strict=True):
        assert bool(state.owners["scaler."]) == (precision == "float16")


def test_learning_rate() -> None:
    """It rises for two epochs of ten steps and falls to zero at the end of the fourth."""
    training = TrainingParameters(epochs=4, warmup_epochs=2, learning_rate=1.0)
    schedule = make_schedule(training, 10)
    rates = [float(schedule(step)) for step in range(41)]
    assert rates[0] == pytest.approx(1 / 21)
    assert rates[20] == pytest.approx(1)
    assert rates[30] == pytest.approx(0.5)
    assert rates[40] == pytest.approx(0)
    assert rates[:21] == sorted(rates[:21])


def test_a_training_that_only_warms_up() -> None:
    training = TrainingParameters(epochs=2, warmup_epochs=2, learning_rate=1.0)
    assert float(make_schedule(training, 10)(19)) == pytest.approx(20 / 21)
