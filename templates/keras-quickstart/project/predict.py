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

import backend  # Before Keras, as it chooses Keras's backend.

# isort: split
import keras
import numpy as np

from build_dataset import Dataset, read_unlabelled
from framework import keras_backend
from machinery.predictions import Unlabelled, read_ahead, read_dataset, regroup
from machinery.sampling import evaluation_batch_size
from model import net
from model.report import PredictionWriter


def predict(
    model: keras.Model, blocks: Iterable[Unlabelled], dataset: Dataset
) -> Iterator[tuple[Unlabelled, dict[str, np.ndarray]]]:
    """Yield the examples in batches, as large as those of evaluate.py, and their predictions.

    Args:
        model: the network.
        blocks: the examples.
        dataset: what the network was trained on.
    """
    compute = keras_backend.compiled(net.predict, dataset)  # As in evaluate.py: the same bits.
    for examples in regroup(blocks, evaluation_batch_size(dataset.positions)):
        # Not predict, which on TensorFlow takes STEPS_PER_EXECUTION batches at a time.
        outputs = backend.to_tensors(model.predict_on_batch(examples.inputs))
        yield examples, backend.to_numpy(compute(outputs))


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Predict with the experiment that the command line names."""
    dataset = read_dataset(arguments.experiment, Dataset)
    writer = PredictionWriter(dataset, arguments.output, arguments.overwrite)
    backend.prepare(parameters, dataset)
    device = backend.choose_device(arguments.device)
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    blocks = read_ahead(read_unlabelled(arguments.paths, dataset, arguments.skip_bad))
    with backend.scope(device):
        model = backend.make_model(parameters, dataset, device)
        backend.load_weights(model, arrays, path)
        writer.write(f"{path} of step {step:,}", predict(model, blocks, dataset))


command.run(main)
