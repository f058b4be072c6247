"""Imports TensorFlow without the messages that its libraries print while they load."""

import importlib
import os

from machinery.terminal import hidden_standard_error


def import_tensorflow() -> None:
    """Import TensorFlow; an error still ends in a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # From here on, only warnings and errors.
    with hidden_standard_error():  # Its libraries write there before they read that variable.
        importlib.import_module("tensorflow")
