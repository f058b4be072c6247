"""Evaluate a trained experiment on one split.

    python evaluate.py                                        # baseline, best checkpoint, test
    python evaluate.py --experiment experiments/wide --split val

Writes into the experiment's folder metrics_test.json, confusion_matrix_test.png and
predictions_test.csv, the most certain mistakes first; for another split, or the last checkpoint,
with its name instead: metrics_val.json, metrics_test_last.json.
"""

import argparse

import command_line
import run_folder
import utils
from parameters import Parameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before PyTorch is imported.
        arguments, parameters = command_line.parse_evaluation(__doc__)

import torch

from backend import autocast, choose_device, choose_dtype, limit_threads, load_model, make_model
from build_dataset import read_dataset, read_ids
from model import net, report
from model.data_loader import Split, evaluation_batches, load_split


@torch.inference_mode()
def evaluate(
    model: torch.nn.Module, split: Split, device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, float], torch.Tensor]:
    """Return loss and metrics over all examples of a split, and the logits (N, classes) float32."""
    model.eval()
    outputs = []
    for images, _ in evaluation_batches(split):
        with autocast(device, dtype):
            outputs.append(model(images.to(device)).float())
    logits = torch.cat(outputs)
    labels = split.labels.to(device)
    values = {"loss": net.loss(logits, labels)}
    values |= {name: metric(logits, labels) for name, metric in net.metrics.items()}
    return {name: value.item() for name, value in values.items()}, logits


def main(arguments: argparse.Namespace, parameters: Parameters) -> None:
    """Evaluate the experiment that the command line names."""
    folder, split = arguments.experiment, arguments.split
    device = choose_device(arguments.device)
    dataset = read_dataset(arguments.data)
    path = folder / f"{arguments.checkpoint}.safetensors"
    arrays, progress = run_folder.load_trained(path, dataset.fingerprint)
    limit_threads(parameters, dataset)
    model = make_model(parameters, dataset, device)
    load_model(model, arrays, path)
    dtype = choose_dtype(device, parameters.training.precision)
    examples = load_split(arguments.data, dataset, split, device)
    ids = read_ids(arguments.data, dataset, split)
    metrics, logits = evaluate(model, examples, device, dtype)
    print(f"{path} of step {progress.step:,}, {len(logits):,} examples of {split}:")
    probabilities = logits.softmax(dim=1).cpu().numpy()
    labels = examples.labels.cpu().numpy()
    name = split if arguments.checkpoint == "best" else f"{split}_{arguments.checkpoint}"
    report.write_report(folder, name, dataset.classes, metrics, ids, labels, probabilities)


if __name__ == "__main__":
    with utils.exit_codes():
        main(arguments, parameters)
