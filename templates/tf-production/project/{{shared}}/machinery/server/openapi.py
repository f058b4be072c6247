"""How /openapi.json describes what the protocol's inference takes, and what is refused."""

from typing import Any

from machinery.server.binary_tensors import LENGTH, SIZE
from machinery.server.tensors import DATATYPES

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": 'The request cannot be used; "error" says why.'},
    408: {"description": "The body did not come in time."},
    413: {"description": "The body is too large."},
    503: {"description": "Too many requests wait: try again after Retry-After seconds."},
}


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
