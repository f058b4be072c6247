"""What each of several processes computes when they train one network together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from machinery.errors import InputError

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    import numpy as np


class Share(NamedTuple):
    """What one of several processes computes: parts of each batch, and some batches in evaluation.

    A batch is cut into `parts`, nearly equal, whose number the processes divide without a rest. A
    process may compute its own on several devices.
    """

    number: int = 0  # of this process, from 0
    processes: int = 1
    parts: int = 1
    devices: int = 1  # of this process

    @property
    def words(self) -> str:
        """What a line about a run adds where there are several processes or devices."""
        processes = f"; {self.processes} processes" if self.processes > 1 else ""
        return f"{processes}; {self.devices} devices" if self.devices > 1 else processes

    @property
    def facts(self) -> dict[str, int]:
        """What to record: the processes, and the devices where there are several."""
        devices = {"devices": self.devices} if self.devices > 1 else {}
        return {"processes": self.processes, **devices}

    @property
    def own_parts(self) -> range:
        """The numbers of the parts that this process computes."""
        each = self.parts // self.processes
        return range(self.number * each, (self.number + 1) * each)

    def take(self, rows: "np.ndarray") -> "np.ndarray":
        """Return the rows of a batch that are in the parts of this process."""
        if self.processes == 1:
            return rows
        import numpy as np

        parts = np.array_split(rows, self.parts)
        return np.concatenate([parts[number] for number in self.own_parts])

    def turns(self, batches: int) -> Iterator[int]:
        """Yield which of the batches of an evaluation this process computes.

        Each process computes equally many: where there is none left, the last one once more.
        """
        for first in range(0, batches, self.processes):
            yield min(first + self.number, batches - 1)


ALONE = Share()


def share_among_devices(parameters: Any, dataset: Any, devices: int, share: Share = ALONE) -> Share:
    """Return the share of a process whose devices share its part of every batch.

    Args:
        parameters: of the run.
        dataset: that it is trained on.
        devices: of this process, as many as each other one has.
        share: of this process.

    Raises:
        InputError: the parts cannot be shared out.
    """
    noun = "devices" if devices > 1 else "processes"
    parts = share_out(parameters, dataset, 0, share.processes * devices, noun).parts
    return Share(share.number, share.processes, parts, devices)


def share_out(
    parameters: Any, dataset: Any, number: int, processes: int, noun: str = "processes"
) -> Share:
    """Return the share of one of several processes.

    With training.accumulate above 1, that is the number of parts, whatever that of processes: so
    the same numbers are added up in the same order. Otherwise each process computes one part.

    Args:
        parameters: of the run.
        dataset: that it is trained on.
        number: of the process, from 0.
        processes: how many there are.
        noun: what they are, for messages: processes or devices.

    Raises:
        InputError: the parts cannot be shared out.
    """
    fewer = {"processes": "Start fewer", "devices": "Hide some (CUDA_VISIBLE_DEVICES=0)"}[noun]
    parts, examples = parameters.training.accumulate, dataset.examples["train"]
    smallest = examples // -(-examples // parameters.data.batch_size)
    if parts == 1 and processes > smallest:
        raise InputError(
            f"{noun}: got {processes}, expected at most {smallest}, as each needs an example of "
            f"every batch. {fewer}."
        )
    if parts > 1 and parts % processes:
        raise InputError(
            f"training.accumulate: got {parts}, expected 1 or a multiple of the {processes} "
            f"{noun}, as each computes equally many parts of a batch. {fewer}, or change it with "
            "--from."
        )
    return Share(number, processes, max(parts, processes))
