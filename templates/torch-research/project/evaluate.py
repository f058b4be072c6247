"""Evaluate a trained experiment on one split.

    python evaluate.py                                        # baseline, best checkpoint, test
    python evaluate.py --experiment experiments/wide --split val

Writes into the experiment's folder metrics_test.json, confusion_matrix_test.png and
predictions_test.csv, the most certain mistakes first; for another split, or the last checkpoint,
with its name instead: metrics_val.json, metrics_test_last.json.
"""

import argparse
from pathlib import Path

import command_line
import run_folder
import utils
from parameters import Parameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before PyTorch is imported.
        command = command_line.parse_evaluation(__doc__)

import numpy as np
import torch

from build_dataset import Dataset, read_dataset, read_ids
from model import net, report
from model.data_loader import Split, evaluation_batches, load_split


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the first there is of cuda, mps and cpu.

    Raises:
        InputError: this machine has no such device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, here in available.items() if here)
    if not available[name]:
        here = ", ".join(device for device, here in available.items() if here)
        raise utils.InputError(f"--device: got {name}, expected one that is here: {here}.")
    return torch.device(name)


def choose_dtype(device: torch.device, precision: str) -> torch.dtype:
    """Return the dtype to compute in; "auto" is bfloat16 where the hardware multiplies in it."""
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
            native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Compute matrix products and convolutions in `dtype` inside the block."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def limit_threads(parameters: Parameters, dataset: Dataset) -> None:
    """Use one CPU thread where a batch is small.

    Threads wait for each other many times a step. With little to compute in between, that gains
    little on an idle machine and costs up to twenty times on a busy one.
    """
    height, width, _ = dataset.image_shape
    if parameters.data.batch_size * height * width < 2**14:
        torch.set_num_threads(1)


def make_model(parameters: Parameters, dataset: Dataset, device: torch.device) -> net.Net:
    """Return the network with its initial weights, in the memory layout that is fast."""
    model = net.Net(parameters.model, dataset).to(device)
    torch.nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)
    return model


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


def load_model(model: torch.nn.Module, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Put the arrays of a checkpoint into a network.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    found = {name[6:]: array for name, array in arrays.items() if name.startswith("model.")}
    expected = model.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    problems += [
        f"{name} is {found[name].shape}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise utils.InputError(
            f"{path} does not fit the network in model/net.py: {'; '.join(problems[:5])}{more}. "
            "Bring the network back as it was trained, or train anew."
        )
    model.load_state_dict({name: torch.tensor(array) for name, array in found.items()})


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
        main(*command)
