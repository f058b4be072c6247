"""The library that computes under Keras: TensorFlow, JAX or PyTorch.

keras.json names it; KERAS_BACKEND=jax python train.py takes another for one command, once that one
is installed. Keras looks when it is first imported and never again, so import this module before.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import utils

NAMES = ("tensorflow", "jax", "torch")  # Their packages are called the same.

name, _where = os.environ.get("KERAS_BACKEND", ""), "KERAS_BACKEND"
if not name:
    try:
        name = json.loads(Path(__file__).with_name("keras.json").read_text("utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        name = "nothing to be read"
    os.environ["KERAS_BACKEND"], _where = str(name), "keras.json"
# The steps that fit takes before the loss is looked at, for which it waits, and whether to stop.
# TensorFlow loops over them faster than Python does. On PyTorch, Keras takes no number but 1.
STEPS_PER_EXECUTION = 1 if name == "torch" else 10
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Warnings and errors, not how it was built.
if "OMP_NUM_THREADS" in os.environ:  # The others obey it; these are the names that TensorFlow and
    for _variable in ("TF_NUM_INTRAOP_THREADS", "NPROC"):  # JAX have for it.
        os.environ.setdefault(_variable, os.environ["OMP_NUM_THREADS"])


def load() -> None:
    """Import Keras and its backend without the messages that TensorFlow prints while it loads.

    Raises:
        InputError: the backend is unknown or not installed, or Keras runs on another one already.
    """
    if name not in NAMES:
        near = utils.nearest(str(name).lower(), NAMES)
        raise utils.InputError(f"{_where}: got {name!r}, expected one of {', '.join(NAMES)}{near}.")
    if importlib.util.find_spec(name) is None:
        raise utils.InputError(
            f"the backend {name} is not installed. Install it (pip install {name}), or name "
            "another in keras.json or by KERAS_BACKEND."
        )
    with _hidden_standard_error():
        keras = importlib.import_module("keras")
        if importlib.util.find_spec("tensorflow"):  # Keras takes it up later on any backend.
            importlib.import_module("tensorflow")
    if keras.backend.backend() != name:
        raise utils.InputError(
            f"keras was imported before the backend was chosen and runs on "
            f"{keras.backend.backend()}, not {name}: `import backend` before keras."
        )


@contextlib.contextmanager
def _hidden_standard_error() -> Generator[None]:
    """Drop what the process, libraries in C++ too, writes to standard error inside the block."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def versions() -> dict[str, str]:
    """Return the versions to record with a run."""
    modules = [importlib.import_module(module) for module in ("keras", name, "numpy")]
    return {module.__name__: module.__version__ for module in modules}


def devices() -> list[str]:
    """Return the devices that the backend finds here, the best first: of cuda, mps and cpu."""
    if name == "torch":
        import torch

        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    else:
        import keras

        found = {"cuda": any(d.startswith("gpu") for d in keras.distribution.list_devices())}
    return [*(device for device, here in found.items() if here), "cpu"]


def scope(device: str) -> contextlib.AbstractContextManager[Any]:
    """Compute on a device inside the block."""
    import keras

    return keras.device({"cuda": "gpu:0", "cpu": "cpu:0"}.get(device, device))


def feed(batches: Any) -> Any:
    """Return what fit reads from a keras.utils.PyDataset, in its present length, at least cost.

    On TensorFlow fit would use Dataset.from_generator, which takes longer for each batch than map.
    """
    if name != "tensorflow":
        return batches
    import tensorflow as tf

    arrays = batches[0]

    @tf.autograph.experimental.do_not_convert  # Converting takes time, and there is nothing to.
    def load(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        tensors = tf.numpy_function(batches.__getitem__, (index,), [a.dtype for a in arrays])
        pairs = zip(tensors, arrays, strict=True)
        return tuple(tf.ensure_shape(tensor, (None, *array.shape[1:])) for tensor, array in pairs)

    return tf.data.Dataset.range(len(batches)).map(load).prefetch(2)


def prefers_bfloat16(device: str) -> bool:
    """Say whether a device is fast in bfloat16: NVIDIA's are from compute capability 8 on."""
    if device == "cpu":
        processor = Path("/proc/cpuinfo")  # Linux alone. On JAX (0.10) no gain was seen.
        flags = processor.read_text() if name != "jax" and processor.exists() else ""
        return "avx512_bf16" in flags or "amx_bf16" in flags
    if device != "cuda":
        return False
    if name == "tensorflow":
        import tensorflow

        gpu = tensorflow.config.list_physical_devices("GPU")[0]
        details = tensorflow.config.experimental.get_device_details(gpu)
        return details.get("compute_capability", (0,)) >= (8,)
    if name == "jax":
        import jax

        return float(jax.devices("gpu")[0].compute_capability) >= 8
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def be_deterministic() -> None:
    """Compute the same bits again on a GPU too. It holds for the whole process."""
    if name == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    elif name == "jax":  # Read when the GPU is first used.
        flags = os.environ.get("XLA_FLAGS", "").split()
        flag = "--xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = " ".join(flags if flag in flags else [*flags, flag])
    else:
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # What cuBLAS asks for.
        torch.use_deterministic_algorithms(True)


@contextlib.contextmanager
def out_of_memory(folder: Path, batch_size: int) -> Generator[None]:
    """Turn what the backends raise when memory runs out into a ResourceError with advice."""
    words = ("out of memory", "oom when allocating", "resource_exhausted", "can't allocate memory")
    words += ("memoryerror",)  # As TensorFlow calls that of a function in Python.
    try:
        yield
    except utils.CommandError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or any(word in str(error).lower() for word in words):
            raise utils.ResourceError(
                f"{folder}: out of memory with data.batch_size {batch_size}. Start a new "
                f"experiment: --experiment experiments/NEW --from {folder} "
                f"--data.batch_size {max(batch_size // 2, 1)}"
            ) from None
        raise
