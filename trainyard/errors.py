"""How a command ends: 0 is done, 1 a bug (with a traceback), others are defined here."""

import contextlib
import os
import sys
from collections.abc import Generator

BAD_INPUT = 2
FOUND = 65  # A check found something; EX_DATAERR of sysexits.h, as in the projects' check_data.py.
CANCELLED = 130  # Ctrl-C.


class InputError(Exception):
    """Bad input. The message names the file, the value, what was expected and the next step."""


@contextlib.contextmanager
def exit_codes() -> Generator[None]:
    """End the process with a message and an exit code on errors that the person can act on."""
    try:
        yield
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt:
        raise SystemExit(CANCELLED) from None
    except BrokenPipeError:  # `trainyard drift | head -1`: nobody reads what is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
