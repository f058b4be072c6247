"""best.keras is the best network, and Keras opens it where there is no project."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import task

import backend
from build_dataset import read_dataset
from evaluate import evaluate
from framework import keras_file
from framework.keras_backend import NAMES
from machinery.checkpoints import BEST, read_checkpoint
from machinery.parameter_file import load_parameters
from model.data_loader import load_split
from model.report import Evaluation
from parameters import Parameters

ROOT = Path(__file__).parent.parent

# What a person writes who was given the file: the inputs of some examples go in, predictions out.
OPEN = """
import sys
import keras
import numpy as np

network = keras.models.load_model(sys.argv[1])
predictions = network.predict(dict(np.load("inputs.npz")), verbose=0)
np.savez("predictions.npz", **predictions)
"""


OWN = keras.backend.backend()
# Another backend that is installed, if there is one: a file opens on any.
OTHER = next(
    (name for name in NAMES if name != OWN and importlib.util.find_spec(name)),
    OWN,
)


def python(folder: Path, *words: object, code: int = 0, on: str = OWN) -> None:
    """Run Python in a folder, on the backend of these tests unless told."""
    result = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": on},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stdout + result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small experiment, with its data beside it."""
    folder = tmp_path_factory.mktemp("trained")
    python(ROOT, "build_dataset.py", "--data", folder / "data")
    new = ("--experiment", folder / "small", "--from", "experiments/baseline", *task.SMALL)
    python(ROOT, "train.py", *new, "--data", folder / "data", "--device", "cpu")
    return folder / "small"


def load_best(folder: Path) -> keras.Model:
    """Return a network of the project with the weights of best.safetensors."""
    dataset = read_dataset(folder.with_name("data"))
    model = backend.make_model(load_parameters(Parameters, folder / "params.yaml"), dataset, "cpu")
    backend.load_weights(model, read_checkpoint(folder / BEST)[0], folder / BEST)
    return model


def assert_holds_the_best(folder: Path) -> None:
    """Fail unless best.keras has the weights of best.safetensors, bit for bit.

    Keras does not save the state of dropout's random numbers, which no prediction needs.
    """
    expected = load_best(folder).weights
    found = keras.models.load_model(folder / keras_file.NAME).weights
    for variable, other in zip(found, expected, strict=True):
        values, others = map(keras.ops.convert_to_numpy, (variable, other))
        assert values.shape == others.shape, variable.path
        assert values.tobytes() == others.tobytes(), variable.path


def test_it_predicts_without_the_project(trained: Path, tmp_path: Path) -> None:
    data = trained.with_name("data")
    dataset = read_dataset(data)
    split = load_split(data, dataset, "test")
    expected: dict[str, list[np.ndarray]] = {}

    class Kept(Evaluation):
        """Keeps what evaluate.py would report on."""

        def add(self, predictions: Any, targets: Any, losses: Any) -> None:
            super().add(predictions, targets, losses)
            for name, array in predictions.items():
                expected.setdefault(name, []).append(array)

    evaluate(load_best(trained), split, Kept(dataset))
    inputs: dict[str, Any] = dict(split.take(np.arange(5))[0])
    np.savez(tmp_path / "inputs.npz", **inputs)
    shutil.copy(trained / keras_file.NAME, tmp_path / "given.keras")
    python(tmp_path, "-I", "-c", OPEN, "given.keras", on=OTHER)
    with np.load(tmp_path / "predictions.npz") as found:
        assert {*found} == {*expected}
        for name, arrays in expected.items():
            near = np.isclose(found[name], arrays[0][:5], rtol=1e-2, atol=1e-3)
            assert near.mean() > 0.95, name  # What is close to a threshold may go either way.


def test_it_is_of_the_best_epoch_also_when_the_run_was_stopped(trained: Path) -> None:
    assert_holds_the_best(trained)
    folder = shutil.copytree(trained, trained.with_name("again"))
    command = ("train.py", "--experiment", folder, "--overwrite", "--device", "cpu")
    command = (*command, "--data", trained.with_name("data"))
    python(ROOT, *command, "--max-minutes", "0.0001", code=75)
    assert not (folder / keras_file.NAME).exists()  # The one of the old run.
    python(ROOT, *command)
    assert_holds_the_best(folder)
    assert not list(folder.glob(".*tmp*"))


def test_a_network_that_cannot_be_written_is_a_warning(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run: Any = SimpleNamespace(folder=tmp_path, dataset=read_dataset(trained.with_name("data")))
    keras_file.write_best(run, "cpu")  # There is no checkpoint.
    assert "best.keras could not be written" in caplog.text
    assert not (tmp_path / keras_file.NAME).exists()
