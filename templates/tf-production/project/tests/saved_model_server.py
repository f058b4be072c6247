"""Answers what serving/client.py asks as TensorFlow Serving does, with the SavedModels in a folder.

It looks at models.config at each request, so that no test has to wait. Source of its paths:
https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import concurrent.futures
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2

from serving.client import Client
from serving.messages import MESSAGES

PATH = re.compile(r"/v1/models/model(?:/versions/(\d+))?(/metadata|:predict|)")


class SavedModels:
    """The versions in a folder.

    Args:
        folder: of versions and models.config.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[int, Any] = {}

    def find(self, number: int | None) -> int:
        """Return the number of the version in service.

        Raises:
            LookupError: it is not the one that was asked for.
        """
        text = (self.folder / "models.config").read_text("utf-8")
        named = re.search(r"specific { versions: (\d+) }", text)
        newest = max(int(path.name) for path in self.folder.glob("[0-9]*"))
        served = int(named[1]) if named else newest
        if number not in (None, served):
            raise LookupError(f"Servable not found for request: Specific(model, {number})")
        return served

    def describe(self, number: int) -> Any:
        """Return what a version says of its signatures."""
        content = (self.folder / str(number) / "saved_model.pb").read_bytes()
        graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
        return {
            name: json_format.MessageToDict(each, preserving_proto_field_name=True)
            for name, each in graph.signature_def.items()
        }

    def predict(self, number: int | None, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs of a signature for arrays, or for what JSON says of them."""
        served = self.find(number)
        if served not in self._loaded:
            self._loaded[served] = tf.saved_model.load(str(self.folder / str(served)))
        function = self._loaded[served].signatures[name]
        specs = function.structured_input_signature[1]
        if inputs.keys() != specs.keys():
            raise LookupError(f"expected the inputs {', '.join(specs)}")
        tensors = {key: tf.constant(inputs[key], spec.dtype) for key, spec in specs.items()}
        return {key: tensor.numpy() for key, tensor in function(**tensors).items()}


def unpack(value: Any) -> Any:
    """Return JSON's lists, with bytes for what is marked as base64."""
    if isinstance(value, list):
        return [unpack(each) for each in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def answer(models: SavedModels, path: str, body: Any) -> Any:
    """Return what the server says at a path."""
    found = PATH.fullmatch(path)
    if not found:
        raise LookupError(f"Malformed request: {path}")
    number = int(found[1]) if found[1] else None
    if found[2] == "/metadata":
        described = {"signature_def": models.describe(models.find(number))}
        return {"metadata": {"signature_def": described}}
    if not found[2]:
        status = {"version": str(models.find(number)), "state": "AVAILABLE"}
        return {"model_version_status": [status]}
    inputs = {name: unpack(value) for name, value in body["inputs"].items()}
    arrays = models.predict(number, body["signature_name"], inputs)
    outputs = {
        name: (np.char.decode(array.astype(bytes), "utf-8") if array.dtype == object else array)
        for name, array in arrays.items()
    }
    outputs = {name: array.tolist() for name, array in outputs.items()}
    return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


def make_handler(models: SavedModels) -> type[BaseHTTPRequestHandler]:
    """Return what answers over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length", 0))
            try:
                said = answer(models, self.path, json.loads(self.rfile.read(length) or "{}"))
                code = 200
            except (LookupError, ValueError) as error:
                said, code = {"error": str(error)}, 400
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        do_POST = do_GET

        def log_message(self, format: str, *_: object) -> None:
            del format  # Nobody reads it.

    return Handler


def make_service(models: SavedModels) -> grpc.GenericRpcHandler:
    """Return what answers over gRPC; TensorFlow reads and writes the arrays."""

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        spec = request.model_spec
        number = spec.version.value if spec.HasField("version") else None
        inputs = {
            each.key: tf.make_ndarray(
                tensor_pb2.TensorProto.FromString(each.value.SerializeToString())
            )
            for each in request.inputs
        }
        try:
            outputs = models.predict(number, spec.signature_name, inputs)
        except LookupError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        response = MESSAGES["Response"]()
        for name, array in outputs.items():
            tensor = tf.make_tensor_proto(np.asarray(array)).SerializeToString()
            response.outputs.add(key=name, value=MESSAGES["Tensor"].FromString(tensor))
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        predict,
        request_deserializer=MESSAGES["Request"].FromString,
        response_serializer=MESSAGES["Response"].SerializeToString,
    )
    name = "tensorflow.serving.PredictionService"
    return grpc.method_handlers_generic_handler(name, {"Predict": handler})


@contextmanager
def serve(folder: Path) -> Generator[Client]:
    """Serve the versions in a folder on free ports; give who asks."""
    models = SavedModels(folder)
    http = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(models))
    thread = threading.Thread(target=http.serve_forever)
    service = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    service.add_generic_rpc_handlers((make_service(models),))
    port = service.add_insecure_port("127.0.0.1:0")
    service.start()
    thread.start()
    try:
        yield Client(f"http://127.0.0.1:{http.server_port}", f"127.0.0.1:{port}")
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
        service.stop(0).wait()
