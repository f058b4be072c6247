"""The folder of one experiment, and what a run writes there so that it survives a kill."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from utils import (
    DivergedError,
    InputError,
    StopRequest,
    differences,
    flatten,
    format_parameters,
    load_parameters,
    old_names,
    parameter_fields,
    write_atomically,
)

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    import numpy as np

logger = logging.getLogger("run")

# ---------------------------------------------------------------------------------------------
# Checkpoints.


def _check_finite(arrays: "Mapping[str, np.ndarray]", path: Path) -> None:
    import numpy as np

    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise DivergedError(
                f"{path}: {name} holds NaN or infinity and was not written; the file is of before. "
                "Start a new experiment with --from and a lower training.learning_rate."
            )


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


def check_fit(
    arrays: "Mapping[str, np.ndarray]", expected: Mapping[str, Sequence[int]], path: Path
) -> None:
    """Refuse the arrays of a checkpoint that a network cannot take.

    Args:
        arrays: of the checkpoint, those that are meant for it.
        expected: the shapes that it has, by the same names.
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


@dataclasses.dataclass
class Progress:
    """Where a run stands. `step` is the only position; the rest is what it has seen so far."""

    step: int = 0  # optimizer steps done
    loss_sum: float = 0.0  # of the loss over the examples of the unfinished epoch; not with Keras
    best: dict[str, float] | None = None  # the metrics row of the best epoch
    stale_epochs: int = 0  # epochs since then
    seconds: float = 0.0  # spent, over all sessions
    metrics_bytes: int = 0  # length of metrics.jsonl
    finished: bool = False

    def end_epoch(self, row: dict[str, float], best: bool, patience: int, last: bool) -> None:
        """Take note of an epoch: whether it is the best so far, and whether training ends."""
        self.best, self.stale_epochs = (row, 0) if best else (self.best, self.stale_epochs + 1)
        self.finished = last or 0 < patience <= self.stale_epochs


class Run:
    """One experiment folder: params.yaml in; checkpoints, metrics and log out.

    Use it as a context manager: it holds the folder's lock, so that one process writes there.

    Args:
        folder: of the experiment.
        parameters: what it is trained with.
        dataset: what it is trained on, as dataset.json describes it.
        data: the folder of the dataset.
        stop: asks to save and stop.
        overwrite: train anew what is there.

    Set `on_epoch` to be called with each row of metrics, once all is saved.

    Raises:
        InputError: another process holds the lock, or the run in the folder cannot be continued.
    """

    last, previous, best = "last.safetensors", "previous.safetensors", "best.safetensors"
    outputs = (
        *("last.safetensors", "previous.safetensors", "best.safetensors", "metrics.jsonl"),
        *("run.json", "train.log", "changes.diff", "learning_curves.png"),
    )
    # Of the weights of one time: out of date as soon as training goes on.
    evaluations = ("metrics_*.json", "confusion_matrix_*.png", "predictions_*.csv")

    def __init__(
        self,
        folder: Path,
        parameters: Any,
        dataset: Any,
        data: Path,
        stop: StopRequest,
        overwrite: bool = False,
    ) -> None:
        self.folder, self.parameters = folder, parameters
        self.dataset, self.data = dataset, data
        self.stop = stop
        self.on_epoch: Callable[[dict[str, float]], None] | None = None
        self.overwrite = self.asked_to_overwrite = overwrite
        self.session: dict[str, Any] = {}
        self._earlier: list[dict[str, Any]] = []
        self._events: Any = None
        self._log: logging.FileHandler | None = None
        self._notice = ""  # what to say once there is a log
        self._lock = FileLock(folder / ".lock", timeout=1)  # is_running() holds it for a moment.
        self._created: list[Path] = []

    def __enter__(self) -> "Run":
        paths = (self.folder / ".lock", self.folder, *self.folder.parents)
        self._created = [path for path in paths if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            holder = read_sessions(self.folder)[-1:] or [{}]
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
        if not self.session:  # Refused before it began: nothing stays behind.
            with contextlib.suppress(OSError):
                for path in self._created:
                    path.unlink(missing_ok=True) if path.name == ".lock" else path.rmdir()
        self._lock.release()

    # -- what was there before

    def load(self) -> "tuple[dict[str, np.ndarray], Progress] | None":
        """Return the newest whole checkpoint, or None where training starts from the beginning.

        Raises:
            InputError: there are checkpoints but none is whole, or the newest whole one belongs
                to other parameters or other data, or they are gone.
        """
        if self.overwrite:
            sessions = read_sessions(self.folder)
            # Begun by this very command, which was stopped, it continues.
            if sessions and sessions[-1].get("overwrite") and not is_finished(self.folder):
                with contextlib.suppress(InputError):
                    self.overwrite = False
                    if found := self.load():
                        return found
            self.overwrite = True
            return None
        damaged = []
        for name in (self.last, self.previous):
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
        if len(read_metrics(self.folder)) > 1:  # The first may come before the first checkpoint.
            raise InputError(
                f"{self.folder / self.last}: not found, and {self.folder} holds metrics of several "
                "epochs. Bring the checkpoint back, or train anew with --overwrite."
            )
        return None

    def _check_same_run(self, path: Path, state: Mapping[str, Any]) -> None:
        # A parameter that is newer than the checkpoint had its default then.
        defaults = {name: f.default for name, f in parameter_fields(type(self.parameters))}
        today = old_names(type(self.parameters))
        then = defaults | {today.get(k, k): v for k, v in state["parameters"].items()}
        changed = differences(then, flatten(self.parameters))
        if changed:
            raise InputError(
                f"{self.folder / 'params.yaml'} changed since {path} was written: {changed}. "
                "Change it back, start a new experiment with --from, or train anew with "
                "--overwrite."
            )
        if state["fingerprint"] != self.dataset.fingerprint:
            raise InputError(
                f"{path} was trained on other data (fingerprint {state['fingerprint']}, now "
                f"{self.dataset.fingerprint}). Bring the data back, start a new experiment with "
                "--from, or train anew with --overwrite."
            )

    # -- what this process adds

    def _delete(self, patterns: tuple[str, ...]) -> None:
        for pattern in patterns:
            for path in self.folder.glob(pattern):
                path.unlink()

    def begin(self, progress: Progress, **facts: Any) -> None:
        """Start writing: params.yaml where it is missing, the log, the record, the metrics.

        Args:
            progress: where training starts; metrics written after that point are cut off.
            facts: what to record about this process, such as the device.
        """
        self._began = self._saved = time.monotonic()
        self._seconds_before = progress.seconds
        path, schema = self.folder / "params.yaml", type(self.parameters)
        new = self.overwrite or not path.exists()
        new = new or load_parameters(schema, path) != self.parameters  # Refuses before it deletes.
        self._delete(self.evaluations)
        if self.overwrite:
            self._delete(self.outputs)
        if new:
            write_atomically(path, format_parameters(self.parameters).encode())
        self._log = logging.FileHandler(self.folder / "train.log", encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(self._log)
        if self._notice:
            logger.warning(self._notice)
        if progress.step:
            _warn_of_other_code(self.folder)
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
            "overwrite": self.asked_to_overwrite,
            "from_step": progress.step,
            "parameters": flatten(self.parameters),
            "fingerprint": self.dataset.fingerprint,
            "model_code": model_code(),
            "data": str(self.data),
            **facts,
        }
        self._earlier = read_sessions(self.folder)
        self.record()

    def _cut_metrics(self, length: int) -> None:
        path = self.folder / "metrics.jsonl"
        if path.exists():
            with open(path, "r+b") as file:
                file.truncate(min(length, path.stat().st_size))
        # TensorBoard's file is written anew from the metrics, so that it never holds a row twice.
        # By its records alone: its Writer imports TensorFlow where that is installed.
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

    def announce(self, progress: Progress, total_steps: int, *facts: str) -> None:
        """Say in the first line of the log whether training starts or continues, and where."""
        how = "continuing at" if progress.step else "starting,"
        where = f"{how} step {progress.step:,} of {total_steps:,}"
        logger.info(f"{self.folder}: {'; '.join((where, *facts))}")

    def check_loss(self, loss: float, step: int) -> None:
        """Raise DivergedError where the loss is not a number any more."""
        if not math.isfinite(loss):
            raise DivergedError(
                f"{self.folder}: the loss became {loss} before step {step:,}; the checkpoints are "
                "of before. Start a new experiment with --from and a lower training.learning_rate "
                "or training.clip_norm."
            )

    def end_epoch(
        self,
        row: dict[str, float],
        progress: Progress,
        arrays: "Mapping[str, np.ndarray]",
        examples_per_second: float,
        last: bool,
    ) -> None:
        """Keep an epoch: its metrics, its weights where they are the best so far, a checkpoint.

        Args:
            row: epoch, step, train_loss, the metrics of val, learning_rate.
            progress: where training stands; takes note of the epoch.
            arrays: the state of the network ("model.") and of the optimizer.
            examples_per_second: how fast it was trained.
            last: whether training ends here even without patience.

        Raises:
            DivergedError: the loss on val is NaN or infinite.
            StoppedError: on request, with everything saved.
        """
        from model.report import score  # Its NumPy takes longer to import than --help to answer.

        self.check_loss(row["val_loss"], progress.step)
        best = progress.best is None or score(row) > score(progress.best)
        progress.loss_sum = 0.0
        progress.end_epoch(row, best, self.parameters.training.patience, last)
        self.append_metrics(row, progress)
        if best:
            self._save_best(arrays, progress)
        self.save(arrays, progress)
        self.session["examples_per_second"] = round(examples_per_second)
        metrics = [f"{name.replace('_', ' ')} {row[name]:.4f}" for name in row if "val_" in name]
        logger.info(
            f"epoch {row['epoch']:3}/{self.parameters.training.epochs}  train loss "
            f"{row['train_loss']:.4f}  {'  '.join(metrics)}  {examples_per_second:,.0f} examples/s"
        )
        if self.on_epoch:
            self.on_epoch(row)
        if self.stop and not progress.finished:
            raise self.stop.stopped(self.folder, progress.step)

    def append_metrics(self, row: Mapping[str, float], progress: Progress) -> None:
        """Append one line to metrics.jsonl and to TensorBoard's file."""
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())  # Before the checkpoint that counts on this line.
            progress.metrics_bytes = file.tell()
        self._write_event(row)

    def checkpoint_is_due(self) -> bool:
        """Say whether a stop was asked for or training.checkpoint_minutes have passed."""
        minutes = self.parameters.training.checkpoint_minutes
        return bool(self.stop) or time.monotonic() > self._saved + 60 * minutes

    def checkpoint(self, arrays: "Mapping[str, np.ndarray]", progress: Progress) -> None:
        """Save within an epoch as `save` does; raise StoppedError where a stop was asked for."""
        self.save(arrays, progress)
        if self.stop:
            raise self.stop.stopped(self.folder, progress.step)

    def save(self, arrays: "Mapping[str, np.ndarray]", progress: Progress) -> None:
        """Write last.safetensors; the one before becomes previous.safetensors.

        Raises:
            DivergedError: a number in the arrays is NaN or infinite; nothing is written.
        """
        path = self.folder / self.last
        _check_finite(arrays, path)
        self._saved = time.monotonic()
        progress.seconds = self._seconds_before + self._saved - self._began
        write_checkpoint(path, arrays, self._state(progress), keep=self.folder / self.previous)

    def _save_best(self, arrays: "Mapping[str, np.ndarray]", progress: Progress) -> None:
        weights = {name: array for name, array in arrays.items() if name.startswith("model.")}
        _check_finite(weights, self.folder / self.best)
        write_checkpoint(self.folder / self.best, weights, self._state(progress))

    def finish(self, progress: Progress) -> None:
        """Draw the learning curves, and say which epoch was best and what to do next."""
        row = progress.best or {}
        plot_learning_curves(self.folder, row.get("epoch"))
        metrics = [f"{name.replace('_', ' ')} {row[name]:.4f}" for name in row if "val_" in name]
        where = f"--experiment {self.folder}"
        where += f" --data {self.data}" if self.data != Path("data") else ""
        logger.info(
            f"best epoch {row.get('epoch')}: {', '.join(metrics)}; next: python evaluate.py {where}"
        )

    def _state(self, progress: Progress) -> dict[str, Any]:
        return {
            "progress": dataclasses.asdict(progress),
            "parameters": flatten(self.parameters),
            "fingerprint": self.dataset.fingerprint,
        }


def load_trained(path: Path, fingerprint: str) -> "tuple[dict[str, np.ndarray], Progress]":
    """Read a checkpoint to evaluate it.

    Raises:
        InputError: it is damaged, or was trained on data of another fingerprint.
    """
    try:
        arrays, state = read_checkpoint(path)
    except DamagedError as error:
        raise InputError(f"{error}. Try --checkpoint last, or train anew.") from None
    if state["fingerprint"] != fingerprint:
        raise InputError(
            f"{path} was trained on other data (fingerprint {state['fingerprint']}, here "
            f"{fingerprint}). Name the folder of that data with --data."
        )
    _warn_of_other_code(path.parent)
    return arrays, Progress(**state["progress"])


def _warn_of_other_code(folder: Path) -> None:
    trained = [session.get("model_code") for session in read_sessions(folder)][-1:]
    if trained not in ([], [None], [model_code()]):
        logger.warning(f"{folder}: the code in model/ is not what was trained; going on with it.")


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the processes that worked on a run, oldest first."""
    try:
        sessions = json.loads((folder / "run.json").read_text(encoding="utf-8"))["sessions"]
        return [session for session in sessions if "outcome" in session]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def data_of(*folders: Path | None) -> Path:
    """Return the dataset folder that the first of these experiments was trained on, else data."""
    for folder in folders:
        for session in reversed(read_sessions(folder) if folder else []):
            if "data" in session:
                return Path(session["data"])
    return Path("data")


def model_code() -> str:
    """Return a digest of the modules in model/, by which runs of different networks differ."""
    files = sorted((Path(__file__).parent / "model").rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:8]


def is_finished(folder: Path) -> bool:
    """Say whether the run in a folder came to its end, with all that it leaves written."""
    return [session["outcome"] for session in read_sessions(folder)][-1:] == ["finished"]


def is_running(folder: Path) -> bool:
    """Say whether a process works on the run in a folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        FileLock(folder / ".lock", timeout=0).acquire().lock.release()
    except Timeout:
        return True
    return False


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read metrics.jsonl: one row an epoch. A last line cut off by a kill is left out."""
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def git_state() -> tuple[str | None, bytes]:
    """Return the commit of the code and what differs from it (empty: nothing, or no git)."""

    def git(*command: str) -> bytes:
        try:
            return subprocess.run(["git", *command], capture_output=True, check=False).stdout
        except OSError:
            return b""

    if not git("ls-files", "train.py"):  # No repository, or that of a folder around this one.
        return None, b""
    commit = git("rev-parse", "HEAD")
    code = ("--", "*.py", "*.toml", "*.txt")
    changes = [git("diff", "HEAD", *code)]
    for name in git("ls-files", "-z", "--others", "--exclude-standard", *code).split(b"\0")[:-1]:
        changes.append(git("diff", "--no-index", os.devnull, os.fsdecode(name)))
    return commit.decode().strip(), b"".join(changes)


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


def plot_learning_curves(folder: Path, best_epoch: float | None) -> None:
    """Draw learning_curves.png from metrics.jsonl: loss and the other metrics by epoch."""
    from matplotlib.figure import Figure  # pyplot would look for a display.

    rows = read_metrics(folder)
    epochs = [row["epoch"] for row in rows]
    others = [name for name in rows[0] if name.startswith("val_") and name != "val_loss"]
    panels = [["train_loss", "val_loss"], *([name] for name in others)]
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            label = name.replace("_", " ")
            if name == "train_loss":  # Not the quantity of val_loss, and often above it.
                label += " (with augmentation and regularisation)"
            axes.plot(epochs, [row[name] for row in rows], marker=".", label=label)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="grey", linestyle=":", label="best epoch")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(str(folder))
    figure.savefig(folder / "learning_curves.png", dpi=120)
