"""What other systems and GPUs do differently, imitated here: files, clocks, signals, processes."""

import functools
import math
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset, build
from helpers import NoStop, new_study, write_base, write_settings
from machinery import arrays, devices, errors, files, records, search, search_workers, terminal
from machinery.errors import InputError
from machinery.metrics import read_metrics
from machinery.ragged import Ragged
from machinery.run import Run
from machinery.search import SearchCommand
from parameters import Parameters
from train import train

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and scripts")


# ---------------------------------------------------------------------------------------------
# Files on Windows.


class Reader:
    """Another process that has files open, so that Windows refuses to replace or delete them.

    Args:
        refusals: how many times in a row it refuses.
        number: Windows's own number of the error.
    """

    def __init__(self, refusals: float, number: int | None = 5) -> None:
        self.refusals, self.number, self.left = refusals, number, refusals

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def refused(*arguments: Any, **options: Any) -> Any:
            if self.left:
                self.left -= 1
                error = PermissionError(13, "Access is denied", str(arguments[0]))
                error.winerror = self.number  # ty: ignore[missing-attribute]
                raise error
            self.left = self.refusals
            return function(*arguments, **options)

        return refused


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were slept, without sleeping them."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.mark.parametrize("number", [5, 32])
def test_a_reader_does_not_end_a_training(
    tmp_path: Path,
    train_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    waited: list[float],
    number: int,
) -> None:
    reader = Reader(3, number)
    for where, name in ((os, "replace"), (Path, "unlink")):
        monkeypatch.setattr(where, name, reader.before(getattr(where, name)))
    build(tmp_path / "data")
    folder = tmp_path / "run"
    train_run(folder)
    train_run(folder, overwrite=True)
    assert len(read_metrics(folder)) == 4
    assert records.is_finished(folder)
    assert waited
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize("change", [files.replace, lambda old, new: files.remove(new)])
def test_a_reader_that_stays_is_waited_for_two_seconds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    waited: list[float],
    change: Callable[[Path, Path], None],
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    new.write_text("new")
    reader = Reader(math.inf)
    for where, name in ((os, "replace"), (Path, "unlink")):
        monkeypatch.setattr(where, name, reader.before(getattr(where, name)))
    with pytest.raises(PermissionError):
        change(old, new)
    assert 1.5 < sum(waited) < 2.5
    assert waited == sorted(waited)
    assert (old.read_text(), new.read_text()) == ("old", "new")


def test_a_folder_that_may_not_be_written_to_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: list[float]
) -> None:
    (tmp_path / "old").touch()
    monkeypatch.setattr(os, "replace", Reader(math.inf, None).before(os.replace))
    with pytest.raises(PermissionError):
        files.replace(tmp_path / "old", tmp_path / "new")
    assert waited == []


def test_a_refused_run_leaves_nothing_where_an_open_file_cannot_be_deleted(
    tmp_path: Path, data: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where filelock deletes the file of a lock when it releases it."""
    held: list[Path] = []
    unlink = Path.unlink

    def unlink_closed(path: Path, missing_ok: bool = False) -> None:
        if path in held:
            raise PermissionError(13, "Access is denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_closed)
    run = Run(tmp_path / "a" / "b", Parameters(), dataset, data, NoStop())
    lock, release = tmp_path / "a" / "b" / ".lock", run._lock.release

    def release_and_delete(*arguments: Any, **options: Any) -> None:
        release(*arguments, **options)
        held.clear()
        lock.unlink(missing_ok=True)

    monkeypatch.setattr(run._lock, "release", release_and_delete)
    with run:
        held.append(lock)  # And nothing began.
    assert [*tmp_path.iterdir()] == []


# ---------------------------------------------------------------------------------------------
# Clocks.


def test_an_epoch_may_be_shorter_than_a_tick_of_the_clock(
    tmp_path: Path, train_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("perf_counter", "monotonic"):
        clock = getattr(time, name)
        monkeypatch.setattr(time, name, lambda clock=clock: clock() // 1000 * 1000)
    train_run(tmp_path / "run", {"data": {"batch_size": 1000}})  # Epochs of one step.
    assert len(read_metrics(tmp_path / "run")) == 4


def test_a_search_may_be_shorter_than_a_tick_of_the_clock(
    folder: Path,
    data: Path,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_base(folder, epochs=1)
    write_settings(folder, trials=1)
    study = new_study(folder, dataset, data)

    def run_workers(_count: int, stop: NoStop, here: Any, train: Any) -> None:
        search_workers.Worker(study, train, stop).work()

    monkeypatch.setattr(search_workers, "run_workers", run_workers)
    for name in ("perf_counter", "monotonic"):
        monkeypatch.setattr(time, name, lambda: 1.0)
    search.run_search(study.search, train, NoStop(), lambda: 1)
    assert "1 trial in 0 s" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------
# Signals.


def in_new_process(code: str, folder: Path) -> str:
    """Run Python that imports the machinery; return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@posix
@pytest.mark.parametrize("script", ["train.py", "search_hyperparams.py"])
def test_a_process_that_loads_batches_or_trials_outlives_what_asks_its_parent_to_stop(
    project: Path, script: str
) -> None:
    """While it imports the script, as multiprocessing does in a process that was spawned."""
    code = f"""
import os, runpy, signal
runpy.run_path({script!r}, run_name="__mp_main__")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    os.kill(os.getpid(), number)
print("alive")
"""
    assert in_new_process(code, project) == "alive\n"


@posix
def test_windows_has_ctrl_break_and_lacks_sigusr1(project: Path) -> None:
    code = """
import os, signal
signal.SIGBREAK = signal.SIGHUP
del signal.SIGUSR1
from machinery.stopping import StopRequest
stop = StopRequest()
assert not stop
os.kill(os.getpid(), signal.SIGBREAK)
assert stop
print(type(stop.error).__name__)
"""
    assert in_new_process(code, project) == "StoppedError\n"


def test_a_system_without_what_only_linux_has(project: Path, data: Path, tmp_path: Path) -> None:
    """Signals and functions of os that macOS or Windows lack."""
    parameters = project / "experiments" / "lacking" / "params.yaml"
    parameters.parent.mkdir(parents=True)
    parameters.write_text("training: {epochs: 1}\n")
    code = f"""
import os, runpy, signal, sys
for module, names in ((signal, ["SIGUSR1", "SIGKILL"]), (os, ["sched_getaffinity", "killpg"])):
    for name in names:
        module.__dict__.pop(name, None)
from machinery.devices import count_cores
assert count_cores() == os.cpu_count()
sys.argv = ["train.py", "--experiment", {str(parameters.parent)!r}, "--data", {str(data)!r}]
runpy.run_path("train.py", run_name="__main__")
"""
    assert "best epoch 1" in in_new_process(code, project)


# ---------------------------------------------------------------------------------------------
# Processes that share no memory with their parent, as on Windows and macOS.


def send(value: Any) -> tuple[int, Any]:
    """Return how many bytes it takes to hand a value to another process, and what arrives there."""
    content = ForkingPickler.dumps(value)
    return len(content), ForkingPickler.loads(content)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mapped_array_is_not_copied_to_another_process(tmp_path: Path, order: Any) -> None:
    content = np.asarray(np.arange(100_000).reshape(1000, 100), order=order)
    np.save(tmp_path / "array.npy", content)
    array = arrays.read_array(tmp_path / "array.npy", (1000, 100), "int64", "")
    size, sent = send({"inputs": array})
    assert size < 1000
    assert np.array_equal(sent["inputs"], content)
    sent["inputs"][0] = -1
    assert np.array_equal(np.load(tmp_path / "array.npy"), content)
    ragged = Ragged(array, np.array([0, 400, 1000]), 600, 0)
    size, sent = send(ragged)
    assert size < 1500
    assert np.array_equal(sent[1], content[400:])


def test_parts_of_a_mapped_array_are_sent_as_they_are(tmp_path: Path) -> None:
    content = np.arange(1000)
    np.save(tmp_path / "array.npy", content)
    array = arrays.read_array(tmp_path / "array.npy", (1000,), "int64", "")
    for part in (array[10:20], array[::-1], array + 1, array.reshape(10, 100), array[[3, 1]]):
        assert np.array_equal(send(part)[1], part)


# ---------------------------------------------------------------------------------------------
# Devices.


def test_the_best_device_is_taken_and_a_missing_one_refused() -> None:
    available = {"cuda": False, "mps": True, "cpu": True}
    assert devices.choose("auto", available, "") == "mps"
    assert devices.choose("cpu", available, "") == "cpu"
    with pytest.raises(InputError, match=r"--device: got cuda, .*: mps, cpu\. Install this\."):
        devices.choose("cuda", available, "Install this.")


PYTORCH_CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((6, 0), False),  # P100
        ((6, 1), False),  # GTX 1080
        ((7, 0), False),  # V100
        ((7, 5), True),  # T4
        ((8, 0), True),
        ((8, 6), True),
        ((8, 9), True),
        ((9, 0), True),
        ((12, 1), True),
    ],
)
def test_machine_code_runs_on_gpus_of_its_generation(
    capability: tuple[int, int], runs: bool
) -> None:
    assert devices.runs_on(PYTORCH_CUDA_13, capability) == runs


def test_code_that_the_driver_compiles_runs_on_any_later_gpu() -> None:
    assert devices.runs_on(["sm_50", "compute_60"], (9, 0))
    assert devices.runs_on(["sm_50", "compute_60"], (5, 2))
    assert not devices.runs_on(["compute_80"], (7, 5))
    assert devices.runs_on([], (7, 0)), "an unknown build is trusted"
    assert devices.runs_on(["gfx90a"], (9, 0)), "AMD's GPUs have other names"


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, one of them in parts."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\necho 'GPU 0: H100 (UUID: GPU-1)'\n"
        "echo '  MIG 1g.10gb Device 0: (UUID: MIG-2)'\necho 'GPU 1: T4 (UUID: GPU-3)'\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.delenv(devices.VISIBLE, raising=False)


@posix
def test_gpus_are_counted(two_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.list_gpus() == ["0", "1"]
    for named, expected in {"3": ["3"], "1, GPU-7": ["1", "GPU-7"], "-1": [], "": []}.items():
        monkeypatch.setenv(devices.VISIBLE, named)
        assert devices.list_gpus() == expected
    monkeypatch.delenv(devices.VISIBLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.list_gpus() == []


class FakeContext:
    """multiprocessing without processes: remembers the environment in which each would start."""

    def __init__(self) -> None:
        self.environments: list[dict[str, str]] = []
        self.asked = False

    def SimpleQueue(self) -> Any:
        return SimpleNamespace(empty=lambda: True)

    def Event(self) -> Any:
        return SimpleNamespace(set=lambda: setattr(self, "asked", True))

    def Process(self, **_: Any) -> Any:
        def start() -> None:
            self.environments.append(dict(os.environ))

        nothing = lambda *_: None  # noqa: E731
        return SimpleNamespace(
            start=start, join=nothing, terminate=nothing, is_alive=lambda: False, exitcode=0
        )


NAMES = (devices.VISIBLE, "TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_PREALLOCATE")


@posix
@pytest.mark.parametrize(
    ("device", "count", "expected"),
    [
        ("auto", 3, [("0", "true", "false"), ("1", "true", "false"), ("0", "true", "false")]),
        ("cuda", 2, [("0", None, None), ("1", None, None)]),  # A GPU for each.
        ("cpu", 1, [(None, "true", "false")]),
    ],
)
def test_workers_share_the_gpus(
    folder: Path,
    dataset: Dataset,
    two_gpus: None,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    count: int,
    expected: list[tuple[str | None, ...]],
) -> None:
    for name in NAMES[1:]:
        monkeypatch.setenv(name, "so that it is put back")
        monkeypatch.delenv(name)
    context = FakeContext()
    monkeypatch.setattr(search_workers.multiprocessing, "get_context", lambda _: context)
    here: Any = SimpleNamespace(device=device)
    search_workers.run_workers(count, NoStop(), here, train)
    found = [tuple(each.get(name) for name in NAMES) for each in context.environments]
    assert found == expected
    assert devices.VISIBLE not in os.environ
    assert context.asked


@posix
@pytest.mark.parametrize(
    ("device", "workers"), [("cpu", devices.count_cores()), ("cuda:0", 2), ("gpu", 2)]
)
def test_a_search_takes_every_gpu_or_every_core(
    two_gpus: None, device: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no memory of a GPU for itself, where a framework has to start it to see it."""
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    monkeypatch.setenv(name, "")  # So that it is put back.
    monkeypatch.delenv(name)

    def choose_device(_: str) -> str:
        assert os.environ[name] == "false"
        return device

    command = SearchCommand(SimpleNamespace(workers=None, device="auto"))  # ty: ignore[invalid-argument-type]
    assert command._count_workers(choose_device) == workers


# ---------------------------------------------------------------------------------------------
# Messages.


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you "
        "tried to allocate 40000000000 bytes.",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory",
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "MPS backend out of memory (MPS allocated: 5.00 GB)",
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes.",
        "OOM when allocating tensor with shape[8,8] and type float on /device:GPU:0",
        "Failed copying input tensor from CPU:0 to GPU:0: Dst tensor is not initialized.",
        "[WinError 1455] The paging file is too small for this operation to complete",
    ],
)
def test_every_way_to_run_out_of_memory_is_known(text: str) -> None:
    assert errors.is_out_of_memory(RuntimeError(text))


def test_commands_are_quoted_for_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("python", "evaluate.py", "--data", PureWindowsPath(r"data\my photos"), "a'b")
    assert terminal.quote(*words) == """python evaluate.py --data 'data/my photos' 'a'"'"'b'"""
    monkeypatch.setattr(os, "name", "nt")
    line = terminal.quote(*words)
    monkeypatch.undo()
    assert line == """python evaluate.py --data "data/my photos" a'b"""


def test_the_command_that_comes_next_can_be_pasted(
    tmp_path: Path, data: Path, train_run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="run"):
        run = train_run(tmp_path / "my run")
    quoted = terminal.quote("--experiment", run.folder, "--data", data)
    assert "'" in quoted
    assert caplog.messages[-1].endswith(f"next: python evaluate.py {quoted}")
    assert records.read_sessions(run.folder)[-1]["data"] == data.as_posix()
