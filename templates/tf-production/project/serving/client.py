"""Ask TensorFlow Serving what the network says, over HTTP or gRPC.

    python -m serving.client                               # what serves, what it takes and gives
    python -m serving.client numbers='[[1.5, 2]]'          # an input as JSON, (N, ...)
    python -m serving.client --grpc numbers='[[1.5, 2]]'
    python -m serving.client --signature encoded content=@FILE   # the bytes of a file, (1,)

It prints the outputs as JSON. From Python:

    outputs = Client().predict({"numbers": numbers})       # arrays (N, ...), by name

HTTP needs nothing but NumPy. gRPC needs grpcio and protobuf, which TensorFlow brings; it sends the
bytes of arrays instead of decimals, so prefer it where arrays are large.
"""

import argparse
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from machinery.argument_parser import ArgumentParser
from machinery.errors import InputError, exit_codes

ADDRESS, GRPC_ADDRESS, MODEL = "http://127.0.0.1:8501", "127.0.0.1:8500", "model"
SIGNATURE = "serving_default"
SECONDS = 60  # in which an answer must come
# What the server calls the dtypes, where not DT_ and NumPy's name.
DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}


class Signature(NamedTuple):
    """What a signature takes and gives: dtypes by name, "string" for texts and bytes."""

    inputs: dict[str, str]
    outputs: dict[str, str]


class Client:
    """Asks a server.

    Args:
        address: of its HTTP port.
        grpc_address: of its gRPC port.
        model: the name that it knows the network by.
    """

    def __init__(
        self, address: str = ADDRESS, grpc_address: str = GRPC_ADDRESS, model: str = MODEL
    ) -> None:
        self.address, self.grpc_address, self.model = address, grpc_address, model

    def versions(self) -> dict[int, str]:
        """Return the state of each version that the server knows: AVAILABLE is one that serves.

        Raises:
            InputError: the server cannot be reached, or refuses.
        """
        found = self._ask("")["model_version_status"]
        return {int(each["version"]): each["state"] for each in found}

    def signatures(self, version: int | None = None) -> dict[str, Signature]:
        """Return what a version takes and gives, by the names of its signatures.

        Args:
            version: its number; None: the one in service.

        Raises:
            InputError: the server cannot be reached, or refuses.
        """
        place = "" if version is None else f"/versions/{version}"
        described = self._ask(f"{place}/metadata")["metadata"]["signature_def"]["signature_def"]
        return {
            name: Signature(*(_dtypes(each.get(side, {})) for side in ("inputs", "outputs")))
            for name, each in described.items()
            if name != "__saved_model_init_op"
        }

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str = SIGNATURE,
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the outputs (N, ...) for inputs (N, ...), by name, over HTTP.

        Args:
            inputs: of the signature; texts as str, other strings as bytes in an object array.
            signature: its name.
            version: its number; None: the one in service.

        Raises:
            InputError: the server cannot be reached, or refuses.
        """
        values = {name: _to_json(np.asarray(array)) for name, array in inputs.items()}
        place = "" if version is None else f"/versions/{version}"
        body = {"signature_name": signature, "inputs": values}
        outputs = self._ask(f"{place}:predict", body)["outputs"]
        dtypes = self.signatures(version)[signature].outputs
        if len(dtypes) == 1:  # Then the server leaves its name out.
            outputs = {next(iter(dtypes)): outputs}
        return {name: _to_array(value, dtypes[name]) for name, value in outputs.items()}

    def predict_grpc(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str = SIGNATURE,
        version: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Do so over gRPC."""
        import grpc

        from serving.messages import MESSAGES, make_request, to_array

        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        request = make_request(arrays, signature, self.model, version)
        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        with grpc.insecure_channel(self.grpc_address, unlimited) as channel:
            ask = channel.unary_unary(
                "/tensorflow.serving.PredictionService/Predict",
                request_serializer=MESSAGES["Request"].SerializeToString,
                response_deserializer=MESSAGES["Response"].FromString,
            )
            try:
                response = ask(request, timeout=SECONDS)
            except grpc.RpcError as error:
                said = error.details() if isinstance(error, grpc.Call) else error
                raise InputError(f"{self.grpc_address}: {said}") from None
        return {each.key: to_array(each.value) for each in response.outputs}

    def _ask(self, path: str, body: Any = None) -> Any:
        """Return what the server says in JSON, in which NaN is allowed."""
        address = f"{self.address}/v1/models/{self.model}{path}"
        content = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(address, content, SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")
            raise InputError(f"{address}: {error.code} {said[:500]}") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise InputError(
                f"{address}: {reason}. Start it: docker compose -f serving/compose.yaml up"
            ) from None


def _dtypes(tensors: Mapping[str, Any]) -> dict[str, str]:
    """Return the dtype of each tensor that the server describes."""
    names = {name: each["dtype"] for name, each in tensors.items()}
    return {
        name: DTYPES.get(dtype, dtype.removeprefix("DT_").lower()) for name, dtype in names.items()
    }


def _to_json(array: np.ndarray) -> Any:
    """Return an array as lists; bytes as base64 with a mark, as the server has them."""

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(each) for each in value]
        return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value

    return convert(array.tolist())


def _to_array(value: Any, dtype: str) -> np.ndarray:
    return np.array(value, str if dtype == "string" else dtype)


def read_inputs(words: list[str], signature: Signature) -> dict[str, np.ndarray]:
    """Return the inputs that a command line gives.

    Args:
        words: NAME=JSON, or NAME=@FILE for the content of a file.
        signature: what is expected.

    Raises:
        InputError: naming the word, and what was expected.
    """
    given = {name: text for name, _, text in (word.partition("=") for word in words)}
    if given.keys() != signature.inputs.keys():
        expected = ", ".join(f"{name}=JSON or @FILE" for name in signature.inputs)
        raise InputError(f"got {', '.join(given)}; expected {expected}")
    inputs = {}
    for name, text in given.items():
        dtype = signature.inputs[name]
        try:
            if text.startswith("@"):
                inputs[name] = np.array([Path(text[1:]).read_bytes()], object)
            else:
                inputs[name] = _to_array(json.loads(text), dtype)
        except OSError as error:
            raise InputError(f"{name}: {text[1:]}: {error.strerror}. Name a file.") from None
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{name}: expected lists of {dtype} in JSON: {error}") from None
    return inputs


def main(arguments: argparse.Namespace) -> None:
    """Print what the server says.

    Raises:
        InputError: it cannot be reached, or the command line does not fit what it serves.
    """
    client = Client(arguments.address, arguments.grpc_address, arguments.model)
    signatures = client.signatures()
    if not arguments.inputs:
        for version, state in client.versions().items():
            print(f"version {version}: {state}")
        for name, (inputs, outputs) in signatures.items():
            print(f"{name}: takes {inputs}, gives {outputs}")
        return
    if arguments.signature not in signatures:
        got = arguments.signature
        raise InputError(f"--signature: got {got}, expected one of {', '.join(signatures)}")
    inputs = read_inputs(arguments.inputs, signatures[arguments.signature])
    predict = client.predict_grpc if arguments.grpc else client.predict
    outputs = predict(inputs, arguments.signature, arguments.version)
    print(json.dumps({name: array.tolist() for name, array in outputs.items()}))


if __name__ == "__main__":
    with exit_codes():
        parser = ArgumentParser(__doc__, "python -m serving.client")
        parser.add_argument("inputs", nargs="*", help="NAME=JSON or NAME=@FILE of each input")
        parser.add_argument("--signature", default=SIGNATURE, help=f"[{SIGNATURE}]")
        parser.add_argument("--version", type=int, help="its number [the one in service]")
        parser.add_argument("--grpc", action="store_true", help="ask over gRPC")
        parser.add_argument("--address", default=ADDRESS, help=f"of HTTP [{ADDRESS}]")
        parser.add_argument("--grpc-address", default=GRPC_ADDRESS, help=f"[{GRPC_ADDRESS}]")
        parser.add_argument("--model", default=MODEL, help=f"its name there [{MODEL}]")
        main(parser.parse_args())
