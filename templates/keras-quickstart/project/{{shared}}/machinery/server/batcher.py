"""Requests that wait are computed together: one thread takes what is there, and computes it."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from machinery.predictions import concatenate_arrays

Arrays = Mapping[str, np.ndarray]  # (N, ...) by name
# Returns the outputs of a network for some inputs.
Compute = Callable[[Arrays], Arrays]


class FullError(Exception):
    """So many requests wait that another one would wait too long."""


class Waiting(NamedTuple):
    """A request that waits."""

    compute: Compute
    inputs: Arrays
    outputs: "Future[Arrays]"

    @property
    def examples(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def kind(self) -> Any:
        """What is the same in the requests that can be computed together."""
        return self.compute, [(name, array.shape[1:]) for name, array in self.inputs.items()]


class Batcher:
    """Computes requests in a thread of its own, together as far as they wait together.

    Nobody waits for a batch to fill up: while one is computed, the next requests come in.

    Args:
        largest: examples in a batch.
        waiting: requests that may wait.
        on_batch: is told the number of examples of each batch.
    """

    def __init__(
        self, largest: int, waiting: int, on_batch: Callable[[int], object] = lambda _: None
    ) -> None:
        self.largest, self._on_batch = largest, on_batch
        self._queue: queue.Queue[Waiting | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, compute: Compute, inputs: Arrays) -> "Future[Arrays]":
        """Return the outputs of a request, once they are there.

        Args:
            compute: the network; requests to another one are computed apart.
            inputs: of it. What fails a batch is computed again alone, and fails alone.

        Raises:
            FullError: too many requests wait.
        """
        request = Waiting(compute, inputs, Future())
        try:
            self._queue.put_nowait(request)
        except queue.Full:
            raise FullError from None
        return request.outputs

    def waiting(self) -> int:
        """Return how many requests wait."""
        return self._queue.qsize()

    def close(self) -> None:
        """End the thread once all that waits is computed."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        ahead: Waiting | None = None
        ended = False
        while not ended:
            first = ahead or self._queue.get()
            if first is None:
                return
            batch, count, ahead = [first], first.examples, None
            while count < self.largest and not self._queue.empty():
                request = self._queue.get()
                if request is None:
                    ended = True
                    break
                if request.kind != first.kind:
                    ahead = request
                    break
                batch.append(request)
                count += request.examples
            # Nobody waits any more for what was cancelled, and from now on nobody can cancel.
            batch = [each for each in batch if each.outputs.set_running_or_notify_cancel()]
            if batch:
                self._compute(batch)

    def _compute(self, batch: Sequence[Waiting]) -> None:
        try:
            inputs = concatenate_arrays([request.inputs for request in batch])
            outputs = self._compute_in_parts(batch[0].compute, inputs)
        except Exception as error:
            if len(batch) == 1:
                batch[0].outputs.set_exception(error)
            else:  # One of them may be bad; the others are not to suffer from it.
                for request in batch:
                    self._compute([request])
            return
        first = 0
        for request in batch:
            last = first + request.examples
            request.outputs.set_result({name: a[first:last] for name, a in outputs.items()})
            first = last

    def _compute_in_parts(self, compute: Compute, inputs: Arrays) -> Arrays:
        """Compute so few examples at a time that memory suffices, however large a request is."""
        outputs = []
        count = len(next(iter(inputs.values())))
        for first in range(0, count, self.largest):
            part = {name: array[first : first + self.largest] for name, array in inputs.items()}
            outputs.append(compute(part))
            self._on_batch(len(next(iter(part.values()))))
        return concatenate_arrays(outputs)
