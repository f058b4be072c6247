"""A service of points, and versions of a network that adds their coordinates up.

The sum is multiplied by the number of the version, so an answer tells which version computed it.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from build_dataset import Dataset
from machinery.errors import InputError
from machinery.predictions import Predictions, Unlabelled
from machinery.server import serving
from machinery.server.tensors import parse_json, to_array

CONTENT = {
    "application/json": {
        "schema": {"type": "object", "required": ["point"], "properties": {"point": {}}}
    }
}
DATASET = {
    **{"task": "points", "source": "drawn", "inputs": ["points"], "targets": ["labels"]},
    **{"examples": {"train": 64, "val": 16, "test": 400}, "arrays_folder": "arrays-1"},
    **{"fingerprint": "abc", "classes": 2},
    "arrays": {
        "points": {"dtype": "float32", "shape": [2]},
        "labels": {"dtype": "int64", "shape": []},
    },
}


class Service:
    """Reads a point, and answers with the sum."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def form(self) -> dict[str, Any]:
        return {"kind": "fields", "fields": [{"name": "point", "usual": [1, 2]}]}

    def schemas(self) -> dict[str, Any]:
        sums = {"sum": {"type": "number"}}
        return {"Answer": {"type": "object", "required": ["sum"], "properties": sums}}

    def read(self, body: bytes, content_type: str) -> Unlabelled:
        del content_type
        found = parse_json(body)
        point = to_array(found.get("point") if isinstance(found, dict) else None, "float32")
        if point is None or point.shape != (2,):
            raise InputError("the request: expected a point of two numbers")
        return Unlabelled(np.array(["request"]), {"points": point[None]})

    def answer(self, examples: Unlabelled, predictions: Predictions) -> Sequence[dict[str, Any]]:
        del examples
        return [{"sum": value} for value in predictions["sums"].tolist()]


def write_version(
    exports: Path,
    number: int,
    test: float | None = 0.9,
    weight: float | None = None,
    **dataset: Any,
) -> Path:
    """Write a version as export.py does.

    Args:
        exports: the folder of the versions.
        number: of the version.
        test: its metric on the test split; None: it was not evaluated.
        weight: what the sum is multiplied by; None: the number of the version.
        dataset: what is different in dataset.json.
    """
    values = np.full((2, 1), number if weight is None else weight, np.float32)
    weights = numpy_helper.from_array(values, "weights")
    nodes = [
        helper.make_node("MatMul", ["points", "weights"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["sums"]),
    ]
    axis = numpy_helper.from_array(np.array([1]), "axis")
    points = helper.make_tensor_value_info("points", TensorProto.FLOAT, ["batch", 2])
    sums = helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(nodes, "sum", [points], [sums], [weights, axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content = model.SerializeToString()
    onnx.checker.check_model(model)
    folder = exports / str(number)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    facts = {
        **{"format": "onnx", "file": "model.onnx", "experiment": "experiments/a", "step": number},
        **{"dataset": {**DATASET, **dataset}, "sha256": {"model.onnx": digest(content)}},
        "test_metrics": None if test is None else {"loss": 1 - test, "accuracy": test},
    }
    (folder / "export.json").write_text(json.dumps(facts))
    return folder


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def arguments(exports: Path, **others: Any) -> argparse.Namespace:
    """Return what the command line of serve.py gives."""
    given: dict[str, Any] = {"exports": exports, "host": "127.0.0.1", "port": 0, "threads": 1}
    given |= {"largest_batch": 8, "waiting": 64, "largest_body": 0.01}
    return argparse.Namespace(**{**given, **others})


def make_app(exports: Path, **others: Any) -> tuple[Any, Any]:
    """Return what answers requests, and the version in service."""
    return serving.make_app(arguments(exports, **others), Dataset, Service, CONTENT)


if __name__ == "__main__":
    serving.command_line(__name__, __doc__).run(Dataset, Service, CONTENT)
