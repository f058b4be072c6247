"""Export a trained experiment as a file that runs without this project.

    python export.py                                          # best of baseline -> exports/onnx/1
    python export.py --experiment experiments/wide            # the next version: exports/onnx/2
    python export.py --format pt2                             # exports/pt2/1
    python export.py --int8                                   # in eight bits, as the next version

    onnx         for ONNX Runtime, on servers, in browsers, on phones; needs requirements/export.txt
    pt2          for PyTorch 2 itself: torch.export.load
    aoti         compiled by AOTInductor for this machine's kind of processor; needs a C++ compiler
    executorch   for ExecuTorch, on phones; needs requirements/executorch.txt

The graph takes the inputs as they are stored, prepares them, computes in float32, and returns what
predict.py reads: under the names in dataset.json and of net.predict, of any number of examples, in
ExecuTorch of one.

A version appears only when a new process without this project has loaded it and given the same
predictions. Its export.json says where it came from; MODEL_CARD.md tells people, who fill in what
it leaves open; sbom.cdx.json lists the packages. With --int8 the metrics on test are compared
instead: see machinery/quantised.py. The number of a version is never given again, not
even when the version is deleted.
"""

import argparse
import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machinery import exports, quantised
from machinery.exports import Examples, Format
from machinery.onnx_int8 import quantise
from machinery.quantised import Calibration
from parameters import Parameters

PT2_LOAD = """
import torch
module = None
def predict(inputs, path):
    global module
    module = module or torch.export.load(path).module()
    outputs = module({name: torch.from_numpy(array) for name, array in inputs.items()})
    return {name: tensor.detach().numpy() for name, tensor in outputs.items()}
"""
AOTI_LOAD = PT2_LOAD.replace(
    "torch.export.load(path).module()", "torch._inductor.aoti_load_package(path)"
)
# The file says itself in which order it takes and gives arrays; each call has one example.
EXECUTORCH_LOAD = """
import numpy as np
import torch
from executorch.runtime import Runtime
methods = {}
def predict(inputs, path):
    if not methods:
        program = Runtime.get().load_program(path)
        methods.update({name: program.load_method(name) for name in program.method_names})
    takes, gives = (methods[name].execute([]) for name in ("input_names", "output_names"))
    found = {name: [] for name in gives}
    for row in range(len(inputs[takes[0]])):
        example = [torch.from_numpy(inputs[name][row : row + 1]) for name in takes]
        for name, output in zip(gives, methods["forward"].execute(example)):
            found[name].append(output.numpy())
    return {name: np.concatenate(outputs) for name, outputs in found.items()}
"""
FORMATS = {
    "onnx": exports.onnx("onnxscript"),
    "pt2": Format("PyTorch", PT2_LOAD),
    "aoti": Format("PyTorch", AOTI_LOAD),
    "executorch": Format(
        "ExecuTorch",
        EXECUTORCH_LOAD,
        ("executorch",),
        requirements="executorch.txt",
        takes=1,
    ),
}

# Answers --help and bad input.
command = exports.command_line(__name__, __doc__, Parameters, FORMATS)

import numpy as np
import torch

import backend
from build_dataset import Dataset, read_dataset
from machinery import command_line
from machinery.errors import InputError
from machinery.terminal import hidden_standard_error
from model import net
from model.data_loader import load_split
from model.report import Evaluation, objective

OPSET = 20  # of ONNX: its operations as they are since 2023, which every runtime knows
LARGEST = 2**31 - 2**20  # Bytes of weights that fit into one file of ONNX beside the graph.
ANY = torch.export.Dim("examples")  # Any number of them.
COMPILERS = ("c++", "g++", "clang++", "cl")


class Served(torch.nn.Module):
    """The network and its predictions, as one function of the inputs.

    Args:
        model: the network, with its weights.
        dataset: what it was trained on.
    """

    def __init__(self, model: torch.nn.Module, dataset: Dataset) -> None:
        super().__init__()
        self.model, self.dataset = model, dataset

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what net.predict does, by name, each (N, ...)."""
        return net.predict(self.model(inputs), self.dataset)


def export(arguments: argparse.Namespace, parameters: Parameters) -> Path:
    """Write the next version of an experiment's checkpoint; return its folder.

    Raises:
        InputError: the checkpoint is damaged, or does not belong to the data or the network.
        ExportError: the export does not do what the network does.
    """
    if arguments.format == "aoti" and not any(map(shutil.which, COMPILERS)):
        raise InputError(
            f"--format aoti: needs a C++ compiler; there is none of {', '.join(COMPILERS)}. "
            "Install one, such as g++, or choose --format pt2."
        )
    dataset = read_dataset(arguments.data)
    backend.prepare(parameters, dataset)
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    device = torch.device("cpu")  # Where every export can be compared, with every bit of float32.
    model = backend.make_model(parameters, dataset, device)
    backend.load_weights(model, arrays, path)
    inputs, _ = load_split(arguments.data, dataset, "test", device).take(
        exports.rows_to_compare(dataset)
    )
    served = Served(model, dataset).eval()
    with torch.no_grad():
        predictions = served(inputs)
    # The weights lie as the fastest convolutions want them, which other runtimes do not know.
    torch.nn.utils.convert_conv2d_weight_memory_format(model, torch.contiguous_format)
    form = FORMATS[arguments.format]
    packages = ("torch", *form.packages)
    facts = exports.collect_facts(arguments, parameters, dataset, step, packages, Evaluation)

    def take(name: str, rows: np.ndarray):
        batch = load_split(arguments.data, dataset, name, device).take(rows)
        return backend.to_numpy(batch[0]), backend.to_numpy(batch[1])

    return exports.write_version(
        arguments.exports,
        facts,
        form,
        Examples(backend.to_numpy(inputs), backend.to_numpy(predictions)),
        lambda *where: WRITERS[arguments.format](served, inputs, facts, *where),
        quantised.plan(arguments, dataset, take, Evaluation, objective),
    )


def trace(served: Served, inputs: dict[str, torch.Tensor]) -> torch.export.ExportedProgram:
    """Return the network as a graph for any number of examples.

    Args:
        served: the network.
        inputs: some examples.
    """
    # A graph that was made of one example would hold for one.
    two = {name: torch.cat([tensor, tensor])[:2] for name, tensor in inputs.items()}
    shapes = ({name: {0: ANY} for name in two},)
    with torch.no_grad():
        return torch.export.export(served, (two,), dynamic_shapes=shapes)


def write_onnx(
    served: Served,
    inputs: dict[str, torch.Tensor],
    facts: Mapping[str, Any],
    folder: Path,
    calibration: Calibration | None = None,
) -> str:
    """Write model.onnx, with the facts about it as its metadata; return its name.

    With a calibration it computes in eight bits.
    """
    logging.getLogger("torch.onnx").setLevel(
        logging.ERROR
    )  # It misses torchvision, which we do not.
    program = trace(served, inputs)
    with warnings.catch_warnings(action="ignore"):  # PyTorch warns of its own code.
        exported = torch.onnx.export(
            program,
            input_names=[*inputs],
            output_names=[*served(inputs)],
            opset_version=OPSET,
            dynamic_shapes=({name: {0: ANY} for name in inputs},),
            dynamo=True,
            verbose=False,
        )
    assert exported
    metadata = {name: json.dumps(value) for name, value in facts.items()}
    exported.model.metadata_props.update(metadata)
    size = sum(weight.nbytes for weight in served.state_dict().values())
    exported.save(folder / "model.onnx", external_data=size > LARGEST)
    quantise(folder / "model.onnx", calibration)
    return "model.onnx"


def write_pt2(
    served: Served, inputs: dict[str, torch.Tensor], facts: Mapping[str, Any], folder: Path
) -> str:
    """Write model.pt2; return its name."""
    del facts  # They stand in export.json.
    torch.export.save(trace(served, inputs), folder / "model.pt2")
    return "model.pt2"


def write_aoti(
    served: Served, inputs: dict[str, torch.Tensor], facts: Mapping[str, Any], folder: Path
) -> str:
    """Write model.pt2 with compiled code for this kind of processor; return its name."""
    del facts
    from torch import _inductor  # It takes a second.

    path = str(folder.absolute() / "model.pt2")
    _inductor.aoti_compile_and_package(trace(served, inputs), package_path=path)
    return "model.pt2"


def write_executorch(
    served: Served, inputs: dict[str, torch.Tensor], facts: Mapping[str, Any], folder: Path
) -> str:
    """Write model.pte for ExecuTorch, with XNNPACK for what that computes; return its name.

    It takes one example: with any number of them, ExecuTorch 1.5 fails beyond 15.

    Raises:
        InputError: ExecuTorch has no way to compute the network.
    """
    del facts
    one = {name: tensor[:1] for name, tensor in inputs.items()}
    names = {"input_names": [*one], "output_names": [*served(one)]}
    with torch.no_grad(), hidden_standard_error():  # It says much that nobody needs.
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            program = torch.export.export(served, (one,))
            lowered = to_edge_transform_and_lower(
                program, partitioner=[XnnpackPartitioner()], constant_methods=names
            )
            content = lowered.to_executorch().buffer
        except Exception as error:  # Each of its many passes raises something else.
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(
                f"--format executorch: ExecuTorch cannot compute this network: {reason[:300]}. "
                "Choose --format onnx, which runs on phones, too."
            ) from error
    (folder / "model.pte").write_bytes(content)
    return "model.pte"


WRITERS = {
    **{"onnx": write_onnx, "pt2": write_pt2, "aoti": write_aoti},
    "executorch": write_executorch,
}
command.run(export)
