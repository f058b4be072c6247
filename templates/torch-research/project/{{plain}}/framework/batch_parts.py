"""The parts of a batch, and what is added up over them, whoever computes them.

Of several processes, each computes its parts of every batch, and their gradients add up. With
training.accumulate 1, each computes one part, and PyTorch's DistributedDataParallel adds up while
the backward pass runs. With more, that is the number of parts whatever that of processes, and
gradients are added up pair by pair in a tree over the parts. So any number of processes that
divides it gives the same bits, on the same kind of device; on processors, with the same
OMP_NUM_THREADS for each. (launch.py gives each its part of the cores, unless that is set.)
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import backend
from framework.buffer_means import BufferMeans
from framework.processes import add_up, flatten, unflatten
from machinery.run import Run
from machinery.sampling import examples_of_batch
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
            ...                                     # forward and backward pass of a part
            parts.loss = losses.detach().sum()
        # Now the gradients and `parts.loss` are those of the whole batch.

    The buffers of the network change as BufferMeans says. With training.accumulate above 1, a
    weight without a gradient gets one of zeros, as some other part may have one: AdamW decays it.

    Args:
        model: the network, with the weights that it begins with.
        run: begun; it says which parts are this process's own.
    """

    loss: torch.Tensor  # summed over the examples

    def __init__(self, model: torch.nn.Module, run: Run) -> None:
        self.model, self.run, self.share = model, run, run.share
        self.in_tree = run.parameters.training.accumulate > 1
        weights = model.parameters() if self.in_tree else ()
        self.weights = [weight for weight in weights if weight.requires_grad]
        self.buffers = BufferMeans(model)
        if self.share.processes > 1 and not self.in_tree:
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
        if self.share.parts == 1:
            yield step, *batch, examples
            return
        own, run = self.share.own_parts, self.run
        if self.share.processes > 1:
            examples = examples_of_batch(run.examples, run.steps_per_epoch, step)
        if not self.in_tree:
            examples /= self.share.processes  # DistributedDataParallel divides by them.
        sums: list[Sums] = []
        pieces = backend.split_batch(batch, len(own))
        for part, (inputs, targets, _) in zip(own, pieces, strict=True):
            self.buffers.start(is_first=part == own[0])
            yield step * self.share.parts + part, inputs, targets, examples
            changes = self.buffers.changes()
            add(sums, Sums(part, 1, [*self._take_gradients(), *changes, self.loss]))
        *tensors, self.loss = self._add_up(sums)
        for weight, gradient in zip(self.weights, tensors, strict=False):
            weight.grad = gradient
        self.buffers.finish(tensors[len(self.weights) :], self.share.parts)

    def _take_gradients(self) -> Iterator[torch.Tensor]:
        """Yield the gradients of a part for the tree, and leave none to the next part."""
        for weight in self.weights:
            yield torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = None

    def _add_up(self, sums: list[Sums]) -> list[torch.Tensor]:
        """Return the sums over all parts, given those over this process's own."""
        if self.share.processes > 1 and self.in_tree:
            sums = self._gather(sums)
        while len(sums) > 1:
            last = sums.pop()
            torch._foreach_add_(sums[-1].tensors, last.tensors)
        tensors = sums[0].tensors
        if self.share.processes > 1 and not self.in_tree:
            return add_up(tensors)
        return tensors

    def _gather(self, own: list[Sums]) -> list[Sums]:
        """Return the nodes that are left of the parts of all processes."""
        share = self.share
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
