"""What several processes gain, what their vote costs, and the price of a batch in parts.

    python benchmarks/processes.py
    python benchmarks/processes.py --rounds 1 --epochs 3

torch-research's plain loop as a person calls it, on 1,280 random images of 32x32x3, batch 128, with
the default network. Numbers are by the wall clock, so they need two idle cores. The speed is what
train.py prints for each epoch, of the training alone; of a run it is the median of its epochs, the
first one left out.

- two processes: python launch.py 2 train.py, with one thread each: DistributedDataParallel on gloo.
- two threads: python train.py in one process.
- one thread, in 2 parts, in 4 parts: one process with one thread and training.accumulate 1, 2, 4.
- vote: what two processes ask each other after every step, whether one wants to save or to stop,
  in a loop of nothing else. In a training they wait for each other at the gradients just before.

The goal: two processes at least 0.95 times as fast as two threads.
"""

import argparse
import concurrent.futures
import functools
import importlib
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import (
    import_project,
    in_own_process,
    machine,
    print_table,
    ratios,
    render,
    spread,
    take_turns,
    write_images,
)

BATCH = 128
VOTES = 2000  # of a round
# Processes, threads of each, training.accumulate.
WAYS = {
    "two processes": (2, 1, 1),
    "two threads": (1, 2, 1),
    "one thread": (1, 1, 1),
    "in 2 parts": (1, 1, 2),
    "in 4 parts": (1, 1, 4),
}
PAIRS = [
    ("two processes", "two threads"),
    ("two processes", "one thread"),
    ("in 2 parts", "one thread"),
    ("in 4 parts", "one thread"),
]


def write_data(project: Path) -> None:
    """Write random images to train on."""
    import_project(project)
    write_images(project / "data", side=32, channels=3, count=1280)


def train(project: Path, epochs: int, processes: int, threads: int, accumulate: int) -> float:
    """Train an experiment anew; return its examples per second."""
    words = ["launch.py", str(processes)] if processes > 1 else []
    words += ["train.py", "--experiment", "experiments/benchmark", "--overwrite"]
    words += ["--from", "experiments/baseline", "--device", "cpu", "--data.batch_size", str(BATCH)]
    words += ["--training.epochs", str(epochs), "--training.accumulate", str(accumulate)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output = subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    speeds = [float(each.replace(",", "")) for each in re.findall(r"([\d,]+) examples/s", output)]
    return statistics.median(speeds[1:])


def vote(project: Path, number: int, port: int, rounds: int) -> list[float]:
    """Return, for each round, the seconds of a vote, as one of two processes."""
    import_project(project)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    shared_run = importlib.import_module("machinery.shared_run")
    stopping = importlib.import_module("machinery.stopping")
    group = importlib.import_module("framework.processes").join("cpu")
    stop, seconds = shared_run.AgreedStop(stopping.StopRequest(), group), []
    for _ in range(rounds + 1):  # The first round warms up.
        began = time.perf_counter()
        for _ in range(VOTES):
            stop.ask()
        seconds.append((time.perf_counter() - began) / VOTES)
    return seconds[1:]


def time_votes(project: Path, rounds: int) -> list[float]:
    """Return, for each round, the seconds of a vote of two processes."""
    port = free_port()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        votes = [pool.submit(vote, project, number, port, rounds) for number in range(2)]
        return votes[0].result()


def free_port() -> int:
    """Return a port of this machine that nobody listens to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main() -> None:
    """Measure all and print three tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="rounds to time [3]")
    parser.add_argument("--epochs", type=int, default=4, help="of each training [4]")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # Of what is not told otherwise.
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder) / "project")
        in_own_process(write_data, project)
        ways = {
            name: functools.partial(train, project, arguments.epochs, *way)
            for name, way in WAYS.items()
        }
        speeds = take_turns(ways, arguments.rounds)
        votes = time_votes(project, arguments.rounds)
    print(machine("torch"))
    print("\nExamples per second:\n")
    print_table([*speeds], [[spread(each, ",.0f") for each in speeds.values()]], text_columns=0)
    print("\nRatios:\n")
    rows = [[f"{a} / {b}", spread(ratios(speeds[a], speeds[b]))] for a, b in PAIRS]
    print_table(["", "speed"], rows)
    print("\nThe vote of two processes:\n")
    step = BATCH / statistics.median(speeds["two processes"])
    shares = spread([100 * seconds / step for seconds in votes])
    rows = [[spread([1e6 * seconds for seconds in votes], ".0f"), f"{1000 * step:.1f}", shares]]
    print_table(["us a vote", "ms a step", "% of a step"], rows, text_columns=0)


if __name__ == "__main__":
    main()
