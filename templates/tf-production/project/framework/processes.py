"""Several processes that train one network, as TF_CONFIG lists them or `python launch.py` does.

Each is a worker of TensorFlow's MultiWorkerMirroredStrategy, with all the GPUs that it sees.
"""

import io
import json
import os
import pickle
import signal
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from framework.quiet import import_tensorflow

import_tensorflow()

import numpy as np
import tensorflow as tf

import backend
from machinery.errors import CommandError, InputError
from machinery.shared_run import COUNT
from machinery.stopping import SIGNALS, STARTED

CONFIGURATION = "TF_CONFIG"  # The environment variable that TensorFlow reads.
EXAMPLE = (
    '{"cluster": {"worker": ["first:2222", "second:2222"]}, "task": {"type": "worker", "index": 0}}'
)
HEAD = 8  # Bytes that say how many follow.
WORD = 4  # Bytes of a number of what the processes exchange.
CHUNK = 2**24  # Bytes that one process sends to the others at a time.
# What may be named in what processes send, beside errors: by module.
KNOWN = {
    "machinery.checkpoints": ("Progress",),
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
}


class Place(NamedTuple):
    """Which of several processes this one is."""

    number: int  # from 0, the leading one
    processes: int


def find_place(variables: Mapping[str, str] = os.environ) -> Place | None:
    """Return which of the processes of TF_CONFIG this one is; None where it trains alone.

    Its form: https://www.tensorflow.org/guide/distributed_training, "Setting up the TF_CONFIG
    environment variable".

    Raises:
        InputError: it has another form, or another launcher started several processes.
    """
    text = variables.get(CONFIGURATION, "")
    if not text:
        if variables.get(COUNT, "1") == "1":
            return None
        raise InputError(
            f"{CONFIGURATION}: not set, expected beside {COUNT} {variables[COUNT]}, such as "
            f"{EXAMPLE}. Set it in each process, or start them with launch.py."
        )
    try:
        found = json.loads(text)
        cluster, kind = found.get("cluster", {}), found.get("task", {}).get("type")
        if not cluster:
            return None
        workers = [("chief", n) for n, _ in enumerate(cluster.get("chief", []))]
        workers += [("worker", n) for n, _ in enumerate(cluster.get("worker", []))]
        place = Place(workers.index((kind, int(found["task"]["index"]))), len(workers))
        if unknown := {*cluster} - {"chief", "worker"}:
            raise ValueError(f"of {unknown.pop()!r} there is no use here")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{CONFIGURATION}: got {text}, expected chief and workers alone, and which of them "
            f"this process is, such as {EXAMPLE} ({error}). Set it so in each process."
        ) from None
    return place if place.processes > 1 else None


def join(device: str) -> "Group | None":
    """Join the processes of TF_CONFIG; return None where this one trains alone.

    TensorFlow starts its devices here, so what concerns them has to be said before.

    Args:
        device: as --device names it.

    Raises:
        InputError: TF_CONFIG is not what it should be, or the device is for one process.
    """
    place = find_place()
    if place is None:
        return None
    backend.limit_threads(0)
    gpus = tf.config.list_physical_devices("GPU")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # Processes of this machine.
    if backend.choose_device(device) == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif sys.platform == "darwin":
        raise InputError(f"--device: got {device}, expected cpu: mps is for one process.")
    elif here > len(gpus):
        raise InputError(
            f"launch.py: got {here} processes and {len(gpus)} GPUs, expected a GPU for each. Start "
            "fewer, or add --device cpu."
        )
    elif here > 1:
        tf.config.set_visible_devices(gpus[int(os.environ["LOCAL_RANK"])], "GPU")
    return Group(place)


class Received(pickle.Unpickler):
    """Reads what another process has sent: arrays, plain values, errors, and nothing that runs.

    Whoever reaches the port of a process can send to it.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what is named in what was sent.

        Raises:
            pickle.UnpicklingError: it is none of those that processes send.
        """
        ours = module in KNOWN or module.startswith("machinery.")
        found = super().find_class(module, name) if ours else None
        if name in KNOWN.get(module, ()) or (
            isinstance(found, type) and issubclass(found, CommandError)
        ):
            return found
        raise pickle.UnpicklingError(f"another process sent {module}.{name}")


def read(content: bytes) -> Any:
    """Return the value that another process has sent."""
    return Received(io.BytesIO(content)).load()


class Group:
    """The processes that were joined: see Group in machinery/shared_run.py.

    Args:
        place: which of them this one is.
    """

    def __init__(self, place: Place) -> None:
        self.number, self.processes = place
        self.is_launched = STARTED in os.environ  # Otherwise a shell may end, and they go on.
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        for each in SIGNALS:  # TensorFlow has taken SIGTERM for itself.
            signal.signal(each, signal.getsignal(each))
        numbers = tf.TensorSpec((None,), tf.int32)  # Any length: one graph serves all.
        self._gather = tf.function(self._gather, input_signature=[numbers])

    def largest(self, value: int) -> int:
        """Return the largest of the values that the processes give."""
        return int(tf.reduce_max(self._gather(np.asarray([value], np.int32))))

    def broadcast(self, value: Any) -> Any:
        """Return what the leading process gives."""
        content = b"" if self.number else pickle.dumps(value)
        count = self.largest(-(-len(content) // CHUNK))
        # What is gathered is as long from each, so in one piece all would need that much memory.
        parts = [self._exchange(content[n * CHUNK : (n + 1) * CHUNK])[0] for n in range(count)]
        return read(b"".join(parts))

    def gather(self, value: Any) -> list[Any]:
        """Return, in the leading process, what each gives, in their order; elsewhere nothing."""
        found = self._exchange(pickle.dumps(value))
        return [] if self.number else [read(each) for each in found]

    def _gather(self, numbers: tf.Tensor) -> tf.Tensor:
        """Return the numbers (N,) of all processes, one after the other; N may differ."""
        return self.strategy.gather(numbers, axis=0)

    def _exchange(self, content: bytes) -> list[bytes]:
        """Return the bytes that each process gives; what is exchanged are numbers of int32."""
        content = len(content).to_bytes(HEAD, "little") + content
        padded = content + bytes(-len(content) % WORD)
        everything = self._gather(np.frombuffer(padded, np.int32)).numpy().tobytes()
        found = []
        for _ in range(self.processes):
            length = int.from_bytes(everything[:HEAD], "little")
            found.append(everything[HEAD : HEAD + length])
            everything = everything[HEAD + length + -(HEAD + length) % WORD :]
        return found
