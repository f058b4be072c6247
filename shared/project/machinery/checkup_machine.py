"""The machine on which an experiment is to be trained: what cannot work on it, what lies idle."""

import importlib.metadata
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machinery.checkup import Checkup
from machinery.devices import list_gpus, runs_on
from machinery.terminal import BUSY

README = 'README.md, "A GPU"'
ROOM = 4  # Of the free memory, the arrays of train may take a quarter.

# Releases that are not to be used, and why.
BAD_RELEASES = {
    ("lightning", "2.6.2"): "it was published by a thief and steals credentials",
    ("lightning", "2.6.3"): "it was published by a thief and steals credentials",
    ("pytorch-lightning", "2.6.2"): "it was published by a thief and steals credentials",
    ("pytorch-lightning", "2.6.3"): "it was published by a thief and steals credentials",
}


class Gpu(NamedTuple):
    """A GPU of NVIDIA as the framework sees it."""

    name: str
    capability: tuple[int, int]  # such as (8, 6)
    memory: int = 0  # free bytes; 0: not known


class Machine(NamedTuple):
    """What is known of a machine, and of what is installed on it."""

    framework: str  # such as "torch"
    device: str  # that is taken: cuda, mps or cpu
    precision: str  # of the experiment: auto, bfloat16 or float32
    native_bfloat16: bool  # whether the device multiplies in it, rather than by float32
    built_for_gpus: bool  # whether what is installed has any code for GPUs
    gpus: Sequence[Gpu] = ()  # that the framework sees
    architectures: Sequence[str] = ()  # that it has code for, such as sm_80; none: not known
    driver_gpus: int = 0  # GPUs that the driver of NVIDIA has
    free_memory: int = 0  # bytes; 0: not known
    load: float = 0.0  # processes that want to run
    cores: int = 1
    packages: Mapping[str, str] = {}  # installed releases, by name
    ranges: Mapping[str, tuple[str, str]] = {}  # of requirements.txt: from, below


def look(
    framework: str,
    device: str,
    precision: str,
    native_bfloat16: bool,
    built_for_gpus: bool,
    gpus: Sequence[Gpu] = (),
    architectures: Sequence[str] = (),
) -> Machine:
    """Return what is known of this machine; the arguments are what only the framework knows."""
    text = Path("requirements.txt").read_text("utf-8") if Path("requirements.txt").exists() else ""
    ranges = {
        name: (low, high)
        for name, low, high in re.findall(
            r"^([\w.-]+)>=([\d.]+)(?:,<([\d.]+))?", text, re.MULTILINE
        )
    }
    names = {*ranges, *(name for name, _ in BAD_RELEASES)}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return Machine(
        framework,
        device,
        precision,
        native_bfloat16,
        built_for_gpus,
        gpus,
        architectures,
        count_driver_gpus(),
        read_free_memory(),
        load,
        os.cpu_count() or 1,
        {name: found for name in sorted(names) if (found := installed(name))},
        ranges,
    )


def installed(name: str) -> str:
    """Return which release of a package is installed, or an empty string."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def count_driver_gpus() -> int:
    """Return how many GPUs NVIDIA's driver has, whether the framework can use them or not."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:  # Others are hidden on purpose.
        return len(list_gpus())
    folder = Path("/proc/driver/nvidia/gpus")  # Only Linux has it.
    return len([*folder.iterdir()]) if folder.is_dir() else len(list_gpus())


def read_free_memory() -> int:
    """Return how many bytes of main memory are free, 0 where the system does not say."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("utf-8"))
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def check(checkup: Checkup, machine: Machine) -> bool:
    """Print what is wrong with a machine; return whether the experiment cannot run on it."""
    problem = find_bad_release(machine) or find_unusable_gpu(machine)
    if problem:
        checkup.fail("machine", *problem)
        return True
    idle = [find_idle_gpu(machine), find_emulation(machine), find_old(machine), find_load(machine)]
    for message in filter(None, idle):
        checkup.warn("machine", message)
    if not any(idle):
        gpus = f", {machine.gpus[0].name}" if machine.device == "cuda" else ""
        checkup.ok("machine", f"{machine.framework} on {machine.device}{gpus}")
    return False


def find_bad_release(machine: Machine) -> tuple[str, str] | None:
    """Return the problem with an installed release that must not be used, and where to look."""
    for (name, release), reason in BAD_RELEASES.items():
        if machine.packages.get(name) == release:
            advice = f"Expected another: python -m pip install -c constraints.txt {name}."
            return f"{name} {release} is installed: {reason}. {advice}", "constraints.txt"
    return None


def find_unusable_gpu(machine: Machine) -> tuple[str, str] | None:
    """Return the problem with a GPU for which the framework has no code, and where to look."""
    unusable = [g for g in machine.gpus if not runs_on(machine.architectures, g.capability)]
    if not unusable or len(unusable) < len(machine.gpus):
        return None
    name, (major, minor), _ = unusable[0]
    built = " ".join(machine.architectures)
    problem = (
        f"{name} has the capability {major}.{minor}, and this build of {machine.framework} has "
        f"code for {built} alone. Expected a build for it."
    )
    return problem, README


def find_idle_gpu(machine: Machine) -> str:
    """Return in words that a GPU is there and not used, or an empty string."""
    if machine.device == "cpu" and machine.driver_gpus and not machine.built_for_gpus:
        return (
            f"a GPU of NVIDIA is there, and {machine.framework} is installed for CPUs alone. "
            f"{README}, says what to install."
        )
    if machine.device == "cpu" and machine.driver_gpus:
        return (
            f"a GPU of NVIDIA is there, and the experiment would run on the CPU. Is --device cpu "
            f"wanted, and does `nvidia-smi` show a driver that {machine.framework} takes?"
        )
    if machine.device == "cuda" and len(machine.gpus) > 1:
        others = len(machine.gpus) - 1
        return (
            f"of {len(machine.gpus)} GPUs {others} will lie idle: an experiment takes one. "
            "search_hyperparams.py trains an experiment on each."
        )
    return ""


def find_emulation(machine: Machine) -> str:
    """Return in words that bfloat16 would be slower than float32, or an empty string."""
    if machine.precision != "bfloat16" or machine.native_bfloat16:
        return ""
    return (
        f"training.precision is bfloat16, which this {machine.device} only emulates: float32 or "
        "auto is faster."
    )


def find_old(machine: Machine) -> str:
    """Return in words that installed releases are not those that are required."""
    strange = [
        f"{name} {found} (expected {low} or later{f', before {high}' if high else ''})"
        for name, (low, high) in machine.ranges.items()
        if (found := machine.packages.get(name))
        and not numbers(low) <= numbers(found) < (numbers(high) or (math.inf,))
    ]
    if not strange:
        return ""
    advice = "python -m pip install -c constraints.txt -r requirements.txt"
    return f"installed is {', '.join(strange)}. The tested releases: {advice}"


def numbers(release: str) -> tuple[float, ...]:
    """Return the numbers at the start of a release, such as (2, 13, 0)."""
    found = re.match(r"\d+(\.\d+)*", release)
    return tuple(float(number) for number in found[0].split(".")) if found else ()


def find_load(machine: Machine) -> str:
    """Return in words that other programs keep the machine busy, or an empty string."""
    if machine.load < BUSY * machine.cores:
        return ""
    advice = "; with OMP_NUM_THREADS=1 threads do not wait for each other"
    return (
        f"other programs keep it busy (load {machine.load:.1f} on {machine.cores} cores), so all "
        f"takes longer{'' if os.environ.get('OMP_NUM_THREADS') == '1' else advice}."
    )


def check_memory(checkup: Checkup, machine: Machine, dataset: Any) -> None:
    """Warn where the arrays of train fill the memory: they are then read from disk each epoch."""
    example = sum(
        int(re.sub(r"\D", "", array.dtype) or 8) // 8 * math.prod(array.batch_shape)
        for array in dataset.arrays.values()
    )
    size, free = example * dataset.examples["train"], machine.free_memory
    if free and size > free / ROOM:
        checkup.warn(
            "memory",
            f"train takes {size / 2**30:.1f} GiB of the {free / 2**30:.1f} GiB that are free. The "
            "system keeps what fits and reads the rest from disk in each epoch.",
        )
    else:
        checkup.ok("memory", f"train takes {size / 2**20:,.1f} MiB")
