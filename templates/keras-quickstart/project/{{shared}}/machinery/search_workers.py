"""The worker processes of a search: each takes trials from the study until none is missing."""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

import optuna

from machinery import checkpoints
from machinery.errors import (
    CommandError,
    DivergedError,
    InputError,
    ResourceError,
    StoppedError,
)
from machinery.parameter_file import nearest
from machinery.run import Run
from machinery.search_settings import Search
from machinery.search_study import MisfitError, Study
from machinery.stopping import StopRequest


class PrunedError(CommandError):
    """The search cuts the trial short."""

    outcome = "pruned"  # What run.json says of the session.


class WorkerStop(StopRequest):
    """Asks a worker to save and stop: on its first signal, or because the search was killed."""

    def _on_signal(self, number: int, _frame: object) -> None:
        if not self.error:  # What ends a process group reaches a worker twice.
            super()._on_signal(number, _frame)

    def __bool__(self) -> bool:
        search = multiprocessing.parent_process()
        if not self.error and search and not search.is_alive():
            self.error = StoppedError("the end of the search")
        return super().__bool__()


class Worker:
    """Trains trials of a study, one after the other.

    Args:
        study: opened by this process.
        train: trains a Run to its end.
        stop: asks to save and stop.
    """

    def __init__(self, study: Study, train: Callable[[Run], object], stop: StopRequest) -> None:
        self.study, self.search = study, study.search
        self.train, self.stop = train, stop

    def work(self) -> None:
        """Train trials until none is missing; raise what is more than one trial's failure."""
        while self.study.missing() and not self.stop:
            try:
                if not self.train_next():
                    time.sleep(0.5)  # The last ones are trained elsewhere, but may yet fail there.
            except (PrunedError, StoppedError):
                pass  # All is said and saved.
            except (DivergedError, ResourceError, MisfitError) as error:
                self.study.check_failures(error)

    def train_next(self) -> bool:
        """Train a trial that was left behind or a new one; return whether there was any."""
        with contextlib.ExitStack() as stack:
            with self.study.lock:
                trial = self.study.claim()
                if not trial:
                    return False
                run = stack.enter_context(self._open_run(trial))
                starts = trial.user_attrs.get("starts", 0)
                trial.set_user_attr("starts", starts + 1)
            # Optuna is told while the folder is locked: a trial that runs in an unlocked folder
            # counts as left behind.
            try:
                run.on_epoch = self._reporter(trial, run)
                self.train(run)
            except PrunedError:
                # What it takes to continue is most of the space; what it takes to evaluate stays.
                for name in (checkpoints.LAST, checkpoints.PREVIOUS):
                    (run.folder / name).unlink(missing_ok=True)
                self.study.end(trial, "PRUNED")
                raise
            except (DivergedError, ResourceError) as error:
                self.study.end(trial, "FAIL", str(error))
                raise
            except BaseException:  # Stopped, bad input or a bug, but not killed.
                trial.set_user_attr("starts", starts)
                raise
            self.study.end(trial, "COMPLETE")
        return True

    def _open_run(self, trial: optuna.Trial) -> Run:
        """Return the run of a trial, not yet locked.

        Raises:
            MisfitError: its values cannot be trained. The trial is over.
        """
        try:
            parameters = self.study.choose_parameters(trial)
        except MisfitError as error:
            trial.set_user_attr("misfit", True)
            # Optuna learns from what was pruned, not from what failed: the next one shall differ.
            self.study.end(trial, "PRUNED", str(error))
            raise
        search, folder = self.search, self.study.folder_of(trial)
        return Run(folder, parameters, search.dataset, search.data, self.stop, search.device)

    def _reporter(self, trial: optuna.Trial, run: Run) -> Callable[[dict[str, float]], None]:
        """Return what tells Optuna of each epoch and raises PrunedError where it is hopeless."""
        metric = self.search.objective.metric

        def on_epoch(row: dict[str, float]) -> None:
            if metric not in row:
                columns = [name for name in row if name.startswith("val_")]
                raise InputError(
                    f"{self.search.file}: got {metric!r}, expected one of "
                    f"{', '.join(columns)}{nearest(metric, columns)}. Correct it, and "
                    f"delete study.journal and trial_* in {self.search.folder}."
                )
            if not math.isfinite(row[metric]):
                raise DivergedError(f"{run.folder}: {metric} became {row[metric]}.")
            trial.report(row[metric], int(row["epoch"]))
            if trial.should_prune():
                raise PrunedError

        return on_epoch


def work(errors: Any, search: Search, train: Callable[[Run], object]) -> None:
    """Train trials in a process of its own; hand back the error that ends the search."""
    stop = WorkerStop()
    # No progress bars: those of several workers would mix.
    sys.stderr.isatty = lambda: False  # ty: ignore[invalid-assignment]
    try:
        Worker(Study(search), train, stop).work()
    except (CommandError, OSError) as error:
        errors.put(error)


def run_workers(
    count: int, stop: StopRequest, search: Search, train: Callable[[Run], object]
) -> None:
    """Let processes work on a search until they are done, or one fails, or on request.

    Args:
        count: of processes.
        stop: asks to save and stop.
        search: what it is about.
        train: trains a Run to its end; a function that a module defines, so that pickle finds it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")  # Forks of a process with CUDA do not work.
    errors = context.SimpleQueue()
    workers = [context.Process(target=work, args=(errors, search, train)) for _ in range(count)]
    # They inherit this: Ctrl-C while they import would end in tracebacks.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGINT, handler)
    while alive := [worker.sentinel for worker in workers if worker.is_alive()]:
        if stop or not errors.empty() or any(worker.exitcode == 1 for worker in workers):
            break
        wait(alive, timeout=0.2)
    for worker in workers:
        worker.terminate()  # It saves and ends.
    for worker in workers:
        worker.join()
    if not errors.empty():
        raise errors.get()
    if any(worker.exitcode == 1 for worker in workers):
        raise SystemExit(1)  # The worker has printed the traceback.


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # What a cluster gave us; Linux alone.
    return len(allowed(0)) if allowed else os.cpu_count() or 1
