"""The library that computes under Keras: TensorFlow, JAX or PyTorch.

keras.json names it. KERAS_BACKEND=jax python train.py takes another one for one command, if it is
installed. Keras reads the name only when it is first imported, so `load` has to come before.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machinery import devices
from machinery.errors import InputError
from machinery.parameter_file import nearest
from machinery.terminal import hidden_standard_error

NAMES = ("tensorflow", "jax", "torch")  # Their packages are called the same.

name, _source = os.environ.get("KERAS_BACKEND", ""), "KERAS_BACKEND"
if not name:
    try:
        path = Path(__file__).parent.with_name("keras.json")
        name = json.loads(path.read_text("utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        name = "nothing that can be read"
    os.environ["KERAS_BACKEND"], _source = str(name), "keras.json"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Only warnings and errors.
if "OMP_NUM_THREADS" in os.environ:  # TensorFlow and JAX have other names for it.
    for _variable in ("TF_NUM_INTRAOP_THREADS", "NPROC"):
        os.environ.setdefault(_variable, os.environ["OMP_NUM_THREADS"])

GPU_PACKAGES = {
    "tensorflow": '"tensorflow[and-cuda]"',
    "jax": '"jax[cuda13]"',
    "torch": "torch --upgrade --extra-index-url https://download.pytorch.org/whl/cu130",
}
GPU_ADVICE = (
    'README.md, "A GPU", says what to install for yours, such as: python -m pip install '
    f"-c constraints.txt {GPU_PACKAGES.get(str(name))}"
)

_compiled: dict[tuple[Callable[..., Any], int], Callable[..., Any]] = {}


def load() -> None:
    """Import Keras and its backend without the messages that TensorFlow prints while it loads.

    Raises:
        InputError: the backend is unknown or not installed, or Keras already runs on another one.
    """
    if name not in NAMES:
        near = nearest(str(name).lower(), NAMES)
        raise InputError(f"{_source}: got {name!r}, expected one of {', '.join(NAMES)}{near}.")
    if importlib.util.find_spec(name) is None:
        raise InputError(
            f"the backend {name} is not installed. Install it (pip install {name}), or name "
            "another one in keras.json or in KERAS_BACKEND."
        )
    with hidden_standard_error():
        keras = importlib.import_module("keras")
        if importlib.util.find_spec("tensorflow"):  # Keras would import it later, on any backend.
            importlib.import_module("tensorflow")
    if keras.backend.backend() != name:
        raise InputError(
            f"keras was imported before the backend was chosen, and runs on "
            f"{keras.backend.backend()}, not {name}: `import backend` before keras."
        )


def find_devices() -> dict[str, bool]:
    """Return whether the backend can compute on cuda, mps and cpu here."""
    cuda = mps = False
    if name == "tensorflow":
        import tensorflow

        # Not keras.distribution.list_devices, which takes all of a GPU's memory.
        cuda = bool(tensorflow.config.list_physical_devices("GPU"))
    elif name == "jax":
        import jax

        cuda = any(device.platform == "gpu" for device in jax.devices())
    else:
        import torch

        mps = torch.backends.mps.is_available()
        cuda = torch.cuda.is_available() and devices.runs_on(
            torch.cuda.get_arch_list(), torch.cuda.get_device_capability()
        )
    return {"cuda": cuda, "mps": mps, "cpu": True}


def find_capability() -> tuple[int, ...]:
    """Return the capability of the first GPU of NVIDIA, such as (8, 6)."""
    if name == "tensorflow":
        import tensorflow

        gpu = tensorflow.config.list_physical_devices("GPU")[0]
        return tensorflow.config.experimental.get_device_details(gpu)["compute_capability"]
    if name == "jax":
        import jax

        major, minor = jax.devices("gpu")[0].compute_capability.split(".")
        return int(major), int(minor)
    import torch

    return torch.cuda.get_device_capability()


def hide_gpus() -> None:
    """Keep the backend from starting GPUs and taking their memory, as it computes on the CPU."""
    if name == "tensorflow":
        import tensorflow

        with contextlib.suppress(RuntimeError):  # This process has started them before.
            tensorflow.config.set_visible_devices([], "GPU")
    elif name == "jax":
        import jax

        jax.config.update("jax_platforms", "cpu")


def compiled(function: Callable[..., Any], dataset: Any) -> Callable[..., Any]:
    """Return net.predict or net.losses for one dataset, as a function of tensors alone.

    JAX compiles it as a whole, and once: one operation at a time would take longer to compile.
    """
    key = function, id(dataset)  # Not reused, as the function keeps the dataset.
    if key not in _compiled:
        _compiled[key] = functools.partial(function, dataset=dataset)
        if name == "jax":
            _compiled[key] = importlib.import_module("jax").jit(_compiled[key])
    return _compiled[key]
