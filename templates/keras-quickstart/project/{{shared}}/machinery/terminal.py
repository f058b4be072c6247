"""What a command shows in the terminal, and what it hides there."""

import contextlib
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Generator
from pathlib import PurePath


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
