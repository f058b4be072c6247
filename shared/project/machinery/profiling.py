"""profile_steps.py: a few training steps of an experiment, measured.

It needs nothing of the training loop: a run asks at each step whether to stop, and what answers it
here starts the framework's profiler at one step and ends it at a later one.
"""

import argparse
import gzip
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from machinery import records
from machinery.argument_parser import ArgumentParser
from machinery.command_line import Command
from machinery.errors import StoppedError, exit_codes
from machinery.files import write_atomically
from machinery.parameter_file import Section, change, load_parameters
from machinery.stopping import StopRequest
from machinery.terminal import hidden_standard_error

FOLDER, TRACE = "profile", "trace.json.gz"  # Below the experiment.
WARMUP_STEPS = 20  # The first steps compile, allocate and choose algorithms.
SHOWN = 10  # operations
LONGEST_NAME = 60  # Characters, from the end: the beginning says in which part of a graph it is.


class Operation(NamedTuple):
    """All calls of an operation together."""

    name: str
    calls: int
    microseconds: float  # its own, without those of the operations that it calls


class Event(NamedTuple):
    """A call, as a profiler has it."""

    place: str  # a thread or a stream: what happens there is nested, or comes one after the other
    name: str
    start: float  # in microseconds
    duration: float  # in microseconds


class Profiler(Protocol):
    """That of a framework; it is made with the folder that it writes the trace to."""

    def start(self) -> None:
        """Begin to measure."""

    def stop(self) -> Sequence[Operation]:
        """Write trace.json.gz, and return all operations."""


class MeasuredSteps(StopRequest):
    """Starts a profiler when a run asks whether to stop, and some steps later stops both.

    Args:
        profiler: that of the framework.
        steps: how many to measure; more, where a call of the framework takes several.
    """

    def __init__(self, profiler: Profiler, steps: int) -> None:
        super().__init__()
        self.profiler, self.steps = profiler, steps
        self.run: Any = None  # The Run that asks.
        self.first = self.last = 0
        self.operations: Sequence[Operation] = ()

    def __bool__(self) -> bool:
        step = self.run.progress.step
        # At the end of an epoch comes its evaluation, unless there is nothing but ends of epochs.
        within = step % self.run.steps_per_epoch != 0 or step >= 2 * WARMUP_STEPS
        if not self.first and step >= WARMUP_STEPS and within:
            self.first = step
            with hidden_standard_error():  # Profilers say there that they start and stop.
                self.profiler.start()
        elif self.first and not self.last and step >= self.first + self.steps:
            self.last = step
            with hidden_standard_error():
                self.operations = self.profiler.stop()
            self.error = StoppedError("the end of the profile")
        return super().__bool__()


class ProfileCommand(Command):
    """The command line of profile_steps.py."""

    def run(
        self,
        train: Callable[[Any], object],
        open_dataset: Callable[[Path], Any],
        make_profiler: Callable[[Path], Profiler],
    ) -> None:
        """Measure steps and print the dearest operations; end with the exit code of what happened.

        Args:
            train: trains a Run to its end.
            open_dataset: reads dataset.json in the folder of the data.
            make_profiler: makes that of the framework.
        """
        if self.arguments is None:
            return
        with exit_codes():
            measure(self.arguments, self.parameters, train, open_dataset, make_profiler)


def command_line(name: str, description: str | None, schema: type[Section]) -> ProfileCommand:
    """Read the command line of profile_steps.py; end the process if it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
    """
    if name != "__main__":
        return ProfileCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        parser.add_experiment()
        parser.add_data()
        parser.add_device()
        parser.add_argument("--steps", type=int, default=10, help="how many to measure [10]")
        arguments = parser.parse_args()
        parser.check_range("--steps", arguments.steps, 1, 1000)
        parameters = load_parameters(schema, arguments.experiment / "params.yaml")
        arguments.data = arguments.data or records.data_of(arguments.experiment)
        return ProfileCommand(arguments, parameters)


def measure(
    arguments: argparse.Namespace,
    parameters: Any,
    train: Callable[[Any], object],
    open_dataset: Callable[[Path], Any],
    make_profiler: Callable[[Path], Profiler],
) -> None:
    """Train in a temporary folder until the steps are measured, and print what they took.

    Raises:
        StoppedError: on request, before.
    """
    from machinery.run import Run

    dataset = open_dataset(arguments.data)
    parameters.check_data(dataset)
    # A call of the framework may take an epoch's steps, and the end of all would come too early.
    steps = math.ceil(dataset.examples["train"] / parameters.data.batch_size)
    epochs = 4 + (2 * WARMUP_STEPS + arguments.steps) // steps
    values = {"training.epochs": max(epochs, parameters.training.epochs), "training.patience": 0}
    folder = arguments.experiment / FOLDER
    folder.mkdir(exist_ok=True)
    stop = MeasuredSteps(make_profiler(folder), arguments.steps)
    with tempfile.TemporaryDirectory() as scratch:
        words = (change(parameters, values), dataset, arguments.data, stop, arguments.device)
        try:
            with Run(Path(scratch) / "run", *words) as run:
                stop.run = run
                train(run)
        except StoppedError:
            if not stop.last:
                raise type(stop.error or StoppedError())("Stopped before the end.") from None
    session = f"steps {stop.first + 1} to {stop.last} of {arguments.experiment}"
    print(f"{session}, each operation's own time in milliseconds a step:")
    for line in to_lines(stop.operations, stop.last - stop.first):
        print(line)
    print(f"Wrote {folder / TRACE}: open it at https://ui.perfetto.dev")


def to_lines(operations: Sequence[Operation], steps: int) -> list[str]:
    """Return a line for each of the dearest operations, of some steps."""
    whole = sum(each.microseconds for each in operations) or 1.0
    dearest = sorted(operations, key=lambda each: -each.microseconds)[:SHOWN]
    return [
        f"  {each.microseconds / 1000 / steps:9.3f}  {each.microseconds / whole:6.1%}  "
        f"{each.calls / steps:7.1f} calls  {each.name[-LONGEST_NAME:]}"
        for each in dearest
    ]


def add_up(events: Iterable[Event]) -> list[Operation]:
    """Return the operations of events; the time of those that lie within another is taken off."""
    calls, times = defaultdict[str, int](int), defaultdict[str, float](float)
    around: dict[str, list[Event]] = defaultdict(list)  # The events that are open, by place.
    for event in sorted(events, key=lambda each: (each.start, -each.duration)):
        stack = around[event.place]
        while stack and stack[-1].start + stack[-1].duration <= event.start:
            stack.pop()
        if stack:
            times[stack[-1].name] -= event.duration
        stack.append(event)
        calls[event.name] += 1
        times[event.name] += event.duration
    return [Operation(name, calls[name], times[name]) for name in calls]


def write_trace(path: Path, events: Iterable[Event]) -> None:
    """Write events in the format of Chrome's traces, which Perfetto reads."""
    events = [*events]
    places = {name: i for i, name in enumerate(dict.fromkeys(each.place for each in events))}
    named: list[dict[str, Any]] = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": i, "args": {"name": name}}
        for name, i in places.items()
    ]
    named += [
        {
            **{"ph": "X", "name": each.name, "pid": 1, "tid": places[each.place]},
            **{"ts": each.start, "dur": each.duration},
        }
        for each in events
    ]
    write_atomically(path, gzip.compress(json.dumps({"traceEvents": named}).encode()))
