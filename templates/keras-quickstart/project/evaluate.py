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

import backend  # Before Keras, as it chooses Keras's backend.

# isort: split
import keras

from build_dataset import read_dataset
from framework import keras_backend
from model import net
from model.data_loader import Split, evaluation_batches, load_split
from model.report import Evaluation


def evaluate(model: keras.Model, split: Split, evaluation: Evaluation) -> dict[str, float]:
    """Return the loss and the metrics over all examples of a split.

    Args:
        model: the network.
        split: the examples.
        evaluation: a new one, which sums up the metrics.
    """
    predict = keras_backend.compiled(net.predict, evaluation.dataset)
    measure = keras_backend.compiled(net.losses, evaluation.dataset)
    for inputs, targets in evaluation_batches(split):
        # Not predict, which on TensorFlow takes STEPS_PER_EXECUTION batches at a time.
        outputs = backend.to_tensors(model.predict_on_batch(inputs))
        losses = backend.to_numpy(measure(outputs, backend.to_tensors(targets)))
        evaluation.add(backend.to_numpy(predict(outputs)), targets, losses)
    return evaluation.metrics()


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Evaluate the experiment that the command line names."""
    folder, split_name = arguments.experiment, arguments.split
    dataset = read_dataset(arguments.data)
    backend.prepare(parameters, dataset)
    device = backend.choose_device(arguments.device)
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    split = load_split(arguments.data, dataset, split_name)
    evaluation = Evaluation(dataset, keep=True)
    kept = intervals.KeptExamples(evaluation)
    with backend.scope(device):
        model = backend.make_model(parameters, dataset, device)
        backend.load_weights(model, arrays, path)
        evaluate(model, split, evaluation)
    print(f"{path} of step {step:,}, {split.examples:,} examples of {split_name}:")
    name = split_name if arguments.checkpoint == "best" else f"{split_name}_{arguments.checkpoint}"
    files = [*evaluation.files(name), *kept.files(name)]
    with records.writing_evaluation(folder, files, step):
        kept.write(folder, name, intervals.read_groups(dataset, arguments.data, split_name))
        ids = dataset.read_ids(arguments.data, split_name)
        evaluation.write(folder, name, ids, lambda rows: split.take(rows)[0])


command.run(main)
