"""The processes that train the runs of an experiment: a GPU or some cores for each.

A run is a process of its own, as if a person had started it: stopping, continuing and exit codes
are those of train.py.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machinery.devices import list_gpus, one_gpu, share_cores, some_cores
from machinery.errors import DivergedError
from machinery.stopping import StopRequest

# A child is out of reach of the terminal's Ctrl-C, so that it is asked to stop once, by us: a
# second signal would end it at once. POSIX and Windows have different words for it.
APART: dict[str, Any] = (
    {"process_group": 0}
    if os.name == "posix"
    else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
)
PLEASE_STOP = signal.SIGTERM if os.name == "posix" else getattr(signal, "CTRL_BREAK_EVENT", 0)
ONE_OF_SEVERAL = "TRAINYARD_ONE_OF_SEVERAL"  # Set for a run whose next step another one tells.


class RunProcess(NamedTuple):
    """A process that trains a run, and what passes on the lines that it prints."""

    folder: Path
    process: subprocess.Popen[str]
    reader: threading.Thread | None

    def wait(self) -> int:
        """Return the exit code once it ended and all its lines are printed."""
        code = self.process.wait()
        if self.reader:
            self.reader.join()
        return code if code >= 0 else 128 - code  # As shells have it, where a signal ended it.


class RunProcesses:
    """Runs the commands of some runs, as many at a time as there are GPUs, or else cores.

    Each gets a GPU of its own, or its share of the cores. It depends on the number of all runs, not
    of those to go, so that one that is continued computes with as many threads as before. (Where
    the system lets nobody choose cores, and on other accelerators, one runs after the other.)

    Args:
        commands: by the folder of the run.
        device: as --device names it.
    """

    def __init__(self, commands: Mapping[Path, Sequence[str]], device: str) -> None:
        self.waiting = dict(commands)
        self.gpus = [] if device == "cpu" else list_gpus()
        self.cores = [] if self.gpus else share_cores(len(commands), device)
        self.places = min(max(len(self.gpus), len(self.cores), 1), len(commands))
        self.running: dict[int, RunProcess] = {}

    def describe(self) -> str:
        """Return how many run at a time, and on what."""
        words = f"Training {len(self.waiting)} runs"
        if self.places == 1:
            return f"{words}, one after the other."
        share = "a GPU of its own"
        if self.cores:
            each, all_cores = len(self.cores[0]), sum(map(len, self.cores))
            share = f"{each} of {all_cores} cores"
        return f"{words}, {self.places} at a time, each on {share}."

    def run(self, stop: StopRequest) -> list[tuple[Path, int]]:
        """Return the runs that failed and their exit codes, once no process needs to go on.

        One that diverged says nothing about the others, so these are trained. After any other
        failure, and when a stop is asked for, no more are started; `close` ends those that run.
        """
        failed = []
        while self.running or self.waiting:
            for place in range(self.places):
                held = self.running.get(place)
                if held and held.process.poll() is not None:
                    del self.running[place]
                    if code := held.wait():
                        failed.append((held.folder, code))
                        if code != DivergedError.exit_code:
                            return failed
                if stop:
                    return failed
                if place not in self.running and self.waiting:
                    self.running[place] = self._start(place)
            time.sleep(0.1)
        return failed

    def close(self) -> None:
        """Ask those that still run to save and stop, and wait for them."""
        for held in self.running.values():
            held.process.send_signal(PLEASE_STOP)
        for held in self.running.values():
            held.wait()

    def _start(self, place: int) -> RunProcess:
        folder = next(iter(self.waiting))
        command, options, reader = self.waiting.pop(folder), dict(APART), None
        if self.places > 1:  # No progress bars: those of several processes would mix.
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            options |= {"encoding": "utf-8", "errors": "replace"}
        cores = self.cores[place] if self.cores else set()
        with one_gpu(place, self.gpus), some_cores(cores):
            environment = {**os.environ, ONE_OF_SEVERAL: "1"}
            process = subprocess.Popen(command, env=environment, **options)
        if process.stdout:
            words = (folder.name, process.stdout)
            reader = threading.Thread(target=_pass_on, args=words)
            reader.start()
        return RunProcess(folder, process, reader)


def _pass_on(name: str, lines: Any) -> None:
    """Print the lines of a process, and whose they are."""
    for line in lines:
        print(f"{name}: {line}", end="", flush=True)
