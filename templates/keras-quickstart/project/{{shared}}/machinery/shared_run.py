"""A run that several processes train together: one leads and writes, the others follow.

Each process has a Run, and the training loop is the same in all. The leading one locks the folder,
reads the checkpoint and writes. The others get the state from it and write nothing. What a training
loop asks its run is answered in all processes alike: whether to save, and whether to stop.
"""

import argparse
import contextlib
import logging
import os
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from machinery import slurm
from machinery.checkpoints import LAST, State
from machinery.errors import CommandError, InputError, LostProcessError, known_error
from machinery.metrics import Objective
from machinery.parameter_file import differences, flatten
from machinery.run import Run
from machinery.share import share_out
from machinery.stopping import LOST_LAUNCHER, NAMES, StopRequest, reason

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    import numpy as np


COUNT = "WORLD_SIZE"  # The environment variable with the number of processes, as torchrun has it.
# Why to look at the state after a step. The processes tell each other the number; the highest wins.
CHECKPOINT = "a checkpoint is due"
REASONS = ("", CHECKPOINT, "a request", "the time limit", LOST_LAUNCHER, *NAMES, "Ctrl-C")


class Group(Protocol):
    """The processes that train one network: each calls the same methods in the same order."""

    number: int  # of this process; that of the leading one is 0
    processes: int
    is_launched: bool  # by a process that lives as long as they do

    def largest(self, value: int) -> int:
        """Return the largest of the values that the processes give."""
        ...

    def broadcast(self, value: Any) -> Any:
        """Return what the leading process gives."""

    def gather(self, value: Any) -> list[Any]:
        """Return, in the leading process, what each gives, in their order; elsewhere nothing."""
        ...


def open_run(
    arguments: argparse.Namespace,
    parameters: Any,
    dataset: Any,
    stop: StopRequest,
    join: Callable[[str], Group | None] | None,
) -> Run:
    """Return the run that a command line names, not yet locked, for this process.

    Args:
        arguments: of train.py.
        parameters: of the experiment.
        dataset: that it is trained on.
        stop: says when to save and stop.
        join: given --device, joins the processes that a launcher started; None: train.py trains in
            one process.

    Raises:
        InputError: these processes cannot share the training.
    """
    folder, data, device = arguments.experiment, arguments.data, arguments.device
    places = (folder, parameters, dataset, data, stop, device, arguments.overwrite)
    if join is None and os.environ.get(COUNT, "1") != "1":
        raise InputError(
            f"{COUNT}: got {os.environ[COUNT]}, expected 1: the train.py of this project trains in "
            "one process. Start it with python train.py."
        )
    if join:
        slurm.adopt_tasks()
    group = join(device) if join else None
    if group is None:
        return Run(*places)
    refuse_different_trainings(group, {"data": dataset.fingerprint, **flatten(parameters)})
    return (FollowingRun if group.number else LeadingRun)(group, *places)


def refuse_different_trainings(group: Group, training: Mapping[str, Any]) -> None:
    """Raise InputError, in all processes, where one is about to train another thing.

    Args:
        group: the processes.
        training: the parameters and the fingerprint of the data, as this one has them.
    """
    found = differences(group.broadcast(training), training)
    if group.largest(bool(found)):
        raise InputError(
            f"The processes do not train the same: {found or 'see what the others say'}. Give each "
            "machine the same data, and the experiment's params.yaml or one folder for all."
        )


class AgreedStop(StopRequest):
    """A request to stop that counts once all processes know of it, so that all stop at one step.

    Args:
        own: what was asked of this process.
        group: the processes.
    """

    def __init__(self, own: StopRequest, group: Group) -> None:
        self.own, self.group, self.error = own, group, None
        own.is_launched = own.is_launched or group.is_launched

    def __bool__(self) -> bool:
        return self.error is not None

    def ask(self, save: bool = False) -> bool:
        """Ask all processes whether one of them wants to save or to stop; remember a stop.

        Args:
            save: whether this process wants to save.
        """
        why = str(self.own.error) if self.own else CHECKPOINT if save else ""
        mine = REASONS.index(why if why in REASONS else "a request")
        agreed = REASONS[self.group.largest(mine)]
        if agreed not in ("", CHECKPOINT):
            self.error = reason(agreed)
        return agreed != ""


class SharedRun(Run):
    """What the runs of all processes have in common.

    Args:
        group: the processes.
        arguments: those of Run.
    """

    stop: AgreedStop

    def __init__(self, group: Group, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.group = group
        self.share = share_out(self.parameters, self.dataset, group.number, group.processes)
        self.stop = AgreedStop(self.stop, group)

    def save_is_due(self) -> bool:
        return self.stop.ask(super().save_is_due())

    def keep_epoch(self, row: dict[str, float], examples_per_second: float) -> None:
        self.stop.ask()
        super().keep_epoch(row, examples_per_second)

    def gather(self, evaluation: Any, examples: int) -> Any:
        return GatheredEvaluation(evaluation, examples, self.group)


class LeadingRun(SharedRun):
    """The run of the process that reads and writes. It tells the others how that went."""

    @contextlib.contextmanager
    def _telling(self, result: Callable[[], Any] = lambda: None) -> Generator[None]:
        """Tell the other processes what the block ends with: an error, or a result."""
        try:
            yield
        except Exception as error:
            known = known_error(error)
            if not isinstance(known, LostProcessError):  # Otherwise there may be nobody to tell.
                failed = CommandError("the leading process has failed; its own message says why.")
                self.group.broadcast((known or failed, None))
            raise
        self.group.broadcast((None, result()))

    def __enter__(self) -> "LeadingRun":
        with self._telling():
            super().__enter__()
        return self

    def begin(self, state: State, objective: Objective, facts: Mapping[str, Any]) -> None:
        with self._telling(lambda: (self.progress, state.initial_arrays(), facts["precision"])):
            super().begin(state, objective, facts)

    def save(self, arrays: "Mapping[str, np.ndarray]") -> None:
        with self._telling():
            super().save(arrays)

    def write_row(self, row: dict[str, float], best: "Mapping[str, np.ndarray] | None") -> None:
        with self._telling():
            super().write_row(row, best)

    def finish(self) -> None:
        with self._telling():
            super().finish()


class FollowingRun(SharedRun):
    """The run of a process that writes nothing, and hears from the leading one how that went."""

    def _hear(self) -> Any:
        """Return what the leading process has; raise the error that it met."""
        error, result = self.group.broadcast(None)
        if error:
            raise error
        return result

    def __enter__(self) -> "FollowingRun":
        logging.getLogger("run").setLevel(logging.CRITICAL)  # The leading process says all of it.
        self._hear()
        return self

    def _leave(self, error: BaseException | None) -> None:
        """Leave the folder as it is: this process holds nothing of it."""

    def begin(self, state: State, objective: Objective, facts: Mapping[str, Any]) -> None:
        """Take the state over from the leading process; refuse to compute in another precision."""
        self.state, self.objective = state, objective
        self.progress, arrays, precision = self._hear()
        if precision != facts["precision"]:
            raise InputError(
                f"training.precision: got {facts['precision']} here, expected {precision}, that of "
                f"the leading process. Name one in {self.folder / 'params.yaml'}, with --from."
            )
        state.load(arrays, self.folder / LAST)
        self.saved = float("inf")  # The leading process knows when a checkpoint is due.

    def arrays(self) -> "Mapping[str, np.ndarray]":
        """Help to gather the arrays of the leading process, where each has a part of them."""
        if self.state.is_sharded:
            self.state.to_arrays()
        return {}

    def save(self, arrays: "Mapping[str, np.ndarray]") -> None:
        self._hear()

    def write_row(self, row: dict[str, float], best: "Mapping[str, np.ndarray] | None") -> None:
        self._hear()

    def say_epoch(self, row: dict[str, float], examples_per_second: float) -> None:
        """Say nothing: the leading process does."""

    def finish(self) -> None:
        """Wait for the leading process, which draws: TensorFlow would miss who is gone."""
        self._hear()


class GatheredEvaluation:
    """An evaluation that counts what all processes predict, in the order of a single one.

    Its numbers are those of one process to the bit: the batches are the same, and each is whole.

    Args:
        evaluation: of model/report.py, which sums up the metrics.
        examples: of the split.
        group: the processes, which take turns with the batches.
    """

    def __init__(self, evaluation: Any, examples: int, group: Group) -> None:
        self.evaluation, self.dataset = evaluation, evaluation.dataset
        self.left, self.group = examples, group

    def add(self, *batch: Any) -> None:
        """Add a batch of each process; in the last round, some repeat a batch that is counted."""
        for each in self.group.gather(batch):
            if self.left:
                self.evaluation.add(*each)
                self.left -= len(each[-1])

    def metrics(self) -> dict[str, float]:
        """Return the metrics over all examples, in every process."""
        return self.group.broadcast(None if self.group.number else self.evaluation.metrics())
