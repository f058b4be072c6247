"""What doctor.py says of machines: none of them is here."""

from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset
from machinery.checkup import Checkup
from machinery.checkup_machine import Gpu, Machine, check, check_memory, find_load, look

HERE = Machine(
    framework="torch",
    device="cpu",
    precision="auto",
    native_bfloat16=True,
    built_for_gpus=True,
    load=0.5,
    cores=8,
    packages={"torch": "2.13.0", "numpy": "2.4.6"},
    ranges={"torch": ("2.10", "3"), "numpy": ("2", "3"), "pillow": ("11", "")},
)
BUILT = ("sm_75", "sm_80", "sm_90")
L4, P100 = Gpu("NVIDIA L4", (8, 9)), Gpu("Tesla P100", (6, 0))

# What differs on a machine; whether it cannot work; words of the only line.
MACHINES: dict[str, tuple[dict[str, Any], bool, tuple[str, ...]]] = {
    "all is well": ({}, False, ("ok", "torch on cpu")),
    "one GPU": (
        {"device": "cuda", "gpus": (L4,), "architectures": BUILT, "driver_gpus": 1},
        False,
        ("ok", "torch on cuda, NVIDIA L4"),
    ),
    "a GPU that is too old for the build": (
        {"gpus": (P100,), "architectures": BUILT, "driver_gpus": 1},
        True,
        ("WRONG", "Tesla P100 has the capability 6.0", "sm_75", 'Look at README.md, "A GPU"'),
    ),
    "a build for CPUs beside a GPU": (
        {"built_for_gpus": False, "driver_gpus": 1},
        False,
        ("warning", "a GPU of NVIDIA is there", "for CPUs alone"),
    ),
    "a GPU that is not taken": (
        {"driver_gpus": 1},
        False,
        ("warning", "would run on the CPU", "nvidia-smi"),
    ),
    "two GPUs": (
        {"device": "cuda", "gpus": (L4, L4), "architectures": BUILT, "driver_gpus": 2},
        False,
        ("warning", "of 2 GPUs 1 will lie idle", "search_hyperparams.py"),
    ),
    "bfloat16 that is emulated": (
        {"precision": "bfloat16", "native_bfloat16": False},
        False,
        ("warning", "training.precision is bfloat16", "only emulates"),
    ),
    "a busy machine": ({"load": 17.2}, False, ("warning", "load 17.2 on 8 cores")),
    "an old package": (
        {"packages": {"torch": "2.4.1", "numpy": "2.4.6"}},
        False,
        ("warning", "torch 2.4.1 (expected 2.10 or later, before 3)", "constraints.txt"),
    ),
    "a package that is too new": (
        {"packages": {"numpy": "3.0.0rc1"}},
        False,
        ("warning", "numpy 3.0.0rc1 (expected 2 or later, before 3)"),
    ),
    "a release that steals": (
        {"packages": {"lightning": "2.6.3"}},
        True,
        ("WRONG", "lightning 2.6.3 is installed", "Look at constraints.txt"),
    ),
}


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_is_described_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    changes, cannot_work, words = MACHINES[name]
    assert check(Checkup(), HERE._replace(**changes)) == cannot_work
    (line,) = capsys.readouterr().out.splitlines()
    for word in words:
        assert word in line


def test_threads_are_no_advice_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads, advised in (("1", False), ("8", True)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert ("OMP_NUM_THREADS" in find_load(HERE._replace(load=17.2))) == advised


def test_little_memory(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    for free, found in ((0, "ok"), (2**40, "ok"), (1000, "warning")):
        check_memory(Checkup(), HERE._replace(free_memory=free), dataset)
        assert capsys.readouterr().out.startswith(found)


def test_this_machine() -> None:
    machine = look("numpy", "cpu", "auto", native_bfloat16=False, built_for_gpus=False)
    assert machine.cores >= 1
    assert machine.load >= 0
    assert np.isfinite(machine.free_memory)


@pytest.mark.parametrize("package", ["torch", "numpy"])
def test_a_package_that_is_not_installed(package: str, run: Any, tmp_path: Any) -> None:
    """In each command, as they all import the machinery first."""
    code = f"import machinery, sys; sys.modules[{package!r}] = None; import {package}"
    said = run("-c", code, expected=2)
    (line,) = said.splitlines()
    assert line.startswith(f"error: {package} is not installed for")
    assert "source .venv/bin/activate" in line
    assert "pip install -c constraints.txt -r requirements.txt" in line


def test_another_missing_module_is_a_bug(run: Any) -> None:
    assert "Traceback" in run("-c", "import machinery, nothing_of_this_name", expected=1)
