"""Several processes that train one network, as `python launch.py` or torchrun starts them.

Each computes its parts of every batch, and their gradients add up. With training.accumulate 1, each
computes one part, and PyTorch's DistributedDataParallel adds up while the backward pass runs. With
more, that is the number of parts whatever that of processes, and gradients are added up pair by
pair in a tree over the parts. So any number of processes that divides it gives the same bits, on
the same kind of device; on processors, with the same OMP_NUM_THREADS for each. (launch.py gives
each its part of the cores, unless that is set.)
"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import backend
from buffer_means import BufferMeans
from machinery.errors import InputError
from machinery.run import Run
from machinery.sampling import examples_of_batch
from machinery.shared_run import COUNT
from model.data_loader import Batch

CPU = torch.device("cpu")
NAMES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def join(device: str) -> "Group | None":
    """Join the processes that a launcher started; return None where this one trains alone.

    The launcher says in environment variables who is who, as torchrun does
    (https://docs.pytorch.org/docs/stable/elastic/run.html, "Environment Variables").

    Args:
        device: as --device names it.

    Raises:
        InputError: a variable is missing, or the processes cannot add up on the device.
    """
    if os.environ.get(COUNT, "1") == "1":
        return None
    if missing := [name for name in NAMES if name not in os.environ]:
        raise InputError(
            f"{', '.join(missing)}: not set, expected beside {COUNT}. Start train.py with "
            "launch.py or torchrun, which set them."
        )
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    if backend.choose_device(device).type == "mps":
        raise InputError(f"--device: got {device}, expected cpu: mps is for one process.")
    # NCCL wants a GPU for each process. What is asked on the processor never waits for a GPU.
    nccl = distributed.is_nccl_available() and gpus >= int(os.environ["LOCAL_WORLD_SIZE"])
    distributed.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo")
    return Group()


class Group:
    """The processes that were joined: see Group in machinery/shared_run.py."""

    def __init__(self) -> None:
        self.number, self.processes = distributed.get_rank(), distributed.get_world_size()

    def largest(self, value: int) -> int:
        """Return the largest of the values that the processes give."""
        tensor = torch.tensor(value)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return int(tensor)

    def broadcast(self, value: Any) -> Any:
        """Return what the leading process gives."""
        values = [value]
        distributed.broadcast_object_list(values, src=0, device=CPU)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Return, in the leading process, what each gives, in their order; elsewhere nothing."""
        values = [None] * self.processes if self.number == 0 else None
        distributed.gather_object(value, values)
        return values or []


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


def flatten(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the numbers of all tensors, (N,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: torch.Tensor, like: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return what `flatten` took, in tensors of the same shapes, dtypes and memory layouts."""
    pieces = vector.split([tensor.numel() for tensor in like])
    return [
        torch.empty_like(tensor).copy_(piece.view(tensor.shape))
        for tensor, piece in zip(like, pieces, strict=True)
    ]


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
            vector = flatten(tensors)
            distributed.all_reduce(vector)
            return unflatten(vector, tensors)
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
