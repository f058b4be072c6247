"""Bookkeeping shared by the scripts: parameters, exit codes, stopping, run folder, checkpoints.

A closed list, and no framework in it. What knows an image or a gradient belongs in model/ or in
a script.
"""

import argparse
import contextlib
import dataclasses
import difflib
import errno
import functools
import hashlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
from filelock import FileLock, Timeout
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    import numpy as np

DEVICES = ("auto", "cuda", "mps", "cpu")

logger = logging.getLogger("run")
process_start = time.monotonic()

# ---------------------------------------------------------------------------------------------
# Exit codes: 0 done, 1 a bug (traceback), and these.


class CommandError(Exception):
    """An end that the person can act on: printed as one message, without a traceback."""

    exit_code = 1


class InputError(CommandError):
    """Bad input. Say the file, the value, what was expected and the next step."""

    exit_code = 2


class DivergedError(CommandError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""

    exit_code = 3
    outcome = "diverged"


class ResourceError(CommandError):
    """Out of memory or of disk."""

    exit_code = 4
    outcome = "out of resources"


class StoppedError(CommandError):
    """Stopped on request, with everything saved: the same command continues."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: "try again later"
    outcome = "stopped"


class CancelledError(StoppedError):
    """Ctrl-C, with everything saved."""

    exit_code = 130


@contextlib.contextmanager
def exit_codes() -> Generator[None, None, None]:
    """End the process with a message and an exit code on the errors above and on a full disk."""
    storage = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
    try:
        yield
    except StoppedError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if error.errno not in storage:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}cannot write: {error.strerror}.", file=sys.stderr)
        raise SystemExit(ResourceError.exit_code) from None


class StopRequest:
    """Remembers that the run should save and stop, for the training loop to look at once a step.

    The reasons are SIGTERM, SIGUSR1 (what SLURM's `--signal` sends ahead of its limit), Ctrl-C,
    and `max_minutes` since the process started. A second signal ends the process at once.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        self.error: StoppedError | None = None
        self.deadline = math.inf if max_minutes is None else process_start + 60 * max_minutes
        for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
            if hasattr(signal, name):  # Windows has no SIGUSR1.
                signal.signal(getattr(signal, name), self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self.error:
            os._exit(128 + number)
        name = signal.Signals(number).name
        self.error = CancelledError("Ctrl-C") if name == "SIGINT" else StoppedError(name)

    def __bool__(self) -> bool:
        if not self.error and time.monotonic() > self.deadline:
            self.error = StoppedError("the time limit")
        return self.error is not None

    def stopped(self, run: "Run", progress: "Progress") -> StoppedError:
        """The error to raise once `progress` is saved."""
        assert self.error
        message = f"Stopped by {self.error} at step {progress.step:,}, saved in {run.folder}."
        return type(self.error)(f"{message} Run the same command again to continue.")


# ---------------------------------------------------------------------------------------------
# Parameters: a file params.yaml and a typed schema for it.


class Section(pydantic.BaseModel):
    """A group of parameters. Unknown names, wrong types and NaN are errors."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


def parameter_fields(schema: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the pydantic field of every parameter, sections opened."""
    for name, field in schema.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from parameter_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def flatten(parameters: Section) -> dict[str, Any]:
    """Return {"model.width": 32, ...}."""
    names = (name for name, _ in parameter_fields(type(parameters)))
    return {name: functools.reduce(getattr, name.split("."), parameters) for name in names}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what differs between two flat parameter sets, or return an empty string."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} ({old.get(name)!r} -> {new.get(name)!r})" for name in names)


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)  # pure: YAML 1.2, where 1e-3 is a number and `no` a word.


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a small YAML file; raise InputError with file and line otherwise."""
    try:
        if path.stat().st_size > 1_000_000:
            raise InputError(f"{path}: larger than 1 MB, expected a file of parameters.")
        document = _yaml().load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found.{_beside(path.parent)}") from None
    except (IsADirectoryError, NotADirectoryError):
        raise InputError(f"{path}: expected a file in a folder.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8.") from None
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = str(error.problem).partition("\n")[0]
        raise InputError(f"{path}{line}: not valid YAML: {problem}.") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {error}".partition("\n")[0]) from None
    if not isinstance(document, dict) or not document:
        kind = "nothing" if document is None else type(document).__name__
        raise InputError(f"{path}: got {kind}, expected `name: value` lines.")
    return document


def _beside(folder: Path) -> str:
    """Name the experiments beside a folder that was not found."""
    names = sorted(str(path.parent) for path in folder.parent.glob("*/params.yaml"))[:5]
    return f" Found: {', '.join(names)}." if names else ""


def _line_of(path: Path, location: Sequence[str | int]) -> str:
    """Return "file:line" of a nested key in a YAML file, as far as the key is there."""
    node, line = _yaml().compose(path), None
    for key in location:
        pairs = node.value if isinstance(getattr(node, "value", None), list) else []
        found = [p for p in pairs if isinstance(p, tuple) and p[0].value == str(key)]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return f"{path}:{line}" if line else str(path)


def load_parameters(
    schema: type[Section], path: Path, overrides: Mapping[str, str] | None = None
) -> Any:
    """Read and check a parameter file.

    Args:
        schema: what params.yaml must look like.
        path: the file.
        overrides: values from the command line, as typed there, by dotted name.

    Raises:
        InputError: listing every unknown, mistyped or out-of-range value at once.
    """
    values = read_yaml(path)
    overrides = overrides or {}
    for name, text in overrides.items():
        *sections, last = name.split(".")
        section = values
        for key in sections:
            section = section.setdefault(key, {}) if isinstance(section, dict) else {}
        try:
            section[last] = _yaml().load(text)
        except YAMLError:
            raise InputError(f"--{name}: got {text!r}, which is not a YAML value.") from None
    try:
        return schema.model_validate(values)
    except pydantic.ValidationError as error:
        known = [name for name, _ in parameter_fields(schema)] + list(schema.model_fields)
        problems = []
        for problem in error.errors(include_url=False):
            name = ".".join(str(key) for key in problem["loc"])
            line = _line_of(path, problem["loc"])
            where = f"--{name}" if name in overrides else f"{line}: {name}"
            problems.append(f"{where}: {_explain(problem, name, known)}")
        if len(problems) > 1:
            problems.insert(0, f"{len(problems)} parameters cannot be used.")
        problems.append("`python train.py --help` lists the parameters. Nothing was started.")
        raise InputError("\n  ".join(problems)) from None


def _explain(problem: Any, name: str, known: Sequence[str]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown parameter{nearest(name, known)}."
    expected = problem["msg"].replace("Input should be", "expected")
    return f"got {str(problem['input'])[:80]!r}, {expected}."


def nearest(name: str, known: Sequence[str]) -> str:
    """Return " (did you mean X?)" for the known name that is nearest, if one is near."""
    ends = {}
    for candidate in known:
        end = candidate.rpartition(".")[2]
        ends[end] = ends["".join(word[0] for word in end.split("_") if word)] = candidate  # lr too
    last = name.rpartition(".")[2]
    close = [ends[last]] if last in ends else difflib.get_close_matches(name, known, n=1)
    close = close or [ends[end] for end in difflib.get_close_matches(last, ends, n=1)]
    return f" (did you mean {close[0]}?)" if close else ""


def format_parameters(parameters: Section, indent: str = "") -> str:
    """Write parameters as YAML, the meaning of each behind its value."""
    lines = []
    for name, field in type(parameters).model_fields.items():
        value = getattr(parameters, name)
        if isinstance(value, Section):
            lines += [f"\n{indent}{name}:\n{format_parameters(value, indent + '  ')}"]
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            # YAML 1.1 readers take 1e-05 for a word; 1.0e-05 is a number to all.
            text = re.sub(r"^(-?\d+)e", r"\1.0e", text)
            lines += [f"{indent}{name}: {text}  # {field.description}\n"]
    return "".join(lines)


class ArgumentParser(argparse.ArgumentParser):
    """argparse with the nearest name for an unknown option and errors in our form."""

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:
        arguments, unknown = self.parse_known_args(args, namespace)
        options = [option for action in self._actions for option in action.option_strings]
        if unknown:
            name = unknown[0].partition("=")[0]
            self.error(f"{name}: unknown option{nearest(name, options)}")
        return arguments

    def error(self, message: str) -> Any:
        print(f"error: {message}. See --help.", file=sys.stderr)
        raise SystemExit(InputError.exit_code)

    def add_parameters(self, schema: type[Section]) -> None:
        """Offer every parameter as an option, such as --model.width."""
        group = self.add_argument_group("parameters, to change in a new experiment (--from)")
        for name, field in parameter_fields(schema):
            group.add_argument(
                f"--{name}",
                dest=name,
                default=argparse.SUPPRESS,
                metavar=getattr(field.annotation, "__name__", "VALUE").upper(),
                help=f"{field.description} [{field.default}]".replace("%", "%%"),
            )


def resolve_parameters(schema: type[Section], arguments: argparse.Namespace) -> Any:
    """Return the parameters that a command names: those of --experiment, or new ones by --from.

    Raises:
        InputError: values are wrong, or options would change an experiment that exists.
    """
    names = [name for name, _ in parameter_fields(schema)]
    overrides = {name: value for name, value in vars(arguments).items() if name in names}
    path = arguments.experiment / "params.yaml"
    if arguments.source is None:
        if overrides:
            raise InputError(
                f"--{next(iter(overrides))}: {path} is the record of {arguments.experiment} and "
                "stays as it is. Name a new experiment: "
                f"--experiment experiments/NEW --from {arguments.experiment} with your options."
            )
        return load_parameters(schema, path)
    if arguments.experiment.exists() and not arguments.experiment.is_dir():
        raise InputError(f"{arguments.experiment}: is a file, expected a folder or nothing.")
    parameters = load_parameters(schema, arguments.source / "params.yaml", overrides)
    if path.exists() and not arguments.overwrite:
        changed = differences(flatten(load_parameters(schema, path)), flatten(parameters))
        if changed:
            raise InputError(
                f"{path} exists with other parameters: {changed}. Choose another --experiment, "
                "or add --overwrite to replace the experiment."
            )
    return parameters


# ---------------------------------------------------------------------------------------------
# Randomness: everything random is a function of (seed, epoch or step, index).


def fold_seed(*position: int) -> int:
    """Mix a seed and a position, such as (seed, step), into one seed of 63 bits."""
    digest = hashlib.blake2b(repr(position).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


# ---------------------------------------------------------------------------------------------
# Files that survive a kill.


def write_atomically(path: Path, content: bytes, keep: Path | None = None) -> None:
    """Write a file so that a kill at any moment leaves the old content or the new, whole.

    Where `keep` is given, the old file goes there.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # A fixed name: litter is overwritten.
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if keep and path.exists():
        os.replace(path, keep)
    os.replace(temporary, path)
    if os.name == "posix":  # Windows cannot open a folder.
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class DamagedError(Exception):
    """A checkpoint is missing, cut short or changed."""


def _digest(arrays: "Mapping[str, np.ndarray]", state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


def write_checkpoint(
    path: Path,
    arrays: "Mapping[str, np.ndarray]",
    state: Mapping[str, Any],
    keep: Path | None = None,
) -> None:
    """Write arrays and plain values as one safetensors file with a SHA-256 in its header."""
    import numpy as np
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(state)
    content = save(arrays, {"state": text, "sha256": _digest(arrays, text)})
    write_atomically(path, content, keep)


def read_checkpoint(path: Path) -> "tuple[dict[str, np.ndarray], dict[str, Any]]":
    """Read what write_checkpoint wrote. Nothing in the file is executed.

    Raises:
        DamagedError: the file is missing, cut short, or does not match its SHA-256.
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
        return arrays, json.loads(metadata["state"])
    except OSError as error:
        raise DamagedError(f"{path}: {error.strerror}") from None
    except (SafetensorError, ValueError, KeyError, TypeError, MemoryError, RecursionError):
        raise DamagedError(f"{path} is cut short or not a checkpoint") from None


# ---------------------------------------------------------------------------------------------
# The run folder.


@dataclasses.dataclass
class Progress:
    """Where a run stands. `step` is the only position; the rest is what it has seen so far."""

    step: int = 0  # optimizer steps done
    loss_sum: float = 0.0  # of the training loss over the examples of the unfinished epoch
    best: dict[str, float] | None = None  # the metrics row of the best epoch
    stale_epochs: int = 0  # epochs since then
    seconds: float = 0.0  # spent, over all sessions
    metrics_bytes: int = 0  # length of metrics.jsonl
    finished: bool = False


class Run:
    """One experiment folder: params.yaml in; checkpoints, metrics and log out.

    Use it as a context manager: it holds the folder's lock, so that one process writes there.

    Raises:
        InputError: another process holds the lock, or the run in the folder cannot be continued.
    """

    last, previous, best = "last.safetensors", "previous.safetensors", "best.safetensors"
    outputs = (
        *("*.safetensors", "metrics.jsonl", "run.json", "train.log", "changes.diff"),
        *("tensorboard/*", "*.png", "metrics_*.json", "predictions_*.csv"),
    )

    def __init__(
        self, folder: Path, parameters: Any, fingerprint: str, overwrite: bool = False
    ) -> None:
        self.folder = folder
        self.overwrite = overwrite
        self.parameters = parameters
        self.fingerprint = fingerprint
        self.session: dict[str, Any] = {}
        self._earlier: list[dict[str, Any]] = []
        self._events: Any = None
        self._log: logging.FileHandler | None = None
        self._notice = ""  # what to say once there is a log
        self._lock = FileLock(folder / ".lock", timeout=0)
        self._created: list[Path] = []

    def __enter__(self) -> "Run":
        paths = (self.folder / ".lock", self.folder, *self.folder.parents)
        self._created = [path for path in paths if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            holder = self.sessions()[-1:] or [{}]
            who = f"process {holder[0].get('process')} on {holder[0].get('host')}"
            raise InputError(f"{self.folder} is in use by {who}. Wait, or stop it.") from None
        return self

    def __exit__(self, kind: object, error: BaseException | None, _traceback: object) -> None:
        if self.session:
            outcome = getattr(error, "outcome", "failed") if error else "finished"
            seconds = round(time.monotonic() - self._began, 3)
            self.record(ended=_now(), outcome=outcome, seconds=seconds)
        if self._events:
            self._events.close()
        if self._log:
            logger.removeHandler(self._log)
            self._log.close()
        self._lock.release()
        if not self.session:  # Refused before it began: nothing stays behind.
            with contextlib.suppress(OSError):
                for path in self._created:
                    path.unlink(missing_ok=True) if path.name == ".lock" else path.rmdir()

    # -- what was there before

    def load(self) -> "tuple[dict[str, np.ndarray], Progress] | None":
        """Return the newest whole checkpoint, or None where the folder has none.

        Raises:
            InputError: there are checkpoints but none is whole, or the newest whole one belongs
                to other parameters or other data.
        """
        damaged = []
        for name in () if self.overwrite else (self.last, self.previous):
            path = self.folder / name
            if not path.exists():
                continue
            try:
                arrays, state = read_checkpoint(path)
            except DamagedError as error:
                damaged.append(str(error))
                continue
            self._check_same_run(path, state)
            if damaged:
                self._notice = f"{damaged[0]}; continuing from {path}, the one before."
            return arrays, Progress(**state["progress"])
        if damaged:
            raise InputError(
                f"{'; '.join(damaged)}. Bring back a copy, or train anew with --overwrite."
            )
        return None

    def _check_same_run(self, path: Path, state: Mapping[str, Any]) -> None:
        changed = differences(state["parameters"], flatten(self.parameters))
        if changed:
            raise InputError(
                f"{self.folder / 'params.yaml'} changed since {path} was written: {changed}. "
                "Change it back, start a new experiment with --from, or train anew with "
                "--overwrite."
            )
        if state["fingerprint"] != self.fingerprint:
            raise InputError(
                f"{path} was trained on other data (fingerprint {state['fingerprint']}, now "
                f"{self.fingerprint}). Bring the data back, start a new experiment with --from, "
                "or train anew with --overwrite."
            )

    def sessions(self) -> list[dict[str, Any]]:
        """Return the records of the processes that worked on this run, oldest first."""
        return read_json(self.folder / "run.json", {"sessions": []})["sessions"]

    # -- what this process adds

    def _clear(self) -> None:
        """Delete what earlier training left in the folder; params.yaml and other files stay."""
        for pattern in self.outputs:
            for path in self.folder.glob(pattern):
                path.unlink()

    def begin(self, progress: Progress, **facts: Any) -> None:
        """Start writing: params.yaml where it is missing, the log, the record, the metrics.

        Args:
            progress: where training starts; metrics written after that point are cut off.
            facts: what to record about this process, such as the device.
        """
        if self.overwrite:
            self._clear()
        path = self.folder / "params.yaml"
        text = format_parameters(self.parameters)
        if not path.exists() or load_parameters(type(self.parameters), path) != self.parameters:
            write_atomically(path, text.encode())
        self._log = logging.FileHandler(self.folder / "train.log", encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(self._log)
        if self._notice:
            logger.warning(self._notice)
        self._cut_metrics(progress.metrics_bytes)
        commit, changes = git_state()
        if changes:
            write_atomically(self.folder / "changes.diff", changes)
        self.session = {
            "started": _now(),
            "ended": None,
            "outcome": "running",
            "command": shlex.join([Path(sys.executable).name, *sys.argv]),
            "process": os.getpid(),
            "host": platform.node(),
            "git_commit": commit,
            "git_dirty": bool(changes),
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "from_step": progress.step,
            "parameters": flatten(self.parameters),
            "fingerprint": self.fingerprint,
            **facts,
        }
        self._began = time.monotonic()
        self._earlier = self.sessions()
        self.record()

    def _cut_metrics(self, length: int) -> None:
        path = self.folder / "metrics.jsonl"
        if path.exists():
            with open(path, "r+b") as file:
                file.truncate(min(length, path.stat().st_size))
        # TensorBoard's file is written anew from the metrics, so that it never holds a row twice.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = self.folder / "tensorboard"
        folder.mkdir(exist_ok=True)
        self._events = RecordWriter(open(folder / "events.out.tfevents.0", "wb"))  # noqa: SIM115
        self._events.write(Event(file_version="brain.Event:2").SerializeToString())
        for row in read_metrics(self.folder):
            self._write_event(row)

    def _write_event(self, row: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            # train_loss becomes train/loss: TensorBoard groups by what stands before the slash.
            Summary.Value(tag=name.replace("_", "/", 1), simple_value=value)
            for name, value in row.items()
            if name not in ("epoch", "step")
        ]
        event = Event(wall_time=time.time(), step=int(row["step"]), summary=Summary(value=values))
        self._events.write(event.SerializeToString())
        self._events.flush()

    def record(self, **facts: Any) -> None:
        """Add facts about this process to run.json."""
        self.session.update(facts)
        content = json.dumps({"sessions": [*self._earlier, self.session]}, indent=2)
        write_atomically(self.folder / "run.json", content.encode())

    def append_metrics(self, row: Mapping[str, float], progress: Progress) -> None:
        """Append one line to metrics.jsonl and to TensorBoard's file."""
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())  # Before the checkpoint that counts on this line.
            progress.metrics_bytes = file.tell()
        self._write_event(row)

    def save(self, arrays: "Mapping[str, np.ndarray]", progress: Progress) -> None:
        """Write last.safetensors; the one before becomes previous.safetensors."""
        path = self.folder / self.last
        write_checkpoint(path, arrays, self._state(progress), keep=self.folder / self.previous)

    def save_best(self, arrays: "Mapping[str, np.ndarray]", progress: Progress) -> None:
        """Write best.safetensors."""
        write_checkpoint(self.folder / self.best, arrays, self._state(progress))

    def _state(self, progress: Progress) -> dict[str, Any]:
        return {
            "progress": dataclasses.asdict(progress),
            "parameters": flatten(self.parameters),
            "fingerprint": self.fingerprint,
        }


def is_finished(folder: Path) -> bool:
    """Say whether the run in a folder came to its end, with all that it leaves written."""
    sessions = read_json(folder / "run.json", {"sessions": []})["sessions"]
    return bool(sessions) and sessions[-1]["outcome"] == "finished"


def is_running(folder: Path) -> bool:
    """Say whether a process works on the run in a folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        FileLock(folder / ".lock", timeout=0).acquire().lock.release()
    except Timeout:
        return True
    return False


def read_json(path: Path, default: Any) -> Any:
    """Read a JSON file; a missing or unreadable one counts as `default`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read metrics.jsonl: one row an epoch. A last line cut off by a kill is left out."""
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def git_state() -> tuple[str | None, bytes]:
    """Return the commit of the code and what differs from it (empty: nothing, or no git)."""

    def git(*command: str) -> bytes | None:
        try:
            run = subprocess.run(["git", *command], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return run.stdout

    commit = git("rev-parse", "HEAD")
    code = ("--", "*.py", "*.toml", "*.txt")
    return (commit.decode().strip(), git("diff", "HEAD", *code) or b"") if commit else (None, b"")


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, to record with a run."""
    return {package: importlib.metadata.version(package) for package in packages}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Terminal(logging.Handler):
    """Prints log lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record))


def log_to_terminal() -> None:
    """Show the run's log lines in the terminal too."""
    logger.setLevel(logging.INFO)
    logger.addHandler(_Terminal())


def plot_learning_curves(folder: Path) -> None:
    """Draw learning_curves.png from metrics.jsonl: loss and the other metrics by epoch."""
    from matplotlib.figure import Figure  # pyplot would look for a display.

    rows = read_metrics(folder)
    epochs = [row["epoch"] for row in rows]
    others = [name for name in rows[0] if name.startswith("val_") and name != "val_loss"]
    panels = [["train_loss", "val_loss"], *([name] for name in others)]
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            axes.plot(epochs, [row[name] for row in rows], marker=".", label=name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(str(folder))
    figure.savefig(folder / "learning_curves.png", dpi=120)
