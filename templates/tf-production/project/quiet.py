"""Imports TensorFlow without the messages that its libraries print while they load."""

import contextlib
import importlib
import os
import sys
from collections.abc import Generator


def import_tensorflow() -> None:
    """Import TensorFlow; what goes wrong still ends in a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Warnings and errors alone, from here on.
    with hidden_standard_error():  # Its libraries write there before they read that variable.
        importlib.import_module("tensorflow")


@contextlib.contextmanager
def hidden_standard_error() -> Generator[None]:
    """Drop what the process, libraries in C++ too, writes to standard error inside the block."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
