"""How a command ends: exit code 0 is done, 1 a bug (with a traceback), others are defined here."""

import contextlib
import errno
import sys
from collections.abc import Generator, Sequence
from typing import Any

from machinery.terminal import keep_output_usable

# The system's numbers for a disk that is full or that may not be written to.
STORAGE_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
)

# Those for a path that cannot be: too long, a file or below one, or on Windows with a "?".
PATH_ERRORS = (
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR),
    *(errno.EISDIR, errno.EEXIST, errno.EINVAL),
)

# Words, in lower case, of the errors that PyTorch, TensorFlow and JAX raise when memory is short.
OUT_OF_MEMORY = (
    *("memoryerror", "out of memory", "outofmemory", "oom when allocating"),
    *("resource_exhausted", "resourceexhausted"),
    *("can't allocate memory", "cannot allocate memory"),
    *("not enough memory", "paging file is too small"),  # Windows
    *("_alloc_failed", "dst tensor is not initialized"),  # cuBLAS and cuDNN; TensorFlow on a GPU
)


# Words, in lower case, of the errors that PyTorch raises when a process that it talks to is gone.
LOST_PROCESS = (
    *("connection closed by peer", "connection reset by peer", "connection refused"),
    *("gloo/transport", "nccl communicator was aborted", "timed out waiting"),
)


# Those of TensorFlow.
LOST_WORKER = ("collective ops is aborted",)


class CommandError(Exception):
    """An error that the person can act on: printed as one message, without a traceback."""

    exit_code = 1
    outcome = "failed"  # of the session, in run.json


class InputError(CommandError):
    """Bad input. The message names the file, the value, what was expected and the next step."""

    exit_code = 2


class DivergedError(CommandError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""

    exit_code = 3
    outcome = "diverged"


class ResourceError(CommandError):
    """Out of memory or of disk."""

    exit_code = 4
    outcome = "out of resources"


class ShiftError(CommandError):
    """New examples are not like those of the training."""

    exit_code = 65  # EX_DATAERR of sysexits.h: "the input data was incorrect in some way"


class StoppedError(CommandError):
    """Stopped on request, with everything saved: the same command continues."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: "try again later"
    outcome = "stopped"


class CancelledError(StoppedError):
    """Ctrl-C, with everything saved."""

    exit_code = 130


class LostProcessError(CommandError):
    """Another of the processes that train together has ended; what it said tells why."""


@contextlib.contextmanager
def exit_codes() -> Generator[None, None, None]:
    """End the process with a message and an exit code on errors that the person can act on."""
    try:
        keep_output_usable()
        yield
    except KeyboardInterrupt:  # The command has nothing to save.
        raise SystemExit(CancelledError.exit_code) from None
    except Exception as error:
        known = known_error(error)
        if not known:
            raise
        said = isinstance(known, StoppedError | ShiftError)
        print_error(str(known) if said else f"error: {known}")
        raise SystemExit(known.exit_code) from None


def first_problem(error: Any) -> str:
    """Return what a pydantic.ValidationError says first of a file: the field and what is wrong."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg']}"


def known_error(error: Exception) -> CommandError | None:
    """Return what to say of an error, those of the system and of frameworks too; None: a bug."""
    if isinstance(error, CommandError):
        return error
    if is_out_of_memory(error):
        return ResourceError(
            "out of memory. End other programs that need much of it, or take a smaller network or "
            "smaller data."
        )
    if is_lost_process(error):
        return LostProcessError(
            "another process of this run has ended, so this one has, too. Its own message says "
            "why. The same command continues from the last checkpoint."
        )
    if isinstance(error, OSError) and error.errno in (*STORAGE_ERRORS, *PATH_ERRORS):
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}cannot be used: {error.strerror}."
        if error.errno in PATH_ERRORS:
            return InputError(f"{message} Name another path.")
        return ResourceError(
            f"{message} Mend this or name another path, and run the command again."
        )
    return None


def print_error(message: str) -> None:
    """Print to standard error, above a progress bar where one is drawn."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(message, file=sys.stderr)
    else:
        print(message, file=sys.stderr)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is one that frameworks raise when memory is short."""
    if isinstance(error, CommandError) or not isinstance(error, Exception):
        return False
    return has_words(error, OUT_OF_MEMORY)


def is_lost_process(error: Exception) -> bool:
    """Return whether an error is one that frameworks raise when another process is gone."""
    words = (*LOST_WORKER, *(LOST_PROCESS if isinstance(error, RuntimeError) else ()))
    return has_words(error, words)


def has_words(error: BaseException, words: Sequence[str]) -> bool:
    """Return whether the name or the text of an error has some of these words, in lower case."""
    text = f"{type(error).__name__}: {error}".lower()
    return any(each in text for each in words)


def out_of_memory(folder: object, batch_size: int, parts: int) -> ResourceError:
    """Return the error to raise when memory is short, with the next thing to try.

    Args:
        folder: of the experiment.
        batch_size: examples of the smallest batch.
        parts: in which a batch is computed, a multiple of the number of processes.
    """
    problem = f"{folder}: out of memory with {-(-batch_size // parts)} examples at a time."
    start = f"Start a new experiment: --experiment experiments/NEW --from {folder}"
    if 2 * parts > batch_size:
        return ResourceError(f"{problem} {start}, with a smaller network.")
    return ResourceError(
        f"{problem} {start} --training.accumulate {2 * parts} (the same examples in each "
        "step, computed in more parts)"
    )
