"""Export a trained experiment as a file that runs without this project.

    python export.py                                          # the best of baseline
    python export.py --experiment experiments/wide            # the next version
    python export.py --format litert                          # exports/litert/1
    python export.py --format litert --int8                   # exports/litert/2, in eight bits

    onnx          for ONNX Runtime; Keras on TensorFlow and on PyTorch write it
    saved_model   for TensorFlow and TensorFlow Serving; Keras on TensorFlow and on JAX
    litert        for LiteRT, on phones and small devices; Keras on TensorFlow

requirements/export.txt names what they need. The default is the first of them that the backend can
write. The graph takes the inputs as they are stored, prepares them, computes in float32, and
returns what predict.py reads: under the names in dataset.json and of net.predict, of any number of
examples.

A version appears only when a new process without this project has loaded it and given the same
predictions. Its export.json says where it came from; MODEL_CARD.md tells people, who fill in what
it leaves open; sbom.cdx.json lists the packages. With --int8 the metrics on test are compared
instead: see machinery/quantised.py. The number of a version is never given again, not
even when the version is deleted.
"""

import argparse
import importlib
import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework import keras_backend
from machinery import exports, quantised
from machinery.exports import Examples, Format
from machinery.onnx_int8 import quantise
from machinery.quantised import Calibration
from parameters import Parameters

SAVED_MODEL_LOAD = """
import pathlib
import tensorflow as tf
function = None
def predict(inputs, path):
    global function
    function = function or tf.saved_model.load(str(pathlib.Path(path).parent))
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    outputs = function.signatures["serving_default"](**tensors)
    return {name: tensor.numpy() for name, tensor in outputs.items()}
"""
WRITTEN_ON = {
    "onnx": ("tensorflow", "torch"),
    "saved_model": ("tensorflow", "jax"),
    "litert": ("tensorflow",),
}


def offered(name: str, form: Format) -> Format:
    """Return a format, with a refusal where Keras does not write it on this backend."""
    backends = WRITTEN_ON[name]
    if keras_backend.name in backends:
        return form
    return form._replace(
        refusal=f"Keras on {keras_backend.name} does not write it; on {' or '.join(backends)} it "
        "does, from the same checkpoint. Install that, and name it for this command: "
        f"KERAS_BACKEND={backends[0]} python export.py --format {name}"
    )


ONNX_WRITER = "onnxscript" if keras_backend.name == "torch" else "tf2onnx"
FORMATS = {
    "onnx": offered("onnx", exports.onnx(ONNX_WRITER)),
    "saved_model": offered("saved_model", Format("TensorFlow", SAVED_MODEL_LOAD, ("tensorflow",))),
    "litert": offered("litert", exports.LITERT),
}

# Answers --help and bad input.
command = exports.command_line(__name__, __doc__, Parameters, FORMATS)

import backend  # Before Keras, as it chooses Keras's backend.

# isort: split
import keras
import numpy as np

from build_dataset import read_dataset
from machinery import command_line
from machinery.terminal import hidden_standard_error
from model import net
from model.data_loader import load_split
from model.report import Evaluation, objective

Arrays = Mapping[str, np.ndarray]
ANY = "examples"  # What ONNX calls the dimension of any number of them.


def export(arguments: argparse.Namespace, parameters: Parameters) -> Path:
    """Write the next version of an experiment's checkpoint; return its folder.

    Raises:
        InputError: the checkpoint is damaged, or does not belong to the data or the network.
        ExportError: the export does not do what the network does.
    """
    dataset = read_dataset(arguments.data)
    backend.prepare(parameters, dataset)
    device = backend.choose_device("cpu")  # A GPU rounds differently.
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    inputs, _ = load_split(arguments.data, dataset, "test").take(exports.rows_to_compare(dataset))
    # In any precision that it was trained in, it is exported in float32: every processor computes
    # in it, and to nearly the same bits.
    training = parameters.training.model_copy(update={"precision": "float32"})
    with backend.scope(device):
        model = backend.make_model(
            parameters.model_copy(update={"training": training}), dataset, device
        )
        backend.load_weights(model, arrays, path)
        network = keras.Model(model.input, net.predict(model.output, dataset))
        predictions = backend.to_numpy(network.predict_on_batch(inputs))
        form = FORMATS[arguments.format]
        packages = ("keras", keras_backend.name, *form.packages)
        facts = exports.collect_facts(arguments, parameters, dataset, step, packages, Evaluation)
        return exports.write_version(
            arguments.exports,
            facts,
            form,
            Examples(inputs, predictions),
            lambda *where: WRITERS[arguments.format](network, inputs, facts, *where),
            quantised.plan(
                arguments,
                dataset,
                lambda name, rows: load_split(arguments.data, dataset, name).take(rows),
                Evaluation,
                objective,
            ),
        )


def write_onnx(
    network: keras.Model,
    inputs: Arrays,
    facts: Mapping[str, Any],
    folder: Path,
    calibration: Calibration | None = None,
) -> str:
    """Write model.onnx, with the facts about it as its metadata; return its name.

    With a calibration it computes in eight bits.
    """
    onnx = importlib.import_module("onnx")
    make = onnx_of_torch if keras_backend.name == "torch" else onnx_of_tensorflow
    model = make(network, inputs)
    for name, value in facts.items():
        model.metadata_props.add(key=name, value=json.dumps(value))
    onnx.save(model, folder / "model.onnx")
    quantise(folder / "model.onnx", calibration)
    return "model.onnx"


def onnx_of_tensorflow(network: keras.Model, inputs: Arrays) -> Any:
    """Return the network as a model of ONNX, by way of TensorFlow's graph.

    Its operations are those of opset 18, the newest that tf2onnx writes.
    """
    onnx, tf, tf2onnx = map(importlib.import_module, ("onnx", "tensorflow", "tf2onnx"))
    specs = [
        tf.TensorSpec((None, *array.shape[1:]), array.dtype, name=name)
        for name, array in inputs.items()
    ]

    @tf.function(input_signature=specs, autograph=False)
    def predict(*tensors):
        return network(dict(zip(inputs, tensors, strict=True)), training=False)

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model, _ = tf2onnx.convert.from_function(predict, specs, opset=18)
    # Constants of the network that TensorFlow takes for inputs.
    captures = {
        inside.name: outside for outside, inside in predict.get_concrete_function().graph.captures
    }
    for value in [value for value in model.graph.input if value.name in captures]:
        model.graph.input.remove(value)
        array = captures[value.name].numpy()
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = ANY
    return model


def onnx_of_torch(network: keras.Model, inputs: Arrays) -> Any:
    """Return the network as a model of ONNX with the operations of opset 20, by way of PyTorch."""
    torch: Any = importlib.import_module("torch")
    logging.getLogger("torch.onnx").setLevel(
        logging.ERROR
    )  # It misses torchvision, which we do not.

    class Served(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
            return self.network(inputs, training=False)

    # A graph that was made of one example would hold for one.
    two = {name: torch.from_numpy(np.concatenate([x, x])[:2]) for name, x in inputs.items()}
    shapes = ({name: {0: torch.export.Dim(ANY)} for name in inputs},)
    with (
        torch.no_grad(),
        warnings.catch_warnings(action="ignore"),
    ):  # PyTorch warns of its own code.
        served = Served().eval()
        names = [*served(two)]
        program = torch.export.export(served, (two,), dynamic_shapes=shapes)
        return torch.onnx.export(
            program,
            input_names=[*inputs],
            output_names=names,
            opset_version=20,
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        ).model_proto


def write_saved_model(
    network: keras.Model, inputs: Arrays, facts: Mapping[str, Any], folder: Path
) -> str:
    """Write a SavedModel; return the name of the file that makes it one."""
    del facts  # They stand in export.json.
    signature = {
        name: keras.InputSpec(shape=(None, *array.shape[1:]), dtype=str(array.dtype), name=name)
        for name, array in inputs.items()
    }
    network.export(folder, format="tf_saved_model", input_signature=[signature], verbose=False)
    return "saved_model.pb"


def write_litert(
    network: keras.Model,
    inputs: Arrays,
    facts: Mapping[str, Any],
    folder: Path,
    calibration: Calibration | None = None,
) -> str:
    """Write model.tflite; return its name. With a calibration it computes in eight bits."""
    tf: Any = importlib.import_module("tensorflow")
    with tempfile.TemporaryDirectory() as temporary, hidden_standard_error():
        write_saved_model(network, inputs, facts, Path(temporary))
        converter = tf.lite.TFLiteConverter.from_saved_model(temporary)
        if calibration:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if calibration.mode == "static":
                converter.representative_dataset = calibration.one_by_one
        content = converter.convert()
    (folder / "model.tflite").write_bytes(content)
    return "model.tflite"


WRITERS = {"onnx": write_onnx, "saved_model": write_saved_model, "litert": write_litert}
command.run(export)
