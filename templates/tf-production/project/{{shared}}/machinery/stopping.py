"""Requests to save and stop: signals and a time limit."""

import math
import os
import signal
import time
from pathlib import Path

from machinery.errors import CancelledError, StoppedError

process_start = time.monotonic()


class StopRequest:
    """Remembers that the run should save and stop; the training loop asks for it at every step.

    The reasons are SIGTERM, SIGUSR1 (which SLURM's `--signal` sends before its time limit), Ctrl-C,
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

    def stopped(self, folder: Path, step: int) -> StoppedError:
        """Return the error to raise once the run of a folder is saved at a step."""
        assert self.error
        message = f"Stopped by {self.error} at step {step:,}, saved in {folder}."
        return type(self.error)(f"{message} Run the same command again to continue.")
