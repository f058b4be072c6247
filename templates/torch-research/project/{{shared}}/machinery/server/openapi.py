"""How /openapi.json describes requests and answers; each type has a name, for generated clients.

With requests that the version in service answers, so a viewer of OpenAPI can send one unchanged.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

from machinery.server.binary_tensors import LENGTH, SIZE
from machinery.server.served_version import Specification
from machinery.server.tensors import DATATYPES


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


_REFUSED = {"content": _json("Refusal")}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": 'The request cannot be used; "error" says why.', **_REFUSED},
    408: {"description": "The body did not come in time.", **_REFUSED},
    413: {"description": "The body is too large.", **_REFUSED},
    503: {
        "description": "Too many requests wait: try again after Retry-After seconds.",
        **_REFUSED,
    },
}
MISSING: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such network here.", **_REFUSED}
}
PREDICTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "What people read of each example.", "content": _json("Answers")}
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
_TENSORS = {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}}
_ANSWERS = {"type": "array", "items": {"$ref": "#/components/schemas/Answer"}}
_TEXT = {"type": "string"}
# Of the server itself. A version adds Answer, and for tables Row.
SCHEMAS: dict[str, dict[str, Any]] = {
    "Refusal": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    "Answers": {
        "type": "object",
        "required": ["model", "version", "answers"],
        "properties": {"model": _TEXT, "version": {"type": "integer"}, "answers": _ANSWERS},
    },
    "Tensor": _TENSOR,
    "InferenceRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": _TEXT,
            "inputs": _TENSORS,
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": _TEXT, "parameters": _flag("binary_data")},
                },
            },
            "parameters": _flag("binary_data_output"),
        },
    },
    "InferenceAnswer": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            **{"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": _TENSORS}
        },
    },
}
INFERRED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The outputs: as JSON, or as JSON with arrays as bytes behind it.",
        "content": {
            **_json("InferenceAnswer"),
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
            **_json("InferenceRequest"),
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


def describe_version(
    described: Mapping[str, Any],
    inputs: Mapping[str, Specification],
    form: Mapping[str, Any],
    schemas: Mapping[str, Any],
    number: int,
) -> dict[str, Any]:
    """Return a description with the types of a version, and requests that it answers.

    A request that is large is left out.

    Args:
        described: what FastAPI says of all paths.
        inputs: what the version takes.
        form: what the page asks for.
        schemas: those of the task by name.
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
    components = found.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **SCHEMAS, **schemas}
    components["examples"] = named
    for path, methods in found["paths"].items():
        for method in methods.values():
            for parameter in method.get("parameters", ()):
                if parameter["name"] == "number":
                    parameter |= {"schema": {"type": "string"}, "example": str(number)}
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        name = path.rpartition("/")[2]
        if name in named and "application/json" in content:
            place = f"#/components/examples/{name}"
            content["application/json"]["examples"] = {name: {"$ref": place}}
    return found
