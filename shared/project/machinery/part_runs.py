"""An experiment as several runs, each a part of it: of train.py --folds and --seeds.

A part that is finished is not trained again, so the same command goes on where it was stopped.
"""

import argparse
import contextlib
import copy
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machinery.errors import CancelledError, DivergedError, InputError, StoppedError
from machinery.files import remove, write_atomically
from machinery.records import is_finished, read_sessions
from machinery.run_processes import RunProcesses
from machinery.stopping import StopRequest

ANEW_FILE = ".train_anew.json"  # Of an experiment: what --overwrite trains again, until it is done.


class Part(NamedTuple):
    """A run that is a part of an experiment."""

    folder: Path
    data: Path  # the folder of its dataset
    source: Path | None  # the experiment that its parameters come from
    seed: int | None = None  # None: that of its parameters

    def words(self) -> list[str]:
        """Return the words of its command line that are its own."""
        words: list[object] = ["--experiment", self.folder, "--data", self.data]
        words += ["--from", self.source] if self.source is not None else []
        words += ["--seed", self.seed] if self.seed is not None else []
        return [*map(str, words)]

    def arguments(self, common: argparse.Namespace, overwrite: bool) -> argparse.Namespace:
        """Return the arguments that its process will read from its command line."""
        arguments = copy.copy(common)
        arguments.experiment, arguments.source = self.folder, self.source
        arguments.data, arguments.overwrite = self.data, overwrite
        if self.seed is not None:
            arguments.seed = str(self.seed)
        return arguments


def train_parts(
    arguments: argparse.Namespace,
    parts: Sequence[Part],
    words: Sequence[str],
    check: Callable[[argparse.Namespace], object],
) -> list[Path]:
    """Train the parts of an experiment.

    Args:
        arguments: of train.py.
        parts: of the experiment.
        words: of its command line; those that do not name places are handed on.
        check: refuses what one run is asked for, before the first begins.

    Returns:
        the folders of those that diverged

    Raises:
        InputError: a part is asked for what is wrong; nothing was written.
        StoppedError: on request, with everything saved.
        SystemExit: with the exit code of a part that failed.
    """
    others = [word for word in other_words(words) if word != "--overwrite"]
    anew = TrainedAnew(arguments.experiment, parts, others, arguments.overwrite)
    commands = {}
    for part in parts:
        overwrite = part.folder.name in anew.to_go
        check(part.arguments(arguments, overwrite))
        more = ["--overwrite"] if overwrite else []
        commands[part.folder] = [sys.executable, sys.argv[0], *part.words(), *others, *more]
    anew.note()
    stop = StopRequest(arguments.max_minutes)
    processes = RunProcesses(commands, arguments.device)
    print(processes.describe(), flush=True)
    with contextlib.closing(processes):
        failed = processes.run(stop)
    again = "Run the same command again to continue."
    if stop.error:
        to_go = sum(not is_finished(path) or anew.is_to_go(path) for path in commands)
        words_to_go = f"{to_go} of {len(parts)} runs to go"
        raise type(stop.error)(f"Stopped by {stop.error}; {words_to_go}. {again}")
    for folder, code in failed[-1:]:
        if code in (known := {error.exit_code: error for error in (StoppedError, CancelledError)}):
            raise known[code](f"{folder} was stopped. {again}")
        if code != DivergedError.exit_code:
            print(f"{folder} ended with exit code {code}. {again}", file=sys.stderr)
            raise SystemExit(code)
    anew.forget()
    return [folder for folder, _ in failed]


def other_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line of train.py that are the same for each part."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--experiment", "--data", "--from", "--max-minutes", "--seeds"):
        parser.add_argument(option)
    parser.add_argument("--fold", "--folds", nargs="+")
    return parser.parse_known_args(words)[1]


# ---------------------------------------------------------------------------------------------
# What --overwrite trains again.


class TrainedAnew:
    """Which parts of an experiment are to be trained again.

    It is decided once and noted on disk before the first begins. So the command goes on where it
    was stopped, with --overwrite or without, and never takes an old run for one of the new ones.

    Args:
        experiment: the folder of the parts.
        parts: that are asked for.
        words: of the command line, which are those of each part.
        overwrite: whether --overwrite was given.
    """

    def __init__(
        self, experiment: Path, parts: Sequence[Part], words: Sequence[str], overwrite: bool
    ) -> None:
        self.experiment, self.words = experiment, [*words]
        words_then, self.runs = self._read()
        # A command that asks for something else, or again once all is done, begins from the start.
        done = not any(map(self.is_to_go, folders := [experiment / name for name in self.runs]))
        if overwrite and (words_then != self.words or (done and all(map(is_finished, folders)))):
            self.runs = {}
        if overwrite:
            for part in parts:
                self.runs.setdefault(part.folder.name, _first_session(part.folder))
        names = [part.folder.name for part in parts]
        self.to_go = [name for name in names if self.is_to_go(experiment / name)]

    def is_to_go(self, folder: Path) -> bool:
        """Return whether a part is still the run that is to be replaced."""
        # A run that overwrites deletes the record first, and then writes one of its own.
        name = folder.name
        return name in self.runs and _first_session(folder) in (None, self.runs[name])

    def note(self) -> None:
        """Write down what is to be trained again, where there is anything."""
        old = [name for name in self.to_go if self.runs[name]]
        if not old:
            return
        content = json.dumps({"words": self.words, "runs": self.runs}, indent=2)
        write_atomically(self.experiment / ANEW_FILE, content.encode())
        print(f"Training anew, as --overwrite asks: {', '.join(old)}.")

    def forget(self) -> None:
        """Delete the note, at the end of a command that was not stopped, if nothing old is left."""
        if not any(self.is_to_go(self.experiment / name) for name in self.runs):
            remove(self.experiment / ANEW_FILE)

    def _read(self) -> tuple[list[str], dict[str, Any]]:
        """Return the words of the command that wrote the note, and the runs that it names."""
        path = self.experiment / ANEW_FILE
        if not path.exists():
            return [], {}
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            return [*noted["words"]], dict(noted["runs"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                f"{path}: damaged, so which runs --overwrite replaced is not known. Delete it, and "
                "say --overwrite to train all of them again."
            ) from None


def _first_session(folder: Path) -> list[Any] | None:
    """Return what no other first session of a run has; None: there is no run."""
    sessions = read_sessions(folder)
    return [sessions[0].get("started"), sessions[0].get("process")] if sessions else None
