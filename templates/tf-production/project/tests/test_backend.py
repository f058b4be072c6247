"""The schedule, and what the hardware computes in."""

import pytest

from backend import choose_device, choose_precision, make_schedule
from parameters import TrainingParameters


def test_precision() -> None:
    assert choose_precision("cpu", "bfloat16") == "bfloat16"
    assert choose_precision("cpu", "float32") == "float32"
    assert choose_precision(choose_device("cpu"), "auto") in ("bfloat16", "float32")


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
