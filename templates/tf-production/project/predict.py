"""Predict examples of which nobody knows the target, with a trained experiment.

    python predict.py PATH ...                                # baseline, best checkpoint
    python predict.py PATH --experiment experiments/wide --output wide.csv

TASK.md says what a PATH can be. Needs the experiment's folder and no dataset. Writes a CSV file of
all predictions in the order of what was given, and for pictures a PNG of the first ones beside it.
"""

import argparse
from collections.abc import Iterable, Iterator

from machinery import command_line
from parameters import Parameters

command = command_line.prediction(__name__, __doc__, Parameters)  # Answers --help and bad input.

from framework.quiet import import_tensorflow

import_tensorflow()

import numpy as np
import tensorflow as tf

import backend
from build_dataset import Dataset, read_unlabelled
from machinery.predictions import Unlabelled, read_ahead, read_dataset, regroup
from machinery.sampling import evaluation_batch_size
from model import net
from model.report import PredictionWriter


def predict(
    model: net.Net, blocks: Iterable[Unlabelled], dataset: Dataset
) -> Iterator[tuple[Unlabelled, dict[str, np.ndarray]]]:
    """Yield the examples in batches, as large as those of evaluate.py, and their predictions.

    Args:
        model: the network.
        blocks: the examples.
        dataset: what the network was trained on.
    """

    def prediction_step(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return net.predict(model(inputs), dataset)

    arrays = {name: dataset.arrays[name] for name in dataset.inputs}
    signature = {n: tf.TensorSpec((None, *a.batch_shape), a.dtype) for n, a in arrays.items()}
    step = tf.function(prediction_step, input_signature=[signature], autograph=False)
    for examples in regroup(blocks, evaluation_batch_size(dataset.positions)):
        predictions = step(examples.inputs)
        yield examples, {name: tensor.numpy() for name, tensor in predictions.items()}


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Predict with the experiment that the command line names."""
    device = backend.choose_device(arguments.device)
    precision = backend.choose_precision(device, parameters.training.precision)
    dataset = read_dataset(arguments.experiment, Dataset)
    writer = PredictionWriter(dataset, arguments.output, arguments.overwrite)
    backend.prepare(parameters, dataset, device)
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    blocks = read_ahead(read_unlabelled(arguments.paths, dataset, arguments.skip_bad))
    model = backend.make_model(parameters, dataset, precision)
    backend.load_weights(model, arrays, path)
    writer.write(f"{path} of step {step:,}", predict(model, blocks, dataset))


command.run(main)
