"""Evaluate a trained experiment on one split.

    python evaluate.py                                        # baseline, best checkpoint, test
    python evaluate.py --experiment experiments/wide --split val

Writes metrics, pictures and predictions into the experiment's folder, named after the split, such
as metrics_test.json; for the last checkpoint, such as metrics_test_last.json. Of an experiment with
a run for each seed or fold, all runs are evaluated, and their mean is printed.
"""

import argparse
from collections.abc import Callable

from machinery import command_line, intervals, records
from parameters import Parameters

command = command_line.evaluation(__name__, __doc__, Parameters)  # Answers --help and bad input.

from framework.quiet import import_tensorflow

import_tensorflow()

import tensorflow as tf

import backend
from build_dataset import Dataset, read_dataset
from machinery.share import ALONE, Share
from model import net
from model.data_loader import AnySplit, evaluation_batches, load_split, signature
from model.report import Evaluation

# Takes inputs and targets by name; returns the predictions by name, and the losses (B,).
EvaluationStep = Callable[..., tuple[dict[str, tf.Tensor], tf.Tensor]]


def make_evaluation_step(model: net.Net, split: AnySplit, dataset: Dataset) -> EvaluationStep:
    """Return the evaluation of a batch as one graph, for batches of the arrays of a split."""

    def evaluation_step(inputs, targets):
        outputs = model(inputs)
        return net.predict(outputs, dataset), net.losses(outputs, targets, dataset)

    return tf.function(evaluation_step, input_signature=signature(split), autograph=False)


def evaluate(
    evaluation_step: EvaluationStep,
    split: AnySplit,
    evaluation: Evaluation,
    share: Share = ALONE,
) -> dict[str, float]:
    """Return the loss and the metrics over all examples of a split.

    Args:
        evaluation_step: what make_evaluation_step returned.
        split: the examples.
        evaluation: a new one, which sums up the metrics.
        share: which batches this process computes, where several add to the evaluation.
    """
    for inputs, targets in evaluation_batches(split, share):
        predictions, losses = evaluation_step(inputs, targets)
        arrays = {name: tensor.numpy() for name, tensor in predictions.items()}
        evaluation.add(arrays, targets, losses.numpy())
    return evaluation.metrics()


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Evaluate the experiment that the command line names."""
    folder, split_name = arguments.experiment, arguments.split
    device = backend.choose_device(arguments.device)
    precision = backend.choose_precision(device, parameters.training.precision)
    dataset = read_dataset(arguments.data)
    backend.prepare(parameters, dataset, device)
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    model = backend.make_model(parameters, dataset, precision)
    backend.load_weights(model, arrays, path)
    split = load_split(arguments.data, dataset, split_name)
    evaluation = Evaluation(dataset, keep=True)
    kept = intervals.KeptExamples(evaluation)
    evaluate(make_evaluation_step(model, split, dataset), split, evaluation)
    print(f"{path} of step {step:,}, {split.examples:,} examples of {split_name}:")
    name = split_name if arguments.checkpoint == "best" else f"{split_name}_{arguments.checkpoint}"
    files = [*evaluation.files(name), *kept.files(name)]
    with records.writing_evaluation(folder, files, step):
        kept.write(folder, name, intervals.read_groups(dataset, arguments.data, split_name))
        ids = dataset.read_ids(arguments.data, split_name)
        evaluation.write(folder, name, ids, lambda rows: split.take(rows)[0])


command.run(main)
