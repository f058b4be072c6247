"""Rendered projects to train in: shared by the tests that run a project's commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from safetensors.numpy import load_file

# Two epochs of five steps on the digits, with everything random switched on.
tiny = """
seed: 1
data: {batch_size: 256, shift: 1, flip: true}
model: {width: 4, stages: 1}
training: {epochs: 2}
"""


class Pace(NamedTuple):
    """How often a run of `tiny` can stop, and how many of the slow tests a framework is worth."""

    stops: int  # places where it looks for a request to stop and saves, the end included
    late: int  # a look in the second epoch, with two checkpoints behind it
    stride: int  # try every so many-th of what is the same code in every framework
    kills: int  # of real processes


def answers(project: Path) -> dict[str, str]:
    """Return the answers that the project was made with."""
    return yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))


def template(project: Path) -> str:
    """Return the name of the template that the project was made from."""
    return answers(project)["template"]


def pace(project: Path) -> Pace:
    """Return the pace of a framework. TensorFlow and JAX trace for seconds in each run."""
    if answers(project).get("loop") == "lightning":
        return Pace(stops=10, late=8, stride=3, kills=5)
    if answers(project).get("backend") in ("tensorflow", "jax"):  # Several steps at a time.
        return Pace(stops=6, late=5, stride=9, kills=3)
    return {
        "torch-research": Pace(stops=10, late=8, stride=1, kills=20),
        "tf-production": Pace(stops=10, late=8, stride=5, kills=4),
        "keras-quickstart": Pace(stops=10, late=8, stride=9, kills=3),
    }[template(project)]


def run(project: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run `python ...` in a project as a person would type it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=project,
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )


def experiment(project: Path, name: str, parameters: str = tiny) -> Path:
    """Make an experiment's folder; return its path from the project."""
    folder = Path("experiments", name)
    shutil.rmtree(project / folder, ignore_errors=True)
    (project / folder).mkdir(parents=True)
    (project / folder / "params.yaml").write_text(parameters)
    return folder


def results(folder: Path) -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays of the last checkpoint and the metrics file of a finished run."""
    arrays = load_file(folder / "last.safetensors")
    return arrays, (folder / "metrics.jsonl").read_text()


def assert_same_results(folder: Path, reference: Path) -> None:
    """Fail unless two runs ended in the same bits and the same metrics."""
    (arrays, metrics), (expected_arrays, expected_metrics) = results(folder), results(reference)
    assert metrics == expected_metrics
    assert arrays.keys() == expected_arrays.keys()
    for name, array in arrays.items():
        assert array.tobytes() == expected_arrays[name].tobytes(), name
    litter = [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]
    assert not litter


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
