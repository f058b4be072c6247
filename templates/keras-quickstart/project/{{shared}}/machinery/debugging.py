"""train.py --debug, search_hyperparams.py --debug: all in one process, an operation at a time.

    python -m pdb train.py --debug        # or breakpoint() in net.py, in the loader, anywhere

No process or thread helps to load batches, no graph is compiled, and a crash within a library
prints where Python stood. The experiment is trained in a temporary copy, from where it stands, and
so nothing of it changes: what is computed an operation at a time may differ in its last bits.
"""

import argparse
import faulthandler
import os
import shutil
import signal
import tempfile
from pathlib import Path

from machinery import records
from machinery.argument_parser import ArgumentParser
from machinery.errors import InputError

VARIABLE = "TRAINING_IS_DEBUGGED"  # Set for the rest of the process.
# How the frameworks are told before they are imported; TensorFlow is told by backend.py.
FRAMEWORKS = {"TORCH_COMPILE_DISABLE": "1", "JAX_DISABLE_JIT": "1"}
_copies: list[tempfile.TemporaryDirectory[str]] = []  # Deleted when the process ends.


def add_option(parser: ArgumentParser) -> None:
    """Add --debug to the options of a command."""
    meaning = "for a debugger: one process, nothing compiled, in a temporary copy"
    parser.add_argument("--debug", action="store_true", help=meaning)


def is_on() -> bool:
    """Return whether the process was started with --debug."""
    return VARIABLE in os.environ


def helpers(count: int) -> int:
    """Return how many of the processes or threads that load batches there shall be."""
    return 0 if is_on() else count


def start(arguments: argparse.Namespace) -> None:
    """Debug from now on, in a copy of the experiment; call it before a framework is imported.

    Args:
        arguments: of train.py.

    Raises:
        InputError: other options contradict.
    """
    if arguments.folds or arguments.seeds or arguments.rerun:
        raise InputError(
            "--debug: one training can be debugged, without --folds, --seeds and --rerun."
        )
    folder = arguments.experiment
    if arguments.source or (folder / "params.yaml").exists():  # Else a message will say so.
        arguments.data = arguments.data or records.data_of(folder, arguments.source)
        arguments.overwrite |= records.is_finished(folder)  # One that is finished trains anew.
        arguments.experiment = enter_copy(folder)


def enter_copy(folder: Path) -> Path:
    """Debug from now on, and return a copy of a folder to do so in.

    Args:
        folder: of an experiment or a search; a new one may be missing.
    """
    os.environ.update({VARIABLE: "1", **FRAMEWORKS})
    faulthandler.enable()
    _copies.append(tempfile.TemporaryDirectory(prefix="debug-", ignore_cleanup_errors=True))
    copy = Path(_copies[-1].name) / folder.resolve().name
    if folder.exists():
        shutil.copytree(folder, copy)
    print(f"Debugging in {copy}: {folder} stays as it is.")
    return copy


def release_interrupts() -> None:
    """Let Ctrl-C interrupt at once, as a debugger expects it, instead of asking for a stop."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
