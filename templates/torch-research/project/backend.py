"""What train.py and evaluate.py need of PyTorch beside the model: devices, precision, state."""

import contextlib
import math
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch

import run_folder
import utils
from build_dataset import Dataset
from model import net
from parameters import Parameters, TrainingParameters


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the first there is of cuda, mps and cpu.

    Raises:
        InputError: this machine has no such device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, here in available.items() if here)
    if not available[name]:
        here = ", ".join(device for device, here in available.items() if here)
        raise utils.InputError(f"--device: got {name}, expected one that is here: {here}.")
    return torch.device(name)


def describe(device: torch.device) -> str:
    """Return the name of a device, such as "cpu, 2 threads"."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device}, {threads} thread{'s' if threads > 1 else ''}"


def choose_dtype(device: torch.device, precision: str) -> torch.dtype:
    """Return the dtype to compute in; "auto" is bfloat16 where the hardware multiplies in it."""
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
            native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Compute matrix products and convolutions in `dtype` inside the block."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def limit_threads(parameters: Parameters, dataset: Dataset) -> None:
    """Use one CPU thread where a batch is small.

    Threads wait for each other many times a step. With little to compute in between, that gains
    little on an idle machine and costs up to twenty times on a busy one.
    """
    height, width, _ = dataset.image_shape
    if parameters.data.batch_size * height * width < 2**14:
        torch.set_num_threads(1)


def make_model(parameters: Parameters, dataset: Dataset, device: torch.device) -> net.Net:
    """Return the network with its initial weights, in the memory layout that is fast."""
    model = net.Net(parameters.model, dataset).to(device)
    torch.nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)
    return model


def learning_rate(step: int, steps_per_epoch: int, training: TrainingParameters) -> float:
    """Linear warm-up, then a cosine to zero (https://arxiv.org/abs/1608.03983, without restarts).

    Args:
        step: optimizer steps done.
        steps_per_epoch: optimizer steps in an epoch.
        training: holds the highest rate and the lengths, in epochs.
    """
    warmup = training.warmup_epochs * steps_per_epoch
    total = training.epochs * steps_per_epoch
    if step < warmup:
        return training.learning_rate * (step + 1) / (warmup + 1)
    return training.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def load_model(model: torch.nn.Module, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Put the arrays of a checkpoint into a network.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    found = {name[6:]: array for name, array in arrays.items() if name.startswith("model.")}
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    run_folder.check_fit(found, shapes, path)
    model.load_state_dict({name: torch.tensor(array) for name, array in found.items()})


def restore_optimizer(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, arrays: dict[str, np.ndarray]
) -> None:
    """Put the optimizer's part of a checkpoint, which fits the network, into the optimizer."""
    parameters = dict(model.named_parameters())
    for name, array in arrays.items():
        if name.startswith("optimizer."):
            name, _, key = name.removeprefix("optimizer.").rpartition(".")
            parameter = parameters[name]
            value = torch.tensor(array, device=parameter.device)
            if value.dim():
                # Like the parameter: the fused kernel wants one memory layout for all three.
                value = torch.empty_like(parameter).copy_(value)
            optimizer.state[parameter][key] = value


def to_arrays(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, np.ndarray]:
    """Return the state of the network, and of the optimizer, as a checkpoint holds it."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if optimizer:
        for name, parameter in model.named_parameters():
            for key, tensor in optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{key}"] = tensor
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


@contextlib.contextmanager
def out_of_memory(folder: Path, batch_size: int) -> Generator[None, None, None]:
    """Turn what PyTorch raises where memory is short into a ResourceError with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        words = ("out of memory", "can't allocate memory")  # torch.OutOfMemoryError, and the CPU's.
        if isinstance(error, MemoryError) or any(word in str(error) for word in words):
            raise utils.ResourceError(
                f"{folder}: out of memory with data.batch_size {batch_size}. Start a new "
                f"experiment: --experiment experiments/NEW --from {folder} "
                f"--data.batch_size {max(batch_size // 2, 1)}"
            ) from None
        raise
