"""Search hyperparameters: many experiments side by side, the hopeless ones cut short.

    python search_hyperparams.py                      # what experiments/search/search.yaml asks for
    python search_hyperparams.py --workers 4 --max-minutes 60

search.yaml says where to start from, what to vary, what to maximize and how many trials to make in
total. Every trial is an ordinary experiment, such as experiments/search/trial_0003. A search that
was stopped or killed continues when the same command is given again, its unfinished trials too;
with more `trials` in search.yaml, a finished one goes on.

This process alone asks Optuna for values and writes its study (study.journal); worker processes of
one thread each train the trials. The values of a trial are a function of the seed, its number, and
the trials known by then: with one worker the whole search is reproducible, with several it is as
far as they finish in the same order.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self, cast, get_args

import pydantic
from filelock import FileLock, Timeout
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
    parser.add_argument("--data", type=Path, default=Path("data"), help="dataset folder [data]")
    parser.add_argument("--device", choices=command_line.DEVICES, default="auto")
    parser.add_argument("--workers", type=int, help="[one a processor core; on a GPU one]")
    parser.add_argument("--max-minutes", type=float, help="save and stop after so many minutes")
    arguments = parser.parse_args()
    if arguments.workers is not None and arguments.workers < 1:
        parser.error(f"--workers: got {arguments.workers}, expected 1 or more")
    if arguments.max_minutes is not None and not arguments.max_minutes >= 0:
        parser.error(f"--max-minutes: got {arguments.max_minutes}, expected 0 or more")
    return arguments, *load_settings(arguments.search / "search.yaml")


if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before Optuna is imported.
        command = parse_arguments()
        stop = utils.StopRequest(command[0].max_minutes)

# ---------------------------------------------------------------------------------------------
# A worker process. It knows nothing of Optuna, and the search nothing of the framework.
#
# Down the connection come (folder, values) to train, and an answer to each epoch: "continue",
# "prune" or "stop". Up it go ("ready", device) or ("refused", error) once, ("epoch", metrics row)
# and, at the end of a trial, ("complete" | "pruned" | "stopped" | "failed", message).


class PrunedError(utils.CommandError):
    """The search cuts the trial short."""

    outcome = "pruned"  # for run.json


class SearchStop(utils.StopRequest):
    """Says that the search wants to stop, or is gone: something can be read from the connection."""

    def __init__(self, connection: Connection) -> None:
        self.error: utils.StoppedError | None = None
        self.connection = connection

    def __bool__(self) -> bool:
        if not self.error and self.connection.poll():
            self.error = utils.StoppedError("the search")
        return self.error is not None


@dataclasses.dataclass
class Common:
    """What all trials have in common."""

    base: Parameters
    dataset: Any  # build_dataset.Dataset; its import can wait.
    data: Path
    device: str


def work(connection: Connection, common: Common) -> None:
    """Train trials, one after another, until the search says stop or is gone."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):  # They reach the search too, which says what to do.
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # No progress bars: those of several workers would mix.
    sys.stderr.isatty = lambda: False  # ty: ignore[invalid-assignment]
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            import train  # noqa: F401 (found to work before a trial depends on it)
            from evaluate import choose_device

            device = choose_device(common.device)
        except utils.CommandError as error:
            connection.send(("refused", error))
            return
        connection.send(("ready", str(device)))
        while (task := connection.recv()) != "stop":
            connection.send(train_trial(connection, *task, common, device))


def train_trial(
    connection: Connection, folder: Path, values: Mapping[str, Any], common: Common, device: Any
) -> tuple[str, str]:
    """Train one trial in its folder; return how it ended, and a message where it failed."""
    from train import train

    def on_epoch(row: dict[str, float]) -> None:
        with contextlib.suppress(EOFError, OSError):  # The search is gone; SearchStop sees it.
            connection.send(("epoch", row))
            if connection.recv() == "prune":
                raise PrunedError

    try:
        parameters = change(common.base, values)
        with run_folder.Run(folder, parameters, common.dataset.fingerprint) as run:
            train(run, common.dataset, common.data, device, SearchStop(connection), on_epoch)
    except PrunedError:
        # What it takes to continue is most of the space; what it takes to evaluate stays.
        for name in (run_folder.Run.last, run_folder.Run.previous):
            (folder / name).unlink(missing_ok=True)
        return "pruned", ""
    except utils.StoppedError:
        return "stopped", ""
    except utils.CommandError as error:
        return "failed", str(error)
    except Exception:
        return "failed", traceback.format_exc()
    return "complete", ""


# ---------------------------------------------------------------------------------------------
# The search.

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from build_dataset import open_dataset


@dataclasses.dataclass
class Worker:
    """A worker process and what it is doing."""

    process: BaseProcess
    connection: Connection
    ready: bool = False
    trial: optuna.Trial | None = None


class Search:
    """A study and the workers that train its trials.

    Args:
        folder: the search's folder, locked.
        settings: what search.yaml says.
        common: what all trials have in common.
        study: the study, loaded.
        stop: asks to save and stop.
    """

    def __init__(
        self,
        folder: Path,
        settings: SearchSettings,
        common: Common,
        study: optuna.Study,
        stop: utils.StopRequest,
    ) -> None:
        self.folder, self.settings, self.common = folder, settings, common
        self.study, self.stop = study, stop
        self.workers: list[Worker] = []
        self.max_workers = 1  # until the first says what it computes on
        self.stopping = False
        self.failures = 0  # in a row
        self.unfinished: list[optuna.Trial] = []
        for trial in self.trials("RUNNING"):  # No other search is: these were left behind.
            self.take_back(optuna.Trial(study, trial._trial_id))
            if run_folder.is_running(self.folder_of(trial)):
                print(f"{self.folder_of(trial)} is in use: it goes on once that process has ended.")

    def trials(self, *states: str) -> list[FrozenTrial]:
        """Return the trials in some states, oldest first."""
        return self.study.get_trials(deepcopy=False, states=[TrialState[s] for s in states])

    def missing(self) -> int:
        """Return how many trials are still to be finished."""
        return max(self.settings.trials - len(self.trials("COMPLETE", "PRUNED")), 0)

    def busy(self) -> list[Worker]:
        """Return the workers that train a trial."""
        return [worker for worker in self.workers if worker.trial]

    def run(self, count: int | None) -> None:
        """Train what is missing in `count` workers (None: as many as suit the device).

        Raises:
            StoppedError: on request, with everything saved.
            DivergedError: too many trials in a row failed.
            InputError: there is no such device or no such objective.
        """
        try:
            while self.busy() or (self.missing() and not self.stopping):
                if self.stop and not self.stopping:
                    self.stopping = True
                    for worker in self.workers:
                        send(worker, "stop")
                if not self.stopping:
                    self.hand_out()
                for connection in wait([w.connection for w in self.workers], timeout=0.2):
                    worker = next(w for w in self.workers if w.connection is connection)
                    try:
                        kind, content = worker.connection.recv()
                    except (EOFError, ConnectionResetError):
                        self.on_death(worker)
                    else:
                        self.on_message(worker, kind, content, count)
        finally:
            for worker in self.workers:
                worker.connection.close()  # A worker takes this for a stop.
            for worker in self.workers:
                worker.process.join()

    def hand_out(self) -> None:
        """Give trials to idle workers, and start workers where there are too few."""
        idle = [worker for worker in self.workers if worker.ready and not worker.trial]
        for worker in idle[: self.missing() - len(self.busy())]:
            trial = self.next_trial()
            if trial is None:
                break
            seed = utils.fold_seed(self.common.base.seed, trial.number) % 2**32
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            values = {name: suggest(trial, name, d) for name, d in self.settings.space.items()}
            trial.set_user_attr("starts", trial.user_attrs.get("starts", 0) + 1)
            worker.trial = trial
            send(worker, (self.folder_of(trial), values))
        while len(self.workers) < min(self.max_workers, self.missing()):
            self.workers.append(start_worker(self.common))

    def next_trial(self) -> optuna.Trial | None:
        """Return an unfinished trial or a new one; None while another process is in its folder."""
        if not self.unfinished:
            return self.study.ask()
        # A worker outlives the search that was killed for as long as it takes to save.
        if run_folder.is_running(self.folder_of(self.unfinished[0])):
            return None
        return self.unfinished.pop(0)

    def folder_of(self, trial: optuna.Trial | FrozenTrial) -> Path:
        """Return the experiment folder of a trial."""
        return self.folder / f"trial_{trial.number:04}"

    def on_death(self, worker: Worker) -> None:
        """Go on without a worker process that ended, and with its trial."""
        self.workers.remove(worker)
        worker.process.join()
        if worker.trial:
            self.take_back(worker.trial)
        elif not worker.ready and not self.stopping:
            raise RuntimeError(f"a worker ended with {worker.process.exitcode} before it began")

    def take_back(self, trial: optuna.Trial) -> None:
        """Let a trial whose process was killed continue, unless that happened too often."""
        if trial.user_attrs.get("starts", 0) < STARTS:
            self.unfinished.append(trial)
        else:
            self.fail(trial, f"its process was killed {STARTS} times; out of memory?")

    def on_message(self, worker: Worker, kind: str, content: Any, count: int | None) -> None:
        """Do what a worker's message calls for."""
        trial = worker.trial
        if kind == "ready":
            worker.ready = True
            self.max_workers = count or default_workers(device=content)
        elif kind == "refused":
            raise content
        elif kind == "epoch":
            assert trial
            self.check_objective(content)
            trial.report(content[self.settings.objective], content["epoch"])
            answer = "prune" if trial.should_prune() else "continue"
            send(worker, "stop" if self.stopping else answer)
        else:
            assert trial
            worker.trial = None
            self.end(trial, kind, content)

    def check_objective(self, row: Mapping[str, float]) -> None:
        """Raise InputError where a row of metrics lacks what search.yaml wants to be best."""
        objective = self.settings.objective
        if objective not in row:
            columns = [name for name in row if name.startswith("val_")]
            raise utils.InputError(
                f"{self.folder / 'search.yaml'}: got {objective!r}, expected a column of "
                f"metrics.jsonl{utils.nearest(objective, columns)}: {', '.join(columns)}. Correct "
                f"it, delete study.journal and trial_* in {self.folder}, and search again."
            )

    def end(self, trial: optuna.Trial, outcome: str, message: str) -> None:
        """Tell Optuna and the person how a trial ended."""
        if outcome == "failed":
            self.fail(trial, message)
        elif outcome == "stopped":
            trial.set_user_attr("starts", trial.user_attrs["starts"] - 1)
        else:
            pick, objective = (max if self.settings.maximize else min), self.settings.objective
            rows = run_folder.read_metrics(self.folder_of(trial))
            value = pick(row[objective] for row in rows)
            if outcome == "pruned":
                self.study.tell(trial, state=TrialState.PRUNED)
            else:
                self.study.tell(trial, value)
            self.failures = 0
            self.say(trial, f"{outcome} at epoch {rows[-1]['epoch']}, {objective} {value:.4f}")

    def fail(self, trial: optuna.Trial, message: str) -> None:
        """Note a failure; raise DivergedError where nothing but failures is to be expected."""
        self.study.tell(trial, state=TrialState.FAIL)
        self.say(trial, f"failed: {message}")
        self.failures += 1
        if self.failures >= min(FAILURES_IN_A_ROW, self.settings.trials):
            raise utils.DivergedError(
                f"{self.failures} trials in a row failed; the last, {self.folder_of(trial)}: "
                f"{message.strip()}\nMend the cause, or narrow `space` in a search.yaml of another "
                "folder (--search)."
            )

    def say(self, trial: optuna.Trial, news: str) -> None:
        """Print a line about a trial."""
        total = self.settings.trials
        values = format_values(trial.params)
        print(
            f"[{total - self.missing()}/{total}] trial_{trial.number:04} {news}; {values}",
            flush=True,
        )

    def report(self) -> None:
        """Print the best trials, what mattered, and what to do next."""
        sign = -1 if self.settings.maximize else 1
        complete = sorted(self.trials("COMPLETE"), key=lambda t: sign * cast(float, t.value))
        pruned, failed = len(self.trials("PRUNED")), len(self.trials("FAIL"))
        print(f"\n{len(complete)} trials complete, {pruned} pruned, {failed} failed. The best:")
        for trial in complete[:5]:
            value = f"{self.settings.objective} {trial.value:.4f}"
            print(f"  {self.folder_of(trial)}  {value}  {format_values(trial.params)}")
        if len(complete) >= 10:
            shares = optuna.importance.get_param_importances(self.study)
            print(f"Share in what made the difference: {format_values(shares)}")
        best = self.folder_of(complete[0])
        print(
            f"The best of many was also lucky: see it on test, and train it with another seed.\n"
            f"  python evaluate.py --experiment {best}\n"
            f"  python train.py --experiment {self.folder.parent}/best --from {best} "
            f"--seed {self.common.base.seed + 1}"
        )


def start_worker(common: Common) -> Worker:
    """Start a worker process of one thread; set OMP_NUM_THREADS for another number."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")  # Forks of a process with CUDA do not work.
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, common))
    process.start()
    theirs.close()  # So that the end of the process is the end of the connection.
    return Worker(process, ours)


def send(worker: Worker, message: object) -> None:
    """Send; if the process has died, reading from it will tell."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        worker.connection.send(message)


def default_workers(device: str) -> int:
    """Return how many trials to train at a time: on a processor one a core, else one."""
    if not device.startswith("cpu"):
        return 1
    allowed = getattr(os, "sched_getaffinity", None)  # What a cluster gave us; Linux alone.
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    """Ask Optuna for the value of a parameter; of a trial that is continued, the same again."""
    if dimension.choices is not None:
        return trial.suggest_categorical(name, dimension.choices)
    low, high, log = cast(Any, dimension.low), cast(Any, dimension.high), dimension.log
    if is_float(name):
        return trial.suggest_float(name, low, high, step=dimension.step, log=log)
    return trial.suggest_int(name, low, high, step=cast(int, dimension.step or 1), log=log)


def format_values(values: Mapping[str, Any]) -> str:
    """Return "model.width 32, training.learning_rate 0.0031"."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def open_study(
    folder: Path, settings: SearchSettings, base: Parameters, fingerprint: str
) -> optuna.Study:
    """Open or begin the study of a folder, for this process alone.

    Raises:
        InputError: another process searches there, the study is damaged, or it began with another
            space, other parameters or other data.
    """
    path = folder / "study.journal"
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()  # Until the process ends; Optuna's own lock would outlive a kill.
    except Timeout:
        raise utils.InputError(f"{folder}: another search is going on. Wait, or stop it.") from None
    anew = f"Name another folder with a search.yaml (--search), or delete {path.name} and trial_*."
    content = path.read_bytes() if path.exists() else b""
    if not content.endswith(b"\n") and content:
        os.truncate(path, content.rfind(b"\n") + 1)  # A kill or a full disk cut the last line.
    if not content and any(folder.glob("trial_*")):
        raise utils.InputError(f"{folder} holds trials, but no {path.name} of theirs. {anew}")
    direction = "maximize" if settings.maximize else "minimize"
    try:
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=cast(Any, lock)))
        study = optuna.create_study(
            storage=storage,
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=base.training.epochs // 4),
            study_name="search",
            direction=direction,
            load_if_exists=True,
        )
    except (ValueError, KeyError) as error:
        raise utils.InputError(f"{path} is damaged ({error}). {anew}") from None
    space = {name: d.model_dump(exclude_unset=True) for name, d in settings.space.items()}
    facts: dict[str, Any] = {"data": fingerprint, "objective": settings.objective}
    facts |= {"direction": direction} | utils.flatten(base)
    facts |= {f"space {name}": value for name, value in space.items()}
    facts = json.loads(json.dumps(facts))
    changed = utils.differences(study.user_attrs.get("facts", facts), facts)
    if changed and (study.trials or study.direction.name.lower() != direction):
        raise utils.InputError(f"{path} began with something else: {changed}. {anew}")
    study.set_user_attr("facts", facts)
    return study


def main(
    arguments: argparse.Namespace,
    settings: SearchSettings,
    base: Parameters,
    stop: utils.StopRequest,
) -> None:
    """Search as search.yaml says."""
    dataset = open_dataset(arguments.data)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(arguments.search, settings, base, dataset.fingerprint)
    common = Common(base, dataset, arguments.data, arguments.device)
    search = Search(arguments.search, settings, common, study, stop)
    if not search.missing():
        print(f"All {settings.trials} trials are done; more `trials` in search.yaml go on.")
    started, missing = time.monotonic(), search.missing()
    search.run(arguments.workers)
    if done := missing - search.missing():
        seconds = time.monotonic() - started
        print(f"{done} trials in {seconds:.0f} s: {60 * done / seconds:.0f} a minute.")
    if search.missing():
        assert stop.error
        raise type(stop.error)(
            f"Stopped by {stop.error}, {search.missing()} of {settings.trials} trials to go, the "
            "unfinished ones saved. Run the same command again to continue."
        )
    search.report()


if __name__ == "__main__":
    with utils.exit_codes():
        main(*command, stop)
