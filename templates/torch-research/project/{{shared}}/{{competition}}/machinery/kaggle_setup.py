"""The first cell of a notebook on Kaggle: is the machine the one that was asked for?

`compete.py notebook` copies this file into the notebook as it stands, so it imports nothing but the
standard library. It unpacks the project from the notebook, finds the weights among the inputs, and
installs from them the wheels that Kaggle's image lacks.
"""

import base64
import hashlib
import importlib.metadata
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Kaggle gives two T4s where one is asked for, and four L4s; of the others, one or more.
GPUS = {"NvidiaTeslaT4": 2, "NvidiaL4": 4}
# Tests and `compete.py simulate` may put other folders in the place of Kaggle's.
INPUT = Path(os.environ.get("KAGGLE_INPUT_FOLDER", "/kaggle/input"))
MANIFEST = "weights.json"  # What the dataset of the weights holds.


def check_hardware(accelerator: str) -> None:
    """Say what the machine has; raise RuntimeError where it is not what was asked for.

    Kaggle substitutes another machine without a word. In a simulation only a note is printed.

    Args:
        accelerator: by Kaggle's name, such as NvidiaTeslaT4; "none" for a CPU.
    """
    gpus = list_gpus()
    tpus = [*Path("/dev").glob("accel*"), *Path("/dev/vfio").glob("[0-9]*")]
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, GPUs: {gpus or 'none'}")
    print(f"TPU: {'yes' if tpus else 'none'}; asked for: {accelerator}")
    if accelerator == "none":
        return
    is_tpu = accelerator.lower().startswith("tpu")
    missing = not tpus if is_tpu else len(gpus) < GPUS.get(accelerator, 1)
    if missing and "KAGGLE_SIMULATED" in os.environ:
        print(f"This machine is no {accelerator}; on Kaggle the notebook would stop here.")
    elif missing:
        raise RuntimeError(
            f"asked for {accelerator}, got {'no TPU' if is_tpu else f'{len(gpus)} GPUs'}: Kaggle "
            "gave another machine. Start the notebook again, or name another --accelerator."
        )


def list_gpus() -> list[str]:
    """Return the names of the GPUs."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return []
    return found.stdout.split("\n")[:-1] if found.returncode == 0 else []


def unpack(text: str) -> Path:
    """Unpack the project that `text` holds (zip in base85) to a folder, and work there."""
    folder = Path(tempfile.mkdtemp(prefix="project-"))
    with zipfile.ZipFile(io.BytesIO(base64.b85decode(text))) as archive:
        archive.extractall(folder)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    return folder


def find_weights(digest: str) -> Path:
    """Return the folder of the dataset whose manifest has this SHA-256.

    Kaggle mounts a dataset at /kaggle/input/NAME or /kaggle/input/datasets/OWNER/NAME.

    Raises:
        FileNotFoundError: there is none.
    """
    found = [path for depth in ("*", "*/*", "*/*/*") for path in INPUT.glob(f"{depth}/{MANIFEST}")]
    for path in found:
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path.parent
    seen = f"only other versions: {', '.join(map(str, found))}" if found else "none"
    raise FileNotFoundError(
        f"{INPUT}: the dataset of the weights is not there, {seen}. Push both: compete.py push"
    )


def install_wheels(weights: Path, packages: list[str]) -> None:
    """Install the wheels in the dataset whose packages the machine lacks, without a network.

    Args:
        weights: the folder of the dataset.
        packages: that the project needs and Kaggle's image may lack.

    Raises:
        RuntimeError: one is not there, and its wheel neither.
    """
    wheels = sorted(weights.glob("*.whl"))
    lacking = [str(path) for path in wheels if not is_installed(path.name.split("-")[0])]
    if lacking:
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps"]
        subprocess.run([*command, *lacking], check=True)
        importlib.invalidate_caches()
    if missing := [name for name in packages if not is_installed(name)]:
        raise RuntimeError(
            f"this machine lacks {', '.join(missing)}. Send a wheel along: compete.py notebook "
            "says how to get it."
        )


def is_installed(package: str) -> bool:
    """Return whether a distribution is installed, whatever its version."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
