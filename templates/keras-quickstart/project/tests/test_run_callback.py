"""How `fit` is called when a run continues within an epoch."""

from types import SimpleNamespace
from typing import Any

import keras
import pytest

from framework.run_callback import RunCallback
from machinery.checkpoints import Progress


@pytest.mark.parametrize(("stops", "calls"), [(False, [range(1, 4)]), (True, [])])
def test_a_callback_can_stop_in_the_rest_of_an_epoch(stops: bool, calls: list[range]) -> None:
    training = SimpleNamespace(epochs=4)
    run: Any = SimpleNamespace(
        progress=Progress(step=2),
        steps_per_epoch=5,
        parameters=SimpleNamespace(training=training),
        epochs=lambda: iter(()),
    )
    batches: Any = SimpleNamespace(start=lambda step: None)
    callback = RunCallback(run, batches, lambda step: 0.0, dict)
    epochs = callback.epochs_to_fit()
    assert next(epochs) == range(1)
    model = keras.Sequential()
    callback.set_model(model)
    model.stop_training = stops
    assert list(epochs) == calls
