"""Which device to compute on, and which GPU each of several processes gets."""

import contextlib
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence

from machinery.errors import InputError

# GPUs of NVIDIA multiply in float16, and in bfloat16, from these capabilities on. (See
# https://docs.nvidia.com/cuda/cuda-c-programming-guide, "Tensor Cores".)
FLOAT16_FROM, BFLOAT16_FROM = (7, 0), (8, 0)
VISIBLE = "CUDA_VISIBLE_DEVICES"  # The GPUs of NVIDIA that a process may use.
# Where Linux has GPUs of AMD, TPUs of Google, and GPUs of NVIDIA that no nvidia-smi lists.
OTHERS = ("/dev/kfd", "/dev/accel0", "/dev/nvidia0")


def choose(name: str, available: Mapping[str, bool], advice: str) -> str:
    """Return the device of a name, as --device gives it; "auto" is the first that is available.

    Args:
        name: as --device gives it.
        available: whether the framework can compute on each device here, the best one first.
        advice: how to install the framework for a GPU.

    Raises:
        InputError: it is not available.
    """
    here = [device for device, found in available.items() if found]
    if name not in ("auto", *here):
        expected = f"expected one that can be used here: {', '.join(here)}"
        raise InputError(f"--device: got {name}, {expected}. {advice}")
    return here[0] if name == "auto" else name


def runs_on(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Return whether software that was built for some GPUs of NVIDIA computes on another one.

    Args:
        architectures: what it was built for. sm_75 is code for GPUs of capability 7.5, and runs on
            later ones of the same major number; compute_75 runs on any later GPU. (See
            https://docs.nvidia.com/cuda/cuda-c-programming-guide on compatibility.)
        capability: of the GPU, such as (8, 6).
    """
    major, minor = capability
    found = [re.match(r"(sm|compute)_(\d+)(\d)", name) for name in architectures]
    built = [(each[1], int(each[2]), int(each[3])) for each in found if each]
    return not built or any(
        (kind == "compute" or its_major == major) and (its_major, its_minor) <= (major, minor)
        for kind, its_major, its_minor in built
    )


def list_gpus() -> list[str]:
    """Return the GPUs of NVIDIA that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get(VISIBLE)) is not None:
        names = [name.strip() for name in named.split(",")]
        # CUDA takes the names up to the first one that does not exist, such as -1.
        return list(itertools.takewhile(lambda name: name and not name.startswith("-"), names))
    try:
        lines = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number in range(sum(line.startswith(b"GPU ") for line in lines))]


def fastest_precision(capability: tuple[int, ...]) -> str:
    """Return the dtype that a GPU of NVIDIA of some capability is fastest in."""
    if capability >= BFLOAT16_FROM:
        return "bfloat16"
    return "float16" if capability >= FLOAT16_FROM else "float32"


@contextlib.contextmanager
def one_gpu(number: int, gpus: Sequence[str]) -> Generator[None]:
    """Let a process that starts in the block use one of the GPUs, in turn; of none, do nothing.

    It is set before the process starts, since frameworks read it only once.
    """
    before = os.environ.get(VISIBLE)
    if gpus:
        os.environ[VISIBLE] = gpus[number % len(gpus)]
    try:
        yield
    finally:
        os.environ.pop(VISIBLE, None)
        if before is not None:
            os.environ[VISIBLE] = before


def share_cores(runs: int, device: str) -> list[set[int]]:
    """Return the cores of each of the processes that compute on processors at the same time.

    All frameworks take as many threads as a process has cores. So several runs of one thread each
    waste less than one run of several.

    Args:
        runs: to train.
        device: as --device names it, where there is no GPU of NVIDIA.

    Returns:
        Nothing where they compute on something else, or the system lets nobody choose cores.
    """
    may_be_other = sys.platform == "darwin" or any(map(os.path.exists, OTHERS))
    computes_here = device == "cpu" or (device == "auto" and not may_be_other)
    if not hasattr(os, "sched_getaffinity") or not computes_here:
        return []
    cores = sorted(os.sched_getaffinity(0))
    places = min(runs, len(cores))
    return [
        {*cores[i * len(cores) // places : (i + 1) * len(cores) // places]} for i in range(places)
    ]


@contextlib.contextmanager
def some_cores(cores: set[int]) -> Generator[None]:
    """Let a process that starts in the block use some cores alone; of none, do nothing."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # The cores of a cluster's job; Linux only.
    return len(allowed(0)) if allowed else os.cpu_count() or 1
