"""The messages of TensorFlow Serving: arrays, a question, an answer, a question to warm up with.

They have the fields that are used here. All of them are in tensorflow-serving-api, which needs the
package `tensorflow`: pip then writes its files over those of `tensorflow-cpu`.

Source: predict.proto, model.proto and prediction_log.proto in
https://github.com/tensorflow/serving/tree/2.20.0/tensorflow_serving/apis; tensor.proto and
types.proto in https://github.com/tensorflow/tensorflow/tree/v2.20.0/tensorflow/core/framework
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# The fields of each message: number and type; "*" marks what may come several times.
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "Size": {"size": (1, "int64")},
    "Shape": {"dim": (2, "Size*")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "Shape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "double_val": (6, "double*"),
        "int_val": (7, "int32*"),
        "string_val": (8, "bytes*"),
        "int64_val": (10, "int64*"),
        "bool_val": (11, "bool*"),
        "half_val": (13, "int32*"),
        "uint32_val": (16, "uint32*"),
        "uint64_val": (17, "uint64*"),
    },
    "Named": {"key": (1, "string"), "value": (2, "Tensor")},
    "Number": {"value": (1, "int64")},
    "Model": {"name": (1, "string"), "version": (2, "Number"), "signature_name": (3, "string")},
    "Request": {"model_spec": (1, "Model"), "inputs": (2, "Named*")},
    "Response": {"outputs": (1, "Named*"), "model_spec": (2, "Model")},
    "PredictLog": {"request": (1, "Request")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


class Kind(NamedTuple):
    """How a message holds an array of a dtype."""

    number: int  # of the dtype, in types.proto
    field: str  # that holds its values one by one


TEXT = Kind(7, "string_val")
KINDS = {
    "float32": Kind(1, "float_val"),
    "float64": Kind(2, "double_val"),
    "int32": Kind(3, "int_val"),
    "uint8": Kind(4, "int_val"),
    "int16": Kind(5, "int_val"),
    "int8": Kind(6, "int_val"),
    "int64": Kind(9, "int64_val"),
    "bool": Kind(10, "bool_val"),
    "uint16": Kind(17, "int_val"),
    "float16": Kind(19, "half_val"),
    "uint32": Kind(22, "uint32_val"),
    "uint64": Kind(23, "uint64_val"),
}


def _make_types() -> dict[str, Any]:
    """Return the type of each message, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="serving", package="serving", syntax="proto3")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            field = message.field.add(name=field_name, number=number)
            one = kind.removesuffix("*")
            field.label = field.LABEL_OPTIONAL if one == kind else field.LABEL_REPEATED
            if one in FIELDS:
                field.type, field.type_name = field.TYPE_MESSAGE, f".serving.{one}"
            else:
                field.type = field.Type.Value(f"TYPE_{one.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"serving.{name}")) for name in FIELDS}


MESSAGES = _make_types()


def to_message(array: np.ndarray) -> Any:
    """Return the message of an array; texts become UTF-8, bytes stay as they are.

    Raises:
        ValueError: TensorFlow has no such dtype.
    """
    is_text = array.dtype.kind in "SUO"
    if not is_text and str(array.dtype) not in KINDS:
        raise ValueError(f"got an array of {array.dtype}, expected {', '.join(KINDS)} or texts")
    kind = TEXT if is_text else KINDS[str(array.dtype)]
    message = MESSAGES["Tensor"](dtype=kind.number)
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if is_text:
        message.string_val.extend(
            text.encode() if isinstance(text, str) else text for text in array.ravel().tolist()
        )
    else:
        message.tensor_content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return message


def to_array(message: Any) -> np.ndarray:
    """Return the array of a message; texts are those of UTF-8.

    Raises:
        ValueError: it is of a dtype that nothing here gives.
    """
    shape = [each.size for each in message.tensor_shape.dim]
    if message.dtype == TEXT.number:
        values = np.array([value.decode() for value in message.string_val], str)
        return _fill(values, shape)
    found = {kind.number: (name, kind.field) for name, kind in KINDS.items()}
    if message.dtype not in found:
        raise ValueError(f"got a tensor of type {message.dtype} of types.proto, expected {found}")
    name, field = found[message.dtype]
    if message.tensor_content:
        dtype = np.dtype(name).newbyteorder("<")
        return np.frombuffer(message.tensor_content, dtype).astype(name).reshape(shape)
    values = np.array(getattr(message, field), np.uint16 if name == "float16" else name)
    return _fill(values.view(name), shape)


def _fill(values: np.ndarray, shape: list[int]) -> np.ndarray:
    """Return an array of values, of which the last one stands for all that are left out."""
    left_out = math.prod(shape) - len(values)
    return (np.pad(values, (0, left_out), mode="edge") if left_out else values).reshape(shape)


def make_request(
    inputs: Mapping[str, np.ndarray], signature: str, model: str, version: int | None = None
) -> Any:
    """Return the message that asks what the network says of inputs, (N, ...) by name.

    Args:
        inputs: of the signature.
        signature: its name.
        model: the name that TensorFlow Serving knows the network by.
        version: its number; None: the one in service.
    """
    request = MESSAGES["Request"]()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    for name, array in inputs.items():
        request.inputs.add(key=name, value=to_message(array))
    return request


def make_warm_up(inputs: Mapping[str, np.ndarray], signature: str, model: str) -> bytes:
    """Return a record of assets.extra/tf_serving_warmup_requests: what to ask before it serves.

    Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
    """
    log = MESSAGES["PredictionLog"]()
    log.predict_log.request.CopyFrom(make_request(inputs, signature, model))
    return log.SerializeToString()
