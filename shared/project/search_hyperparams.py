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
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self, cast, get_args

import pydantic
from filelock import FileLock, Timeout
from pydantic import Field
from pydantic_core import PydanticCustomError

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
            raise PydanticCustomError("form", "expected {{low, high}} or {{choices: [...]}}")
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
    parser = utils.ArgumentParser(__doc__)
    parser.add_argument("--search", type=Path, default=Path("experiments/search"))
    parser.add_argument("--data", type=Path, default=Path("data"), help="dataset folder [data]")
    parser.add_argument("--device", choices=utils.DEVICES, default="auto")
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


def work(connection: Connection, data: Path, device_name: str, base: Parameters) -> None:
    """Train trials, one after another, until the search says stop or is gone."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):  # Whoever ends all processes of a group: the search tells us.
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.stderr.isatty = lambda: False  # No progress bars: those of several workers would mix.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            from build_dataset import read_dataset
            from evaluate import choose_device
            from train import train

            device = choose_device(device_name)
            train = functools.partial(train, dataset=read_dataset(data), data=data, device=device)
        except Exception as error:
            connection.send(("refused", error))
            raise
        connection.send(("ready", str(device)))
        outcome, task = "", connection.recv()
        while outcome != "stopped" and task != "stop":
            outcome, message = train_trial(connection, *task, base, train)
            connection.send((outcome, message))
            task = connection.recv()


def train_trial(
    connection: Connection, folder: Path, values: Mapping[str, Any], base: Parameters, train: Any
) -> tuple[str, str]:
    """Train one trial in its folder; return how it ended, and a message if that is news."""

    def on_epoch(row: dict[str, float]) -> None:
        with contextlib.suppress(EOFError, OSError):  # The search is gone: SearchStop sees it too.
            connection.send(("epoch", row))
            if connection.recv() == "prune":
                raise PrunedError

    try:
        parameters = change(base, values)
        fingerprint = train.keywords["dataset"].fingerprint
        with utils.Run(folder, parameters, fingerprint) as run:
            train(run, stop=SearchStop(connection), on_epoch=on_epoch)
    except PrunedError:
        # What it takes to continue goes, it is most of the space; what it takes to evaluate stays.
        for name in (utils.Run.last, utils.Run.previous):
            (folder / name).unlink(missing_ok=True)
        return "pruned", ""
    except utils.StoppedError:
        return "stopped", ""
    except utils.CommandError as error:
        return "failed", str(error)
    except Exception:
        return "failed", traceback.format_exc()
    return "complete", ""
