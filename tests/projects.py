"""Rendered projects to train in: shared by the tests that run a project's commands."""

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from safetensors.numpy import load_file, save

import combinations
from combinations import find_combination
from tasks import Task

# Each module in tests/tasks/ holds a task.
_modules = sorted(Path(__file__).parent.glob("tasks/[a-z]*.py"))
_tasks: list[Task] = [importlib.import_module(f"tasks.{path.stem}").task for path in _modules]
TASKS = {each.name: each for each in _tasks}


class Pace(NamedTuple):
    """How often a run of `tiny` can stop, and how many of the slow tests a project is worth."""

    stops: int  # places where it looks for a request to stop and saves, the end included
    late: int  # a look in the second epoch, with two checkpoints behind it
    looks: int  # stop at every so many-th look
    stride: int  # try every so many-th of what is the same code in every framework
    kills: int  # of real processes


def answers(project: Path) -> dict[str, str]:
    """Return the answers that the project was made with."""
    return yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))


def template(project: Path) -> str:
    """Return the name of the template that the project was made from."""
    return answers(project)["template"]


def task(project: Path) -> Task:
    """Return what the tests know of the project's task."""
    return TASKS[answers(project)["task"]]


def pace(project: Path) -> Pace:
    """Return the pace of a project. TensorFlow and JAX trace for seconds in each run."""
    given = answers(project)
    if given.get("backend") in ("tensorflow", "jax"):  # Several steps at a time.
        pace = Pace(stops=6, late=5, looks=1, stride=9, kills=3)
    elif given.get("loop") == "lightning":
        pace = Pace(stops=10, late=8, looks=1, stride=9, kills=5)
    else:
        strides = {"torch-research": (3, 20), "tf-production": (9, 4), "keras-quickstart": (9, 3)}
        stride, kills = strides[given["template"]]
        looks = 2 if given["template"] == "tf-production" else 1
        pace = Pace(stops=10, late=8, looks=looks, stride=stride, kills=kills)
    way = find_combination(given.get("loop") or given.get("backend", "-"), given["task"])
    if not combinations.deep:
        pace = pace._replace(kills=min(pace.kills, 8))
    if not (way.in_full and (way.at_the_gate or combinations.deep)):
        pace = pace._replace(looks=pace.stops // 2, stride=11, kills=1)
    return pace


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


def tiny(project: Path, changes: Mapping[str, Any] | None = None) -> str:
    """Return a params.yaml that trains in a moment: two epochs of five steps on the default data.

    Args:
        project: says which task it is for.
        changes: other values, by dotted name; None leaves one out.
    """
    return format_yaml({**task(project).tiny, **(changes or {})})


def format_yaml(parameters: Mapping[str, Any]) -> str:
    """Write parameters with dotted names as the sections of a params.yaml; leave out None."""
    sections: dict[str, Any] = {}
    for name, value in parameters.items():
        section, _, last = name.rpartition(".")
        if value is not None:
            (sections.setdefault(section, {}) if section else sections)[last] = value
    return yaml.safe_dump(sections, sort_keys=False)


def experiment(project: Path, name: str, parameters: str | None = None) -> Path:
    """Make an experiment's folder, with `tiny` unless told; return its path from the project."""
    folder = Path("experiments", name)
    shutil.rmtree(project / folder, ignore_errors=True)
    (project / folder).mkdir(parents=True)
    text = tiny(project) if parameters is None else parameters
    (project / folder / "params.yaml").write_text(text, encoding="utf-8")
    return folder


def arrays_folder(data: Path) -> Path:
    """Return the folder of the arrays that a folder of data names in its dataset.json."""
    return data / yaml.safe_load((data / "dataset.json").read_text())["arrays_folder"]


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
    """Return the content of every file below a folder, git's own and caches aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".git", "__pycache__"} & {*path.relative_to(folder).parts}
    }


def sealed(arrays: dict[str, np.ndarray], content: bytes) -> bytes:
    """Return the checkpoint `content` with other arrays, and all that says it is whole."""
    length = int.from_bytes(content[:8], "little")
    state = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["state"])
    described = {name: f"{name} {arrays[name].dtype} {arrays[name].shape}" for name in arrays}
    state["arrays"] = [described[name] for name in sorted(arrays)]
    text = json.dumps(state)
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(described[name].encode())
        digest.update(arrays[name].tobytes())
    return save(arrays, {"state": text, "sha256": digest.hexdigest()})


# ---------------------------------------------------------------------------------------------
# Faults that are arranged inside a project's process: Python for `setup` of the fork server.

# Net or build_model of model/net.py, called with other parameters of the network.
OTHER_NETWORK = {
    "torch-research": """
real = n.Net.__init__
def init(self, parameters, dataset):
    real(self, parameters.model_copy(update={update!r}), dataset)
n.Net.__init__ = init
""",
    "keras-quickstart": """
real = n.build_model
n.build_model = lambda p, *others, **named: real(p.model_copy(update={update!r}), *others, **named)
""",
}
OTHER_NETWORK["tf-production"] = OTHER_NETWORK["torch-research"]

# The first weights stay as they are at the start.
FROZEN_LAYER = {
    "torch-research": """
real = n.Net.__init__
def init(self, *arguments):
    real(self, *arguments)
    next(self.parameters()).requires_grad_(False)
n.Net.__init__ = init
""",
    "tf-production": """
import keras
real = n.Net.__init__
def init(self, *arguments):
    real(self, *arguments)
    next(l for l in vars(self).values() if isinstance(l, keras.Layer)).trainable = False
n.Net.__init__ = init
""",
    "keras-quickstart": """
real = n.build_model
def build(*arguments, **named):
    model = real(*arguments, **named)
    next(layer for layer in model.layers if layer.trainable_weights).trainable = False
    return model
n.build_model = build
""",
}

# What train.py calls AdamW is another optimizer.
OTHER_OPTIMIZER = {
    "torch-research": """
import torch
torch.optim.AdamW = torch.optim.Adam
""",
    "tf-production": """
import keras
keras.optimizers.AdamW = keras.optimizers.Adamax
""",
    "keras-quickstart": """
import keras
keras.optimizers.AdamW = keras.optimizers.Adamax
""",
}


def other_network(project: Path) -> str:
    """Return the setup that gives the network other parameters than those of the experiment."""
    code = OTHER_NETWORK[template(project)].format(update=dict(task(project).other_network))
    return f"import evaluate, train\nimport model.net as n\n{code}"


def frozen_layer(project: Path) -> str:
    """Return the setup that keeps the network's first weights from being trained."""
    return f"import evaluate, train\nimport model.net as n\n{FROZEN_LAYER[template(project)]}"


def other_optimizer(project: Path) -> str:
    """Return the setup that gives train.py another optimizer."""
    return f"import evaluate, train\n{OTHER_OPTIMIZER[template(project)]}"
