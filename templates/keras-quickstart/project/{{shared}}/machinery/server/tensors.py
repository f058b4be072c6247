"""Arrays as JSON, as the Open Inference Protocol, version 2, has them.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/
inference_rest.md
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from machinery.server.served_version import Specification

DATATYPES = {
    **{
        f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32)
    },
    **{"int64": "INT64", "uint64": "UINT64", "bool": "BOOL"},
    **{"float16": "FP16", "float32": "FP32", "float64": "FP64"},
}
DEEPEST = 8  # axes of nested data
MOST_EXAMPLES = 10_000  # of a request, so that others get their turn


class BadRequestError(ValueError):
    """What a request holds cannot be used; the message says what was expected."""


def parse_json(body: bytes) -> Any:
    """Return what JSON says.

    Raises:
        BadRequestError: it is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # Python takes NaN, too, which stands for what is missing.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None


def read_tensors(
    request: Any, specifications: Mapping[str, Specification]
) -> dict[str, np.ndarray]:
    """Return the inputs of a request, (N, ...) by name.

    Args:
        request: what its JSON says.
        specifications: what the network takes.

    Raises:
        BadRequestError: naming the input, what it holds, and what was expected.
    """
    tensors = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(tensors, list) or not all(isinstance(each, dict) for each in tensors):
        raise BadRequestError('expected {"inputs": [{"name", "shape", "datatype", "data"}, ...]}')
    names = [each.get("name") for each in tensors]
    if len(names) != len(specifications) or any(name not in names for name in specifications):
        expected = ", ".join(specifications)
        shown = ", ".join(str(name)[:40] for name in names[:10])
        raise BadRequestError(f"inputs: got {shown or 'none'}; expected {expected}")
    inputs = {
        name: _read_tensor(tensors[names.index(name)], name, specification)
        for name, specification in specifications.items()
    }
    counts = {len(array) for array in inputs.values()}
    if len(counts) > 1:
        raise BadRequestError(f"inputs: got {sorted(counts)} examples, expected the same in each")
    return inputs


def _read_tensor(tensor: dict[str, Any], name: str, expected: Specification) -> np.ndarray:
    datatype, shape = DATATYPES[expected.dtype], tensor.get("shape")
    if tensor.get("datatype") != datatype:
        got = str(tensor.get("datatype"))[:40]
        raise BadRequestError(f"{name}: datatype: got {got}, expected {datatype}")
    if (
        not isinstance(shape, list)
        or not all(type(size) is int for size in shape)
        or len(shape) != 1 + len(expected.shape)
        or not 1 <= shape[0] <= MOST_EXAMPLES
        or tuple(shape[1:]) != expected.shape
    ):
        wanted = ", ".join([f"1 to {MOST_EXAMPLES:,}", *map(str, expected.shape)])
        raise BadRequestError(f"{name}: shape: got {str(shape)[:80]}, expected [{wanted}]")
    if isinstance(data := tensor.get("data"), memoryview):
        return _from_bytes(data, name, expected.dtype, shape)
    array = to_array(data, expected.dtype)
    if (
        array is None
        or array.size != math.prod(shape)
        or array.shape
        not in (
            tuple(shape),
            (array.size,),
        )
    ):
        raise BadRequestError(
            f"{name}: data: expected {math.prod(shape):,} numbers that {datatype} can hold, "
            "flat or nested as the shape says"
        )
    return array.reshape(shape)


def _from_bytes(data: memoryview, name: str, dtype: str, shape: list[int]) -> np.ndarray:
    target = np.dtype(dtype)
    if len(data) != (expected := math.prod(shape) * target.itemsize):
        raise BadRequestError(f"{name}: got {len(data):,} bytes, expected {expected:,} for {shape}")
    if target.kind == "b" and np.frombuffer(data, np.uint8).max() > 1:
        raise BadRequestError(f"{name}: expected bytes of 0 or 1")
    array = np.frombuffer(data, target.newbyteorder("<")).astype(target, copy=False)
    if target.kind == "f" and np.isinf(array).any():
        raise BadRequestError(f"{name}: expected finite numbers")
    return array.reshape(shape)


def to_array(data: Any, dtype: str) -> np.ndarray | None:
    """Return JSON's numbers as an array; None where they are none, or where dtype is too narrow."""
    if not isinstance(data, list) or not _holds_numbers(data):
        return None
    try:
        found = np.array(data)
    except (ValueError, OverflowError):  # Lists of several lengths, for example.
        return None
    target = np.dtype(dtype)
    kinds = {"i": "iu", "u": "iu", "f": "iuf", "b": "b"}[target.kind]
    if found.dtype.kind not in kinds:
        return None
    if target.kind in "iu" and found.size:
        limits = np.iinfo(dtype)
        if int(found.min()) < limits.min or int(found.max()) > limits.max:
            return None
    with np.errstate(over="ignore"):
        array = found.astype(target)
    if target.kind == "f" and np.isinf(array).any():
        return None
    return array


def _holds_numbers(data: list[Any], deepest: int = DEEPEST) -> bool:
    """Return whether lists hold numbers alone: of texts, NumPy makes as many as the longest fills.

    Args:
        data: lists in lists.
        deepest: so many axes are allowed.
    """
    kinds = {*map(type, data)}
    if kinds == {list}:
        return deepest > 1 and all(_holds_numbers(each, deepest - 1) for each in data)
    return kinds <= {int, float, bool}


def write_tensors(outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return outputs, (N, ...) by name, as the protocol has them; see format_json."""
    return [
        {
            "name": name,
            "datatype": DATATYPES[str(array.dtype)],
            "shape": [*array.shape],
            "data": np.ascontiguousarray(array).ravel(),
        }
        for name, array in outputs.items()
    ]


def format_json(content: Any) -> bytes:
    """Return JSON, in which arrays are lists of numbers, and null is what is no number."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def describe_tensors(specifications: Mapping[str, Specification]) -> list[dict[str, Any]]:
    """Return what a network takes or gives, as the protocol has it; -1 is any number."""
    return [
        {"name": name, "datatype": DATATYPES[dtype], "shape": [-1, *shape]}
        for name, (dtype, shape) in specifications.items()
    ]
