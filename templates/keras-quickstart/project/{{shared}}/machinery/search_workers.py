"""The worker processes of a search: each takes trials from the study until none is missing."""

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from machinery import checkpoints
from machinery.checkpoints import State
from machinery.devices import list_gpus, one_gpu
from machinery.errors import (
    CommandError,
    DivergedError,
    InputError,
    ResourceError,
    StoppedError,
    is_out_of_memory,
)
from machinery.files import remove
from machinery.metrics import Objective, read_metrics
from machinery.parameter_file import change, nearest
from machinery.run import Run
from machinery.search_settings import WEIGHTS, Search
from machinery.search_study import MisfitError, Study
from machinery.search_url import explained
from machinery.stopping import StopRequest
from machinery.terminal import keep_output_usable

# How long a search that stops waits for its workers, which may be evaluating a whole split.
GRACE_SECONDS = 600


class PrunedError(CommandError):
    """The search ends a trial early, as it is not promising."""

    outcome = "pruned"  # of the session, in run.json


class WorkerStop(StopRequest):
    """Tells a worker to save and stop: when the search asks for it, was killed, or on a signal.

    Args:
        asked: set by the search. (On Windows there is no signal that would ask another process.)
    """

    def __init__(self, asked: Event) -> None:
        super().__init__()
        self.asked = asked

    def _on_signal(self, number: int, _frame: object) -> None:
        if not self.error:  # A signal to the process group reaches a worker twice.
            super()._on_signal(number, _frame)

    def __bool__(self) -> bool:
        search = multiprocessing.parent_process()
        if not self.error and (self.asked.is_set() or (search and not search.is_alive())):
            self.error = StoppedError("the end of the search")
        return super().__bool__()


class TrialRun(Run):
    """The run of a trial: where it cannot be continued, the message says how the search can."""

    def begin(self, state: State, objective: Objective, facts: Mapping[str, Any]) -> None:
        """Load the newest checkpoint where there is one, as that of any run."""
        try:
            super().begin(state, objective, facts)
        except InputError as error:
            raise InputError(
                f"{error}\nThis is a trial of a search, which has no --overwrite: to train it anew "
                f"with the same values, delete the folder {self.folder}, and run the same command "
                "again."
            ) from None


class Worker:
    """Trains trials of a study, one after the other.

    Args:
        study: opened by this process.
        train: trains a Run to its end.
        stop: says when to save and stop.
    """

    def __init__(self, study: Study, train: Callable[[Run], object], stop: StopRequest) -> None:
        self.study, self.search = study, study.search
        self.train, self.stop = train, stop

    def work(self) -> None:
        """Train trials until none is missing; raise errors that concern more than one trial."""
        while self.study.missing() and not self.stop:
            try:
                if not self.train_next():
                    time.sleep(0.5)  # Other workers train the last trials, which may still fail.
            except (PrunedError, StoppedError):
                pass  # It is saved, and the person was told.
            except UpdateFinishedTrialError as error:  # The database lost sight of this process.
                print(f"{error} Another machine has trained it; this one goes on.", flush=True)
            except (DivergedError, ResourceError, MisfitError) as error:
                self.study.check_failures(error)

    def train_next(self) -> bool:
        """Train a trial that was left unfinished or a new one; return whether there was any."""
        with contextlib.ExitStack() as stack:
            with self.study.lock:
                trial = self.study.claim()
                if not trial:
                    return False
                runs = self._new_runs(trial)
                stack.enter_context(self.study.hold(trial))
                stack.enter_context(runs[0])
                starts = trial.user_attrs.get("starts", 0)
                trial.set_user_attr("starts", starts + 1)
            # Optuna is told of the end while the trial is locked: a trial that is RUNNING and not
            # locked counts as unfinished.
            try:
                for number, run in enumerate(runs):
                    with contextlib.nullcontext() if number == 0 else run:
                        run.on_epoch = self._reporter(trial, run, runs[:number])
                        self.train(run)
            except PrunedError:
                # First the study: a trial that it took for unfinished would need its checkpoints.
                self.study.end(trial, "PRUNED")
                # The files to continue from take most of the space; those to evaluate stay.
                names = (checkpoints.LAST, checkpoints.PREVIOUS)
                for run, name in itertools.product(runs, names):
                    remove(run.folder / name)
                raise
            except (DivergedError, ResourceError) as error:
                self.study.end(trial, "FAIL", str(error))
                raise
            except BaseException as error:
                if is_out_of_memory(error):  # The first run says so once it is left.
                    self.study.end(trial, "FAIL", "out of memory")
                else:  # Stopped, bad input or a bug, but not killed.
                    trial.set_user_attr("starts", starts)
                raise
            self.study.end(trial, "COMPLETE")
        return True

    def _new_runs(self, trial: optuna.Trial) -> list[Run]:
        """Return the runs of a trial, one for each seed, not yet locked.

        Raises:
            MisfitError: its values cannot be trained, and the trial has ended.
        """
        try:
            parameters = self.study.choose_parameters(trial)
        except MisfitError as error:
            trial.set_user_attr("misfit", True)
            # Optuna learns from pruned trials but not from failed ones, and the next shall differ.
            self.study.end(trial, "PRUNED", str(error))
            raise
        search = self.search
        words = (search.dataset, search.data, self.stop, search.device)
        return [
            TrialRun(folder, change(parameters, {"seed": seed}), *words)
            for folder, seed in self.study.runs_of(trial).items()
        ]

    def _reporter(
        self, trial: optuna.Trial, run: Run, before: Sequence[Run]
    ) -> Callable[[dict[str, float]], None]:
        """Return a function that reports each epoch to Optuna and raises PrunedError if told so.

        Of several seeds, what is reported is the mean over those that were trained so far, so
        that trials are compared after the same work.

        Args:
            trial: the trial.
            run: of one of its seeds.
            before: the runs of the seeds before.
        """
        metric, columns = self.search.objective.metric, self.search.objectives
        earlier = [[row[metric] for row in read_metrics(each.folder)] for each in before]
        first_step = len(before) * self.search.base.training.epochs
        # Of a trial that is trained anew, these say nothing of how it goes this time.
        reported = {*self.study.optuna.get_trials(deepcopy=False)[trial.number].intermediate_values}

        def on_epoch(row: dict[str, float]) -> None:
            self.study.check_hold()
            for name in (each.metric for each in columns if each.metric != WEIGHTS):
                if name not in row and row["epoch"] == 1:
                    raise self._unknown_column(name, row)
                if not math.isfinite(row.get(name, math.nan)):
                    raise DivergedError(f"{run.folder}: {name} is no number any more.")
            if len(columns) > 1:  # Optuna prunes by one objective only.
                return
            epoch = int(row["epoch"])
            step = first_step + epoch
            # Patience may have ended another seed before this epoch.
            values = [rows[min(epoch, len(rows)) - 1] for rows in earlier]
            with warnings.catch_warnings(action="ignore"):  # A trial that is trained anew repeats.
                trial.report(statistics.fmean([*values, row[metric]]), step)
            if step not in reported and trial.should_prune():
                raise PrunedError

        return on_epoch

    def _unknown_column(self, name: str, row: Mapping[str, float]) -> InputError:
        columns = [column for column in row if column.startswith("val_")]
        anew = f"delete study.journal and trial_* in {self.search.folder}"
        if self.search.storage:
            anew = "name another folder (--search)"
        return InputError(
            f"{self.search.file}: got {name!r}, expected one of {', '.join(columns)}"
            f"{nearest(name, columns)}. Correct it, and {anew}."
        )


def work(errors: Any, asked: Event, search: Search, train: Callable[[Run], object]) -> None:
    """Train trials in this worker process; put an error that ends the search into `errors`."""
    stop = WorkerStop(asked)
    keep_output_usable()
    # No progress bars: those of several workers would mix.
    sys.stderr.isatty = lambda: False  # ty: ignore[invalid-assignment]
    try:
        with explained(search.storage):
            Worker(Study(search), train, stop).work()
    except (CommandError, OSError) as error:
        errors.put(error)


def run_workers(
    count: int, stop: StopRequest, search: Search, train: Callable[[Run], object]
) -> None:
    """Run worker processes until all trials are done, one process fails, or a stop is asked for.

    Args:
        count: how many processes.
        stop: says when to save and stop.
        search: what to do.
        train: trains a Run to its end; a function of a module, so that pickle finds it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    gpus = [] if search.device == "cpu" else list_gpus()
    if count > len(gpus):  # TensorFlow and JAX would take nearly all memory of a GPU at once.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    context = multiprocessing.get_context("spawn")  # CUDA does not work in a forked process.
    errors, asked = context.SimpleQueue(), context.Event()
    arguments = (errors, asked, search, train)
    workers = [context.Process(target=work, args=arguments) for _ in range(count)]
    # The workers inherit that SIGINT is ignored: Ctrl-C in their imports would print tracebacks.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number, worker in enumerate(workers):
        with one_gpu(number, gpus):
            worker.start()
    signal.signal(signal.SIGINT, handler)
    while alive := [worker.sentinel for worker in workers if worker.is_alive()]:
        if stop or not errors.empty() or any(worker.exitcode == 1 for worker in workers):
            break
        wait(alive, timeout=0.2)
    asked.set()
    end_workers(workers)
    if not errors.empty():
        raise errors.get()
    if any(worker.exitcode == 1 for worker in workers):
        raise SystemExit(1)  # The worker has printed the traceback.


def end_workers(workers: Sequence[BaseProcess]) -> None:
    """Wait until the workers, which were asked to stop, have saved and ended."""
    deadline = time.perf_counter() + GRACE_SECONDS
    for worker in workers:
        worker.join(max(deadline - time.perf_counter(), 0))
    for worker in workers:
        worker.terminate()  # On Windows this ends it at once, with nothing saved.
        worker.join()
