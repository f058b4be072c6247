"""Evaluate a trained experiment on one split.

    python evaluate.py                                        # baseline, best checkpoint, test
    python evaluate.py --experiment experiments/wide --split val

Writes metrics, pictures and predictions into the experiment's folder, named after the split, such
as metrics_test.json; for the last checkpoint, such as metrics_test_last.json. Of an experiment with
a run for each seed or fold, all runs are evaluated, and their mean is printed.
"""

import argparse

from machinery import command_line, intervals, records
from parameters import Parameters

command = command_line.evaluation(__name__, __doc__, Parameters)  # Answers --help and bad input.

import torch

import backend
from build_dataset import read_dataset
from machinery.share import ALONE, Share
from model import net
from model.data_loader import Split, evaluation_batches, load_split
from model.report import Evaluation


@torch.inference_mode()
def evaluate(
    model: torch.nn.Module,
    split: Split,
    evaluation: Evaluation,
    device: torch.device,
    dtype: torch.dtype,
    share: Share = ALONE,
) -> dict[str, float]:
    """Return the loss and the metrics over all examples of a split.

    Args:
        model: the network, on the device.
        split: the examples.
        evaluation: a new one, which sums up the metrics.
        device: where to compute.
        dtype: what to compute in.
        share: which batches this process computes, where several add to the evaluation.
    """
    model.eval()
    dataset = evaluation.dataset
    for batch in evaluation_batches(split, share):
        inputs, targets = backend.to_device(batch, device)
        with backend.autocast(device, dtype):
            outputs = model(inputs)
        losses = net.losses(outputs, targets, dataset)
        predictions = backend.to_numpy(net.predict(outputs, dataset))
        evaluation.add(predictions, backend.to_numpy(targets), losses.cpu().numpy())
    return evaluation.metrics()


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Evaluate the experiment that the command line names."""
    folder, split_name = arguments.experiment, arguments.split
    device = backend.choose_device(arguments.device)
    dtype = backend.choose_precision(device, parameters.training.precision)
    dataset = read_dataset(arguments.data)
    backend.prepare(parameters, dataset)
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    model = backend.make_model(parameters, dataset, device)
    backend.load_weights(model, arrays, path)
    split = load_split(arguments.data, dataset, split_name, device)
    evaluation = Evaluation(dataset, keep=True)
    kept = intervals.KeptExamples(evaluation)
    evaluate(model, split, evaluation, device, dtype)
    print(f"{path} of step {step:,}, {split.examples:,} examples of {split_name}:")
    name = split_name if arguments.checkpoint == "best" else f"{split_name}_{arguments.checkpoint}"
    files = [*evaluation.files(name), *kept.files(name)]
    with records.writing_evaluation(folder, files, step):
        kept.write(folder, name, intervals.read_groups(dataset, arguments.data, split_name))
        ids = dataset.read_ids(arguments.data, split_name)
        evaluation.write(folder, name, ids, lambda rows: backend.to_numpy(split.take(rows)[0]))


command.run(main)
