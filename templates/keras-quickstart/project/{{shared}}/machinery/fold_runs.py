"""train.py --folds: an experiment trained once for each fold, such as for cross-validation.

    data/fold-0, data/fold-1, ...   a dataset for each fold, whose test split is the fold
    experiments/NAME/fold-0, ...    a run on each: a process of its own, on a GPU of its own

A run that is finished is not trained again, so the same command goes on where it was stopped.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machinery import records
from machinery.devices import list_gpus, one_gpu
from machinery.errors import CancelledError, InputError, StoppedError
from machinery.metrics import Objective, describe, read_metrics
from machinery.stopping import StopRequest

# A child is out of reach of the terminal's Ctrl-C, so that it is asked to stop once, by us: a
# second signal would end it at once. POSIX and Windows have different words for it.
APART: dict[str, Any] = (
    {"process_group": 0}
    if os.name == "posix"
    else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
)
PLEASE_STOP = signal.SIGTERM if os.name == "posix" else getattr(signal, "CTRL_BREAK_EVENT", 0)


def train_folds(arguments: argparse.Namespace, words: Sequence[str]) -> None:
    """Train an experiment on folds, print what came of it, and end the process.

    Args:
        arguments: of train.py.
        words: of its command line; those that do not name places are handed on.

    Raises:
        InputError: there is no dataset for a fold.
        StoppedError: on request, with everything saved.
        SystemExit: with 0, all are trained; with another number, a fold ended with it.
    """
    experiment: Path = arguments.experiment
    source = arguments.source
    if source is None and (experiment / "params.yaml").exists():
        source = experiment
    data = arguments.data or find_data(experiment, source)
    names = choose_folds(data, arguments.folds)
    others = other_words(words)
    commands = {}
    for name in names:
        places: list[object] = ["--experiment", experiment / name, "--data", data / name]
        if source is not None:
            # That of an experiment that was trained on the same folds lies in them.
            in_fold = source / name
            places += ["--from", in_fold if (in_fold / "params.yaml").exists() else source]
        commands[experiment / name] = [sys.executable, sys.argv[0], *map(str, places), *others]
    stop = StopRequest(arguments.max_minutes)
    gpus = [] if arguments.device == "cpu" else list_gpus()
    again = "Run the same command again"
    if arguments.overwrite:
        again += " (with --overwrite: those that are done are trained again, too)"
    with contextlib.closing(FoldProcesses(commands, gpus)) as processes:
        failed = processes.run(stop)
    if stop.error:
        to_go = f"{sum(not records.is_finished(folder) for folder in commands)} folds to go"
        raise type(stop.error)(f"Stopped by {stop.error}; {to_go}. {again} to continue.")
    if failed:
        folder, code = failed
        known = {error.exit_code: error for error in (StoppedError, CancelledError)}
        if code in known:
            raise known[code](f"{folder} was stopped. {again} to continue.")
        print(f"{folder} ended with exit code {code}. {again} to train the rest.", file=sys.stderr)
        raise SystemExit(code)
    for line in summarize([*commands]):
        print(line)
    raise SystemExit(0)


def find_data(experiment: Path, source: Path | None) -> Path:
    """Return the folder of the folds' datasets: that of the experiment, or of --from; else data."""
    before = sorted(experiment.glob("fold-*"))
    before += [source, *sorted(source.glob("fold-*"))] if source else []
    found = records.data_of(*before)
    return found.parent if found.name.startswith("fold-") else found


def choose_folds(data: Path, wanted: Sequence[str]) -> list[str]:
    """Return the names of the folds that --folds names.

    Args:
        data: the folder of their datasets.
        wanted: "all" or numbers.

    Raises:
        InputError: one is no fold, or has no dataset.
    """
    found = [path.parent.name.removeprefix("fold-") for path in data.glob("fold-*/dataset.json")]
    there = {int(number) for number in found if number.isdecimal()}
    advice = (
        "Prepare a dataset for each, with the fold as its test split (build_dataset.py --split; in "
        "a competition: python compete.py folds)."
    )
    if [*wanted] == ["all"]:
        if not there:
            raise InputError(f"{data}: holds no datasets fold-0, fold-1, ... {advice}")
        numbers = [*range(max(there) + 1)]
    else:
        if wrong := [word for word in wanted if not word.isdecimal()]:
            raise InputError(f"--folds: got {wrong[0]!r}, expected all, or numbers such as 0 2.")
        numbers = sorted({int(word) for word in wanted})
    if missing := [f"fold-{number}" for number in numbers if number not in there]:
        raise InputError(f"{data}: holds no dataset {', '.join(missing)}. {advice}")
    return [f"fold-{number}" for number in numbers]


def other_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line of train.py that are the same for each fold."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--experiment", "--data", "--from", "--max-minutes"):
        parser.add_argument(option)
    parser.add_argument("--fold", "--folds", nargs="+")
    return parser.parse_known_args(words)[1]


class FoldProcess(NamedTuple):
    """A process that trains on a fold, and what passes on the lines that it prints."""

    folder: Path
    process: subprocess.Popen[str]
    reader: threading.Thread | None

    def wait(self) -> int:
        """Return the exit code once it ended and all its lines are printed."""
        code = self.process.wait()
        if self.reader:
            self.reader.join()
        return code if code >= 0 else 128 - code  # As shells have it, where a signal ended it.


class FoldProcesses:
    """Runs the command of each fold: one after the other, or as many at a time as there are GPUs.

    Args:
        commands: by the folder of the run.
        gpus: as CUDA_VISIBLE_DEVICES names them.
    """

    def __init__(self, commands: Mapping[Path, Sequence[str]], gpus: Sequence[str]) -> None:
        self.waiting, self.gpus = dict(commands), gpus
        self.places = min(max(len(gpus), 1), len(commands))
        self.running: dict[int, FoldProcess] = {}

    def run(self, stop: StopRequest) -> tuple[Path, int] | None:
        """Return the first fold that failed and its exit code, once no process is running.

        When one has failed or a stop is asked for, those that run are asked to save and stop.
        """
        while self.running or self.waiting:
            for place in range(self.places):
                held = self.running.get(place)
                if held and held.process.poll() is not None:
                    del self.running[place]
                    if code := held.wait():
                        return held.folder, code
                if stop:
                    return None
                if place not in self.running and self.waiting:
                    self.running[place] = self._start(place)
            time.sleep(0.1)
        return None

    def close(self) -> None:
        """Ask those that still run to save and stop, and wait for them."""
        for held in self.running.values():
            held.process.send_signal(PLEASE_STOP)
        for held in self.running.values():
            held.wait()

    def _start(self, place: int) -> FoldProcess:
        folder = next(iter(self.waiting))
        command, options, reader = self.waiting.pop(folder), dict(APART), None
        if self.places > 1:  # No progress bars: those of several processes would mix.
            options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            options |= {"encoding": "utf-8", "errors": "replace"}
        with one_gpu(place, self.gpus):
            process = subprocess.Popen(command, **options)
        if process.stdout:
            words = (folder.name, process.stdout)
            reader = threading.Thread(target=_pass_on, args=words)
            reader.start()
        return FoldProcess(folder, process, reader)


def _pass_on(name: str, lines: Any) -> None:
    """Print the lines of a process, and whose they are."""
    for line in lines:
        print(f"{name}: {line}", end="", flush=True)


def best_epochs(folders: Sequence[Path]) -> Iterator[dict[str, float]]:
    """Yield the metrics of the best epoch of each run.

    Raises:
        InputError: a run has no such epoch, or a file is damaged.
    """
    for folder in folders:
        sessions = records.read_sessions(folder)
        objective = Objective(**sessions[-1]["objective"]) if sessions else None
        best = objective.best(read_metrics(folder)) if objective else None
        if best is None:
            raise InputError(f"{folder}: holds no trained epoch. Train it: train.py --folds")
        yield best


def summarize(folders: Sequence[Path]) -> Iterator[str]:
    """Yield a line for each run with the metrics of its best epoch; last, of several, the mean."""
    rows = [*best_epochs(folders)]
    for folder, row in zip(folders, rows, strict=True):
        yield f"{folder.name}  best epoch {row['epoch']:3}  {describe(row, '  ')}"
    if len(rows) > 1:
        names = [name for name in rows[0] if name.startswith("val_")]
        columns = {name: [row[name] for row in rows if name in row] for name in names}
        said = [
            f"{name.replace('_', ' ')} {statistics.fmean(values):.4f} ± "
            f"{statistics.stdev(values):.4f}"
            for name, values in columns.items()
            if len(values) > 1
        ]
        yield f"mean of {len(rows)} folds ± standard deviation:  {'  '.join(said)}"
