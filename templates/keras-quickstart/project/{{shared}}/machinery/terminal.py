"""What a command shows in the terminal, and what it hides there."""

import contextlib
import errno
import io
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Generator
from pathlib import PurePath
from typing import Any

# The system's numbers for a pipe without a reader (on Windows EINVAL) and a terminal that is gone.
READER_GONE = (errno.EPIPE, errno.EIO, errno.EINVAL)
BUSY = 1.25  # Processes that want to run, per core, from which a machine counts as busy.


class OutputFile(io.FileIO):
    """The file behind a standard stream. If its reader has gone, what is written is dropped."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            # From now on it leads nowhere, for libraries in C++ and child processes, too.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if error.errno not in READER_GONE:  # Such as a full disk.
                error.filename = "standard output"
                raise
            return len(content)


def keep_output_usable() -> None:
    """Make sure that nothing that is printed can end the process.

    Neither a reader that has gone (`python train.py | head -1`) nor a stream that was closed
    (`python train.py >&-`) nor a character that the terminal's encoding lacks is an error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # It is closed, and the next file that is opened would get its number.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__"):  # Neither replaced already, nor a notebook's.
            setattr(sys, name, _usable(stream))


def _usable(stream: Any) -> Any:
    """Return a standard stream that neither a missing reader nor a character can break."""
    if not isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
        stream.reconfigure(errors="backslashreplace")  # The console of Windows.
        return stream
    stream.flush()
    file = io.BufferedWriter(OutputFile(stream.fileno(), "w", closefd=False))
    # A line a time, so that `python train.py | tee log` shows each epoch when it ends.
    return io.TextIOWrapper(file, stream.encoding, "backslashreplace", line_buffering=True)


class TerminalHandler(logging.Handler):
    """Prints log lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record))


def log_to_terminal() -> None:
    """Show the run's log lines in the terminal, too."""
    logger = logging.getLogger("run")
    logger.setLevel(logging.INFO)
    logger.addHandler(TerminalHandler())


def describe_load(device: str) -> str:
    """Return the advice for a machine on which other programs slow down several threads.

    Args:
        device: in words, such as "cpu, 2 threads".

    Returns:
        A sentence; empty where there is nothing to advise.
    """
    one_thread = ", 1 thread" in device or os.environ.get("OMP_NUM_THREADS") == "1"
    if one_thread or not device.startswith("cpu") or not hasattr(os, "getloadavg"):
        return ""  # Windows does not tell its load.
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < BUSY * cores:
        return ""
    return (
        f"The machine is busy (load {load:.1f} on {cores} cores), so threads wait for each other: "
        "OMP_NUM_THREADS=1 may be several times faster."
    )


@contextlib.contextmanager
def hidden_standard_error() -> Generator[None]:
    """Drop what the process, C++ libraries included, writes to standard error in the block."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def quote(*words: object) -> str:
    """Return a command as one line to paste into a terminal, whatever the system.

    Paths have forward slashes, which Python takes on Windows, too.
    """
    texts = [word.as_posix() if isinstance(word, PurePath) else str(word) for word in words]
    # Neither cmd nor PowerShell knows a POSIX shell's quotes.
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)
