"""What each of several processes computes when they train one network together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from machinery.errors import InputError

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    import numpy as np


class Share(NamedTuple):
    """What one of several processes computes: parts of each batch, and some batches in evaluation.

    A batch is cut into `parts`, nearly equal, whose number the processes divide without a rest.
    """

    number: int = 0  # of this process, from 0
    processes: int = 1
    parts: int = 1

    @property
    def words(self) -> str:
        """What a line about a run adds where there are several processes."""
        return f"; {self.processes} processes" if self.processes > 1 else ""

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


def share_out(parameters: Any, dataset: Any, number: int, processes: int) -> Share:
    """Return the share of one of several processes.

    With training.accumulate above 1, that is the number of parts, whatever that of processes: so
    the same numbers are added up in the same order. Otherwise each process computes one part.

    Args:
        parameters: of the run.
        dataset: that it is trained on.
        number: of the process, from 0.
        processes: how many there are.

    Raises:
        InputError: the parts cannot be shared out.
    """
    parts, examples = parameters.training.accumulate, dataset.examples["train"]
    smallest = examples // -(-examples // parameters.data.batch_size)
    if parts == 1 and processes > smallest:
        raise InputError(
            f"processes: got {processes}, expected at most {smallest}, as each needs an example of "
            "every batch. Start fewer."
        )
    if parts > 1 and parts % processes:
        raise InputError(
            f"training.accumulate: got {parts}, expected 1 or a multiple of the {processes} "
            "processes, as each computes equally many parts of a batch. Start another number of "
            "processes, or change it with --from."
        )
    return Share(number, processes, max(parts, processes))
