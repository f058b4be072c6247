"""launch.py: starts the processes that train one network on this machine, and ends as they do."""

import argparse
import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from machinery.argument_parser import ArgumentParser
from machinery.devices import count_cores
from machinery.errors import CancelledError, InputError, StoppedError, exit_codes
from machinery.run_processes import APART, PLEASE_STOP
from machinery.stopping import SAME_REQUEST_SECONDS, SIGNALS, STARTED, process_start, reason
from machinery.terminal import quote

HOST = "127.0.0.1"  # This machine, to itself.
MOST_PROCESSES = 1024
LAST_LINES = 40  # Of a process that says nothing itself, to show once it has failed.
SAVED = (0, StoppedError.exit_code, CancelledError.exit_code)
# Signals of a process that crashed, and may have said why.
CRASHES = [getattr(signal, n, None) for n in ("SIGABRT", "SIGSEGV", "SIGBUS")]
# What train.py does with several experiments, each in a process of its own, or in one process.
NOT_SHARED = ("--folds", "--fold", "--seeds", "--debug")

# Given the number of a process and the addresses of all, what else to set in its environment.
Names = Callable[[int, Sequence[str]], Mapping[str, str]]


def main(description: str | None, names: Names = lambda number, addresses: {}) -> None:
    """Do what the command line of launch.py says; end with the exit code of train.py.

    Args:
        description: of launch.py.
        names: what the framework reads of who is who, beside the variables of torchrun.
    """
    with exit_codes():
        parser = ArgumentParser(description)
        parser.add_argument("processes", type=int, help="how many to start")
        parser.add_argument("script", type=Path, help="train.py")
        parser.add_argument("words", nargs=argparse.REMAINDER, help="the options of train.py")
        restarts = "how often to start again where a process is killed [3]"
        parser.add_argument("--restarts", type=int, default=3, help=restarts)
        arguments = parser.parse_args()
        parser.check_range("processes", arguments.processes, 1, MOST_PROCESSES)
        parser.check_range("--restarts", arguments.restarts, 0, 1_000_000)
        command = [sys.executable, *check_words(arguments.script, arguments.words)]
        launcher = Launcher(command, arguments.processes, names)
        raise SystemExit(launcher.run(arguments.restarts))


def check_words(script: Path, words: Sequence[str]) -> list[str]:
    """Return what Python is to run in each process: the script and its options.

    Raises:
        InputError: processes cannot share it.
    """
    if script.name != "train.py" or not script.is_file():
        raise InputError(
            f"launch.py: got {script}, expected train.py: the processes share a training, and "
            "nothing else."
        )
    if found := {word.partition("=")[0] for word in words} & {*NOT_SHARED}:
        raise InputError(
            f"{found.pop()}: not for processes that share a training. Leave it out, or start "
            f"it with {quote('python', script, *words)}."
        )
    return [str(script), *words]


class Launcher:
    """The processes of one training, which get the signals that this process gets.

    Args:
        command: of each.
        count: how many.
        names: what else each finds in its environment: see `main`.
        grace_seconds: for the others to end by themselves, once a process has failed.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        names: Names = lambda number, addresses: {},
        grace_seconds: float = 15.0,
    ) -> None:
        self.command, self.count, self.names = command, count, names
        self.grace_seconds = grace_seconds
        self.processes: list[subprocess.Popen[Any]] = []
        self.stop: StoppedError | None = None  # What was asked for,
        self.signalled = 0.0  # and when.
        for number in SIGNALS:
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, _frame: object) -> None:
        """Ask the processes to stop; kill them on a second request, as one of them may hang."""
        if self.stop and time.monotonic() > self.signalled + SAME_REQUEST_SECONDS:
            for process in self.processes:
                process.kill()
        if self.stop:
            return
        name = signal.Signals(number).name
        self.stop = reason("Ctrl-C" if name == "SIGINT" else name)
        self.signalled = time.monotonic()
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.send_signal(number if os.name == "posix" else PLEASE_STOP)

    def run(self, restarts: int) -> int:
        """Start the processes, again where one is killed; return the exit code of the training."""
        for restart in range(restarts + 1):
            number, code = self._run_once()
            if code >= 0 or self.stop:
                break
            words = f"process {number} was ended by {signal.Signals(-code).name}"
            if restart == restarts:
                print(f"error: {words}. {again(restarts)}", file=sys.stderr)
                break
            print(
                f"{words}; all start again from the last checkpoint ({restart + 1} of {restarts}).",
                file=sys.stderr,
            )
        return code if code >= 0 else 128 - code

    def _run_once(self) -> tuple[int, int]:
        """Start the processes and wait for them; return which one decided, and its exit code."""
        ended: queue.Queue[tuple[int, int]] = queue.Queue()
        with contextlib.ExitStack() as stack:
            outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(self.count)]
            self.processes = []
            stack.callback(self._kill)
            ports = free_ports(self.count)
            for number, output in enumerate(outputs):
                process = self._start(number, ports, output)
                self.processes.append(process)
                if self.stop:  # Perhaps asked for before this process was there to hear it.
                    return 0, self.stop.exit_code
                wait = lambda n=number, p=process: ended.put((n, p.wait()))  # noqa: E731
                threading.Thread(target=wait, daemon=True).start()
            codes = self._wait(ended)
            number, code = decisive(codes)
            says_why = (code > 0 and code not in SAVED) or -code in CRASHES
            if number and says_why and (code == 1 or codes.get(0) != code):
                outputs[number].seek(0)
                lines = outputs[number].read().decode(errors="replace").splitlines()
                print(f"Process {number}:", *lines[-LAST_LINES:], sep="\n", file=sys.stderr)
        return number, code

    def _start(self, number: int, ports: list[int], output: Any) -> "subprocess.Popen[Any]":
        """Start a process; the first one writes to the terminal, the others to a file."""
        addresses = [f"{HOST}:{port}" for port in ports]
        environment = {
            # Each takes its part of the processor's cores, unless told otherwise.
            "OMP_NUM_THREADS": str(max(1, count_cores() // self.count)),
            # PyTorch warns of a weight that could be unused in a step, and is not.
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            **os.environ,
            STARTED: str(process_start),
            **{"MASTER_ADDR": HOST, "MASTER_PORT": str(ports[0])},
            **dict.fromkeys(("RANK", "LOCAL_RANK"), str(number)),
            **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(self.count)),
            **self.names(number, addresses),
        }
        output = output if number else None
        return subprocess.Popen(
            self.command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **APART,
        )

    def _wait(self, ended: "queue.Queue[tuple[int, int]]") -> dict[int, int]:
        """Return the exit codes by process, in the order in which they ended.

        Once one has failed, the others have some seconds to end, and are killed then.
        """
        codes: dict[int, int] = {}
        limit = float("inf")
        while len(codes) < self.count:
            with contextlib.suppress(queue.Empty):
                number, code = ended.get(timeout=0.5)
                codes[number] = code
                if code not in SAVED:
                    limit = min(limit, time.monotonic() + self.grace_seconds)
            if time.monotonic() > limit:
                # None counts among those that failed by themselves.
                return codes
        return codes

    def _kill(self) -> None:
        """End what still runs."""
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()


def decisive(codes: dict[int, int]) -> tuple[int, int]:
    """Return the process that decided how the training ended, and its exit code.

    A process that is killed makes the others fail; so does one that fails by itself. But once the
    leading one has saved, all is done, however the others end.

    Args:
        codes: exit codes by process, in the order in which they ended.
    """
    if codes.get(0) in SAVED:
        return 0, codes[0]
    kinds = (
        lambda code: code not in (*SAVED, 1),
        lambda code: code == 1,
        lambda code: code != 0,
    )
    for is_kind in kinds:
        for number, code in codes.items():
            if is_kind(code):
                return number, code
    return 0, 0


def again(restarts: int) -> str:
    """Return what to do once a process was killed for the last time."""
    often = f"{restarts + 1} times" if restarts else "once"
    return (
        f"That was tried {often}. A process is often killed where memory is short. Run the same "
        "command again to continue from the last checkpoint."
    )


def free_ports(count: int) -> list[int]:
    """Return different ports of this machine that nobody listens to."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in found]
