"""torchrun on two machines: two network namespaces of this one, with a cable between them."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from combinations import Combination, combinations
from projects import run

ADDRESSES = ("10.99.0.1", "10.99.0.2")
EXPERIMENT = ("--from", "experiments/baseline", "--training.epochs", "2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """The names of the two; skipped where nobody may make them."""
    names = [f"trainyard-{uuid.uuid4().hex[:6]}" for _ in ADDRESSES]
    made: list[str] = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("making network namespaces takes Linux, iproute2 and root")
        ip(
            "-n",
            names[0],
            "link",
            "add",
            "cable",
            "type",
            "veth",
            "peer",
            "cable",
            "netns",
            names[1],
        )
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield names
    finally:
        for name in made:
            ip("netns", "delete", name)


@pytest.mark.deep
def test_two_machines_train_one_network(
    machines: list[str], rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """With the parts of a batch fixed, to the same bits as one process."""
    plain = next(each for each in combinations if each.choice == "plain" and not each.kaggle)
    project = shutil.copytree(rendered(plain), tmp_path / "project")
    words = (*EXPERIMENT, "--training.accumulate", "2")
    alone = run(project, "train.py", "--experiment", "experiments/alone", *words)
    assert alone.returncode == 0, alone.stderr
    torchrun = Path(sys.executable).with_name("torchrun")
    rendezvous = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:29400")
    started = [
        subprocess.Popen(
            [
                *("ip", "netns", "exec", name, torchrun, "--nnodes", "2", "--nproc-per-node", "1"),
                *(*rendezvous, "--local-addr", address),
                # Both have the same name, so torchrun cannot see whose address it is.
                *("--rdzv-conf", f"is_host={int(address == ADDRESSES[0])}"),
                *("train.py", "--experiment", "experiments/two", "--device", "cpu", *words),
            ],
            cwd=project,
            env=os.environ | {"GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, address in zip(machines, ADDRESSES, strict=True)
    ]
    output = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(output)
    assert "; 2 processes" in "".join(output)
    one, two = (project / "experiments" / name / "metrics.jsonl" for name in ("alone", "two"))
    assert one.read_bytes() == two.read_bytes()
