"""The state of a run on disk: safetensors files that hold no code and notice damage.

last.safetensors and previous.safetensors hold all that it takes to continue, best.safetensors only
the weights of the best epoch, averaged where the run averages them. Each holds a SHA-256 of its
content.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pydantic

from machinery.errors import DivergedError, InputError
from machinery.files import write_atomically

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    import numpy as np

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"
WEIGHTS = "model."  # The names of the network's arrays begin so; those of the optimizer otherwise.
AVERAGE = "average."  # So begin those of moving averages of weights, where a run keeps them.


class DamagedError(Exception):
    """A checkpoint is missing, cut short or changed."""


@pydantic.dataclasses.dataclass(
    config=pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
)
class Progress:
    """Where a run stands. `step` is the only position; the rest is what it has seen so far."""

    step: int = pydantic.Field(0, ge=0)  # optimizer steps done
    loss_sum: float = 0.0  # of the loss over the examples of the unfinished epoch
    best: dict[str, int | float] | None = None  # the metrics row of the best epoch
    stale_epochs: int = pydantic.Field(0, ge=0)  # epochs since the best one
    seconds: float = pydantic.Field(0.0, ge=0)  # spent, over all sessions
    metrics_bytes: int = pydantic.Field(0, ge=0)  # length of metrics.jsonl
    finished: bool = False
    pieces: int = pydantic.Field(1, ge=1)  # that each part of a batch is cut into: see memory.py


class Header(pydantic.BaseModel):
    """What a checkpoint holds beside its arrays."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="constants")

    progress: Progress
    parameters: dict[str, Any]  # flat
    fingerprint: str  # of the data
    optimizer: str  # in words: another optimizer cannot continue with this state
    arrays: list[str]  # what `describe` returns of all that were written


class State(Protocol):
    """What a checkpoint holds of a network and its optimizer: see State in backend.py."""

    optimizer_name: str  # The optimizer and the settings that a continued run must keep, in words.
    # Where a batch comes in parts, it changes no bit how many processes or devices compute them.
    is_elastic: bool
    # Each of several processes has a part of the arrays, so that all of them call `to_arrays`.
    is_sharded: bool

    def load(self, arrays: "dict[str, np.ndarray]", path: Path) -> None:
        """Load the arrays of a checkpoint.

        Raises:
            InputError: they do not fit; nothing was changed.
        """

    def start(self) -> None:
        """Prepare the new network for a run that starts: put pretrained weights in, if it has some.

        Raises:
            InputError: they cannot be read.
        """

    def initial_arrays(self) -> "Mapping[str, np.ndarray]":
        """Return the arrays that a run begins with, in the process that loaded or started it."""
        ...

    def to_arrays(self) -> "Mapping[str, np.ndarray]":
        """Return the arrays, in the leading process.

        The names of the network's begin with "model."; those of moving averages of its weights,
        where it keeps them, with "average." and then the same.
        """
        ...


def describe(arrays: "Mapping[str, np.ndarray]") -> list[str]:
    """Return name, type and shape of each array, by name."""
    return [f"{name} {arrays[name].dtype} {arrays[name].shape}" for name in sorted(arrays)]


def write_checkpoint(
    path: Path, arrays: "Mapping[str, np.ndarray]", header: Header, keep: Path | None = None
) -> None:
    """Write arrays and a header as one safetensors file; the old file is moved to `keep`.

    Raises:
        DivergedError: a number is NaN or infinite; nothing is written.
    """
    import numpy as np
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise DivergedError(
                f"{path}: {name} holds NaN or infinity, so the file was not written; an older one "
                "is whole. Start a new experiment with --from and a lower training.learning_rate."
            )
    text = header.model_dump_json()
    content = save(arrays, {"state": text, "sha256": _digest(arrays, text)})
    write_atomically(path, content, keep)


def read_checkpoint(path: Path) -> "tuple[dict[str, np.ndarray], Header]":
    """Read what write_checkpoint wrote. Nothing in the file is executed.

    Raises:
        DamagedError: the file is missing, cut short, does not match its SHA-256, or holds what
            write_checkpoint does not write.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        arrays = load(content)
        if metadata["sha256"] != _digest(arrays, metadata["state"]):
            raise DamagedError(f"{path} does not match its SHA-256")
        header = Header.model_validate_json(metadata["state"])
        # Part of an optimizer's state would be noticed only by the optimizer, in a traceback.
        if header.arrays != describe(arrays):
            raise DamagedError(f"{path} has not the arrays that were written")
        return arrays, header
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from None
    except (SafetensorError, ValueError, KeyError, TypeError, MemoryError, RecursionError):
        raise DamagedError(f"{path} is cut short or not a checkpoint") from None


def _digest(arrays: "Mapping[str, np.ndarray]", state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name, description in zip(sorted(arrays), describe(arrays), strict=True):
        digest.update(description.encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


def read_newest(folder: Path) -> "tuple[dict[str, np.ndarray], Header, Path, str] | None":
    """Return the newest whole checkpoint of a run, its path, and what was wrong with a newer one.

    None where there is no checkpoint.

    Raises:
        InputError: there are checkpoints, but none is whole.
    """
    damage = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            arrays, header = read_checkpoint(path)
        except DamagedError as error:
            damage.append(str(error))
            continue
        notice = f"{damage[0]}; continuing from {path}, the one before." if damage else ""
        return arrays, header, path, notice
    if damage:
        raise InputError(f"{'; '.join(damage)}. Bring back a copy, or train anew with --overwrite.")
    return None


def read_trained(path: Path, fingerprint: str) -> "tuple[dict[str, np.ndarray], Progress]":
    """Read a checkpoint that was trained on the data of a fingerprint.

    Raises:
        InputError: it is damaged, or was trained on data of another fingerprint.
    """
    try:
        arrays, header = read_checkpoint(path)
    except DamagedError as error:
        raise InputError(f"{error}. Try --checkpoint last, or train anew.") from None
    if header.fingerprint != fingerprint:
        raise InputError(
            f"{path} was trained on other data (fingerprint {header.fingerprint}, here "
            f"{fingerprint}). Name the folder of that data with --data."
        )
    return arrays, header.progress


def select(arrays: "Mapping[str, np.ndarray]", prefix: str) -> "dict[str, np.ndarray]":
    """Return the arrays whose names begin with a prefix, under their names without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def trained_weights(arrays: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
    """Return the network's arrays by its names for them; where averages are kept, those."""
    return select(arrays, WEIGHTS) | select(arrays, AVERAGE)


def check_fit(
    arrays: "Mapping[str, np.ndarray]", expected: Mapping[str, Sequence[int]], path: Path
) -> None:
    """Refuse the arrays of a checkpoint that a network or an optimizer cannot take.

    Args:
        arrays: of the checkpoint, those that are meant for it.
        expected: the shapes that the network or the optimizer has, by the same names.
        path: the checkpoint, to name in the message.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    problems = [f"{name} is missing" for name in expected if name not in arrays]
    problems += [f"{name} is unknown" for name in arrays if name not in expected]
    problems += [
        f"{name} is {arrays[name].shape}, expected {tuple(shape)}"
        for name, shape in expected.items()
        if name in arrays and arrays[name].shape != tuple(shape)
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError(
            f"{path} does not fit the network in model/net.py or the optimizer in train.py: "
            f"{'; '.join(problems[:5])}{more}. Bring them back as they were, or start a new "
            "experiment with --from."
        )
