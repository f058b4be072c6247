"""Search hyperparameters: many experiments side by side, the hopeless ones cut short.

    python search_hyperparams.py                      # what experiments/search/search.yaml asks for
    python search_hyperparams.py --workers 4 --max-minutes 60

search.yaml says where to start from, what to vary, what to maximize and how many trials to make in
total. Every trial is an ordinary experiment, such as experiments/search/trial_0003. A search that
was stopped or killed continues when the same command is given again, its unfinished trials too;
with more `trials` in search.yaml, a finished one goes on.

Worker processes of one thread each (OMP_NUM_THREADS says otherwise) share a study of Optuna
(study.journal) and take trials from it until none is missing. The values of a trial are a function
of the seed, its number, and the trials known by then: with one worker the whole search is
reproducible, with several it is as far as they finish in the same order.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import math
import multiprocessing
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Self, cast, get_args

import pydantic
from filelock import FileLock
from pydantic import Field
from pydantic_core import PydanticCustomError

import command_line
import run_folder
import utils
from parameters import Parameters

FAILURES_IN_A_ROW = 5  # So many end the search.
STARTS = 3  # A trial whose process was killed so many times has failed.


class Dimension(utils.Section):
    """The values to try of one parameter: from low to high, or one of the choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = Field(False, description="spread evenly over orders of magnitude")
    step: int | float | None = Field(None, gt=0)
    choices: list[bool | int | float | str] | None = Field(None, min_length=1)

    @pydantic.model_validator(mode="after")
    def check(self) -> Self:
        """Refuse what is neither a range nor a list of choices."""
        if self.choices is not None and self.model_fields_set == {"choices"}:
            return self
        if self.choices is not None or self.low is None or self.high is None:
            raise PydanticCustomError("form", "expected {low, high} or {choices: [...]}")
        if self.low > self.high:
            raise PydanticCustomError("order", "expected low to be at most high")
        if self.log and (self.low <= 0 or self.step):
            raise PydanticCustomError("log", "expected low above 0 and no step, because of log")
        return self


class SearchSettings(utils.Section):
    """What search.yaml holds."""

    source: str = Field(alias="from", description="the experiment to vary")
    trials: int = Field(ge=1, description="how many in total, pruned ones included")
    maximize: str | None = Field(None, description="a column of metrics.jsonl")
    minimize: str | None = Field(None, description="or this one")
    space: dict[str, Dimension] = Field(min_length=1, description="what to try of which parameter")

    @pydantic.model_validator(mode="after")
    def check(self) -> Self:
        """Refuse two objectives, or none."""
        if bool(self.maximize) == bool(self.minimize):
            raise PydanticCustomError("objective", "expected either maximize or minimize")
        return self

    @property
    def objective(self) -> str:
        """The column of metrics.jsonl that trials are compared by."""
        return cast(str, self.maximize or self.minimize)


def change(parameters: Parameters, values: Mapping[str, Any]) -> Parameters:
    """Return the parameters with other values for some dotted names, checked by the schema."""
    sections = parameters.model_dump()
    for name, value in values.items():
        *path, last = name.split(".")
        functools.reduce(dict.__getitem__, path, sections)[last] = value
    return Parameters.model_validate(sections)


def load_settings(path: Path) -> tuple[SearchSettings, Parameters]:
    """Read search.yaml and the parameters that it starts from.

    Raises:
        InputError: listing everything in `space` that the schema of the parameters refuses.
    """
    settings = utils.load_parameters(SearchSettings, path)
    try:
        base = utils.load_parameters(Parameters, Path(settings.source) / "params.yaml")
    except utils.InputError as error:
        raise utils.InputError(f"{path}: from: {error}") from None
    problems = list(find_problems(settings.space, base))
    if problems:
        problems.append("`python train.py --help` lists the parameters. Nothing was started.")
        raise utils.InputError("\n  ".join([f"{path}: space:", *problems]))
    return settings, base


def find_problems(space: Mapping[str, Dimension], base: Parameters) -> Iterator[str]:
    """Try every bound and choice on the schema, one at a time, and say what it refuses."""
    fields = dict(utils.parameter_fields(Parameters))
    for name, dimension in space.items():
        if name not in fields:
            yield f"{name}: unknown parameter{utils.nearest(name, list(fields))}."
            continue
        tried = [("choices", value) for value in dimension.choices or ()]
        if not tried:
            tried = [("low", dimension.low), ("high", dimension.high)]
        for key, value in tried:
            try:
                change(base, {name: value})
            except pydantic.ValidationError as error:
                expected = error.errors()[0]["msg"].replace("Input should be", "expected")
                yield f"{name}: {key}: got {value!r}, {expected}."
        if isinstance(dimension.step, float) and not is_float(name):
            yield f"{name}: step: got {dimension.step}, expected a whole number."


def is_float(name: str) -> bool:
    """Say whether a parameter may take any number, not whole ones alone."""
    annotation = dict(utils.parameter_fields(Parameters))[name].annotation
    return float in (annotation, *get_args(annotation))


def parse_arguments() -> tuple[argparse.Namespace, SearchSettings, Parameters]:
    """Read the command line and the files that it names."""
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--search", type=Path, default=Path("experiments/search"))
    parser.add_argument("--data", type=Path, help="dataset folder [that of `from`; else data]")
    parser.add_argument("--device", choices=command_line.DEVICES, default="auto")
    parser.add_argument("--workers", type=int, help="[one a processor core; on a GPU one]")
    parser.add_argument("--max-minutes", type=float, help="save and stop after so many minutes")
    arguments = parser.parse_args()
    if arguments.workers is not None and arguments.workers < 1:
        parser.error(f"--workers: got {arguments.workers}, expected 1 or more")
    if arguments.max_minutes is not None and not arguments.max_minutes >= 0:
        parser.error(f"--max-minutes: got {arguments.max_minutes}, expected 0 or more")
    settings, base = load_settings(arguments.search / "search.yaml")
    arguments.data = arguments.data or run_folder.data_of(Path(settings.source))
    return arguments, settings, base


if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before Optuna is imported.
        command = parse_arguments()
        stop = utils.StopRequest(command[0].max_minutes)

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from build_dataset import Dataset, open_dataset


class PrunedError(utils.CommandError):
    """The search cuts the trial short."""

    outcome = "pruned"  # for run.json


class WorkerStop(utils.StopRequest):
    """Asks a worker to save and stop: on its first signal, or because the search was killed."""

    def _on_signal(self, number: int, _frame: object) -> None:
        if not self.error:  # What ends a process group reaches a worker twice.
            super()._on_signal(number, _frame)

    def __bool__(self) -> bool:
        search = multiprocessing.parent_process()
        if not self.error and search and not search.is_alive():
            self.error = utils.StoppedError("the end of the search")
        return super().__bool__()


@dataclasses.dataclass
class Search:
    """A study and the folder of its trials, as one process sees them.

    Raises:
        InputError: the study is damaged, missing, or began with other settings or data.
    """

    arguments: argparse.Namespace
    settings: SearchSettings
    base: Parameters
    dataset: Dataset

    def __post_init__(self) -> None:
        self.folder: Path = self.arguments.search
        self.lock = FileLock(self.folder / ".lock")  # Optuna's own lock would outlive a kill.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self.lock:
            self.study = self.open_study()

    def open_study(self) -> optuna.Study:
        """Open or begin the study of the folder, which is locked."""
        path = self.folder / "study.journal"
        anew = f"Name another folder with a search.yaml (--search), or delete {path} and trial_*."
        content = path.read_bytes() if path.exists() else b""
        if not content.endswith(b"\n"):
            if content:  # A kill or a full disk cut the last line.
                os.truncate(path, content.rfind(b"\n") + 1)
            elif any(self.folder.glob("trial_*")):
                raise utils.InputError(f"{self.folder} holds trials, but no {path.name}. {anew}")
        settings = self.settings.model_dump(exclude_unset=True)
        direction = "maximize" if self.settings.maximize else "minimize"
        try:
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path), cast(Any, self.lock))),
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=self.base.training.epochs // 4),
                study_name="search",
                direction=direction,
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise utils.InputError(f"{path} is damaged ({error}). {anew}") from None
        facts: dict[str, Any] = {f"space {n}": d for n, d in settings["space"].items()}
        facts |= {"data": self.dataset.fingerprint, direction: self.settings.objective}
        facts = json.loads(json.dumps(facts | utils.flatten(self.base)))
        if "facts" not in study.user_attrs:
            study.set_user_attr("facts", facts)
        if changed := utils.differences(study.user_attrs["facts"], facts):
            raise utils.InputError(f"{path} began with something else: {changed}. {anew}")
        return study

    def trials(self, *states: str) -> list[FrozenTrial]:
        """Return the trials in some states, oldest first."""
        return self.study.get_trials(deepcopy=False, states=[TrialState[s] for s in states])

    def missing(self) -> int:
        """Return how many trials are still to be finished."""
        return max(self.settings.trials - len(self.trials("COMPLETE", "PRUNED")), 0)

    def folder_of(self, trial: optuna.Trial | FrozenTrial) -> Path:
        """Return the experiment folder of a trial."""
        return self.folder / f"trial_{trial.number:04}"

    def work(self, stop: utils.StopRequest) -> None:
        """Train trials until none is missing; raise what is more than one trial's failure."""
        while self.missing() and not stop:
            try:
                if not self.train_next(stop):
                    time.sleep(0.5)  # The last ones are trained elsewhere, but may yet fail there.
            except (PrunedError, utils.StoppedError):
                pass  # All is said and saved.
            except (utils.DivergedError, utils.ResourceError) as error:
                self.check_failures(error)

    def train_next(self, stop: utils.StopRequest) -> bool:
        """Train a trial that was left behind or a new one; return whether there was any."""
        with contextlib.ExitStack() as stack:
            with self.lock:
                trial = self.claim()
                if not trial:
                    return False
                parameters = change(self.base, self.suggest(trial))
                starts = trial.user_attrs.get("starts", 0) + 1
                trial.set_user_attr("starts", starts)
                folder, data = self.folder_of(trial), self.arguments.data
                run = run_folder.Run(folder, parameters, self.dataset, data, stop)
                stack.enter_context(run)
            try:
                self.train(trial, run)
            # Optuna is told while the folder is locked: a trial that runs in an unlocked folder
            # counts as left behind.
            except PrunedError:
                # What it takes to continue is most of the space; what it takes to evaluate stays.
                for name in (run.last, run.previous):
                    (run.folder / name).unlink(missing_ok=True)
                self.end(trial, "PRUNED")
                raise
            except (utils.DivergedError, utils.ResourceError) as error:
                self.end(trial, "FAIL", str(error))
                raise
            except BaseException:  # Stopped, bad input or a bug, but not killed.
                trial.set_user_attr("starts", starts - 1)
                raise
            self.end(trial, "COMPLETE")
        return True

    def claim(self) -> optuna.Trial | None:
        """Return an unfinished trial or a new one; None where all are in work."""
        running = self.trials("RUNNING")
        for frozen in list(running):
            if not run_folder.is_running(self.folder_of(frozen)):
                trial = optuna.Trial(self.study, frozen._trial_id)
                if frozen.user_attrs.get("starts", 0) < STARTS:
                    return trial
                self.end(trial, "FAIL", f"its process was killed {STARTS} times; out of memory?")
                running.remove(frozen)
        return self.study.ask() if self.missing() > len(running) else None

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Ask Optuna for the values of a trial; of one that is continued, the same again."""
        seed = utils.fold_seed(self.base.seed, trial.number) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        values: dict[str, Any] = {}
        for name, dimension in self.settings.space.items():
            low, high, log = cast(Any, dimension.low), cast(Any, dimension.high), dimension.log
            if dimension.choices is not None:
                values[name] = trial.suggest_categorical(name, dimension.choices)
            elif is_float(name):
                values[name] = trial.suggest_float(name, low, high, step=dimension.step, log=log)
            else:
                step = cast(int, dimension.step or 1)
                values[name] = trial.suggest_int(name, low, high, step=step, log=log)
        return values

    def train(self, trial: optuna.Trial, run: run_folder.Run) -> None:
        """Train a trial in its folder; raise PrunedError where it is hopeless."""
        from evaluate import choose_device
        from train import train

        objective = self.settings.objective

        def on_epoch(row: dict[str, float]) -> None:
            if objective not in row:
                columns = [name for name in row if name.startswith("val_")]
                raise utils.InputError(
                    f"{self.folder / 'search.yaml'}: got {objective!r}, expected one of "
                    f"{', '.join(columns)}{utils.nearest(objective, columns)}. Correct it, and "
                    f"delete study.journal and trial_* in {self.folder}."
                )
            if not math.isfinite(row[objective]):
                raise utils.DivergedError(f"{run.folder}: {objective} became {row[objective]}.")
            trial.report(row[objective], int(row["epoch"]))
            if trial.should_prune():
                raise PrunedError

        run.on_epoch = on_epoch
        train(run, choose_device(self.arguments.device))

    def end(self, trial: optuna.Trial, state: str, news: str = "") -> None:
        """Tell Optuna and the person how a trial ended."""
        value = None
        if state != "FAIL":
            pick, objective = (max if self.settings.maximize else min), self.settings.objective
            rows = run_folder.read_metrics(self.folder_of(trial))
            best = pick(row[objective] for row in rows)
            news = f"at epoch {rows[-1]['epoch']}, {objective} {best:.4f}"
            value = best if state == "COMPLETE" else None
        values, total = utils.format_values(trial.params), self.settings.trials
        self.study.tell(trial, value, TrialState[state])
        done = f"[{total - self.missing()}/{total}] trial_{trial.number:04}"
        print(f"{done} {state.lower()} {news}; {values}", flush=True)

    def check_failures(self, error: utils.CommandError) -> None:
        """Raise an error like the last where nothing but failures is to be expected."""
        ended = self.trials("COMPLETE", "PRUNED", "FAIL")
        ended.sort(key=lambda trial: trial.datetime_complete or 0)
        limit = min(FAILURES_IN_A_ROW, self.settings.trials)
        if [trial.state.name for trial in ended[-limit:]] == ["FAIL"] * limit:
            raise type(error)(
                f"{limit} trials in a row failed; the last: {error}\nMend the cause, or narrow "
                "`space` in a search.yaml of another folder (--search)."
            )

    def report(self) -> None:
        """Print the best trials and what to do next."""
        sign = -1 if self.settings.maximize else 1
        complete = sorted(self.trials("COMPLETE"), key=lambda t: sign * cast(float, t.value))
        pruned, failed = len(self.trials("PRUNED")), len(self.trials("FAIL"))
        print(f"\n{len(complete)} trials complete, {pruned} pruned, {failed} failed. The best:")
        for trial in complete[:5]:
            value = f"{self.settings.objective} {trial.value:.4f}"
            print(f"  {self.folder_of(trial)}  {value}  {utils.format_values(trial.params)}")
        words = ["python", "evaluate.py", "--experiment", str(self.folder_of(complete[0]))]
        if self.arguments.data != Path("data"):
            words += ["--data", str(self.arguments.data)]
        print(f"The best of many was also lucky; see it on test: {shlex.join(words)}")


def work(errors: Any, *search: Any) -> None:
    """Train trials in a process of its own; hand back the error that ends the search."""
    stop = WorkerStop()
    # No progress bars: those of several workers would mix.
    sys.stderr.isatty = lambda: False  # ty: ignore[invalid-assignment]
    try:
        Search(*search).work(stop)
    except (utils.CommandError, OSError) as error:
        errors.put(error)


def run_workers(count: int, stop: utils.StopRequest, *search: Any) -> None:
    """Let processes work on a search until they are done, or one fails, or on request."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")  # Forks of a process with CUDA do not work.
    errors = context.SimpleQueue()
    workers = [context.Process(target=work, args=(errors, *search)) for _ in range(count)]
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


def choose_workers(device: str) -> int:
    """Return how many trials to train at a time: on a processor one a core, else one."""
    from evaluate import choose_device

    if not str(choose_device(device)).startswith("cpu"):
        return 1
    allowed = getattr(os, "sched_getaffinity", None)  # What a cluster gave us; Linux alone.
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def main(
    arguments: argparse.Namespace,
    settings: SearchSettings,
    base: Parameters,
    stop: utils.StopRequest,
) -> None:
    """Search as search.yaml says."""
    dataset = open_dataset(arguments.data)
    search = Search(arguments, settings, base, dataset)
    missing, started = search.missing(), time.monotonic()
    if missing:
        count = min(arguments.workers or choose_workers(arguments.device), missing)
        run_workers(count, stop, arguments, settings, base, dataset)
    else:
        print(f"All {settings.trials} trials are done; more `trials` in search.yaml go on.")
    if done := missing - search.missing():
        seconds = time.monotonic() - started
        print(f"{done} trials in {seconds:.0f} s: {60 * done / seconds:.0f} a minute.")
    if search.missing():
        again = f"{search.missing()} of {settings.trials} trials to go. Run the same command again"
        if stop.error:
            saved = "the unfinished ones saved"
            raise type(stop.error)(f"Stopped by {stop.error}, {saved}; {again} to continue.")
        raise utils.ResourceError(f"The workers were killed; out of memory? {again}: --workers 1")
    search.report()


if __name__ == "__main__":
    with utils.exit_codes():
        main(*command, stop)
