"""Export a trained experiment as a SavedModel, ready to be served without this project.

    python export.py                                          # best of baseline -> exports/1
    python export.py --experiment experiments/wide            # the next version: exports/2

The graph takes the inputs as they are stored, prepares them, computes in float32, and returns what
people read. Its signatures are those of model/serving.py; SERVING.md shows how to call them.

A version appears only when a new process with nothing but TensorFlow has loaded it and given the
same predictions. Its assets.extra/export.json says where it came from. The number of a version is
never given again, not even when the version is deleted.
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
from machinery.argument_parser import ArgumentParser
from parameters import Parameters


def add_options(parser: ArgumentParser) -> None:
    """Add the option of export.py."""
    parser.add_argument("--exports", type=Path, default=Path("exports"), help="folder [exports]")


# Answers --help and bad input.
command = command_line.evaluation(__name__, __doc__, Parameters, add_options)

from quiet import import_tensorflow

import_tensorflow()

import numpy as np
import tensorflow as tf
from filelock import FileLock

import backend
from build_dataset import Dataset, read_dataset
from evaluate import make_evaluation_step
from machinery.errors import InputError
from machinery.files import replace, sync_folder, sync_tree, write_atomically
from machinery.metrics import read_metrics
from machinery.parameter_file import flatten
from machinery.records import git_state, versions
from model.data_loader import load_split
from model.serving import Served

# The greatest difference of two predictions, as a share of those above 1. The two processes may
# add up numbers in another order.
TOLERANCE = 1e-5
EXAMPLES = 256  # Of test at most so many are compared.
LAST_VERSION = ".last-version"  # The file in --exports that holds the highest number given.

# The new process runs this, without a module of this project, which users elsewhere do not have.
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
    # A GPU rounds differently, and its memory has no room for two processes.
    backend.prepare(parameters, dataset, "cpu")
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    split = load_split(arguments.data, dataset, "test")
    inputs, targets = split.take(np.arange(min(split.examples, EXAMPLES)))
    # In any precision that it was trained in, it is exported in float32: every processor computes
    # in it, and to nearly the same bits.
    model = backend.make_model(parameters, dataset, "float32")
    backend.load_weights(model, arrays, path)
    predictions, _ = make_evaluation_step(model, split, dataset)(inputs, targets)
    served = Served(model, dataset)
    facts = collect_facts(arguments, parameters, dataset, step)
    arguments.exports.mkdir(parents=True, exist_ok=True)
    with FileLock(arguments.exports / ".lock"):  # Several exports write one after the other.
        for killed in arguments.exports.glob(".unfinished-*/"):
            shutil.rmtree(killed)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=arguments.exports) as temporary:
            unchecked = Path(temporary, "model")
            outputs = write_saved_model(unchecked, served, inputs, facts)
            expected = {name: predictions.get(name, outputs[name]).numpy() for name in outputs}
            difference = compare(predict_elsewhere(unchecked, inputs), expected, path)
            sync_tree(unchecked)
            folder = arguments.exports / str(next_version(arguments.exports))
            replace(unchecked, folder)
            sync_folder(arguments.exports)
    print(
        f"{folder}: {path} of step {step:,}. A fresh process with bare TensorFlow gave "
        f"the same predictions for {len(next(iter(inputs.values())))} examples of test, "
        f"to {difference:.1g}."
    )
    return folder


def collect_facts(
    arguments: argparse.Namespace, parameters: Parameters, dataset: Dataset, step: int
) -> dict[str, Any]:
    """Return what export.json says of a version: where it came from."""
    rows = {row.get("step"): row for row in read_metrics(arguments.experiment)}
    return {
        "experiment": arguments.experiment.as_posix(),
        "checkpoint": arguments.checkpoint,
        "step": step,
        "metrics": rows.get(step),
        "parameters": flatten(parameters),
        "dataset": dataset.model_dump(),
        "git_commit": git_state()[0],
        "versions": {"tensorflow": tf.__version__, **versions("keras")},
    }


def write_saved_model(
    folder: Path, served: Served, inputs: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Write the SavedModel with the facts about it; return its outputs for `inputs`."""
    signatures = served.signatures()
    tf.saved_model.save(served, str(folder), signatures=signatures)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "export.json").write_text(json.dumps(facts, indent=2), "utf-8")
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    return signatures["serving_default"](**tensors)


def predict_elsewhere(folder: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs of serving_default of a SavedModel in a new process, by name.

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
    """Return the greatest difference of predictions; raise RuntimeError if it is too great.

    Args:
        found: the predictions of the export, by name, each (N, ...).
        expected: those of the network, by name, each (N, ...).
        path: the checkpoint, to name in the message.
    """
    assert found.keys() == expected.keys()
    most = 0.0
    for name, array in expected.items():
        if np.issubdtype(array.dtype, np.floating):
            difference = np.abs(found[name] - array) / np.maximum(np.abs(array), 1)
        else:  # Whole numbers or text.
            difference = found[name] != (array.astype(bytes) if array.dtype == object else array)
        difference = float(difference.max(initial=0))
        if not difference <= TOLERANCE:  # True for NaN, too.
            raise RuntimeError(f"the export of {path} predicts other {name}, by {difference:.2g}")
        most = max(most, difference)
    return most


def next_version(exports: Path) -> int:
    """Return a number that no version in a folder has had, and record that it is taken.

    Raises:
        InputError: the highest number given cannot be read.
    """
    path = exports / LAST_VERSION
    text = path.read_text("utf-8", errors="replace").strip() if path.exists() else "0"
    if not text.isdecimal():
        raise InputError(f"{path}: got {text[:20]!r}, expected the highest number ever exported.")
    numbers = [int(text)]
    numbers += [int(folder.name) for folder in exports.iterdir() if folder.name.isdecimal()]
    number = max(numbers, default=0) + 1
    write_atomically(path, f"{number}\n".encode())
    return number


command.run(export)
