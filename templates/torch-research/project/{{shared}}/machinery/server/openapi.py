"""How /openapi.json describes what the protocol's inference takes, and what is refused.

With requests that the version in service answers, so a viewer of OpenAPI can send one unchanged.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

from machinery.server.binary_tensors import LENGTH, SIZE
from machinery.server.served_version import Specification
from machinery.server.tensors import DATATYPES

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": 'The request cannot be used; "error" says why.'},
    408: {"description": "The body did not come in time."},
    413: {"description": "The body is too large."},
    503: {"description": "Too many requests wait: try again after Retry-After seconds."},
}


MOST_NUMBERS = 10_000  # of an example: a larger one would be megabytes that nobody reads


def _flag(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "boolean"}}}


_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string", "enum": [*DATATYPES.values()]},
        "data": {"type": "array", "items": {}},
        "parameters": {"type": "object", "properties": {SIZE: {"type": "integer", "minimum": 0}}},
    },
}
_TENSORS: dict[str, Any] = {
    "schema": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "parameters": _flag("binary_data")},
                },
            },
            "parameters": _flag("binary_data_output"),
        },
    }
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The outputs: as JSON, or as JSON with arrays as bytes behind it.",
        "content": {
            "application/json": {},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
INFERENCE: dict[str, Any] = {
    "parameters": [
        {
            "name": LENGTH,
            "in": "header",
            "description": "How many bytes of the body are JSON, where arrays follow as bytes.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": _TENSORS,
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


def example_request(inputs: Mapping[str, Specification]) -> dict[str, Any]:
    """Return a request for one example by the protocol; it holds ones, which any network takes.

    Args:
        inputs: what the network takes.
    """
    return {
        "inputs": [
            {
                "name": name,
                "shape": [1, *shape],
                "datatype": DATATYPES[dtype],
                "data": [True if dtype == "bool" else 1] * math.prod(shape),
            }
            for name, (dtype, shape) in inputs.items()
        ]
    }


def example_of_form(form: Mapping[str, Any]) -> Any:
    """Return JSON that /predict takes, with what the page's form begins with; None: it takes none.

    Args:
        form: what the page asks for.
    """
    if form["kind"] == "text":
        return {"text": "A sentence."}
    if form["kind"] == "fields":
        return {
            field["name"]: next(iter(field["levels"]), None)
            if "levels" in field
            else field["usual"]
            for field in form["fields"]
        }
    return None


def with_examples(
    described: Mapping[str, Any],
    inputs: Mapping[str, Specification],
    form: Mapping[str, Any],
    number: int,
) -> dict[str, Any]:
    """Return a description with requests that a version answers; without one that is large.

    Args:
        described: what FastAPI says of all paths.
        inputs: what the version takes.
        form: what the page asks for.
        number: of the version.
    """
    found: dict[str, Any] = copy.deepcopy({**described})
    numbers = sum(math.prod(shape) for _, shape in inputs.values())
    request = example_request(inputs) if numbers <= MOST_NUMBERS else None
    examples = {"infer": request, "predict": example_of_form(form)}
    named = {
        name: {"summary": f"version {number}", "value": value}
        for name, value in examples.items()
        if value is not None
    }
    found.setdefault("components", {})["examples"] = named
    for path, methods in found["paths"].items():
        for method in methods.values():
            for parameter in method.get("parameters", ()):
                if parameter["name"] == "number":
                    parameter["example"] = str(number)
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        name = path.rpartition("/")[2]
        if name in named and "application/json" in content:
            place = f"#/components/examples/{name}"
            content["application/json"]["examples"] = {name: {"$ref": place}}
    return found
