"""Devices, and processes that load batches: what a run asks of the framework, and when."""

import contextlib
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

pytestmark = pytest.mark.every_way
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
jax.devices = lambda *arguments, **options: devices
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
start = tensorflow.config.list_logical_devices  # It starts all devices that are not hidden.
tensorflow.config.list_logical_devices = lambda kind: start(kind) if hidden else os._exit(1)
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
def record(*arguments, **options):
    flags.append(os.environ.get("XLA_FLAGS", ""))
    return devices(*arguments, **options)
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

epoch.LOOK_STEPS = 10**9  # It looks at the end alone.

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


@pytest.fixture(scope="module")
def projects(
    rendered: Callable[[Combination], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A project of each loop with the default data prepared."""
    root = tmp_path_factory.mktemp("devices")
    loops = ("plain", "lightning")
    folders = {
        loop: shutil.copytree(rendered(find_combination(loop)), root / loop) for loop in loops
    }
    assert run(folders["plain"], "build_dataset.py").returncode == 0
    shutil.copytree(folders["plain"] / "data", folders["lightning"] / "data", dirs_exist_ok=True)
    return folders


@pytest.mark.parametrize("loop", ["plain", "lightning"])
def test_no_step_waits_for_the_device(loop: str, projects: dict[str, Path]) -> None:
    """Whatever reads a tensor waits until a GPU computed it. (Lightning does every 50 steps.)"""
    project = projects[loop]
    # Epochs of forty steps; in float32, which every processor has.
    changes = {"data.batch_size": 32, "training.clip_norm": 1.0, "training.precision": "float32"}
    folder = experiment(project, "counted", tiny(project, changes))
    with ForkServer(project) as server:
        result = server.run("train", "--experiment", folder, setup=COUNTED)
    assert result.code == 0, result.output
    waited = [int(line.split()[1]) for line in result.output.splitlines() if "waited" in line]
    assert len(waited) == 2
    assert max(waited) <= 1, waited


# `python train.py`, where a method starts the processes that load batches.
WITH_METHOD = """
import multiprocessing, runpy, sys
multiprocessing.set_start_method({method!r})
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path("train.py", run_name="__main__")
"""


def stop_the_group(project: Path, folder: Path, method: str, number: int) -> tuple[int, str]:
    """Train, and send a signal to all processes after the first epoch; return how it ended."""
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
    return process.returncode, errors


@pytest.mark.parametrize("loop", ["plain", "lightning"])
def test_a_bug_ends_the_processes_that_load_batches(loop: str, projects: dict[str, Path]) -> None:
    """They ignore signals, and Python would wait for them at its end for ever."""
    project = projects[loop]
    folder = experiment(project, "bug", tiny(project, {"data.workers": 2}))
    bug = "import machinery.epoch\nmachinery.epoch.Epoch.end = lambda *_: 1 / 0\n"
    code = bug + WITH_METHOD.format(method="fork")
    words = [sys.executable, "-B", "-c", code, "--experiment", str(folder)]
    process = subprocess.Popen(
        words, cwd=project, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert process.wait(timeout=600) == 1
    finally:
        with contextlib.suppress(ProcessLookupError):  # Where nothing of it is left.
            os.killpg(process.pid, signal.SIGKILL)


def test_processes_that_load_batches_outlive_a_signal_to_all(projects: dict[str, Path]) -> None:
    """As of Ctrl-C, or of the end of a job. And those that are spawned, as on macOS and Windows,
    give the same batches as forked ones.
    """
    project, folders = projects["plain"], []
    parameters = tiny(project, {"data.workers": 2, "training.epochs": 20})
    for method, number, code in (("spawn", signal.SIGINT, 130), ("fork", signal.SIGTERM, 75)):
        folder = experiment(project, method, parameters)
        returned, errors = stop_the_group(project, folder, method, number)
        assert returned == code, errors
        assert "saved in" in errors
        folders.append(folder)
    with ForkServer(project) as server:
        for folder in folders:
            assert server.run("train", "--experiment", folder).code == 0
            record = json.loads((project / folder / "run.json").read_text(encoding="utf-8"))
            assert [each["outcome"] for each in record["sessions"]] == ["stopped", "finished"]
    assert_same_results(*(project / folder for folder in folders))
