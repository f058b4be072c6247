"""Arrays as bytes behind the JSON of a request or an answer: the protocol's binary extension.

    Inference-Header-Content-Length: 121      So many bytes of the body are JSON; the arrays follow.
    {"inputs": [{"name": "points", "shape": [1, 28, 28, 1], "datatype": "UINT8",
                 "parameters": {"binary_data_size": 784}}]}...

Bytes lie in the order of the inputs or outputs, little end first, without gaps. An answer has them
where the request says "parameters": {"binary_data_output": true}, or {"binary_data": true} at an
output. Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/
extension_binary_data.md
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from machinery.server.tensors import BadRequestError, format_json, parse_json, write_tensors

LENGTH = "Inference-Header-Content-Length"
SIZE = "binary_data_size"
EXTENSION = "binary_tensor_data"  # its name in the description of a server


def read_body(body: bytes, length: str | None) -> Any:
    """Return what the JSON of a body says; the data of inputs in bytes are a memoryview.

    Args:
        body: of the request.
        length: what the header LENGTH says; None: it is not there, so all is JSON.

    Raises:
        BadRequestError: naming what does not fit.
    """
    if length is None:
        return parse_json(body)
    whole = length.isascii() and length.isdecimal() and len(length) < 20
    if not whole or int(length) > len(body):
        raise BadRequestError(f"{LENGTH}: got {length[:20]}, of a body of {len(body):,} bytes")
    request, rest = parse_json(body[: int(length)]), memoryview(body)[int(length) :]
    inputs = request.get("inputs") if isinstance(request, dict) else None
    for tensor in inputs if isinstance(inputs, list) else []:
        if (size := parameter(tensor, SIZE)) is None:
            continue
        name = str(tensor.get("name"))[:40]
        if type(size) is not int or not 0 <= size <= len(rest):
            raise BadRequestError(
                f"{name}: {SIZE}: got {str(size)[:20]}, and {len(rest):,} bytes are left"
            )
        if "data" in tensor:
            raise BadRequestError(f"{name}: has both data and {SIZE}")
        tensor["data"], rest = rest[:size], rest[size:]
    if len(rest):
        raise BadRequestError(f"{len(rest):,} bytes behind the JSON belong to no input")
    return request


def parameter(described: Any, name: str) -> Any:
    """Return a parameter of a request, an input or an output; None where it is not there."""
    found = described.get("parameters") if isinstance(described, dict) else None
    return found.get(name) if isinstance(found, dict) else None


def names_in_bytes(request: Any, outputs: Sequence[Any]) -> set[str]:
    """Return the names of the outputs that a request wants as bytes.

    Args:
        request: what its JSON says.
        outputs: what it says of each output that it wants.
    """
    usual = parameter(request, "binary_data_output")
    found = {each["name"]: parameter(each, "binary_data") for each in outputs}
    return {name for name, each in found.items() if (usual if each is None else each) is True}


def write_body(
    answer: dict[str, Any], outputs: Mapping[str, np.ndarray], binary: set[str]
) -> tuple[bytes, dict[str, str]]:
    """Return the body of an answer, and its headers.

    Args:
        answer: what else it says.
        outputs: (N, ...) by name.
        binary: the names of those that are to be bytes.
    """
    tensors, parts = write_tensors(outputs), []
    for tensor in tensors:
        if tensor["name"] in binary:
            data = tensor.pop("data")
            parts.append(data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes())
            tensor["parameters"] = {SIZE: len(parts[-1])}
    text = format_json({**answer, "outputs": tensors})
    if not parts:
        return text, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(text))}
    return b"".join([text, *parts]), headers
