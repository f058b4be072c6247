"""The parts of a batch, and what is added up over them, whoever computes them.

Of several processes, each computes its parts of every batch, and their gradients add up. With
training.accumulate 1, each computes one part, and PyTorch's DistributedDataParallel adds up while
the backward pass runs. With more, that is the number of parts whatever that of processes, and
gradients are added up pair by pair in a tree over the parts. So any number of processes that
divides it gives the same bits, on the same kind of device; on processors, with the same
OMP_NUM_THREADS for each. (launch.py gives each its part of the cores, unless that is set.)

With training.on_out_of_memory split, each part is cut into pieces once memory is short: in two, in
four and so on, until they fit. A process adds up its pieces in the tree, as parts are. So a run of
one process that is split in two at its first step is one of training.accumulate 2, to the bit,
unless augmentation mixes examples.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import backend
from framework.buffer_means import BufferMeans
from framework.processes import add_up, flatten, largest, unflatten
from machinery.errors import is_out_of_memory
from machinery.memory import keep_pieces, record_pieces
from machinery.run import Run
from machinery.sampling import examples_of_batch
from machinery.share import Share
from model.data_loader import Batch


class Sums(NamedTuple):
    """Sums over some neighbouring parts of a batch: a node of the tree."""

    first: int  # number of the first part
    parts: int
    tensors: list[torch.Tensor]


def add(sums: list[Sums], new: Sums) -> None:
    """Add the sums over parts to those over the parts before them, in place.

    Two nodes become one where they are the halves of it. So which numbers are added up, and in
    which order, depends on the parts alone, and not on who computed them.
    """
    while sums and sums[-1].parts == new.parts and sums[-1].first % (2 * new.parts) == 0:
        left = sums.pop()
        if left.tensors:
            torch._foreach_add_(left.tensors, new.tensors)
        new = Sums(left.first, 2 * new.parts, left.tensors)
    sums.append(new)


def nodes(parts: range) -> list[Sums]:
    """Return the nodes, without tensors, that are left of the parts of a process."""
    sums: list[Sums] = []
    for part in parts:
        add(sums, Sums(part, 1, []))
    return sums


class BatchParts:
    """The parts that batches are computed in, and what is added up over them.

        for number, inputs, targets, examples in parts.split(batch, step):
            outputs = losses = None                 # free what the part before has left
            with parts.fitting():
                ...                                 # forward and backward pass of a part
                parts.loss = losses.detach().sum()
        # Now the gradients and `parts.loss` are those of the whole batch.

    The buffers of the network change as BufferMeans says. Where gradients are added up in a tree, a
    weight without a gradient gets one of zeros, as some other part may have one: AdamW decays it.

    Args:
        model: the network, with the weights that it begins with.
        run: begun; it says which parts are this process's own.
    """

    loss: torch.Tensor  # summed over the examples

    def __init__(self, model: torch.nn.Module, run: Run) -> None:
        self.model, self.run, self.share = model, run, run.share
        training = run.parameters.training
        self.splits = training.on_out_of_memory == "split"
        self.pieces, self.is_short = run.progress.pieces, False
        while self.pieces > max(1, self._examples_of_part()):  # It went on with more processes.
            self.pieces //= 2
        self.in_tree = training.accumulate > 1 or self.splits
        weights = model.parameters() if self.in_tree else ()
        self.weights = [weight for weight in weights if weight.requires_grad]
        self.buffers = BufferMeans(model)
        record_pieces(run)
        is_sharded = training.sharding == "full"
        if self.share.processes > 1 and not self.in_tree and not is_sharded:
            # A weight may be unused in a step. It also keeps the order in which gradients are added
            # up, so that a run that goes on after a stop ends in the same bits.
            self.model = DistributedDataParallel(model, find_unused_parameters=True)
            self.model.broadcast_buffers = False  # They are the same in all processes.

    def split(
        self, batch: Batch, step: int
    ) -> Iterator[tuple[int, dict[str, torch.Tensor], dict[str, torch.Tensor], float]]:
        """Yield the parts of a batch that this process computes, one after the other.

        Args:
            batch: this process's share of it.
            step: its number.

        Yields:
            the number of the part, counted from the start of the training; its inputs and targets;
            what to divide its sum of losses by, so that the gradients are those of the mean over
            the whole batch.
        """
        examples: float = len(next(iter(batch[1].values())))
        if self.share.parts == 1 and not self.splits:
            yield step, *batch, examples
            return
        run = self.run
        if self.share.processes > 1:
            examples = examples_of_batch(run.examples, run.steps_per_epoch, step)
        if not self.in_tree:
            examples /= self.share.processes  # DistributedDataParallel divides by them.
        share, sums, is_first = self.share, list[Sums](), True
        while is_first or self._cut_finer():
            share = self.share._replace(parts=self.share.parts * self.pieces)
            sums.clear()
            for part, (inputs, targets) in zip(share.own_parts, self._cut(batch), strict=True):
                self.buffers.start(is_first)
                is_first = False
                yield step * share.parts + part, inputs, targets, examples
                if self.is_short:
                    break
                if share.parts > 1:
                    changes = self.buffers.changes()
                    add(sums, Sums(part, 1, [*self._take_gradients(), *changes, self.loss]))
        if share.parts == 1:
            return
        *tensors, self.loss = self._add_up(sums, share)
        for weight, gradient in zip(self.weights, tensors, strict=False):
            weight.grad = gradient
        self.buffers.finish(tensors[len(self.weights) :], share.parts)

    @contextmanager
    def fitting(self) -> Generator[None]:
        """Compute a part: if memory is short, `split` begins the batch anew, in smaller ones.

        That is with training.on_out_of_memory split, as long as each of those has an example.
        """
        try:
            yield
        except Exception as error:
            if not self.splits or not is_out_of_memory(error):
                raise
            if 2 * self.pieces > self._examples_of_part():
                self.run.progress.pieces = self.pieces  # For the message that ends the run.
                raise
            self.is_short = True

    def _examples_of_part(self) -> int:
        """Return how many examples the smallest part of a batch has at least."""
        return self.run.examples // self.run.steps_per_epoch // self.share.parts

    def _cut(self, batch: Batch) -> Iterator[Batch]:
        """Yield the parts of this process, each in its pieces."""
        for inputs, targets, _ in backend.split_batch(batch, len(self.share.own_parts)):
            for piece in backend.split_batch((inputs, targets), self.pieces):
                yield piece[:2]

    def _cut_finer(self) -> bool:
        """Return whether memory was short, for any process; then begin the batch in more pieces."""
        pieces = 2 * self.pieces if self.is_short else self.pieces
        if self.splits and self.share.processes > 1:
            pieces = largest(pieces)
        was_short = pieces > self.pieces
        if was_short:
            for weight in self.weights:
                weight.grad = None
        elif pieces > self.run.progress.pieces:
            keep_pieces(self.run, pieces)
        self.pieces, self.is_short = pieces, False
        return was_short

    def _take_gradients(self) -> Iterator[torch.Tensor]:
        """Yield the gradients of a part for the tree, and leave none to the next part."""
        for weight in self.weights:
            yield torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = None

    def _add_up(self, sums: list[Sums], share: Share) -> list[torch.Tensor]:
        """Return the sums over all parts, given those over this process's own."""
        by_tree = self.run.parameters.training.accumulate > 1
        if self.share.processes > 1 and by_tree:
            sums = self._gather(sums, share)
        while len(sums) > 1:
            last = sums.pop()
            torch._foreach_add_(sums[-1].tensors, last.tensors)
        tensors = sums[0].tensors
        if self.share.processes > 1 and not by_tree:
            return add_up(tensors)
        return tensors

    def _gather(self, own: list[Sums], share: Share) -> list[Sums]:
        """Return the nodes that are left of the parts of all processes."""
        known = [nodes(share._replace(number=n).own_parts) for n in range(share.processes)]
        vectors = torch.stack([flatten(node.tensors) for node in own])
        padded = vectors.new_zeros(max(map(len, known)), vectors.shape[1])
        padded[: len(own)] = vectors
        gathered = [torch.empty_like(padded) for _ in known]
        distributed.all_gather(gathered, padded)
        sums: list[Sums] = []
        for theirs, found in zip(known, gathered, strict=True):
            for node, vector in zip(theirs, found, strict=False):
                add(sums, node._replace(tensors=unflatten(vector, own[0].tensors)))
        return sums
