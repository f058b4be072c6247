"""Evaluate a trained experiment on one split.

    python evaluate.py                                        # baseline, best checkpoint, test
    python evaluate.py --experiment experiments/wide --split val

Writes into the experiment's folder metrics_test.json, confusion_matrix_test.png and
predictions_test.csv, the most certain mistakes first; for another split, or the last checkpoint,
with its name instead: metrics_val.json, metrics_test_last.json.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import backend
import command_line
import run_folder
import utils
from parameters import Parameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before Keras is imported.
        arguments, parameters = command_line.parse_evaluation(__doc__)
        backend.load()
backend.load()

import keras
import numpy as np

from build_dataset import Dataset, read_dataset, read_ids
from model import net, report
from model.data_loader import EVALUATION_BATCH_SIZE, Split, load_split


def choose_device(name: str) -> str:
    """Return the device of that name; "auto" is the first there is of cuda, mps and cpu.

    Raises:
        InputError: this machine has no such device.
    """
    available = backend.devices()
    if name not in ("auto", *available):
        here = ", ".join(available)
        raise utils.InputError(f"--device: got {name}, expected one that is here: {here}.")
    return available[0] if name == "auto" else name


def make_model(parameters: Parameters, dataset: Dataset, device: str) -> keras.Model:
    """Return the network with its initial weights; call it inside backend.scope(device)."""
    precision = parameters.training.precision
    if precision == "auto":
        precision = "bfloat16" if backend.prefers_bfloat16(device) else "float32"
    if parameters.training.deterministic:
        backend.be_deterministic()
    keras.utils.clear_session()  # Or a second network's variables would have other names.
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    seed = utils.fold_seed(parameters.seed) % 2**31  # What every backend takes.
    keras.utils.set_random_seed(seed)  # Initial weights.
    return net.build_model(parameters.model, dataset, seed)


def named(**owners: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
    """Return the variables of the owners, by names such as "model.conv2d/kernel"."""
    return {
        f"{owner}.{variable.path}": variable
        for owner, variables in owners.items()
        for variable in variables
    }


def load_variables(
    variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray], path: Path
) -> None:
    """Put the arrays of a checkpoint into variables.

    Args:
        variables: of the network, and others or not.
        arrays: what the checkpoint holds.
        path: the checkpoint, to name in the message.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    owners = {name.partition(".")[0] for name in variables}
    found = {name: array for name, array in arrays.items() if name.partition(".")[0] in owners}
    run_folder.check_fit(
        found, {name: variable.shape for name, variable in variables.items()}, path
    )
    for name, variable in variables.items():
        variable.assign(found[name])


def evaluate(model: keras.Model, split: Split) -> tuple[dict[str, float], np.ndarray]:
    """Return loss and metrics over all examples of a split, and the logits (N, classes)."""
    size = EVALUATION_BATCH_SIZE
    # Not predict, which on TensorFlow takes as many batches at a time as fit takes steps.
    logits = np.concatenate(
        [
            model.predict_on_batch(split.images[first : first + size])
            for first in range(0, len(split.images), size)
        ]
    )
    values = {"loss": net.loss()(split.targets, logits)}
    for name, metric in net.metrics.items():
        if isinstance(metric, keras.Metric):
            metric.reset_state()  # Or it would go on from the call before.
        values[name] = keras.ops.mean(metric(split.targets, logits))
    return {name: float(value) for name, value in values.items()}, logits


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Evaluate the experiment that the command line names."""
    folder, split = arguments.experiment, arguments.split
    if parameters.training.deterministic:
        backend.be_deterministic()  # Before JAX looks for devices: it reads its flags only then.
    device = choose_device(arguments.device)
    dataset = read_dataset(arguments.data)
    path = folder / f"{arguments.checkpoint}.safetensors"
    arrays, progress = run_folder.load_trained(path, dataset.fingerprint)
    examples = load_split(arguments.data, dataset, split)
    ids = read_ids(arguments.data, dataset, split)
    with backend.scope(device):
        model = make_model(parameters, dataset, device)
        load_variables(named(model=model.variables), arrays, path)
        metrics, logits = evaluate(model, examples)
        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    print(f"{path} of step {progress.step:,}, {len(logits):,} examples of {split}:")
    labels = examples.targets.argmax(axis=1)
    name = split if arguments.checkpoint == "best" else f"{split}_{arguments.checkpoint}"
    report.write_report(folder, name, dataset.classes, metrics, ids, labels, probabilities)


if __name__ == "__main__":
    with utils.exit_codes():
        main(arguments, parameters)
