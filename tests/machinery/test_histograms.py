"""train.py --histograms: what TensorBoard shows of weights and gradients, epoch by epoch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from machinery.histograms import Histograms, select
from machinery.run import Run


def steps_of(folder: Path) -> dict[str, list[int]]:
    """Return after which steps there is a histogram of each array."""
    found: dict[str, list[int]] = {}
    for path in sorted((folder / "tensorboard" / "histograms").iterdir()):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def test_each_epoch_has_histograms(tmp_path: Path, train_run: Callable[..., Run]) -> None:
    """A session has a file of its own; a run that is trained anew replaces all."""
    folder, histograms = tmp_path / "run", Histograms(tmp_path / "run")
    epochs: list[int] = []

    def write(_: Run) -> None:
        epochs.append(len(epochs) + 1)
        histograms.write({"epoch": epochs[-1]})

    run = train_run(folder, {"training": {"epochs": 3}}, write)
    epoch = run.steps_per_epoch
    assert steps_of(folder) == {"weights/weights": [epoch, 2 * epoch, 3 * epoch]}
    histograms = Histograms(folder)
    epochs.clear()
    size = {"data": {"batch_size": 8}, "training": {"epochs": 2}}  # Other steps in an epoch.
    epoch = train_run(folder, size, write, overwrite=True).steps_per_epoch
    assert steps_of(folder) == {"weights/weights": [epoch, 2 * epoch]}


def test_gradients_are_found_by_the_names_of_each_framework() -> None:
    names = [
        *("model.stem.weight", "optimizer.stem.weight.exp_avg", "optimizer.stem.weight.exp_avg_sq"),
        *("optimizer.stem.weight.momentum_buffer", "optimizer.adam_w/conv2d_1_kernel_momentum"),
        *("optimizer.adam_w/conv2d_1_kernel_velocity", "model.conv2d_1/kernel"),
    ]
    arrays: dict[str, np.ndarray] = {name: np.zeros(3, np.float32) for name in names}
    arrays |= {"model.step": np.zeros(3, np.int64), "model.one": np.zeros(1, np.float32)}
    assert [name for name, _ in select(arrays)] == [
        *("weights/stem.weight", "gradients/stem.weight", "gradients/stem.weight"),
        *("gradients/conv2d_1_kernel", "weights/conv2d_1/kernel"),
    ]
