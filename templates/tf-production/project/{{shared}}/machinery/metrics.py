"""The metrics of a run, one row per epoch: metrics.jsonl, TensorBoard, the best epoch."""

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from machinery.errors import DivergedError, InputError

FILE = "metrics.jsonl"


class Objective(NamedTuple):
    """The column of the metrics that says how good an epoch is, and in which direction."""

    metric: str  # such as "val_accuracy"
    maximize: bool

    def is_better(self, row: Mapping[str, float], than: Mapping[str, float] | None) -> bool:
        """Return whether a row is better than another; between equals the lower loss decides.

        A row whose metric is NaN or infinite is never better.
        """
        if not math.isfinite(row[self.metric]):
            return False
        return than is None or self.score(row) > self.score(than)

    def usual_margin(self, value: float) -> float:
        """Return how much worse than a value still does: a point of a share, else a hundredth."""
        return 0.01 if self.maximize and 0 <= value <= 1 else 0.01 * abs(value)

    def score(self, row: Mapping[str, float]) -> tuple[float, float]:
        """Return a key to compare epochs by: that of the best is the greatest."""
        sign, loss = 1 if self.maximize else -1, row.get("val_loss", math.inf)
        return sign * row[self.metric], -math.inf if math.isnan(loss) else -loss

    def best(self, rows: Iterable[dict[str, float]]) -> dict[str, float] | None:
        """Return the best of some rows, the first of equals; None if none has the metric."""
        best = None
        for row in rows:
            if self.metric in row and self.is_better(row, best):
                best = row
        return best


def read_metrics(folder: Path, length: int | None = None) -> list[dict[str, float]]:
    """Read metrics.jsonl, one row per epoch. A last line that a kill cut off is left out.

    Args:
        folder: of the run.
        length: how many bytes to read; None: all.

    Raises:
        InputError: a line is damaged.
    """
    path = folder / FILE
    content = path.read_bytes()[:length] if path.exists() else b""
    lines = content.split(b"\n")[:-1]
    needed = () if length is None else ("step",)  # To go on takes it.
    return [_read_row(line, f"{path}:{i}", needed) for i, line in enumerate(lines, start=1)]


def _read_row(line: bytes, where: str, needed: Iterable[str]) -> dict[str, float]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not all(map(_is_number, row.values())) or {*needed} - {*row}:
        raise InputError(
            f"{where}: damaged, expected the metrics of an epoch as JSON. Bring back a copy of the "
            "file, or train anew with --overwrite."
        )
    return row


def _is_number(value: object) -> bool:
    """Return whether a value is a float, or a whole number that every reader can hold."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def describe(row: Mapping[str, float], separator: str) -> str:
    """Return the metrics on val in words: "val loss 0.1337, val accuracy 0.9889"."""
    names = [name for name in row if name.startswith("val_")]
    return separator.join(f"{name.replace('_', ' ')} {row[name]:.4f}" for name in names)


class MetricsLog:
    """Writes the rows to metrics.jsonl and to TensorBoard's file.

    Args:
        folder: of the run.
        length: how many bytes of metrics.jsonl belong to the checkpoint; the rest is cut off.

    Raises:
        InputError: a line of metrics.jsonl is damaged; nothing was written.
    """

    def __init__(self, folder: Path, length: int) -> None:
        self.path = folder / FILE
        rows = read_metrics(folder, length)
        if self.path.exists():
            with open(self.path, "r+b") as file:
                # Up to the end of a line: the next row must not continue one that was cut off.
                file.truncate(file.read()[:length].rfind(b"\n") + 1)
        # TensorBoard's file is written anew from the metrics, so that it never holds a row twice.
        # Its RecordWriter is enough: its Writer imports TensorFlow where that is installed.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        events = folder / "tensorboard"
        events.mkdir(exist_ok=True)
        self._events = RecordWriter(open(events / "events.out.tfevents.0", "wb"))  # noqa: SIM115
        self._events.write(Event(file_version="brain.Event:2").SerializeToString())
        for row in rows:
            self._write_event(row)

    def append(self, row: Mapping[str, float]) -> int:
        """Append one row; return the length of metrics.jsonl.

        Raises:
            DivergedError: a value is NaN or infinite; nothing is written.
        """
        if wrong := {name: value for name, value in row.items() if not math.isfinite(value)}:
            values = ", ".join(f"{name} became {value}" for name, value in wrong.items())
            raise DivergedError(f"{self.path}: {values}; the row was not written.")
        # A metric may be of a type of NumPy, which JSON does not know.
        row = {name: v if type(v) is int else float(v) for name, v in row.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())  # The checkpoint that follows counts on this line.
            length = file.tell()
        self._write_event(row)
        return length

    def _write_event(self, row: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            # train_loss becomes train/loss: TensorBoard groups by what stands before the slash.
            Summary.Value(tag=_tag(name), simple_value=value)
            for name, value in row.items()
            if name not in ("epoch", "step")
        ]
        event = Event(wall_time=time.time(), step=int(row["step"]), summary=Summary(value=values))
        self._events.write(event.SerializeToString())
        self._events.flush()

    def close(self) -> None:
        """Close TensorBoard's file."""
        self._events.close()


def _tag(name: str) -> str:
    split, _, metric = name.partition("_")
    return f"{split}/{metric}" if split in ("train", "val") else name
