"""What the commands need of PyTorch beside the model: devices, precision, the state of a run."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from build_dataset import Dataset
from framework import pretrained
from framework.weight_average import WeightAverage
from machinery import debugging, devices
from machinery.checkpoints import check_fit, select, trained_weights
from machinery.records import versions
from machinery.sampling import fold_seed
from model import net
from model.data_loader import Batch
from parameters import Parameters, TrainingParameters

GPU_ADVICE = (
    'README.md, "A GPU", says what to install for yours, such as: python -m pip install '
    "-c constraints.txt torch --upgrade --extra-index-url https://download.pytorch.org/whl/cu130"
)
THREADS = torch.get_num_threads()  # Before `prepare` limits them.


def choose_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is the first that is here of cuda, mps and cpu.

    Raises:
        InputError: this machine has no such device.
    """
    available = {"cuda": finds_cuda(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return torch.device(devices.choose(name, available, GPU_ADVICE))


def finds_cuda() -> bool:
    """Return whether there is a GPU of NVIDIA, and this build of PyTorch has code for it."""
    return torch.cuda.is_available() and devices.runs_on(
        torch.cuda.get_arch_list(), torch.cuda.get_device_capability()
    )


def choose_precision(device: torch.device, precision: str) -> torch.dtype:
    """Return the dtype to compute in; "auto" is the fastest that the hardware multiplies in."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
        return torch.bfloat16 if native else torch.float32
    if torch.version.hip:  # A GPU of AMD, whose capability counts otherwise.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return getattr(torch, devices.fastest_precision(torch.cuda.get_device_capability(device)))


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return a context in which matrix products and convolutions are computed in `dtype`."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def make_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Return what scales the loss, so that small gradients are no zeros in float16.

    It doubles its scale now and then. Where gradients become infinite, it skips the step and halves
    its scale (https://arxiv.org/abs/1710.03740, section 3.2). In other dtypes it does nothing.
    """
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)


def prepare(parameters: Parameters, dataset: Dataset) -> None:
    """Set what holds for the whole process: threads, and whether computation is deterministic.

    A small batch gets one CPU thread. Several threads wait for each other many times a step. With
    little to compute in between, they gain little on an idle machine, and on a busy one a step can
    take twenty times as long. A pretrained network has much to compute for any batch.
    """
    small = parameters.data.batch_size * dataset.positions < 2**14
    small &= not getattr(parameters.model, "backbone", "")
    torch.set_num_threads(1 if small else THREADS)
    if parameters.training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it.
    torch.use_deterministic_algorithms(parameters.training.deterministic)
    # With --debug, an error names the operation that gave the first gradient of NaN.
    torch.autograd.set_detect_anomaly(debugging.is_on())
    # Nothing reads new memory, so it need not be filled.
    torch.utils.deterministic.fill_uninitialized_memory = False  # ty: ignore[missing-attribute]
    if parameters.training.compile:
        torch.compiler.reset()  # After eight networks in one process PyTorch would stop compiling.
        # A run that goes on would compile other code than one that met both sizes of batches.
        torch._dynamo.config.automatic_dynamic_shapes = False


def make_model(parameters: Parameters, dataset: Dataset, device: torch.device) -> torch.nn.Module:
    """Return the network with its initial weights, in the fastest memory layout."""
    torch.manual_seed(fold_seed(parameters.seed))
    model = net.Net(parameters.model, dataset).to(device)
    if device.type != "mps":  # There convolutions with this layout have given wrong numbers.
        torch.nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)
    return model


def make_schedule(training: TrainingParameters, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the optimizer steps done.

    Linear warm-up, then a cosine to zero (https://arxiv.org/abs/1608.03983, without restarts), or
    constant.
    """
    warmup_steps = training.warmup_epochs * steps_per_epoch
    # Never 0, as a scheduler also asks for the rate after the last step.
    decay_steps = training.epochs * steps_per_epoch - warmup_steps or 1

    def learning_rate(step: int) -> float:
        if step < warmup_steps:
            return training.learning_rate * (step + 1) / (warmup_steps + 1)
        if training.schedule == "constant":
            return training.learning_rate
        return (
            training.learning_rate
            * (1 + math.cos(math.pi * (step - warmup_steps) / decay_steps))
            / 2
        )

    return learning_rate


def split_batch(
    batch: Batch, parts: int
) -> Iterator[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], int]]:
    """Yield the parts of a batch: inputs, targets, and how many examples the whole batch has.

    The parts are views of the batch. They are nearly equal: no two differ by more than one example.
    """
    examples = len(next(iter(batch[1].values())))
    if parts == 1:
        yield *batch, examples
        return
    inputs, targets = (
        {name: tensor.tensor_split(parts) for name, tensor in tensors.items()} for tensors in batch
    )
    for part in range(parts):
        yield (
            {name: tensors[part] for name, tensors in inputs.items()},
            {name: tensors[part] for name, tensors in targets.items()},
            examples,
        )


def seed_step(seed: int, step: int, device: torch.device) -> None:
    """Make what is random in a step, such as dropout, depend only on the seed and the step.

    Where a step has several parts, its number is that of the part, counted from the start.
    """
    folded = fold_seed(seed, step)
    # Not torch.manual_seed, which seeds every kind of device: 110 us instead of 1.
    torch.default_generator.manual_seed(folded)
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(folded)  # Such as torch.cuda.manual_seed.


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the inputs and the targets on a device."""
    # Only pinned memory: elsewhere (MPS) the source may be freed before it is copied.
    pinned = device.type == "cuda"
    inputs, targets = (
        {name: tensor.to(device, non_blocking=pinned) for name, tensor in part.items()}
        for part in batch
    )
    return inputs, targets


def to_numpy(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return tensors of any device as arrays; bfloat16 (NumPy lacks it) and float16 as float32."""
    short = (torch.bfloat16, torch.float16)
    return {
        name: (tensor.float() if tensor.dtype in short else tensor).detach().cpu().numpy()
        for name, tensor in tensors.items()
    }


class State:
    """What a checkpoint holds: the network and its optimizer.

    Args:
        model: the network.
        optimizer: of the network's parameters.
        average: of the network's weights, if it is kept.
        scaler: of the loss, in float16.
    """

    is_elastic = True  # See BatchParts.
    is_sharded = False

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.averages = dict(average.model.named_parameters()) if average else {}
        self.optimizer_name = describe_optimizer(optimizer)

    def start(self) -> None:
        """Put pretrained weights into the network, where a part of it has some."""
        pretrained.load(self.model)

    def load(self, arrays: dict[str, np.ndarray], path: Path) -> None:
        """Load the arrays of a checkpoint.

        Raises:
            InputError: naming what is missing, unknown or of another shape.
        """
        shapes = {name: tensor.shape for name, tensor in self.model.state_dict().items()}
        check_fit(select(arrays, "model."), shapes, path)  # All, before anything is changed.
        averages = select(arrays, "average.")
        check_fit(averages, {name: each.shape for name, each in self.averages.items()}, path)
        weights, found = dict(self.model.named_parameters()), select(arrays, "optimizer.")
        owners = {name.rpartition(".")[0] for name in found} & weights.keys()
        dimensions = {name.rpartition(".")[2]: array.ndim for name, array in found.items()}
        expected = {
            f"{owner}.{key}": weights[owner].shape if ndim else ()
            for owner in owners
            for key, ndim in dimensions.items()
        }
        check_fit(found, expected, path)
        # With "auto", a run may go on in another precision on another machine.
        scales = select(arrays, "scaler.") if self.scaler and self.scaler.is_enabled() else {}
        if self.scaler and scales:
            check_fit(scales, dict.fromkeys(self.scaler.state_dict(), ()), path)
        put_weights(self.model, select(arrays, "model."))
        if self.scaler and scales:
            self.scaler.load_state_dict({name: array.item() for name, array in scales.items()})
        for name, array in averages.items():
            self.averages[name].copy_(torch.tensor(array))
        for name, array in found.items():
            owner, _, key = name.rpartition(".")
            value = torch.tensor(array, device=weights[owner].device)
            if value.dim():
                # In the weight's memory layout, as the fused optimizer requires.
                value = torch.empty_like(weights[owner]).copy_(value)
            self.optimizer.state[weights[owner]][key] = value

    def initial_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a run begins with, for the other processes."""
        return self.to_arrays()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for a checkpoint."""
        scales = self.scaler.state_dict() if self.scaler else {}  # Without float16: none.
        arrays = to_numpy(self.tensors())
        return arrays | {f"scaler.{name}": np.array(n) for name, n in scales.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of a checkpoint."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.averages.items()}
        for name, weight in self.model.named_parameters():
            for key, tensor in self.optimizer.state.get(weight, {}).items():  # Frozen: none.
                tensors[f"optimizer.{name}.{key}"] = tensor
        return tensors


def load_weights(model: torch.nn.Module, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Put the trained weights of a checkpoint into a network: averaged ones, where it has them.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    weights = trained_weights(arrays)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    check_fit(weights, shapes, path)
    put_weights(model, weights)


def put_weights(model: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Put weights and buffers into a network that they fit."""
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})


def describe_optimizer(optimizer: torch.optim.Optimizer) -> str:
    """Return an optimizer in words, with the settings that a continued run must keep."""
    own = {"params", "lr", "initial_lr", "foreach", "fused", "capturable", "differentiable"}
    groups = [
        ", ".join(f"{name}={group[name]}" for name in sorted(group) if name not in own)
        for group in optimizer.param_groups
    ]
    return f"{type(optimizer).__name__}({'; '.join(dict.fromkeys(groups))})"


def describe_device(device: torch.device) -> str:
    """Return the name of a device, such as "cpu, 2 threads"."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device}, {threads} thread{'s' if threads > 1 else ''}"


def facts(model: torch.nn.Module, device: torch.device, dtype: torch.dtype | str) -> dict[str, Any]:
    """Return what to record about this process."""
    return {
        "framework": "torch",
        "device": describe_device(device),
        "precision": str(dtype).removeprefix("torch."),
        "weights": sum(weight.numel() for weight in model.parameters()),
        "versions": versions("torch", "numpy"),
    }
