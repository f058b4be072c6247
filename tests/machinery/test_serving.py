"""serve.py in this process: what it answers, refuses, counts, and how versions take turns."""

import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import numpy as np
import pytest
from starlette.testclient import TestClient

from machinery import intervals
from machinery.errors import InputError
from machinery.server import openapi, serving
from machinery.server.batcher import Batcher, FullError
from machinery.server.binary_tensors import LENGTH, read_body, write_body
from machinery.server.served_version import Specification
from machinery.server.tensors import (
    DATATYPES,
    BadRequestError,
    format_json,
    read_tensors,
    to_array,
    write_tensors,
)
from small_service import digest, make_app, write_version

INFER = "/v2/models/model/infer"
SECRET = "a secret of some length"


def tensor(data: Any, **changes: Any) -> dict[str, Any]:
    """Return a request for points by the protocol."""
    shape = [*np.shape(data)] if "shape" not in changes else changes["shape"]
    made = {"name": "points", "shape": shape, "datatype": "FP32", "data": data}
    return {"inputs": [{**made, **changes}]}


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """Versions 1 and 2."""
    for number in (1, 2):
        write_version(tmp_path, number)
    return tmp_path


@pytest.fixture
def client(exports: Path) -> Iterator[TestClient]:
    app, _ = make_app(exports)
    with TestClient(app, "http://127.0.0.1") as client:
        yield client


# --- what it answers


def test_answers(client: TestClient) -> None:
    answer = client.post("/predict", json={"point": [1, 2.5]})
    assert answer.json() == {"model": "model", "version": 2, "answers": [{"sum": 7.0}]}
    for points in ([[1, 2], [3, 4], [5, 6]], [1, 2, 3, 4, 5, 6]):  # Nested, and flat.
        request = {**tensor(points, shape=[3, 2]), "id": "mine", "outputs": [{"name": "sums"}]}
        answer = client.post(INFER, json=request).json()
        (output,) = answer.pop("outputs")
        assert answer == {"model_name": "model", "model_version": "2", "id": "mine"}
        assert output == {"name": "sums", "datatype": "FP32", "shape": [3], "data": [6, 14, 22]}


def test_what_the_protocol_says_of_the_network(client: TestClient) -> None:
    for place in ("/v2/models/model", "/v2/models/model/versions/2"):
        found = client.get(place).json()
        assert found["versions"] == ["2"]
        assert found["inputs"] == [{"name": "points", "datatype": "FP32", "shape": [-1, 2]}]
        assert found["outputs"] == [{"name": "sums", "datatype": "FP32", "shape": [-1]}]
        assert client.get(f"{place}/ready").json()["ready"]
        assert client.post(f"{place}/infer", json=tensor([[1, 2]])).status_code == 200
    for path in ("/livez", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready", "/form", "/"):
        assert client.get(path).status_code == 200, path
    for place in ("/v2/models/other", "/v2/models/model/versions/1", "/nothing"):
        answer = client.get(place)
        assert (answer.status_code, [*answer.json()]) == (404, ["error"])
    assert {INFER.replace("model/", "{name}/"), "/predict"} <= {
        *client.get("/openapi.json").json()["paths"]
    }


def send_examples(client: TestClient) -> list[Any]:
    """Send each example of /openapi.json, as a viewer of OpenAPI does; return the answers."""
    described, answers = client.get("/openapi.json").json(), []
    for path, methods in described["paths"].items():
        post = methods.get("post", {})
        found = {each["name"]: each.get("example", "model") for each in post.get("parameters", ())}
        content = post.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in content.get("examples", {}).values():
            name = example["$ref"].removeprefix("#/components/examples/")
            body = described["components"]["examples"][name]["value"]
            answer = client.post(path.format(**found), json=body)
            assert answer.status_code == 200, answer.text
            answers.append(answer.json())
    return answers


def test_the_examples_of_the_description_are_answered(exports: Path) -> None:
    """They are those of the version in service: another one may take something else."""
    app, current = make_app(exports)
    with TestClient(app, "http://127.0.0.1") as client:
        for number in (2, 3):
            if number == 3:
                write_version(exports, 3)
                current.look()
            predicted, *inferred = send_examples(client)
            assert predicted["answers"] == [{"sum": 3.0 * number}]
            assert [each["outputs"][0]["data"] for each in inferred] == [[2.0 * number]] * 2


def test_answers_and_refusals_are_what_is_said_of_them(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    places = {"/predict": {"point": [1, 2.5]}, "/v2/models/{name}/infer": tensor([[1, 2]])}
    for place, body in places.items():
        said = described["paths"][place]["post"]["responses"]
        for sent, status in ((body, 200), ({}, 400)):
            answer = client.post(place.format(name="model"), json=sent)
            assert answer.status_code == status
            schema = said[str(status)]["content"]["application/json"]["schema"]
            validator = jsonschema.Draft202012Validator({**described, **schema})
            found = answer.json()
            validator.validate(found)
            for name in found:
                assert not validator.is_valid({**found, name: None}), name
                others = {key: value for key, value in found.items() if key != name}
                assert not validator.is_valid(others), name


def test_a_description_is_made_once_for_a_version(client: TestClient) -> None:
    with mock.patch.object(openapi, "describe_version", wraps=openapi.describe_version) as made:
        first, second = (client.get("/openapi.json").json() for _ in range(2))
    assert first == second
    assert made.call_count == 1


@pytest.mark.parametrize(("shape", "shown"), [((100, 100), True), ((100, 101), False)])
def test_a_large_example_is_left_out(shape: tuple[int, ...], shown: bool) -> None:
    post = {"post": {"requestBody": {"content": {"application/json": {}}}}}
    inputs = {"points": Specification("float32", shape)}
    described = {"paths": {"/v2/models/{name}/infer": post}}
    found = openapi.describe_version(described, inputs, {"kind": "picture"}, {}, 1)
    assert ("infer" in found["components"]["examples"]) == shown
    (path,) = found["paths"].values()
    content = path["post"]["requestBody"]["content"]["application/json"]
    assert ("examples" in content) == shown


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"kind": "picture"}, None),
        ({"kind": "text"}, {"text": "A sentence."}),
        (
            {
                "kind": "fields",
                "fields": [{"name": "size", "usual": 70.0}, {"name": "town", "levels": ["Ulm"]}],
            },
            {"size": 70.0, "town": "Ulm"},
        ),
        ({"kind": "fields", "fields": [{"name": "town", "levels": []}]}, {"town": None}),
    ],
)
def test_an_example_for_people(form: Any, expected: Any) -> None:
    assert openapi.example_of_form(form) == expected


BAD = {
    "nothing": b"",
    "no JSON": b"points",
    "deep": b"[" * 9000,
    "no object": b"3",
    "no inputs": b"{}",
    "inputs that are none": b'{"inputs": [3]}',
    "no input": b'{"inputs": []}',
    "another name": tensor([[1, 2]], name="x"),
    "twice": {"inputs": tensor([[1, 2]])["inputs"] * 2},
    "another type": tensor([[1, 2]], datatype="INT64"),
    "one coordinate": tensor([[1]]),
    "no example": tensor([], shape=[0, 2]),
    "negative": tensor([1, 2], shape=[-1, 2]),
    "a shape that is none": tensor([1, 2], shape=["1", 2]),
    "too few numbers": tensor([1, 2, 3], shape=[2, 2]),
    "uneven": tensor([[1, 2], [3]], shape=[2, 2]),
    "text": tensor([["a", "b"]]),
    "nothing in it": tensor([[None, 1]]),
    "too large a number": tensor([[1e39, 1]]),
    "much too large": b'{"inputs": [{"name": "points", "shape": [1, 2], "datatype": "FP32", '
    b'"data": [' + b"9" * 400 + b", 1]}]}",
    "an output that is not there": {**tensor([[1, 2]]), "outputs": [{"name": "x"}]},
    "outputs that are none": {**tensor([[1, 2]]), "outputs": 3},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(case: str, client: TestClient) -> None:
    body = BAD[case]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(INFER, content=content)
    assert (answer.status_code, [*answer.json()]) == (400, ["error"])
    assert client.post("/predict", content=content).status_code == 400


def in_bytes(array: np.ndarray, wanted: Any = None, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a request for points in bytes, as the protocol has them."""
    content = array.tobytes()
    made = {"name": "points", "shape": [*array.shape], "datatype": "FP32"}
    made["parameters"] = {"binary_data_size": len(content)}
    text = json.dumps({**(wanted or {}), "inputs": [{**made, **changes}]}).encode()
    return text + content, {"Inference-Header-Content-Length": str(len(text))}


POINTS = np.array([[1, 2], [3, 4]], "<f4")


def test_arrays_in_bytes(client: TestClient) -> None:
    """By hand from the specification; see binary_tensors.py for its address."""
    body, headers = in_bytes(POINTS)
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.json()["outputs"][0]["data"] == [6, 14]
    sums = {"name": "sums"}
    for wanted in (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{**sums, "parameters": {"binary_data": True}}]},
    ):
        numbers = json.dumps({**wanted, **tensor(POINTS.tolist())}).encode()
        for body, headers in (in_bytes(POINTS, wanted), (numbers, {})):
            answer = client.post(INFER, content=body, headers=headers)
            length = int(answer.headers["Inference-Header-Content-Length"])
            assert answer.headers["Content-Type"] == "application/octet-stream"
            (output,) = json.loads(answer.content[:length])["outputs"]
            assert output == {
                **{"name": "sums", "datatype": "FP32", "shape": [2]},
                "parameters": {"binary_data_size": 8},
            }
            assert np.frombuffer(answer.content[length:], "<f4").tolist() == [6, 14]
    some = {"parameters": {"binary_data_output": True}}
    some["outputs"] = [{**sums, "parameters": {"binary_data": False}}]  # This one says otherwise.
    body, headers = in_bytes(POINTS, some)
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.json()["outputs"][0]["data"] == [6, 14]
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]


def with_length(length: str) -> tuple[bytes, dict[str, str]]:
    return in_bytes(POINTS)[0], {"Inference-Header-Content-Length": length}


BAD_BYTES = {
    "shape": (in_bytes(POINTS, shape=[3, 2]), "got 16 bytes, expected 24 for [3, 2]"),
    "short": ((in_bytes(POINTS)[0][:-1], in_bytes(POINTS)[1]), "got 16, and 15 bytes are left"),
    "long": ((in_bytes(POINTS)[0] + b"x", in_bytes(POINTS)[1]), "1 bytes behind the JSON"),
    "negative": (in_bytes(POINTS, parameters={"binary_data_size": -1}), "got -1, and 16"),
    "huge": (in_bytes(POINTS, parameters={"binary_data_size": 2**70}), "and 16 bytes are left"),
    "no number": (in_bytes(POINTS, parameters={"binary_data_size": True}), "got True"),
    "both": (in_bytes(POINTS, data=[1]), "has both data and binary_data_size"),
    "infinite": (in_bytes(POINTS * np.float32("inf")), "expected finite numbers"),
    "another type": (in_bytes(POINTS, datatype="FP64"), "datatype: got FP64"),
    "no size": (in_bytes(POINTS, parameters={}), "16 bytes behind the JSON"),
    "no object": ((b"3", {"Inference-Header-Content-Length": "1"}), 'expected {"inputs"'),
    "no header": ((in_bytes(POINTS)[0], {}), "not JSON"),
    "a header of letters": (with_length("ten"), "got ten, of a body of"),
    "a long header": (with_length("9" * 5000), "of a body of"),
    "beyond the body": (with_length("999"), "got 999, of a body of"),
    "within the JSON": (with_length("9"), "not JSON"),
}


@pytest.mark.parametrize("case", BAD_BYTES)
def test_bad_requests_in_bytes(case: str, client: TestClient) -> None:
    (body, headers), expected = BAD_BYTES[case]
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.status_code == 400
    assert expected in answer.json()["error"]


def test_a_body_that_is_too_large(client: TestClient) -> None:
    body = b" " * 20_000
    parts = (body[first : first + 1000] for first in range(0, len(body), 1000))
    for content in (body, parts):  # Said before, and found out.
        answer = client.post("/predict", content=content)
        assert answer.status_code == 413
        assert "10,485 bytes" in answer.json()["error"]


def test_a_secret_is_asked_for(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="SERVE_TOKEN is not set"):
        serving.read_secret("0.0.0.0")
    monkeypatch.setenv("SERVE_TOKEN", "short")
    with pytest.raises(InputError, match="too short") as error:
        serving.read_secret("0.0.0.0")
    assert "short " not in str(error.value).replace("too short", "")
    monkeypatch.setenv("SERVE_TOKEN", SECRET)
    app, _ = make_app(exports, host="0.0.0.0")
    with TestClient(app, "http://any.example") as client:
        for path in ("/", "/livez", "/readyz", "/v2/health/live"):
            assert client.get(path).status_code == 200
        for path in ("/metrics", "/form", "/v2", "/openapi.json", "/nothing"):
            assert client.get(path).status_code == 401
            wrong = {"Authorization": f"Bearer {SECRET}x"}
            assert client.get(path, headers=wrong).status_code == 401
        right = {"Authorization": f"Bearer {SECRET}"}
        answer = client.post("/predict", json={"point": [1, 1]}, headers=right)
        assert answer.json()["answers"] == [{"sum": 4.0}]
        assert SECRET not in client.get("/metrics", headers=right).text


def test_another_host_is_refused(client: TestClient) -> None:
    """On the loopback address: a page of the internet may have a name that leads there."""
    for host, status in {"localhost:8000": 200, "[::1]:8000": 200, "evil.example": 421}.items():
        assert client.get("/v2", headers={"Host": host}).status_code == status


def test_metrics(client: TestClient) -> None:
    client.post("/predict", json={"point": [1, 2]})
    client.post(INFER, json=tensor(np.ones((20, 2)).tolist()))
    client.get("/a/path/of/its/own")
    text = client.get("/metrics").text
    for line in (
        'serve_requests_total{path="/predict",status="200"} 1.0',
        'serve_requests_total{path="/v2/models/{name}/infer",status="200"} 1.0',
        'serve_requests_total{path="other",status="404"} 1.0',
        "serve_batch_examples_sum 21.0",
        "serve_batch_examples_count 4.0",  # 1, and 20 in batches of at most 8.
        "serve_version 2.0",
    ):
        assert line in text.splitlines(), text


# --- the batcher


class Slow:
    """Doubles numbers, once it may; refuses those below zero."""

    def __init__(self) -> None:
        self.may, self.batches = threading.Event(), list[int]()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert self.may.wait(30)
        self.batches.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise ValueError("below zero")
        return {"y": 2 * inputs["x"]}


def test_what_waits_is_computed_together() -> None:
    slow = Slow()
    batcher = Batcher(largest=4, waiting=100)
    numbers = [batcher.submit(slow, {"x": np.array([float(i)])}) for i in range(8)]
    wide = batcher.submit(slow, {"x": np.ones((2, 3))})  # Of another shape, so apart.
    large = batcher.submit(slow, {"x": np.arange(10.0)})
    cancelled = batcher.submit(slow, {"x": np.array([1.0])})
    assert cancelled.cancel()
    slow.may.set()
    for i, number in enumerate(numbers):
        np.testing.assert_array_equal(number.result(30)["y"], [2 * i])
    assert wide.result(30)["y"].shape == (2, 3)
    np.testing.assert_array_equal(large.result(30)["y"], 2 * np.arange(10))
    batcher.close()
    assert max(slow.batches) == 4
    assert sum(slow.batches) == 20


def test_a_bad_request_fails_alone() -> None:
    slow = Slow()
    batcher = Batcher(largest=8, waiting=100)
    found = [batcher.submit(slow, {"x": np.array([float(i)])}) for i in (1, -1, 2, 3)]
    slow.may.set()
    results = [each.exception(30) or each.result()["y"].tolist() for each in found]
    batcher.close()
    assert isinstance(results.pop(1), ValueError)
    assert results == [[2], [4], [6]]


def test_too_many_requests() -> None:
    slow = Slow()
    batcher = Batcher(largest=1, waiting=2)
    found, full = [], 0
    for _ in range(20):
        try:
            found.append(batcher.submit(slow, {"x": np.ones(1)}))
        except FullError:
            full += 1
    assert full >= 17
    slow.may.set()
    for each in found:
        assert each.result(30)
    batcher.close()


def test_503_when_too_many_wait(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise FullError

    monkeypatch.setattr(Batcher, "submit", full)
    app, _ = make_app(exports)
    with TestClient(app, "http://127.0.0.1") as client:
        answer = client.post("/predict", json={"point": [1, 2]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_503_before_a_body_is_read(exports: Path) -> None:
    """Where as many requests are under way as may wait."""
    app, current = make_app(exports, waiting=2)
    go_on = threading.Event()
    read = current.version.service.read

    def wait(*request: Any) -> Any:
        go_on.wait(30)
        return read(*request)

    current.version.service.read = wait
    with TestClient(app, "http://127.0.0.1") as client, ThreadPoolExecutor(6) as threads:

        def ask(_: int) -> int:
            return client.post("/predict", json={"point": [1, 2]}).status_code

        asked = [threads.submit(ask, number) for number in range(6)]
        while sum(each.done() for each in asked) < 4:
            time.sleep(0.01)
        go_on.set()
        codes = sorted(each.result() for each in asked)
    assert codes == [200, 200, 503, 503, 503, 503]


def test_what_nobody_foresaw_is_answered_in_json(exports: Path) -> None:
    app, current = make_app(exports)
    current.version.service.read = None
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        answer = client.post("/predict", json={"point": [1, 2]})
        assert answer.status_code == 500
        assert answer.json() == {"error": "the server failed; its log says why"}
        half = b'{"inputs": [{"name": "\\ud800"}]}'  # Half of a character.
        assert client.post("/v2/models/model/infer", content=half).status_code == 400


# --- arrays as JSON


def test_texts_make_no_array_as_wide_as_the_longest() -> None:
    tracemalloc.start()
    assert to_array(["a" * 10**6, *[""] * 10**4], "float32") is None
    assert to_array([["a" * 10**6, *[""] * 10**4]], "float32") is None
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    assert to_array(deep, "float32") is None


def test_numbers_that_a_type_cannot_hold() -> None:
    for dtype, good, bad in (
        ("uint8", [0, 255], ([-1], [256], [1.5], [True], ["1"], [None], [2**70])),
        ("int64", [-(2**63), 2**63 - 1], ([2**63], [1.0])),
        ("float32", [1, -2.5, float("nan")], ([float("inf")], [1e39], [True])),
        ("bool", [True, False], ([1],)),
    ):
        array = to_array(good, dtype)
        assert array is not None
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, np.array(good, dtype))
        for data in bad:
            assert to_array(data, dtype) is None, (dtype, data)
    assert to_array(3, "uint8") is None


def test_every_type_goes_there_and_back() -> None:
    for dtype in DATATYPES:
        array = np.array([[0, 1], [1, 0]], dtype)
        request = {"inputs": json.loads(format_json(write_tensors({"a": array})))}
        found = read_tensors(request, {"a": Specification(dtype, (2,))})
        assert found["a"].dtype == dtype
        np.testing.assert_array_equal(found["a"], array)
        text, headers = write_body({}, {"a": array}, {"a"})
        text = text.replace(b'"outputs"', b' "inputs"')  # Of the same length.
        request = read_body(text, headers[LENGTH])
        found = read_tensors(request, {"a": Specification(dtype, (2,))})
        assert found["a"].dtype == dtype
        np.testing.assert_array_equal(found["a"], array)
    request["inputs"][0] |= {"datatype": "BOOL", "data": memoryview(b"\x00\x01\x02\x01")}
    with pytest.raises(BadRequestError, match="bytes of 0 or 1"):
        read_tensors(request, {"a": Specification("bool", (2,))})
    text = format_json(write_tensors({"a": np.array([np.nan, np.inf, 1.0], np.float32)}))
    assert json.loads(text)[0]["data"] == [None, None, 1.0]  # JSON has neither.


def test_inputs_of_different_length() -> None:
    one = {"shape": [2, 1], "datatype": "INT64", "data": [1, 2]}
    other = {"shape": [1, 1], "datatype": "INT64", "data": [1]}
    request = {"inputs": [{"name": "a", **one}, {"name": "b", **other}]}
    with pytest.raises(BadRequestError, match="the same in each"):
        read_tensors(request, dict.fromkeys("ab", Specification("int64", (1,))))


# --- versions


def test_a_new_version_is_swapped_in(exports: Path, caplog: pytest.LogCaptureFixture) -> None:
    app, current = make_app(exports)
    with TestClient(app, "http://127.0.0.1") as client:
        write_version(exports, 3)
        current.look()
        assert client.post("/predict", json={"point": [1, 1]}).json()["answers"] == [{"sum": 6.0}]
        damaged = write_version(exports, 4) / "model.onnx"
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
        with mock.patch.object(current, "_load", wraps=current._load) as load:
            current.look()
            current.look()
        assert load.call_count == 1  # It costs what requests need, so it is not tried each second.
        assert client.get("/form").json()["version"] == 3
        text = client.get("/metrics").text
    assert 'serve_swaps_total{outcome="swapped"} 1.0' in text
    assert 'serve_swaps_total{outcome="failed"} 1.0' in text
    assert caplog.text.count("version 3 keeps serving") == 1
    assert "SHA-256" in caplog.text


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx: No such file"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"x"), "is not as it was written"),
        (lambda folder: (folder / "export.json").write_text("{}"), "export.json: file"),
        (lambda folder: (folder / "export.json").unlink(), "holds no version"),
    ],
)
def test_damaged_versions_do_not_serve(damage: Any, expected: str, tmp_path: Path) -> None:
    damage(write_version(tmp_path, 1))
    with pytest.raises(InputError, match=expected):
        make_app(tmp_path)


def test_a_version_serves_without_what_was_evaluated(exports: Path) -> None:
    """It is for promote.py, and may hold what only few may see."""
    path = exports / "2" / intervals.FILE
    intervals.write_examples(path, {"losses": np.zeros(3)})
    facts = json.loads((exports / "2" / "export.json").read_text())
    facts["sha256"][intervals.FILE] = digest(path.read_bytes())
    (exports / "2" / "export.json").write_text(json.dumps(facts))
    make_app(exports)
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"examples_test\.npz: is not as it was written"):
        make_app(exports)
    path.unlink()
    app, _ = make_app(exports)
    with TestClient(app, "http://127.0.0.1") as client:
        assert client.post("/predict", json={"point": [1, 1]}).json()["version"] == 2


def test_a_version_that_gives_no_numbers_does_not_serve(tmp_path: Path) -> None:
    write_version(tmp_path, 1, weight=np.inf)
    with pytest.raises(InputError, match="sums holds what is no number"):
        make_app(tmp_path)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: .*0 for a free one"):
            serving.listen("127.0.0.1", port)


def test_many_at_once_get_their_own_answers(client: TestClient) -> None:
    def ask(number: int) -> float:
        answer = client.post("/predict", json={"point": [number, 0]})
        return answer.json()["answers"][0]["sum"]

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(ask, range(64))] == [2.0 * number for number in range(64)]
