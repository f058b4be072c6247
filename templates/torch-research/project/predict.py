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

import numpy as np
import torch

import backend
from build_dataset import Dataset, read_unlabelled
from machinery.predictions import Unlabelled, read_ahead, read_dataset, regroup
from machinery.sampling import evaluation_batch_size
from model import net
from model.report import PredictionWriter


@torch.inference_mode()
def predict(
    model: torch.nn.Module,
    blocks: Iterable[Unlabelled],
    dataset: Dataset,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[tuple[Unlabelled, dict[str, np.ndarray]]]:
    """Yield the examples in batches, as large as those of evaluate.py, and their predictions.

    Args:
        model: the network, on the device.
        blocks: the examples.
        dataset: what the network was trained on.
        device: where to compute.
        dtype: what to compute in.
    """
    model.eval()
    for examples in regroup(blocks, evaluation_batch_size(dataset.positions)):
        arrays = {name: torch.from_numpy(array) for name, array in examples.inputs.items()}
        inputs, _ = backend.to_device((arrays, {}), device)
        with backend.autocast(device, dtype):
            outputs = model(inputs)
        yield examples, backend.to_numpy(net.predict(outputs, dataset))


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Predict with the experiment that the command line names."""
    device = backend.choose_device(arguments.device)
    dtype = backend.choose_precision(device, parameters.training.precision)
    dataset = read_dataset(arguments.experiment, Dataset)
    writer = PredictionWriter(dataset, arguments.output, arguments.overwrite)
    backend.prepare(parameters, dataset)
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    blocks = read_ahead(read_unlabelled(arguments.paths, dataset, arguments.skip_bad))
    model = backend.make_model(parameters, dataset, device)
    backend.load_weights(model, arrays, path)
    results = predict(model, blocks, dataset, device, dtype)
    writer.write(f"{path} of step {step:,}", results)


command.run(main)
