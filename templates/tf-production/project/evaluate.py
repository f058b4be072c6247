"""Evaluate a trained experiment on one split.

    python evaluate.py                                        # baseline, best checkpoint, test
    python evaluate.py --experiment experiments/wide --split val

Writes into the experiment's folder metrics_test.json, confusion_matrix_test.png and
predictions_test.csv, the most certain mistakes first; for another split, or the last checkpoint,
with its name instead: metrics_val.json, metrics_test_last.json.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import command_line
import run_folder
import utils
from parameters import Parameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before TensorFlow is imported.
        arguments, parameters = command_line.parse_evaluation(__doc__)

from quiet import import_tensorflow

import_tensorflow()

import keras
import numpy as np
import tensorflow as tf

from build_dataset import Dataset, read_dataset, read_ids
from model import net, report
from model.data_loader import Split, evaluation_batches, load_split


def choose_device(name: str) -> str:
    """Return TensorFlow's name, "cpu" or "gpu", of a device; "auto" is a GPU where there is one.

    Raises:
        InputError: this machine has no such device.
    """
    gpu = bool(tf.config.list_physical_devices("GPU"))
    mac = sys.platform == "darwin"
    available = {"cuda": gpu and not mac, "mps": gpu and mac, "cpu": True}
    if name == "auto":
        name = next(device for device, here in available.items() if here)
    if not available[name]:
        here = ", ".join(device for device, here in available.items() if here)
        raise utils.InputError(f"--device: got {name}, expected one that is here: {here}.")
    return "cpu" if name == "cpu" else "gpu"


def choose_policy(device: str, precision: str) -> str:
    """Return Keras' dtype policy; "auto" is bfloat16 where the hardware multiplies in it."""
    if precision == "auto":
        if device == "gpu":
            details = tf.config.experimental.get_device_details(
                tf.config.list_physical_devices("GPU")[0]
            )
            native = details.get("compute_capability", (0, 0)) >= (8, 0)
        else:
            processor = Path("/proc/cpuinfo")  # Linux alone.
            flags = processor.read_text() if processor.exists() else ""
            native = "avx512_bf16" in flags or "amx_bf16" in flags
        return "mixed_bfloat16" if native else "float32"
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


def limit_threads(parameters: Parameters, dataset: Dataset) -> None:
    """Use one CPU thread where a batch is small, or as many as OMP_NUM_THREADS says.

    Threads wait for each other many times a step. With little to compute in between, that gains
    little on an idle machine and costs much on a busy one.
    """
    height, width, _ = dataset.image_shape
    small = parameters.data.batch_size * height * width < 2**14
    threads = os.environ.get("OMP_NUM_THREADS", "1" if small else "0")  # 0: one a core.
    with contextlib.suppress(RuntimeError, ValueError):  # TensorFlow has begun with another number.
        tf.config.threading.set_intra_op_parallelism_threads(int(threads))


def make_model(parameters: Parameters, dataset: Dataset, policy: str) -> net.Net:
    """Return the network with its initial weights."""
    keras.config.set_dtype_policy(policy)
    model = net.Net(parameters.model, dataset)
    model(np.zeros((1, *dataset.image_shape), np.uint8))  # Makes the weights.
    return model


Forward = Callable[[np.ndarray], tf.Tensor]


def make_forward(model: net.Net, dataset: Dataset) -> Forward:
    """Return the network as one graph, from images (B, H, W, C) uint8 to logits (B, classes)."""
    images = tf.TensorSpec((None, *dataset.image_shape), tf.uint8, name="images")
    return tf.function(lambda images: model(images), input_signature=[images], autograph=False)


def evaluate(forward: Forward, split: Split) -> tuple[dict[str, float], tf.Tensor]:
    """Return loss and metrics over all examples of a split, and the logits (N, classes) float32."""
    logits = tf.concat([forward(images) for images, _ in evaluation_batches(split)], axis=0)
    values = {"loss": net.loss(logits, split.labels)}
    values |= {name: metric(logits, split.labels) for name, metric in net.metrics.items()}
    return {name: float(value) for name, value in values.items()}, logits


def load_model(model: net.Net, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Put the arrays of a checkpoint into a network.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    found = {name[6:]: array for name, array in arrays.items() if name.startswith("model.")}
    expected = {variable.path: variable for variable in model.variables}
    run_folder.check_fit(found, {name: variable.shape for name, variable in expected.items()}, path)
    for name, variable in expected.items():
        variable.assign(found[name])


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Evaluate the experiment that the command line names."""
    folder, split = arguments.experiment, arguments.split
    device = choose_device(arguments.device)
    dataset = read_dataset(arguments.data)
    path = folder / f"{arguments.checkpoint}.safetensors"
    arrays, progress = run_folder.load_trained(path, dataset.fingerprint)
    examples = load_split(arguments.data, dataset, split)
    ids = read_ids(arguments.data, dataset, split)
    limit_threads(parameters, dataset)
    with tf.device(device):
        policy = choose_policy(device, parameters.training.precision)
        model = make_model(parameters, dataset, policy)
        load_model(model, arrays, path)
        metrics, logits = evaluate(make_forward(model, dataset), examples)
        probabilities = tf.nn.softmax(logits).numpy()
    print(f"{path} of step {progress.step:,}, {len(probabilities):,} examples of {split}:")
    name = split if arguments.checkpoint == "best" else f"{split}_{arguments.checkpoint}"
    report.write_report(folder, name, dataset.classes, metrics, ids, examples.labels, probabilities)


if __name__ == "__main__":
    with utils.exit_codes():
        main(arguments, parameters)
