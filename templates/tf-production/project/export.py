"""Export a trained experiment as a SavedModel, ready to be served without this project.

    python export.py                                          # best of baseline -> exports/1
    python export.py --experiment experiments/wide            # the next version: exports/2

The graph takes the inputs as they are stored, prepares them, computes in float32, and returns what
people read. Its signatures are those of model/serving.py; SERVING.md shows how to call them.

A version appears whole or not at all, and only once a fresh process with bare TensorFlow has
loaded it and given the same predictions. In assets.extra/export.json it says where it came from.
The number of a version is never given again, also when the version is deleted.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machinery import command_line
from parameters import Parameters


def add_options(parser: command_line.ArgumentParser) -> None:
    """Add what export.py alone can be asked for."""
    parser.add_argument("--exports", type=Path, default=Path("exports"), help="folder [exports]")


# Answers --help and bad input.
command = command_line.evaluation(__name__, __doc__, Parameters, add_options)

from quiet import import_tensorflow

import_tensorflow()

import numpy as np
import tensorflow as tf
from filelock import FileLock

import backend
from build_dataset import read_dataset
from evaluate import make_evaluation_step
from machinery.files import sync_folder, write_atomically
from machinery.metrics import read_metrics
from machinery.parameter_file import flatten
from machinery.records import git_state, versions
from model.data_loader import load_split
from model.serving import Served

TOLERANCE = 1e-5  # of 1, or of a greater number: the sums of the two may be taken in another order
EXAMPLES = 256  # of test, at most, to compare them on
LAST_VERSION = ".last-version"  # The file in --exports that holds the highest number given.

# What the fresh process runs: no module of this project, as a user elsewhere has none.
LOAD_AND_PREDICT = """
import pathlib, sys
import numpy as np
import tensorflow as tf
predict = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
inputs = {path.stem: tf.constant(np.load(path)) for path in pathlib.Path("inputs").iterdir()}
for name, tensor in predict(**inputs).items():
    array = tensor.numpy()
    np.save(f"outputs/{name}.npy", array.astype(bytes) if array.dtype == object else array)
"""


def export(arguments: argparse.Namespace, parameters: Parameters) -> Path:
    """Write the next version of an experiment's checkpoint; return its folder.

    Raises:
        InputError: the checkpoint is damaged, or does not belong to the data or the network.
    """
    dataset = read_dataset(arguments.data)
    backend.prepare(parameters, dataset, "cpu")  # A GPU rounds otherwise, and has no room for two.
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    split = load_split(arguments.data, dataset, "test")
    inputs, targets = split.take(np.arange(min(split.examples, EXAMPLES)))
    # Whatever it was trained in: every processor computes in float32, and to nearly the same bits.
    model = backend.make_model(parameters, dataset, "float32")
    backend.load_weights(model, arrays, path)
    predictions, _ = make_evaluation_step(model, split, dataset)(inputs, targets)
    served = Served(model, dataset)
    facts = {
        "experiment": str(arguments.experiment),
        "checkpoint": arguments.checkpoint,
        "step": step,
        "metrics": {row["step"]: row for row in read_metrics(arguments.experiment)}.get(step),
        "parameters": flatten(parameters),
        "dataset": dataset.model_dump(),
        "git_commit": git_state()[0],
        "versions": {"tensorflow": tf.__version__, **versions("keras")},
    }
    arguments.exports.mkdir(parents=True, exist_ok=True)
    with FileLock(arguments.exports / ".lock"):  # Exports at once: one after the other.
        for killed in arguments.exports.glob(".unfinished-*"):
            shutil.rmtree(killed)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=arguments.exports) as temporary:
            unchecked = Path(temporary, "model")
            outputs = write_saved_model(unchecked, served, inputs, facts)
            expected = {name: predictions.get(name, outputs[name]).numpy() for name in outputs}
            difference = compare(predict_elsewhere(unchecked, inputs), expected, path)
            folder = arguments.exports / str(next_version(arguments.exports))
            os.rename(unchecked, folder)
            sync_folder(arguments.exports)
    print(
        f"{folder}: {path} of step {step:,}. A fresh process with bare TensorFlow gave "
        f"the same predictions for {len(next(iter(inputs.values())))} examples of test, "
        f"to {difference:.1g}."
    )
    return folder


def write_saved_model(
    folder: Path, served: Served, inputs: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Write the SavedModel and, beside it, where it came from; return its outputs for `inputs`."""
    signatures = served.signatures()
    tf.saved_model.save(served, str(folder), signatures=signatures)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "export.json").write_text(json.dumps(facts, indent=2))
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    return signatures["serving_default"](**tensors)


def predict_elsewhere(folder: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what serving_default of a SavedModel gives in a process of its own, by name.

    Args:
        folder: the SavedModel.
        inputs: of the network, by name, each (N, ...).
    """
    with tempfile.TemporaryDirectory() as empty:
        for name in ("inputs", "outputs"):
            Path(empty, name).mkdir()
        for name, array in inputs.items():
            np.save(Path(empty, "inputs", f"{name}.npy"), array)
        words = [sys.executable, "-I", "-c", LOAD_AND_PREDICT, str(folder.absolute())]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        run = subprocess.run(
            words, cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise RuntimeError(f"{folder} does not load with bare TensorFlow: {run.stderr}")
        return {path.stem: np.load(path) for path in Path(empty, "outputs").iterdir()}


def compare(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], path: Path
) -> float:
    """Return by how much predictions differ; raise RuntimeError where that is too much.

    Args:
        found: of the export, by name, each (N, ...).
        expected: likewise.
        path: the checkpoint, to name in the message.
    """
    assert found.keys() == expected.keys()
    most = 0.0
    for name, array in expected.items():
        if np.issubdtype(array.dtype, np.floating):
            difference = np.abs(found[name] - array) / np.maximum(np.abs(array), 1)
        else:  # Numbers of classes, or their names.
            difference = found[name] != (array.astype(bytes) if array.dtype == object else array)
        difference = float(difference.max(initial=0))
        if not difference <= TOLERANCE:  # NaN is not, either.
            raise RuntimeError(f"the export of {path} predicts other {name}, by {difference:.2g}")
        most = max(most, difference)
    return most


def next_version(exports: Path) -> int:
    """Return a number that no version in a folder had so far, and remember that it is taken."""
    path = exports / LAST_VERSION
    numbers = [int(path.read_text())] if path.exists() else []
    numbers += [int(folder.name) for folder in exports.iterdir() if folder.name.isdecimal()]
    number = max(numbers, default=0) + 1
    write_atomically(path, f"{number}\n".encode())
    return number


command.run(export)
