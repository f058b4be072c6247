"""serve.py as a process: swaps under load, its end, and whatever bodies are sent to it."""

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import small_service
from machinery.server.in_service import Decisions
from small_service import make_app, write_version

HERE = Path(__file__).resolve().parent
MODULES = (HERE / "tiny_project", HERE.parent.parent / "shared" / "project")
Serve = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server of the versions in tmp_path; returns it with its port."""
    started = []

    def serve(*words: str) -> tuple[subprocess.Popen[str], int]:
        path = os.pathsep.join(map(str, MODULES))
        process = subprocess.Popen(
            [sys.executable, small_service.__file__, "--exports", tmp_path, "--port", "0", *words],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)$", line)
        assert found, process.communicate()
        return process, int(found[1])

    yield serve
    for process in started:
        process.kill()
        process.communicate()


def ask(connection: http.client.HTTPConnection, point: Sequence[float]) -> dict[str, Any]:
    """Return what the server answers to a point."""
    connection.request("POST", "/predict", json.dumps({"point": point}))
    response = connection.getresponse()
    content = response.read()
    assert response.status == 200, content
    return json.loads(content)


def is_refused(port: int) -> bool:
    """Say whether nobody listens at a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM to catch")
def test_a_request_under_way_is_answered_before_the_end(serve: Serve, tmp_path: Path) -> None:
    write_version(tmp_path, 3)
    process, port = serve()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"point": [1, 2]}).encode()
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(len(body)))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(1, socket.MSG_PEEK)  # It waits for the body.
    connection.send(body[:5])
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 30
    while not is_refused(port):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.send(body[5:])
    response = connection.getresponse()
    assert json.loads(response.read())["answers"] == [{"sum": 9.0}]
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.deep
def test_no_request_is_lost_or_answered_wrongly_in_20_swaps(serve: Serve, tmp_path: Path) -> None:
    """Eight clients ask all the time. Each answer is of the version that it says it is of."""
    swaps = 20
    for number in (1, 2, 3):
        write_version(tmp_path, number)
    process, port = serve("--threads", "1")
    ended, counts, wrong = threading.Event(), list[int](), list[str]()

    def keep_asking(seed: int) -> None:
        generator, count = random.Random(seed), 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            while not ended.is_set():
                point = [generator.randrange(1000), generator.randrange(1000)]
                answer = ask(connection, point)
                if answer["answers"] != [{"sum": float(answer["version"] * sum(point))}]:
                    wrong.append(f"{point}: {answer}")
                count += 1
        except Exception as error:
            wrong.append(repr(error))
        counts.append(count)

    clients = [threading.Thread(target=keep_asking, args=(seed,)) for seed in range(8)]
    for client in clients:
        client.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for swap in range(swaps):
        number = 1 + swap % 3
        with Decisions(tmp_path) as decisions:
            decisions.pin(number)
        deadline = time.monotonic() + 30
        while ask(connection, [1, 1])["version"] != number:
            assert time.monotonic() < deadline, f"version {number} never came"
            time.sleep(0.05)
    ended.set()
    for client in clients:
        client.join()
    assert wrong == []
    assert len(counts) == 8
    assert min(counts) > swaps
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    assert f'serve_swaps_total{{outcome="swapped"}} {swaps}.0' in text
    process.terminate()
    assert process.wait(30) == 0


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["points", "sums", "FP32", "INT64", "data", ""])
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "x"]), inner)
    ),
    max_leaves=12,
)
sizes = st.integers(-1, 5) | json_values
tensors = st.fixed_dictionaries(
    {
        "name": st.just("points") | json_values,
        "shape": st.lists(sizes, max_size=3) | json_values,
        "datatype": st.just("FP32") | json_values,
    },
    optional={
        "data": st.lists(st.floats(width=32) | json_values, max_size=10) | json_values,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 24) | json_values})
        | json_values,
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=2) | json_values},
    optional={"id": json_values, "outputs": json_values, "point": json_values},
)
texts = st.binary(max_size=60) | (requests | json_values).map(json.dumps).map(str.encode)
# Arrays behind the JSON, of which the header says where it ends, or anything else.
bodies = st.tuples(texts, st.none() | st.binary(max_size=24), st.none() | st.text(max_size=4))
paths = st.sampled_from(["/predict", "/v2/models/model/infer", "/v2/models/model/versions/1/infer"])
types = st.sampled_from(["application/json", "text/plain", "multipart/form-data", "é"])


@pytest.mark.deep
def test_no_body_is_too_odd(tmp_path: Path) -> None:
    """Ten thousand of them: an answer, or a refusal that says why."""
    write_version(tmp_path, 1)
    app, _ = make_app(tmp_path)
    with TestClient(app, "http://127.0.0.1") as client:

        @settings(
            max_examples=10_000, deadline=None, suppress_health_check=[*HealthCheck], database=None
        )
        @given(body=bodies, path=paths, content_type=types)
        def send(body: tuple[bytes, Any, Any], path: str, content_type: str) -> None:
            text, arrays, length = body
            headers = {b"Content-Type": content_type.encode()}
            if length is not None or arrays is not None:
                said = str(len(text)) if length is None else length
                headers[b"Inference-Header-Content-Length"] = said.encode("utf-8", "replace")
            answer = client.post(path, content=text + (arrays or b""), headers=headers)
            assert answer.status_code in (200, 400), answer.text
            assert ("error" in answer.json()) == (answer.status_code == 400)

        send()


# --- clients of others, in environments of their own

TRITON = """
import sys
import numpy as np
import tritonclient.http as triton
client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("model")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
assert client.get_model_metadata("model")["inputs"][0]["datatype"] == "FP32"
points = np.array([[1, 2], [3, 4.5], [5, 6]], np.float32)
for sent in (True, False):
    for wanted in (True, False, None):
        given = triton.InferInput("points", [3, 2], "FP32")
        given.set_data_from_numpy(points, binary_data=sent)
        asked = wanted is not None and [triton.InferRequestedOutput("sums", binary_data=wanted)]
        result = client.infer("model", [given], outputs=asked or None, request_id="mine")
        sums = result.as_numpy("sums")
        assert sums.dtype == np.float32 and sums.tolist() == [3, 7.5, 11], sums
        response = result.get_response()
        assert response["id"] == "mine"
        is_binary = "binary_data_size" in response["outputs"][0].get("parameters", {})
        assert is_binary == (wanted is not False)  # Without a word the client asks for bytes.
given = triton.InferInput("points", [3, 3], "FP32")
given.set_data_from_numpy(np.ones((3, 3), np.float32))
try:
    client.infer("model", [given])
except triton.InferenceServerException as error:
    assert "shape: got [3, 3]" in error.message() and error.status() == "400", error
else:
    raise SystemExit("a wrong shape was not refused")
print("done")
"""


def install(folder: Path, package: str) -> Path:
    """Install a package into a new environment; return the folder of its programs."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run([programs / "python", "-m", "pip", "install", "-q", package], check=True)
    return programs


@pytest.mark.deep
def test_tritons_own_client(serve: Serve, tmp_path: Path) -> None:
    programs = install(tmp_path / "environment", "tritonclient[http]==2.73.0")
    write_version(tmp_path, 1)
    _, port = serve()
    words = [programs / "python", "-c", TRITON, f"127.0.0.1:{port}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.deep
def test_ten_thousand_bodies_by_schemathesis(serve: Serve, tmp_path: Path) -> None:
    """Made from /openapi.json: no 5xx, and nothing that the description does not say."""
    programs = install(tmp_path / "environment", "schemathesis==4.32.5")
    write_version(tmp_path, 1)
    process, port = serve()
    url = f"http://127.0.0.1:{port}"
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,"
    checks += "response_schema_conformance"
    words = ["run", f"{url}/openapi.json", "--phases", "fuzzing", "--max-examples", "3500"]
    words += ["--mode", "all", "--include-method", "POST", "--seed", "1", "--checks", checks]
    words += ["--generation-database", "none", "--suppress-health-check", "all"]
    done = subprocess.run(
        [programs / "schemathesis", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    counts = re.findall(r'^serve_requests_total{.*status="(\d+)".*} (\d+)', text, re.MULTILINE)
    assert sum(int(count) for _, count in counts) > 10_000
    assert not [code for code, _ in counts if code[0] == "5"]
    process.terminate()
    assert process.wait(30) == 0
