"""Requests to save and stop: signals and a time limit."""

import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from machinery.errors import CancelledError, StoppedError

# When the command began, as time.monotonic() has it. A launcher that starts processes again tells
# them when it began itself, so that all together keep the time limit.
STARTED = "TRAINYARD_STARTED"
process_start = float(os.environ.get(STARTED, time.monotonic()))

# What asks a process to stop. Windows has no SIGUSR1, and only Windows has SIGBREAK (Ctrl-Break).
NAMES = ("SIGTERM", "SIGUSR1", "SIGINT", "SIGBREAK")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
SAME_REQUEST_SECONDS = 1.0
LOST_LAUNCHER = "a lost launcher"
PATIENCE_SECONDS = 30.0  # for other processes to come, once a stop is asked for


def hide_interrupts() -> None:
    """Let Ctrl-C end a command without a traceback while it imports its framework."""

    def hook(kind: Any, error: Any, traceback: Any) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = hook


def ignore_signals(_worker: int = 0) -> None:
    """Ignore what asks to stop, in a process that helps another one, such as a loader of data.

    Signals reach all processes of a terminal or a job. The main process decides what follows, and
    it cannot save if its helpers have died.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def reason(words: str) -> StoppedError:
    """Return a reason to stop: Ctrl-C or another one, in words."""
    return CancelledError(words) if words == "Ctrl-C" else StoppedError(words)


class StopRequest:
    """Remembers that the run should save and stop; the training loop asks for it at every step.

    The reasons are SIGTERM, SIGUSR1 (which SLURM's `--signal` sends before its time limit), Ctrl-C
    or Ctrl-Break, and `max_minutes` since the process started. A second signal ends the process at
    once. Within a second it is still the same request: a job's scheduler signals all processes of a
    job, and the one that started them passes it on.

    A process that a launcher started stops where the launcher is gone: nobody would restart it or
    stop it, and it would keep the run's folder locked.
    """

    signalled = math.inf  # When the first signal came, as time.monotonic() has it.
    is_launched = False  # By a process that lives as long as this one does: its parent.
    parent = 0
    noticed = math.inf  # When a process that waits for others noticed a request.

    def __init__(self, max_minutes: float | None = None) -> None:
        self.error: StoppedError | None = None
        self.deadline = math.inf if max_minutes is None else process_start + 60 * max_minutes
        self.is_launched, self.parent = STARTED in os.environ, os.getppid()
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        now = time.monotonic()
        if now > self.signalled + SAME_REQUEST_SECONDS:
            os._exit(128 + number)
        self.signalled = min(self.signalled, now)
        name = signal.Signals(number).name
        self.error = self.error or reason("Ctrl-C" if name == "SIGINT" else name)

    def __bool__(self) -> bool:
        if not self.error and time.monotonic() > self.deadline:
            self.error = StoppedError("the time limit")
        if not self.error and self._has_lost_launcher():
            self.error = StoppedError(LOST_LAUNCHER)
        return self.error is not None

    def refuse_to_wait(self) -> None:
        """Raise the error of a stop, in a process that waits for others before it trains.

        It leaves late, as others may be about to come, who would then wait for it. They stop
        together after a step. A launcher starts all of them or ends all, so there it stays.
        """
        if not self:
            return
        assert self.error
        self.noticed = min(self.noticed, time.monotonic())
        patience = math.inf if self.is_launched else PATIENCE_SECONDS
        if self._has_lost_launcher() or time.monotonic() > self.noticed + patience:
            message = f"Stopped by {self.error} before the training began."
            raise type(self.error)(f"{message} Run the same command again to start it.")

    def _has_lost_launcher(self) -> bool:
        return self.is_launched and os.getppid() != self.parent

    def stopped(self, folder: Path, step: int) -> StoppedError:
        """Return the error to raise once the run of a folder is saved at a step."""
        assert self.error
        message = f"Stopped by {self.error} at step {step:,}, saved in {folder}."
        return type(self.error)(f"{message} Run the same command again to continue.")
