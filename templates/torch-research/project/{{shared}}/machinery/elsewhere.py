"""What an exported network predicts in a new process that has nothing of this project."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from machinery import rankings
from machinery.errors import CommandError

# The greatest difference of two numbers that counts as none, as a share of the number or of what is
# usual in its output, whichever is greater: other runtimes add up in another order.
TOLERANCE = 1e-4
# Where the network decides, two answers may be almost equally good, and a rounding chooses. Among
# outputs with a decision, this share of the numbers may differ.
DECISIONS = 0.01

# The new process runs this after the code that defines predict(inputs, path): inputs and what it
# returns are arrays by name.
READ = """
import pathlib, statistics, sys, time
import numpy as np
inputs = {path.stem: np.load(path) for path in pathlib.Path("inputs").iterdir()}
count = len(next(iter(inputs.values())))
def call(first, last):
    return predict({name: array[first:last] for name, array in inputs.items()}, sys.argv[1])
"""
# The first example goes alone, as any number of them has to do.
PREDICT = """
bounds = [0, 1, *range(1 + int(sys.argv[2]), count, int(sys.argv[2])), count]
parts = [call(*pair) for pair in zip(bounds, bounds[1:]) if pair[0] < pair[1]]
for name in parts[0]:
    array = np.concatenate([np.asarray(part[name]) for part in parts])
    np.save(f"outputs/{name}.npy", array.astype(bytes) if array.dtype == object else array)
"""
TIME = """
def median(last):
    call(0, last)  # What the first call of a size does once.
    seconds = []
    for _ in range(int(sys.argv[2])):
        started = time.perf_counter()
        call(0, last)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
np.save("outputs/seconds.npy", [median(1), median(count)])
"""


class ExportError(CommandError):
    """An exported network does not do what the network does; nothing of it is kept."""


def predict_elsewhere(
    load: str, path: Path, inputs: Mapping[str, np.ndarray], batch: int | None = None
) -> dict[str, np.ndarray]:
    """Return what an exported network predicts in a new process, by name, each (N, ...).

    Args:
        load: Python that defines predict(inputs, path) with nothing but packages.
        path: the exported network.
        inputs: of the network, by name, each (N, ...).
        batch: how many examples to compute at a time; None: all.

    Raises:
        ExportError: it cannot be loaded or run there.
    """
    count = len(next(iter(inputs.values())))
    return run_elsewhere(load + READ + PREDICT, path, inputs, batch or max(1, count))


def time_elsewhere(
    load: str, path: Path, inputs: Mapping[str, np.ndarray], calls: int
) -> tuple[float, float]:
    """Return the median seconds of a call in a new process: of one example, and of all given.

    Raises:
        ExportError: it cannot be loaded or run there.
    """
    one, together = run_elsewhere(load + READ + TIME, path, inputs, calls)["seconds"].tolist()
    return one, together


def run_elsewhere(
    code: str, path: Path, inputs: Mapping[str, np.ndarray], number: int
) -> dict[str, np.ndarray]:
    """Return the arrays that code saves in a new process, by name.

    Args:
        code: finds the path and a number in sys.argv, the inputs in the folder inputs, and writes
            into the folder outputs.
        path: the exported network.
        inputs: of the network, by name, each (N, ...).
        number: what the code takes it for.

    Raises:
        ExportError: the code fails.
    """
    with tempfile.TemporaryDirectory() as empty:
        for name in ("inputs", "outputs"):
            Path(empty, name).mkdir()
        for name, array in inputs.items():
            np.save(Path(empty, "inputs", f"{name}.npy"), array)
        # -E, -P: neither the environment nor the folder adds to what can be imported.
        words = [sys.executable, "-E", "-P", "-c", code, str(path.absolute()), str(number)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        run = subprocess.run(
            words, cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise ExportError(
                f"{path.name} does not run in a new process without this project, so nothing was "
                f"exported. It said:\n{run.stderr.strip()}"
            )
        return {path.stem: np.load(path) for path in Path(empty, "outputs").iterdir()}


def compare(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """Return the greatest difference of predictions that is none by TOLERANCE.

    Args:
        found: of the exported network, by name, each (N, ...).
        expected: of the network, by name, each (N, ...).

    Raises:
        ExportError: they differ by more, in more places than near decisions can explain.
    """
    if found.keys() != expected.keys():
        raise ExportError(
            f"The exported network gives {', '.join(sorted(found))}, expected "
            f"{', '.join(sorted(expected))}; nothing was exported."
        )
    for name, array in expected.items():
        if found[name].shape != array.shape:
            raise ExportError(
                f"The exported network gives {name} of shape {found[name].shape}, expected "
                f"{array.shape}; nothing was exported."
            )
    decides = any(not np.issubdtype(array.dtype, np.floating) for array in expected.values())
    usual = {name: usual_size(array) for name, array in expected.items()}
    found = rankings.reordered(found, expected, usual, differences, TOLERANCE)
    most = 0.0
    for name, array in expected.items():
        each = differences(found[name], array, usual[name])
        same = each <= TOLERANCE  # False for NaN.
        share = 1 - same.mean() if same.size else 0.0
        if share > (DECISIONS if decides else 0):
            raise ExportError(
                f"The exported network predicts other {name}: {share:.1%} of them differ, by "
                f"{each.max():.2g} at most; nothing was exported."
            )
        most = max(most, float(each[same].max(initial=0)))
    return most


def usual_size(array: np.ndarray) -> float:
    """Return how large the numbers of an output are: the root of their mean square."""
    if not np.issubdtype(array.dtype, np.floating) or not array.size:
        return 1.0
    return float(np.sqrt(np.square(array, dtype=float).mean()))


def differences(found: np.ndarray, expected: np.ndarray, usual: float) -> np.ndarray:
    """Return how far numbers are from those expected, as shares; of text, 0 or 1."""
    if not np.issubdtype(expected.dtype, np.floating):  # Whole numbers or text.
        text = expected.dtype.kind in "OU"
        return (found != (expected.astype(bytes) if text else expected)).astype(float)
    scale = np.maximum(np.maximum(np.abs(expected), usual), np.finfo(np.float32).tiny)
    return np.abs(found.astype(float) - expected) / scale
