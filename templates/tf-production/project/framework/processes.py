"""Several processes that train one network, as TF_CONFIG lists them or `python launch.py` does.

Each is a worker of TensorFlow's MultiWorkerMirroredStrategy, with all the GPUs that it sees.
"""

import contextlib
import io
import json
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from framework.quiet import import_tensorflow

import_tensorflow()

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context  # No public module has its coordination service.

import backend
from machinery.errors import CommandError, InputError, LostProcessError
from machinery.shared_run import COUNT
from machinery.stopping import SIGNALS, STARTED

CONFIGURATION = "TF_CONFIG"  # The environment variable that TensorFlow reads.
EXAMPLE = (
    '{"cluster": {"worker": ["first:2222", "second:2222"]}, "task": {"type": "worker", "index": 0}}'
)
WAIT_MINUTES = 30  # for the leading process to start
SHOWN_SECONDS = 10  # after which it is said that this one waits
EXCHANGE_MS = 600_000  # for all to tell how many GPUs they have
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
    leader: str = ""  # the address of the leading one


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
        workers = [(k, n) for k in ("chief", "worker") for n, _ in enumerate(cluster.get(k, []))]
        number, first = workers.index((kind, int(found["task"]["index"]))), workers[0][0]
        place = Place(number, len(workers), str(cluster[first][0]))
        if unknown := {*cluster} - {"chief", "worker"}:
            raise ValueError(f"of {unknown.pop()!r} there is no use here")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{CONFIGURATION}: got {text}, expected chief and workers alone, and which of them "
            f"this process is, such as {EXAMPLE} ({error}). Set it so in each process."
        ) from None
    return place if place.processes > 1 else None


def join(device: str, refuse_to_wait: Callable[[], None] = lambda: None) -> "Group | None":
    """Join the processes of TF_CONFIG; return None where this one trains alone.

    TensorFlow starts its devices here, so what concerns them has to be said before.

    Args:
        device: as --device names it.
        refuse_to_wait: called again and again while others are waited for; raises where that is of
            no use any more.

    Raises:
        InputError: TF_CONFIG is not what it should be, the device is for one process, or the
            processes have different numbers of GPUs.
        LostProcessError: the leading process does not start.
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
    if place.number:
        wait_for_leader(place.leader, refuse_to_wait)
    group = Group(place)
    exchange_gpus(place, count_gpus())
    return group


def wait_for_leader(address: str, refuse_to_wait: Callable[[], None]) -> None:
    """Wait until the leading process listens.

    TensorFlow would wait, too, but for an hour, and without hearing a signal in all that time. A
    process that was started again may wait for one that is done.

    Args:
        address: of the leading process, such as first:2222.
        refuse_to_wait: called again and again; raises where there is nothing to wait for.

    Raises:
        LostProcessError: nobody listens there for a long time.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal():  # TensorFlow says what is wrong.
        return
    began, is_said = time.monotonic(), False
    while (waited := time.monotonic() - began) < 60 * WAIT_MINUTES:
        with contextlib.suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
            return
        refuse_to_wait()
        if not is_said and waited > SHOWN_SECONDS:
            is_said = True
            print(f"Waiting for the leading process, at {address}.", file=sys.stderr)
        time.sleep(0.2)
    raise LostProcessError(
        f"{CONFIGURATION}: nobody listened at {address} for {WAIT_MINUTES} minutes, expected the "
        "leading process there. Start all processes; if the run is finished, none is needed."
    )


def count_gpus() -> int:
    """Return how many GPUs this process uses."""
    return len(tf.config.get_visible_devices("GPU"))


def exchange_gpus(place: Place, gpus: int) -> None:
    """Tell the other processes how many GPUs this one uses; refuse different numbers.

    That goes through TensorFlow's coordination service, since its collective operations hang where
    the numbers differ.

    Args:
        place: of this process.
        gpus: that it uses.

    Raises:
        InputError: the numbers differ; all processes raise it.
    """
    service = context.context()
    service.set_config_key_value(f"gpus/{place.number}", str(gpus))
    names = [f"gpus/{number}" for number in range(place.processes)]
    found = [int(service.get_config_key_value(name, EXCHANGE_MS)) for name in names]
    service.wait_at_barrier("gpus", EXCHANGE_MS)  # The first one that leaves ends the service.
    refuse_unequal_gpus(found)


def refuse_unequal_gpus(found: list[int]) -> None:
    """Raise InputError where processes have different numbers of GPUs.

    All parts of a batch are equally large, and TensorFlow takes for granted that each process
    computes as many.

    Args:
        found: the numbers, in the order of the processes.
    """
    if len({*found}) > 1:
        raise InputError(
            f"GPUs: the processes have {', '.join(map(str, found))}, in the order of "
            f"{CONFIGURATION}; expected as many in each. Hide some (such as "
            "CUDA_VISIBLE_DEVICES=0), or give each --device cpu."
        )


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


class Sent(pickle.Pickler):
    """Writes what another process reads: of an array, its numbers alone, wherever they lie."""

    def reducer_override(self, value: Any) -> Any:
        """Return an array in a file, mapped into memory, as any other array."""
        return np.array(value).__reduce__() if isinstance(value, np.memmap) else NotImplemented


def write(value: Any) -> bytes:
    """Return the bytes from which another process reads a value."""
    file = io.BytesIO()
    Sent(file).dump(value)
    return file.getvalue()


def read(content: bytes) -> Any:
    """Return the value that another process has sent."""
    return Received(io.BytesIO(content)).load()


class Group:
    """The processes that were joined: see Group in machinery/shared_run.py.

    Args:
        place: which of them this one is.
    """

    def __init__(self, place: Place) -> None:
        self.number, self.processes = place.number, place.processes
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
        content = b"" if self.number else write(value)
        count = self.largest(-(-len(content) // CHUNK))
        # What is gathered is as long from each, so in one piece all would need that much memory.
        parts = [self._exchange(content[n * CHUNK : (n + 1) * CHUNK])[0] for n in range(count)]
        return read(b"".join(parts))

    def gather(self, value: Any) -> list[Any]:
        """Return, in the leading process, what each gives, in their order; elsewhere nothing."""
        found = self._exchange(write(value))
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
