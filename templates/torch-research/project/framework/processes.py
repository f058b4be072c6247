"""Several processes that train one network, as `python launch.py` or torchrun starts them."""

import os
from typing import Any

import torch
from torch import distributed

import backend
from machinery.errors import InputError
from machinery.shared_run import COUNT

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

    is_launched = True

    def __init__(self) -> None:
        self.number, self.processes = distributed.get_rank(), distributed.get_world_size()

    def largest(self, value: int) -> int:
        """Return the largest of the values that the processes give."""
        return largest(value)

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


def largest(value: int) -> int:
    """Return the largest of the values that the processes give."""
    tensor = torch.tensor(value)
    distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return int(tensor)


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


def add_up(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the sums of tensors over all processes, in one exchange."""
    if not tensors:
        return []
    vector = flatten(tensors)
    distributed.all_reduce(vector)
    return unflatten(vector, tensors)
