"""A network of which each process keeps a part alone, with training.sharding full.

Each keeps its rows of every weight, and of what the optimizer knows of them, and gradients are
added up where their rows are: PyTorch's FSDP2 (Zhao et al. 2023, https://arxiv.org/abs/2304.11277;
https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html). A large layer of a list or
a sequence is gathered while it computes, and all other weights while the whole network does. A
checkpoint holds whole arrays, so any number of processes goes on with it.

What it needs of PyTorch is imported where it is used: that takes half as long as PyTorch itself.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

import backend
from build_dataset import Dataset
from framework import pretrained
from machinery.errors import InputError
from machinery.run import Run
from parameters import Parameters

CPU = torch.device("cpu")
SMALLEST = 1_000_000  # Weights of a layer that is gathered by itself: below, messages cost more.
# What the other parameters of training have to be. GradScaler would look at the gradients of one
# process alone; the others need whole weights.
EXPECTED = {"average": 0, "accumulate": 1, "on_out_of_memory": "stop", "compile": False}


def is_on(run: Run, dtype: torch.dtype) -> bool:
    """Return whether the processes of a run share the weights out.

    Raises:
        InputError: another parameter does not go with it.
    """
    training = run.parameters.training
    if training.sharding == "none":
        return False
    values = {name: getattr(training, name) for name in EXPECTED}
    wrong = [name for name, value in values.items() if value != EXPECTED[name]]
    if wrong:
        raise InputError(
            f"training.{wrong[0]}: got {values[wrong[0]]}, expected {EXPECTED[wrong[0]]} with "
            "training.sharding full. Change one of the two with --from."
        )
    if dtype == torch.float16:
        raise InputError(
            f"training.precision: got {training.precision}, which is float16 on this device, "
            "expected bfloat16 or float32 with training.sharding full. Change it with --from."
        )
    return run.share.processes > 1


def make_model(parameters: Parameters, dataset: Dataset, device: torch.device) -> torch.nn.Module:
    """Return the network with this process's part of the initial weights alone on the device."""
    model = backend.make_model(parameters, dataset, CPU)
    shard(model, device)
    return model


def shard(model: torch.nn.Module, device: torch.device, smallest: int = SMALLEST) -> None:
    """Leave each process its part of the weights, before the optimizer is made of them.

    Args:
        model: the network, the same in all processes.
        device: where each computes.
        smallest: how many weights a layer of a list or a sequence has that is gathered alone.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    for weight in model.parameters():
        weight.data = weight.data.contiguous()  # No other memory layout can be shared out.
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for name, layer in [*large_layers(model, smallest), ("the network", model)]:
        try:
            fully_shard(layer, mesh=mesh)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"training.sharding: got full, but PyTorch cannot share out {name}: {error}. "
                "Expected none with this network: change it with --from."
            ) from None
    assert isinstance(model, FSDPModule)
    # Otherwise a weight that one process alone uses in a step would get a wrong gradient.
    model.set_reduce_scatter_unused_params(True)


def large_layers(model: torch.nn.Module, smallest: int) -> list[tuple[str, torch.nn.Module]]:
    """Return the layers of lists and sequences that are gathered alone, those within others first.

    Args:
        model: the network.
        smallest: how many weights such a layer has.
    """
    lists = (torch.nn.ModuleList, torch.nn.ModuleDict)  # They compute nothing themselves.
    found: dict[torch.nn.Module, str] = {}
    for owner, module in model.named_modules():
        if isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential)):
            for name, layer in module.named_children():
                size = sum(weight.numel() for weight in layer.parameters())
                if size >= smallest and not isinstance(layer, lists):
                    found.setdefault(layer, f"{owner}.{name}".lstrip("."))
    return [(name, layer) for layer, name in reversed(found.items())]


class ShardedState(backend.State):
    """What a checkpoint holds, of a network that is shared out. The arrays are whole ones.

    Once training has begun, they are brought together in the leading process alone, so no other
    one needs memory for them.

    Args:
        run: that the network is trained in.
        model: the network, after `shard`.
        optimizer: of its weights.
    """

    is_sharded = True

    def __init__(self, run: Run, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(model, optimizer)
        self.run = run
        self.begun_with: dict[str, np.ndarray] = {}

    def start(self) -> None:
        """Take the weights of a whole network, with pretrained ones where it has some."""
        network = backend.make_model(self.run.parameters, self.run.dataset, CPU)
        pretrained.load(network)
        arrays = backend.to_numpy(network.state_dict())
        self.load({f"model.{name}": array for name, array in arrays.items()}, self.run.folder)

    def load(self, arrays: dict[str, np.ndarray], path: Path) -> None:
        """Keep this process's part of the arrays of a checkpoint.

        Raises:
            InputError: naming what is missing, unknown or of another shape.
        """
        from torch.distributed.tensor.experimental import implicit_replication

        with implicit_replication():  # All processes load the same, so each takes its part of it.
            super().load(arrays, path)
        if self.run.share.number == 0:
            self.begun_with = arrays

    def initial_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that were loaded, as the other processes have no part of them yet."""
        arrays, self.begun_with = self.begun_with, {}
        return arrays

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return whole tensors in the leading process: all call it, and gather one by one."""
        tensors: dict[str, torch.Tensor] = {}
        for name, tensor in super().tensors().items():
            gathered = gather(tensor)
            if self.run.share.number == 0:
                tensors[name] = gathered.cpu()
        return tensors


def gather(tensor: Any) -> torch.Tensor:
    """Return a tensor whole, which may be shared out: all processes call it."""
    return tensor.detach().full_tensor() if hasattr(tensor, "full_tensor") else tensor
