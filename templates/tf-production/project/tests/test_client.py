"""serving/: messages, and what the client refuses. test_export.py asks a server."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pool
from tensorflow.core.framework import tensor_pb2

from machinery.errors import InputError
from serving import client, messages

ARRAYS = [np.array([[1, 0, 1]], name) for name in messages.KINDS]
ARRAYS += [np.array([["é", "two"]]), np.zeros((0, 2), np.float32), np.array(2.5)]


@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_messages_hold_arrays_as_tensorflow_does(array: np.ndarray) -> None:
    def read(message: Any) -> np.ndarray:
        return messages.to_array(
            messages.MESSAGES["Tensor"].FromString(message.SerializeToString())
        )

    sent = messages.to_message(array).SerializeToString()
    found = tf.make_ndarray(tensor_pb2.TensorProto.FromString(sent))
    is_text = array.dtype.kind == "U"
    assert found.shape == array.shape
    texts = np.char.decode(found.astype(bytes), "utf-8") if is_text else found
    assert texts.tolist() == array.tolist()
    assert read(tf.make_tensor_proto(array)).tolist() == array.tolist()
    # The server writes values one by one; of equal ones at the end TensorFlow writes the first.
    one = tensor_pb2.TensorProto(dtype=tf.as_dtype(found.dtype).as_datatype_enum)
    one.tensor_shape.dim.add(size=3)
    kind = messages.TEXT if is_text else messages.KINDS[str(array.dtype)]
    value = array.ravel()[:1]
    if value.size:
        value = value.view(np.uint16) if array.dtype == np.float16 else value
        getattr(one, kind.field).extend([b"x"] if is_text else value.tolist())
        assert read(one).tolist() == ["x" if is_text else array.ravel()[0]] * 3


def test_the_messages_are_not_those_of_another_package() -> None:
    """tensorflow-serving-api can be imported beside them."""
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("serving.Request")


def test_a_command_line_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    signature = client.Signature({"numbers": "float32", "content": "string"}, {})
    (tmp_path / "file").write_bytes(b"\xff\0")
    words = ["numbers=[[1, NaN]]", f"content=@{tmp_path / 'file'}"]
    inputs = client.read_inputs(words, signature)
    assert inputs["numbers"].dtype == np.float32
    assert inputs["content"].tolist() == [b"\xff\0"]
    for wrong, match in (
        (words[:1], "got numbers; expected numbers=JSON or @FILE, content=JSON"),
        ([words[1], "numbers=[[1], [2, 3]]"], "numbers: expected lists of float32"),
        ([words[1], "numbers=[1"], "numbers: expected lists of float32"),
    ):
        with pytest.raises(InputError, match=match):
            client.read_inputs(wrong, signature)


def test_nobody_there() -> None:
    with pytest.raises(InputError, match=r"docker compose -f serving/compose\.yaml up"):
        client.Client("http://127.0.0.1:1").versions()
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1"):
        client.Client(grpc_address="127.0.0.1:1").predict_grpc({"a": np.zeros(1)})
