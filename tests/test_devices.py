"""Devices, and processes that load batches: what a run asks of the framework, and when."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, find_combination
from fork_server import ForkServer
from projects import answers, assert_same_results, experiment, run, template, tiny

pytestmark = pytest.mark.in_full
DONE = 77  # How the setups below end the process once they have seen what they look for.


def framework(project: Path) -> str:
    """Return what a project computes with: torch, tensorflow or jax."""
    default = {"torch-research": "torch", "tf-production": "tensorflow"}.get(template(project), "")
    return answers(project).get("backend", default)


# ---------------------------------------------------------------------------------------------
# Before the first computation. Python for `setup` of the fork server.

NO_GPU = {
    "torch": """
import torch
torch.cuda.is_available = lambda: True
torch.cuda.get_arch_list = lambda: ["sm_75", "sm_80"]
torch.cuda.get_device_capability = lambda: (7, 0)
""",
    "tensorflow": """
import tensorflow
tensorflow.config.list_physical_devices = lambda kind=None: []
""",
    "jax": """
import jax
devices = jax.devices("cpu")
jax.devices = lambda kind=None: devices
""",
}


def test_a_gpu_that_cannot_be_used_is_refused_with_what_to_install(
    project: Path, server: ForkServer
) -> None:
    """None is found; or, with PyTorch, one that it has no code for."""
    folder = experiment(project, "no_gpu")
    options = ("--experiment", folder, "--device", "cuda")
    result = server.run("train", *options, setup=NO_GPU[framework(project)])
    assert result.code == 2, result.output
    for words in ("--device: got cuda", 'README.md, "A GPU"', "python -m pip install -c"):
        assert words in result.output
    assert "\n## A GPU\n" in (project / "README.md").read_text(encoding="utf-8")


HIDDEN = {
    "torch": """
import torch
torch.cuda._lazy_init = lambda: os._exit(1)
check = lambda: True
""",
    "tensorflow": """
import tensorflow
hidden = []
tensorflow.config.set_visible_devices = lambda *words: hidden.append(words)
tensorflow.config.list_logical_devices = lambda *words: os._exit(1)
check = lambda: ([], "GPU") in hidden
""",
    "jax": """
import jax
check = lambda: jax.config.jax_platforms == "cpu"
""",
}

ONCE_THE_NETWORK_IS_MADE = """
import os
import backend
{setup}
def make_model(*arguments, **options):
    os._exit({done} if check() else 1)
backend.make_model = make_model
"""


def before_the_network(project: Path, server: ForkServer, setup: str, *options: object) -> int:
    """Train until the network would be made; return whether `check` of the setup held then."""
    setup = ONCE_THE_NETWORK_IS_MADE.format(setup=setup, done=DONE)
    folder = experiment(project, "before", tiny(project, {"training.deterministic": True}))
    return server.run("train", "--experiment", folder, *options, setup=setup).code


def test_a_run_on_the_processor_starts_no_gpu(project: Path, server: ForkServer) -> None:
    """It would take memory of it, with TensorFlow all."""
    setup = HIDDEN[framework(project)]
    assert before_the_network(project, server, setup, "--device", "cpu") == DONE


DETERMINISTIC = {
    "torch": """
import torch
check = lambda: (
    torch.are_deterministic_algorithms_enabled()
    and not torch.utils.deterministic.fill_uninitialized_memory
    and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
)
""",
    "tensorflow": """
import tensorflow
asked = []
tensorflow.config.experimental.enable_op_determinism = lambda: asked.append(True)
check = lambda: asked
""",
    # It reads its flags when it first looks for devices.
    "jax": """
import jax
flags, devices = [], jax.devices
def record(*arguments):
    flags.append(os.environ.get("XLA_FLAGS", ""))
    return devices(*arguments)
jax.devices = record
check = lambda: flags and "--xla_gpu_deterministic_ops=true" in flags[0].split()
""",
}


def test_determinism_is_asked_for_in_time(project: Path, server: ForkServer) -> None:
    assert before_the_network(project, server, DETERMINISTIC[framework(project)]) == DONE


STARTED = {
    "torch": "import torch; started = torch.cuda.is_initialized()",
    "tensorflow": """
from tensorflow.python.eager import context
started = context.context()._context_handle is not None
""",
    "jax": "from jax._src import xla_bridge; started = xla_bridge.backends_are_initialized()",
}


def test_a_search_looks_for_devices_and_starts_none(project: Path, server: ForkServer) -> None:
    """Its workers import the script, and the process itself asks how many of them there can be.

    JAX cannot say what there is without starting it. Its first operation is what takes the memory.
    """
    look = "backend.choose_device('auto')" if framework(project) != "jax" else ""
    setup = f"""
import os
import backend, search_hyperparams
{look}
{STARTED[framework(project)]}
os._exit(1 if started else {DONE})
"""
    assert server.run("train", setup=setup).code == DONE


# ---------------------------------------------------------------------------------------------
# While it trains.

COUNTED = """
import atexit
import torch

calls = []

def counted(function):
    def call(*arguments, **options):
        calls.append(function)
        return function(*arguments, **options)

    return call

for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "nonzero"):
    setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))

import machinery.epoch as epoch

class Counted(epoch.Epoch):
    def __init__(self, run):
        super().__init__(run)
        self.before = len(calls)

    def advance(self, steps):
        super().advance(steps)
        if self.steps_left == 1:  # The last step is followed by a look.
            print(f"waited {len(calls) - self.before} times")

import machinery.run
machinery.run.Epoch = Counted
"""


@pytest.mark.parametrize("loop", ["plain", "lightning"])
def test_no_step_waits_for_the_device(
    loop: str, rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """Whatever reads a tensor waits until a GPU has computed it: as often in 40 steps as in 5."""
    project = copy_with_data(rendered(find_combination(loop)), tmp_path / "leaf")
    waited = set()
    with ForkServer(project) as server:
        for batch_size in (32, 256):
            changes = {"data.batch_size": batch_size, "training.clip_norm": 1.0}
            folder = experiment(project, "counted", tiny(project, changes))
            result = server.run("train", "--experiment", folder, setup=COUNTED)
            assert result.code == 0, result.output
            lines = [line for line in result.output.splitlines() if line.startswith("waited")]
            assert len(lines) == 2
            waited |= {*lines}
    assert len(waited) == 1, waited


def copy_with_data(project: Path, target: Path) -> Path:
    """Return a copy of a rendered project in which the default data is prepared."""
    shutil.copytree(project, target)
    assert run(target, "build_dataset.py").returncode == 0
    return target


# `python train.py`, where a method starts the processes that load batches.
WITH_METHOD = """
import multiprocessing, runpy, sys
multiprocessing.set_start_method({method!r})
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("method", "number", "code"), [("spawn", signal.SIGINT, 130), ("fork", signal.SIGTERM, 75)]
)
def test_processes_that_load_batches_outlive_a_signal_to_the_whole_group(
    method: str,
    number: int,
    code: int,
    rendered: Callable[[Combination], Path],
    tmp_path: Path,
) -> None:
    """As Ctrl-C in a terminal is; and spawned ones, as on macOS, give the same batches."""
    project = copy_with_data(rendered(find_combination("plain")), tmp_path / "leaf")
    folder = experiment(project, method, tiny(project, {"data.workers": 2, "training.epochs": 30}))
    words = [sys.executable, "-c", WITH_METHOD.format(method=method), "--experiment", str(folder)]
    process = subprocess.Popen(
        words,
        cwd=project,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    metrics = project / folder / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.01)
    os.killpg(process.pid, number)
    _, errors = process.communicate()
    assert process.returncode == code, errors
    assert "saved in" in errors
    assert run(project, "train.py", "--experiment", folder).returncode == 0
    whole = experiment(project, "whole", (project / folder / "params.yaml").read_text("utf-8"))
    assert run(project, "train.py", "--experiment", whole).returncode == 0
    assert_same_results(project / folder, project / whole)
    sessions = json.loads((project / folder / "run.json").read_text("utf-8"))["sessions"]
    assert [session["outcome"] for session in sessions] == ["stopped", "finished"]
