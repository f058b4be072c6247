"""Several processes that train one network: both loops of torch-research, and tf-production."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from combinations import Combination, find_combination
from fork_server import ForkServer
from projects import assert_same_results, experiment, run, tiny

Rendered = Callable[[Combination], Path]
PARTS = {"training.accumulate": 4}  # With them any number of processes that divides 4 is the same.


class Place(NamedTuple):
    """A project with one of the loops, and what runs its commands in one process."""

    project: Path
    server: ForkServer
    loop: str

    def train(self, name: str, changes: dict[str, Any]) -> Path:
        """Train an experiment in one process; return its whole path."""
        folder = experiment(self.project, name, tiny(self.project, changes))
        result = self.server.run("train", "--experiment", folder)
        assert result.code == 0, result.output
        return self.project / folder

    def train_whole(self, changes: dict[str, Any]) -> Path:
        """Train without a stop; with Lightning, the bits are those of the number of processes."""
        if self.loop == "plain":
            return self.train("whole", changes)
        folder = self.begin("whole", changes)
        self.launch(2, folder)
        return self.project / folder

    def begin(self, name: str, changes: dict[str, Any]) -> Path:
        return experiment(self.project, name, tiny(self.project, changes))

    def launch(self, processes: int, folder: Path, *words: object, code: int = 0) -> str:
        """Train an experiment in several processes; return what they print."""
        command = ("launch.py", processes, "train.py", "--experiment", folder, *words)
        result = run(self.project, *command)
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout + result.stderr

    def progress(self, folder: Path) -> int:
        """Return how often it has begun; with TensorFlow, which compiles first, to train."""
        if self.loop != "-":
            return len(self.sessions(folder))
        path = self.project / folder / "metrics.jsonl"
        return path.read_text().count("\n") // 30 if path.exists() else 0

    def sessions(self, folder: Path) -> list[dict[str, Any]]:
        path = self.project / folder / "run.json"
        return json.loads(path.read_text())["sessions"] if path.exists() else []


def open_place(loop: str, rendered: Rendered, folder: Path) -> Iterator[Place]:
    project = shutil.copytree(rendered(find_combination(loop)), folder / "leaf")
    assert run(project, "build_dataset.py").returncode == 0
    with ForkServer(project) as server:
        yield Place(project, server, loop)


@pytest.fixture(scope="module")
def place(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from open_place("plain", rendered, tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def lightning(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from open_place("lightning", rendered, tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def tensorflow(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from open_place("-", rendered, tmp_path_factory.mktemp("processes"))


@pytest.fixture(params=["place", "lightning", "tensorflow"])
def each_way(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["place", "lightning"])
def either(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(request.param)


def test_two_processes_and_then_one_end_in_the_bits_of_one(place: Place) -> None:
    """Stopped by the time limit after a step, with the exit code of any stop."""
    whole, folder = place.train("whole", PARTS), place.begin("shared", PARTS)
    output = place.launch(2, folder, "--max-minutes", 0, code=75)
    assert output.count("saved in") == 1
    assert "2 processes" in output
    result = place.server.run("train", "--experiment", folder)
    assert result.code == 0, result.output
    assert "continuing at step 1 of" in result.output
    assert "goes on with" not in result.output  # Nothing to warn of.
    assert_same_results(place.project / folder, whole)
    assert [session["processes"] for session in place.sessions(folder)] == [2, 1]


# A network with two layers that are gathered alone, and two of which each process uses one.
SHARE_OUT = """
import torch
from framework import processes, sharding

group = processes.join("cpu")
linear = lambda: torch.nn.Linear(4, 4)
model = torch.nn.Sequential(linear(), linear())
model.only_in_one = torch.nn.ModuleDict({"0": torch.nn.Linear(4, 2), "1": torch.nn.Linear(4, 2)})
sharding.shard(model, torch.device("cpu"), smallest=20)
assert [type(layer).__name__ for layer in model[:2]] == ["FSDPLinear"] * 2
kept = sum(weight.to_local().numel() for weight in model.parameters())
assert kept * 2 == sum(weight.numel() for weight in model.parameters()), kept

type(model).forward = lambda self, x: self.only_in_one[str(group.number)](self[1](self[0](x)))
(2 * model(torch.ones(1, 4))).sum().backward()
for layer in model.only_in_one.values():
    assert layer.bias.grad.full_tensor().tolist() == [1, 1]  # The mean of 2, of one, and 0.
print("shared out", flush=True)
"""


def test_each_process_has_half_of_the_weights_and_their_whole_gradients(place: Place) -> None:
    (place.project / "share_out.py").write_text(SHARE_OUT, encoding="utf-8")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    result = run(place.project, *torchrun, "share_out.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("shared out") == 2


def test_two_processes_keep_a_part_of_the_weights_each(place: Place) -> None:
    """Their checkpoint holds whole arrays; only rounding tells them from processes with all."""
    code = (
        place.project / "framework/sharding.py"
    )  # So that there are layers that are gathered alone.
    code.write_text(
        code.read_text("utf-8").replace("SMALLEST = 1_000_000", "SMALLEST = 500"), "utf-8"
    )
    exact = {"training.precision": "float32", "training.epochs": 1}
    whole = place.begin("whole", exact)
    folder = place.begin("parts", {**exact, "training.sharding": "full"})
    rows = []
    for each in (whole, folder):
        place.launch(2, each)
        rows.append(json.loads((place.project / each / "metrics.jsonl").read_text()))
    assert rows[1] == pytest.approx(rows[0], rel=1e-4)
    assert_evaluated_alike(place, folder, rows[1])


@pytest.mark.deep
def test_two_processes_with_a_part_each_end_as_they_would_without_a_stop(place: Place) -> None:
    """With dropout and batch norm."""
    stop_and_compare(place, {"training.sharding": "full", "model.dropout": 0.3})


@pytest.mark.parametrize("way", ["lightning", "tensorflow"])
def test_two_processes_train_and_one_goes_on(way: str, request: pytest.FixtureRequest) -> None:
    """With their votes, exit code and record; that the bits are others now is said."""
    place: Place = request.getfixturevalue(way)
    folder = place.begin("shared", {})
    output = place.launch(2, folder, "--max-minutes", 0, code=75)
    assert output.count("saved in") == 1
    assert "2 processes" in output
    result = place.server.run("train", "--experiment", folder)
    assert result.code == 0, result.output
    assert "was trained by 2 processes until here and goes on with 1" in result.output
    assert [session["processes"] for session in place.sessions(folder)] == [2, 1]


@pytest.mark.deep
@pytest.mark.parametrize("processes", [2, 4])
def test_any_number_of_processes_ends_in_the_same_bits(place: Place, processes: int) -> None:
    """With dropout, batch norm, an average of the weights and workers that load."""
    changes = {**PARTS, "training.average": 0.9, "data.workers": 1, "model.dropout": 0.3}
    whole, folder = place.train("whole", changes), place.begin("shared", changes)
    place.launch(processes, folder)
    assert_same_results(place.project / folder, whole)
    row = json.loads((place.project / folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert_evaluated_alike(place, folder, row)


@pytest.mark.deep
def test_two_processes_that_add_up_at_once_end_as_they_would_without_a_stop(place: Place) -> None:
    """What one process gets is close to it, and going on with it is said."""
    stop_and_compare(place, {})


@pytest.mark.deep
def test_tensorflow_with_two_processes_ends_as_it_would_without_a_stop(tensorflow: Place) -> None:
    """With dropout, batch norm, an average of the weights, clipping and threads that load."""
    changes = {"training.accumulate": 4, "training.average": 0.9, "data.workers": 1}
    stop_and_compare(tensorflow, {**changes, "model.dropout": 0.3})


@pytest.mark.deep
def test_a_chief_and_a_worker_of_tf_config_train_as_launched_ones_do(tensorflow: Place) -> None:
    """Each starts by itself, as on machines of its own; one is stopped, and all stop."""
    whole, folder = tensorflow.begin("whole", {}), tensorflow.begin("configured", {})
    tensorflow.launch(2, whole)
    for words, code in (("--max-minutes", "0"), 75), ((), 0):
        ports = free_ports(2)
        cluster = {"chief": [f"127.0.0.1:{ports[0]}"], "worker": [f"127.0.0.1:{ports[1]}"]}
        started = []
        for kind, more in ("chief", ()), ("worker", words):
            command = ("train.py", "--experiment", folder, *more)
            started.append(start_configured(tensorflow.project, cluster, kind, 0, *command))
        output = [process.communicate(timeout=600)[0] for process in started]
        assert [process.returncode for process in started] == [code, code], "\n".join(output)
    assert_same_results(tensorflow.project / folder, tensorflow.project / whole)


def start_configured(
    project: Path, cluster: dict[str, list[str]], kind: str, index: int, *command: object
) -> Any:
    """Start a command as one of the processes of TF_CONFIG."""
    configuration = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TF_CONFIG": configuration},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.deep
def test_a_worker_that_is_started_again_does_not_wait_for_who_is_done(tensorflow: Place) -> None:
    """The leading process has finished meanwhile; or the worker is asked to stop."""
    folder = tensorflow.begin("finished", {})
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    for what, code in ("stop", 75), ("finish", 0):
        command = ("train.py", "--experiment", folder)
        worker = start_configured(tensorflow.project, cluster, "worker", 1, *command)
        assert "Waiting for the leading process, at 127.0.0.1:" in worker.stdout.readline()
        if what == "stop":
            worker.send_signal(signal.SIGTERM)
        else:
            assert tensorflow.server.run("train", "--experiment", folder).code == 0
        output, _ = worker.communicate(timeout=120)
        assert worker.returncode == code, output
        assert ("before the training began" if code else "is finished") in output


@pytest.mark.deep
def test_workers_with_different_numbers_of_gpus_are_refused(tensorflow: Place) -> None:
    """Numbers that the test makes up: each worker hears of those of all."""
    folder = tensorflow.begin("unequal", {})
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    code = "import runpy, framework.processes as p; p.count_gpus = lambda: {}; import sys; "
    code += "runpy.run_path('train.py', run_name='__main__')"
    workers = [
        start_configured(
            *(tensorflow.project, cluster, "worker", number),
            *("-c", code.format(gpus), "--experiment", folder),
        )
        for number, gpus in enumerate((2, 1))
    ]
    for worker in workers:
        output, _ = worker.communicate(timeout=120)
        assert worker.returncode == 2, output
        assert "GPUs: the processes have 2, 1, in the order of TF_CONFIG" in output


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens to."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


@pytest.mark.deep
@pytest.mark.parametrize("accumulate", [1, 4])
def test_lightning_with_two_processes_ends_as_it_would_without_a_stop(
    lightning: Place, accumulate: int
) -> None:
    """With dropout, batch norm, an average of the weights, clipping and workers that load."""
    changes = {"training.accumulate": accumulate, "training.average": 0.9, "data.workers": 1}
    stop_and_compare(lightning, {**changes, "model.dropout": 0.3})


def stop_and_compare(place: Place, changes: dict[str, Any]) -> None:
    """Compare two processes with themselves, stopped, and with one; evaluate what they end in."""
    one = place.train("one", changes)
    folders = [place.begin(name, changes) for name in ("whole", "cut", "changed")]
    place.launch(2, folders[0])
    for folder in folders[1:]:
        place.launch(2, folder, "--max-minutes", 0, code=75)
    place.launch(2, folders[1])
    assert_same_results(place.project / folders[1], place.project / folders[0])
    result = place.server.run("train", "--experiment", folders[2])
    assert result.code == 0
    assert "was trained by 2 processes until here and goes on with 1" in result.output
    rows = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (one, place.project / folders[0])
    ]
    assert rows[0][0]["train_loss"] == pytest.approx(rows[1][0]["train_loss"], rel=0.05)
    assert_evaluated_alike(place, folders[0], rows[1][-1])


def assert_evaluated_alike(place: Place, folder: Path, row: dict[str, float]) -> None:
    """Compare what evaluate.py finds with the last row of the metrics, to the bit."""
    evaluate = ("--experiment", folder, "--split", "val", "--checkpoint", "last")
    assert place.server.run("evaluate", *evaluate).code == 0
    found = json.loads((place.project / folder / "metrics_val_last.json").read_text())
    assert {f"val_{name}": found[name] for name in found if f"val_{name}" in row}.items() <= (
        row.items()
    )


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes that a process has started, oldest first."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, check=False)
    return sorted(map(int, found.stdout.split()))


@pytest.mark.deep
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_is_started_again_and_the_end_is_the_same(
    each_way: Place, killed: int
) -> None:
    changes = {**PARTS, "training.checkpoint_minutes": 1e-3}
    changes["training.epochs"] = 40 if each_way.loop == "lightning" else 200  # So it can be killed.
    whole, folder = each_way.train_whole(changes), each_way.begin("killed", changes)
    command = [sys.executable, "launch.py", "2", "train.py", "--experiment", folder]
    launcher = subprocess.Popen(command, cwd=each_way.project, stderr=subprocess.PIPE)
    moments = random.Random(killed)
    for kill in range(2):
        while each_way.progress(folder) <= kill:
            assert launcher.poll() is None, "finished before it was killed"
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.5))
        subprocess.run(["kill", "-9", str(children(launcher)[killed])], check=True)
    _, errors = launcher.communicate(timeout=600)
    assert launcher.returncode == 0, errors.decode()
    assert errors.decode().count("all start again") == 2
    assert_same_results(each_way.project / folder, whole)


@pytest.mark.deep
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 130), ("SIGUSR1", 75)])
def test_a_signal_to_the_launcher_or_to_one_process_stops_all(
    each_way: Place, name: str, code: int
) -> None:
    folder = each_way.begin("endless", {**PARTS, "training.epochs": 10_000})
    command = [sys.executable, "launch.py", "2", "train.py", "--experiment", folder]
    for to_one in (False, True):
        launcher = subprocess.Popen(
            command, cwd=each_way.project, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert launcher.stdout
        launcher.stdout.readline()
        if to_one:
            subprocess.run(["kill", f"-{name}", str(children(launcher)[1])], check=True)
        else:
            launcher.send_signal(getattr(signal, name))
        _, errors = launcher.communicate(timeout=600)
        assert launcher.returncode == code, errors.decode()
        assert errors.decode().count("saved in") == 1


@pytest.mark.deep
def test_what_goes_wrong_in_one_process_is_said_once(each_way: Place) -> None:
    """And ends all, at once, with its exit code: bad input, or a lock that another holds."""
    folder = each_way.begin("bad", {"training.accumulate": 3})
    output = each_way.launch(2, folder, code=2)
    assert output.count("training.accumulate: got 3, expected 1 or a multiple of the 2") == 1
    folder = each_way.begin("diverging", {"training.learning_rate": 1e30, "training.clip_norm": 0})
    output = each_way.launch(2, folder, code=3)
    assert output.count("the loss became") == 1
    assert "Traceback" not in output


@pytest.mark.deep
def test_torchrun_starts_them_too(either: Place) -> None:
    whole, folder = either.train_whole(PARTS), either.begin("torchrun", PARTS)
    result = run(
        *(either.project, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("train.py", "--experiment", folder),
    )
    assert result.returncode == 0, result.stderr
    assert_same_results(either.project / folder, whole)
