"""Export a trained experiment as a file that runs without this project.

    python export.py                                   # best of baseline -> exports/saved_model/1
    python export.py --experiment experiments/wide     # the next version: exports/saved_model/2
    python export.py --format litert                   # exports/litert/1
    python export.py --format litert --int8            # exports/litert/2, in eight bits

    saved_model   for TensorFlow and TensorFlow Serving, which takes exports/saved_model
    onnx          for ONNX Runtime, on servers and in browsers; needs requirements/export.txt
    litert        for LiteRT, on phones and small devices; needs requirements/export.txt

The graph takes the inputs as they are stored, prepares them, computes in float32, and returns what
people read. The signatures of a SavedModel are those of model/serving.py; SERVING.md shows how to
call them. The other formats give what net.predict does.

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from machinery import exports, quantised
from machinery.exports import Examples, Format
from machinery.onnx_int8 import quantise
from machinery.quantised import Calibration
from parameters import Parameters

SAVED_MODEL_LOAD = """
import pathlib
import tensorflow as tf
model = None
def predict(inputs, path):
    global model
    model = model or tf.saved_model.load(str(pathlib.Path(path).parent))
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    outputs = model.signatures["serving_default"](**tensors)
    return {name: tensor.numpy() for name, tensor in outputs.items()}
"""
FORMATS = {
    "saved_model": Format("TensorFlow", SAVED_MODEL_LOAD),
    "onnx": exports.onnx("tf2onnx"),
    "litert": exports.LITERT,
}

# Answers --help and bad input.
command = exports.command_line(__name__, __doc__, Parameters, FORMATS)

from framework.quiet import import_tensorflow

import_tensorflow()

import keras
import numpy as np
import tensorflow as tf

import backend
from build_dataset import Dataset, read_dataset
from evaluate import make_evaluation_step
from machinery import command_line
from machinery.server.in_service import serve_with_tensorflow
from machinery.terminal import hidden_standard_error
from model import net
from model.data_loader import load_split
from model.report import Evaluation, objective
from model.serving import Served
from serving.messages import make_warm_up

Arrays = Mapping[str, np.ndarray]
ANY = "examples"  # What ONNX calls the dimension of any number of them.


def export(arguments: argparse.Namespace, parameters: Parameters) -> Path:
    """Write the next version of an experiment's checkpoint; return its folder.

    Raises:
        InputError: the checkpoint is damaged, or does not belong to the data or the network.
        ExportError: the export does not do what the network does.
    """
    dataset = read_dataset(arguments.data)
    # A GPU rounds differently, and its memory has no room for two processes.
    backend.prepare(parameters, dataset, "cpu")
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    split = load_split(arguments.data, dataset, "test")
    inputs, targets = split.take(exports.rows_to_compare(dataset))
    # In any precision that it was trained in, it is exported in float32: every processor computes
    # in it, and to nearly the same bits.
    model = backend.make_model(parameters, dataset, "float32")
    backend.load_weights(model, arrays, path)
    predictions, _ = make_evaluation_step(model, split, dataset)(inputs, targets)
    if arguments.format == "saved_model":  # Its signature may give more than the network does.
        predictions = {**call(Served(model, dataset).signatures(), inputs), **predictions}
    form = FORMATS[arguments.format]
    packages = ("tensorflow", "keras", *form.packages)
    facts = exports.collect_facts(arguments, parameters, dataset, step, packages, Evaluation)
    version = exports.write_version(
        arguments.exports,
        facts,
        form,
        Examples(inputs, {name: tensor.numpy() for name, tensor in predictions.items()}),
        lambda *where: WRITERS[arguments.format](model, dataset, inputs, facts, *where),
        quantised.plan(
            arguments,
            dataset,
            lambda name, rows: load_split(arguments.data, dataset, name).take(rows),
            Evaluation,
            objective,
        ),
    )
    if arguments.format == "saved_model":
        serve_with_tensorflow(version.parent)
    return version


def call(signatures: Mapping[str, Callable[..., Any]], inputs: Arrays) -> dict[str, tf.Tensor]:
    """Return the outputs of serving_default, by name."""
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    return signatures["serving_default"](**tensors)


def write_saved_model(
    model: keras.Model, dataset: Dataset, inputs: Arrays, facts: Mapping[str, Any], folder: Path
) -> str:
    """Write a SavedModel, and what TensorFlow Serving asks it before it serves; return its name."""
    del facts  # They stand in export.json.
    served = Served(model, dataset)
    tf.saved_model.save(served, str(folder), signatures=served.signatures())
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as file:
        example = {name: array[:1] for name, array in inputs.items()}
        file.write(make_warm_up(example, "serving_default", "model"))
    return "saved_model.pb"


def make_function(model: keras.Model, dataset: Dataset, inputs: Arrays) -> Any:
    """Return the network's predictions as a function of its inputs, one after the other."""
    signature = [
        tf.TensorSpec((None, *array.shape[1:]), array.dtype, name=name)
        for name, array in inputs.items()
    ]

    @tf.function(input_signature=signature, autograph=False)
    def predict(*tensors):
        return net.predict(model(dict(zip(inputs, tensors, strict=True))), dataset)

    return predict


def write_onnx(
    model: keras.Model,
    dataset: Dataset,
    inputs: Arrays,
    facts: Mapping[str, Any],
    folder: Path,
    calibration: Calibration | None = None,
) -> str:
    """Write model.onnx, with the facts about it as its metadata; return its name.

    With a calibration it computes in eight bits. Its operations are those of opset 18, the newest
    that tf2onnx writes.
    """
    onnx, tf2onnx = map(importlib.import_module, ("onnx", "tf2onnx"))
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    predict = make_function(model, dataset, inputs)
    found, _ = tf2onnx.convert.from_function(predict, predict.input_signature, opset=18)
    # Constants of the network that TensorFlow takes for inputs.
    pairs = predict.get_concrete_function().graph.captures
    captures = {inside.name: outside for outside, inside in pairs}
    for value in [value for value in found.graph.input if value.name in captures]:
        found.graph.input.remove(value)
        array = captures[value.name].numpy()
        found.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    for value in (*found.graph.input, *found.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = ANY
    for name, fact in facts.items():
        found.metadata_props.add(key=name, value=json.dumps(fact))
    onnx.save(found, folder / "model.onnx")
    quantise(folder / "model.onnx", calibration)
    return "model.onnx"


def write_litert(
    model: keras.Model,
    dataset: Dataset,
    inputs: Arrays,
    facts: Mapping[str, Any],
    folder: Path,
    calibration: Calibration | None = None,
) -> str:
    """Write model.tflite; return its name. With a calibration it computes in eight bits."""
    del facts  # They stand in export.json.
    # Not tf.saved_model.save: the converter mixes up variables of one name in different layers.
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", make_function(model, dataset, inputs))
    with tempfile.TemporaryDirectory() as temporary, hidden_standard_error():
        archive.write_out(temporary, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(temporary)
        if calibration:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if calibration.mode == "static":
                converter.representative_dataset = calibration.one_by_one
        content = converter.convert()
    (folder / "model.tflite").write_bytes(content)
    return "model.tflite"


WRITERS = {"saved_model": write_saved_model, "onnx": write_onnx, "litert": write_litert}
command.run(export)
