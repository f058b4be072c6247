"""serve.py beside calling its network in a loop: throughput, and how long answers take.

    python benchmarks/serve.py PROJECT               # with a version in PROJECT/exports/onnx

PROJECT is a rendered project with an export of ONNX; what requirements/serve.txt names is
installed. The clients run on the same machine in a process of their own, and send and ask for
arrays by the Open Inference Protocol: in JSON, and as bytes by its binary extension.

- loop: ONNX Runtime called in a loop, with the batch and the threads that the server has.
- one a request: each request has one example; the server computes together what waits together.
- a batch a request: each request has a whole batch.

"processor" counts the processor time of the server alone, so what else the machine does matters
little; "wall" is what clients see, who use the same cores. Numbers are medians of --rounds; shares
of the loop are taken within a round, in brackets the lowest and the highest. Then the server gets
half of the highest rate of requests with one example, evenly in time, and the answers' times are
sorted.
"""

import argparse
import http.client
import itertools
import json
import multiprocessing
import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

PATH = "/v2/models/model/infer"


class Load(NamedTuple):
    """What clients saw."""

    answers: int
    seconds: float  # from the first request to the last answer
    times: list[float]  # seconds of each request


@contextmanager
def serving(project: Path, batch: int, threads: int) -> Generator[tuple[psutil.Process, int]]:
    """Serve the project's version; yield the process and its port."""
    words = ("--port", "0", "--largest-batch", str(batch), "--threads", str(threads))
    command = [sys.executable, "serve.py", *words]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = re.search(r":(\d+)$", process.stdout.readline())
        assert found, "the server did not start"
        yield psutil.Process(process.pid), int(found[1])
        process.terminate()


def make_inputs(port: int, examples: int) -> dict[str, np.ndarray]:
    """Return inputs of the kind that the network takes: ones, which every network knows."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/v2/models/model")
    described = json.load(connection.getresponse())["inputs"]
    dtypes = {"UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32}
    return {
        each["name"]: np.ones((examples, *each["shape"][1:]), dtypes[each["datatype"]])
        for each in described
    }


class Body(NamedTuple):
    """A request."""

    content: bytes
    headers: dict[str, str]


def make_body(inputs: dict[str, np.ndarray], kind: str) -> Body:
    """Return a request for inputs as "JSON", or as "bytes"."""
    names = {"uint8": "UINT8", "int32": "INT32", "int64": "INT64", "float32": "FP32"}
    tensors: list[dict[str, Any]] = [
        {"name": name, "shape": array.shape, "datatype": names[str(array.dtype)]}
        for name, array in inputs.items()
    ]
    request: dict[str, Any] = {"inputs": tensors}
    if kind == "JSON":
        for tensor, array in zip(tensors, inputs.values(), strict=True):
            tensor["data"] = array.ravel().tolist()
        return Body(json.dumps(request).encode(), {})
    for tensor, array in zip(tensors, inputs.values(), strict=True):
        tensor["parameters"] = {"binary_data_size": array.nbytes}
    request["parameters"] = {"binary_data_output": True}
    text = json.dumps(request).encode()
    content = b"".join([text, *(array.tobytes() for array in inputs.values())])
    return Body(content, {"Inference-Header-Content-Length": str(len(text))})


def send(port: int, body: Body, clients: int, seconds: float, rate: float, queue: Any) -> None:
    """Send requests from some clients for some seconds, then put what they saw into a queue.

    Args:
        port: of the server.
        body: of each request.
        clients: that send at once.
        seconds: for how long.
        rate: requests a second of all clients together; 0: each sends when it has its answer.
        queue: takes a Load.
    """
    times = list[float]()
    begun = time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        due = begun + (number / rate if rate else 0)
        while (now := time.perf_counter()) < begun + seconds:
            if rate:
                time.sleep(max(0.0, due - now))
            sent = due if rate else now  # What was due and had to wait, waited for the server.
            connection.request("POST", PATH, body.content, body.headers)
            response = connection.getresponse()
            response.read()
            assert response.status == 200, response.status
            times.append(time.perf_counter() - sent)
            due += clients / rate if rate else 0

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(Load(len(times), time.perf_counter() - begun, times))


def load(port: int, body: Body, clients: int, seconds: float, rate: float = 0) -> Load:
    """Return what clients see who send from a process of their own; see `send`."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=send, args=(port, body, clients, seconds, rate, queue))
    process.start()
    found = queue.get()
    process.join()
    return found


def time_loop(
    path: Path, inputs: dict[str, np.ndarray], threads: int, seconds: float
) -> tuple[float, float]:
    """Return examples a second of the network called in a loop: by processor time, and by wall."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    count, examples = 0, len(next(iter(inputs.values())))
    session.run(None, inputs)
    wall, processor = time.perf_counter(), time.process_time()
    while time.perf_counter() < wall + seconds:
        session.run(None, inputs)
        count += examples
    return count / (time.process_time() - processor), count / (time.perf_counter() - wall)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    batch, seconds = arguments.batch, arguments.seconds
    newest = max(
        arguments.project.glob("exports/onnx/*/model.onnx"), key=lambda p: int(p.parent.name)
    )
    with serving(arguments.project, batch, arguments.threads) as (process, port):
        inputs = make_inputs(port, batch)
        found: dict[str, list[tuple[float, float, float]]] = {}
        rates = dict[str, float]()
        for _ in range(arguments.rounds):
            loop, by_wall = time_loop(newest, inputs, arguments.threads, seconds)
            found.setdefault(f"loop, batches of {batch}", []).append((loop, 1, by_wall))
            for kind, examples in itertools.product(("JSON", "bytes"), (1, batch)):
                body = make_body(make_inputs(port, examples), kind)
                load(port, body, arguments.clients, 1)
                before = sum(process.cpu_times()[:2])
                seen = load(port, body, arguments.clients, seconds)
                rate = seen.answers * examples / (sum(process.cpu_times()[:2]) - before)
                size = "one" if examples == 1 else "a batch"
                row = (rate, rate / loop, seen.answers * examples / seen.seconds)
                found.setdefault(f"{kind}, {size} a request", []).append(row)
                if examples == 1:
                    rates[kind] = max(rates.get(kind, 0), seen.answers / seen.seconds)
        print("| examples a second | processor | of the loop | wall |")
        print("| --- | ---: | ---: | ---: |")
        for name, rows in found.items():
            processor, share, wall = np.median(rows, axis=0)
            least, most = min(row[1] for row in rows), max(row[1] for row in rows)
            spread = f"{share:.2f} ({least:.2f} to {most:.2f})"
            print(f"| {name} | {processor:,.0f} | {spread} | {wall:,.0f} |")
        for kind, rate in rates.items():
            body = make_body(make_inputs(port, 1), kind)
            half = load(port, body, arguments.clients, seconds, rate / 2)
            percentiles = np.percentile(half.times, [50, 99]) * 1000
            print(
                f"\n{kind}, at half of the highest rate, "
                f"{half.answers / half.seconds:,.0f} requests a second: half of the answers within "
                f"{percentiles[0]:.1f} ms, 99 % within {percentiles[1]:.1f} ms."
            )
        print(f"\nThe server has {process.memory_info().rss / 2**20:,.0f} MiB.")


if __name__ == "__main__":
    main()
