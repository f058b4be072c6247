"""What the commands need of Keras beside the model: devices, precision, the state of a run.

Importing this module imports Keras on the backend that keras.json or KERAS_BACKEND names.
"""

import contextlib
import importlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from framework import keras_backend
from machinery import debugging, devices
from machinery.errors import exit_codes

with exit_codes():  # A missing backend ends in a message, whichever command imports this.
    keras_backend.load()

import keras

from build_dataset import Dataset
from framework import pretrained
from framework.weight_average import pairs
from machinery.checkpoints import check_fit, select, trained_weights
from machinery.sampling import fold_seed
from model import net
from parameters import Parameters, TrainingParameters

# How many steps `fit` takes at a time, before it calls the callbacks. A loop in TensorFlow or JAX
# takes less time than one in Python. On PyTorch, Keras accepts only 1.
STEPS_PER_EXECUTION = 1 if keras_backend.name == "torch" else 10

# How many threads PyTorch takes by itself, before `prepare` limits them.
THREADS = importlib.import_module("torch").get_num_threads() if keras_backend.name == "torch" else 0


def choose_device(name: str) -> str:
    """Return the device of a name; "auto" is the first that is here of cuda, mps and cpu.

    Raises:
        InputError: this machine has no such device.
    """
    if name == "cpu":
        keras_backend.hide_gpus()
        return name
    return devices.choose(name, keras_backend.find_devices(), keras_backend.GPU_ADVICE)


def scope(device: str) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which Keras computes on a device."""
    return keras.device({"cuda": "gpu:0", "cpu": "cpu:0"}.get(device, device))


def count_devices(device: str) -> int:
    """Return how many devices share every batch: on JAX all of a kind that it sees, else one.

    Keras's distribution API knows JAX alone (https://keras.io/api/distribution/).
    """
    if keras_backend.name != "jax":
        return 1
    return len(keras.distribution.list_devices("gpu" if device == "cuda" else device))


def choose_precision(device: str, precision: str) -> str:
    """Return the dtype to compute in; "auto" is the one that the device is fastest in."""
    if precision != "auto":
        return precision
    if device == "cpu":
        processor = Path("/proc/cpuinfo")  # Only Linux has it. JAX (0.10) gained nothing.
        readable = keras_backend.name != "jax" and processor.exists()
        flags = processor.read_text("utf-8") if readable else ""
        return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
    if device != "cuda":
        return "float32"
    return devices.fastest_precision(keras_backend.find_capability())


def prepare(parameters: Parameters, dataset: Dataset) -> None:
    """Set what holds for the whole process: threads of PyTorch, and whether GPUs repeat their bits.

    Call it first: JAX reads its flags when it finds devices. A small batch gets one CPU thread on
    PyTorch, whose threads otherwise spend more time waiting for each other than computing.
    """
    small = parameters.data.batch_size * dataset.positions < 2**14
    if keras_backend.name == "torch":
        import torch

        torch.set_num_threads(1 if small else THREADS)
        if parameters.training.compile:
            # A run that goes on would compile other code than one that met both sizes of batches.
            torch._dynamo.config.automatic_dynamic_shapes = False
    if debugging.is_on() and keras_backend.name == "tensorflow":
        import tensorflow

        tensorflow.config.run_functions_eagerly(True)
    if not parameters.training.deterministic:
        return
    if keras_backend.name == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    elif keras_backend.name == "jax":
        flags = os.environ.get("XLA_FLAGS", "").split()
        flag = "--xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = " ".join(flags if flag in flags else [*flags, flag])
    else:
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it.
        torch.use_deterministic_algorithms(True)
        # Nothing reads new memory, so it need not be filled.
        torch.utils.deterministic.fill_uninitialized_memory = False  # ty: ignore[missing-attribute]


def make_model(
    parameters: Parameters, dataset: Dataset, device: str, devices: int = 1
) -> keras.Model:
    """Return the network with its initial weights; call it in scope(device).

    With several devices, as count_devices says, each has the weights, and `fit` gives each its part
    of every batch.
    """
    precision = choose_precision(device, parameters.training.precision)
    keras.utils.clear_session()  # Otherwise a second network gets other names of variables.
    if devices > 1:  # After clear_session, which ends it.
        names = keras.distribution.list_devices("gpu" if device == "cuda" else device)
        distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
        keras.distribution.set_distribution(distribution)
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    seed = fold_seed(parameters.seed) % 2**31  # Every backend takes 31 bits.
    keras.utils.set_random_seed(seed)  # Of the initial weights.
    return net.build_model(parameters.model, dataset, seed)


def make_schedule(
    training: TrainingParameters, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate as a function of the optimizer steps done.

    Linear warm-up, then a cosine to zero (https://arxiv.org/abs/1608.03983, without restarts), or
    constant.
    """
    warmup_steps = training.warmup_epochs * steps_per_epoch
    return keras.optimizers.schedules.CosineDecay(
        training.learning_rate / (warmup_steps + 1),
        decay_steps=max(training.epochs * steps_per_epoch - warmup_steps, 1),
        alpha=1.0 if training.schedule == "constant" else 0.0,  # The rate in the end, as a share.
        warmup_target=training.learning_rate,
        warmup_steps=warmup_steps,
    )


class ByPart(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of steps for an optimizer that asks for its rate by the number of a part.

    Args:
        schedule: the learning rate as a function of the optimizer steps done.
        parts: in a step; the optimizer's gradient_accumulation_steps.
    """

    def __init__(
        self, schedule: keras.optimizers.schedules.LearningRateSchedule, parts: int
    ) -> None:
        super().__init__()
        self.schedule, self.parts = schedule, parts

    def __call__(self, step: Any) -> Any:
        """Return the learning rate after a number of parts."""
        return self.schedule(keras.ops.floor_divide(step, self.parts))

    def get_config(self) -> dict[str, Any]:
        """Return the settings; Keras asks for them when an optimizer describes itself."""
        return {"schedule": self.schedule, "parts": self.parts}


def by_part(
    schedule: keras.optimizers.schedules.LearningRateSchedule, parts: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a schedule of steps as an optimizer takes it that accumulates so many parts."""
    return ByPart(schedule, parts) if parts > 1 else schedule


def to_tensors(arrays: Any) -> Any:
    """Return arrays as tensors of the backend, in the same structure, such as a dictionary."""
    return keras.tree.map_structure(keras.ops.convert_to_tensor, arrays)


def to_numpy(tensors: Any) -> Any:
    """Return tensors as arrays, in the same structure, such as a dictionary."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, tensors)


def mean_loss(model: keras.Model) -> keras.metrics.Mean:
    """Return Keras's mean of the loss over an epoch, which has `total` and `count`."""
    synchronize(model)
    return next(metric for metric in model.metrics if metric.name == "loss")


def synchronize(model: keras.Model) -> None:
    """Bring the variables of a network up to date, as `fit` on JAX keeps their values elsewhere."""
    if keras_backend.name == "jax":
        model.jax_state_sync()


@contextlib.contextmanager
def averaged(model: keras.Model) -> Generator[None]:
    """Give a network its average weights in the block, where its optimizer keeps them."""
    synchronize(model)
    found = pairs(model)
    # Copies: PyTorch's arrays share the memory of their tensors, and JAX reuses what it has read.
    trained = [np.array(keras.ops.convert_to_numpy(variable)) for variable, _ in found]
    for variable, average in found:
        variable.assign(np.array(keras.ops.convert_to_numpy(average)))
    try:
        yield
    finally:
        for (variable, _), value in zip(found, trained, strict=True):
            variable.assign(value)


class State:
    """What a checkpoint holds: every variable of the network and of its optimizer.

    The network's variables include the state of dropout's random numbers, and the optimizer's the
    number of steps, on which the learning rate depends. (A .weights.h5 file holds neither.)

    Args:
        model: the network, compiled.
    """

    is_elastic = False

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.optimizer_name = describe_optimizer(model.optimizer)
        model.optimizer.build(model.trainable_variables)
        averages = {variable.path: average for variable, average in pairs(model)}
        # In float16, what wraps the optimizer to scale the loss has variables of its own.
        inner: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        own = {variable.path: variable for variable in inner.variables}
        every = {variable.path: variable for variable in model.optimizer.variables}
        scaler = {path: variable for path, variable in every.items() if path not in own}
        for average in averages.values():
            del own[average.path]
        # The variables of each owner, by their names in a checkpoint without its own.
        self.owners: dict[str, dict[str, keras.Variable]] = {
            "model.": {variable.path: variable for variable in model.variables},
            "optimizer.": own,
            "average.": averages,
            "scaler.": scaler,
        }

    def start(self) -> None:
        """Put pretrained weights into the network, where a part of it has some."""
        pretrained.load(self.model)

    def load(self, arrays: dict[str, np.ndarray], path: Path) -> None:
        """Load the arrays of a checkpoint.

        Raises:
            InputError: naming what is missing, unknown or of another shape.
        """
        owners = dict(self.owners)
        # With "auto", a run may go on in another precision on another machine.
        if not owners["scaler."] or not select(arrays, "scaler."):
            del owners["scaler."]
        for owner, variables in owners.items():  # All of them, before one is changed.
            shapes = {name: variable.shape for name, variable in variables.items()}
            check_fit(select(arrays, owner), shapes, path)
        for owner, variables in owners.items():
            for name, variable in variables.items():
                variable.assign(arrays[owner + name])

    def initial_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a run begins with."""
        return self.to_arrays()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for a checkpoint."""
        synchronize(self.model)
        return {
            owner + name: keras.ops.convert_to_numpy(variable)
            for owner, variables in self.owners.items()
            for name, variable in variables.items()
        }


def load_weights(model: keras.Model, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Put the trained weights of a checkpoint into a network: averaged ones, where it has them.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    weights = trained_weights(arrays)
    check_fit(weights, {variable.path: variable.shape for variable in model.variables}, path)
    for variable in model.variables:
        variable.assign(weights[variable.path])


def describe_optimizer(optimizer: keras.optimizers.Optimizer) -> str:
    """Return an optimizer in words, with the settings that a continued run must keep."""
    # In float16 it is wrapped in one that scales the loss.
    inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
    config = inner.get_config()
    own = sorted(config.keys() - {"name", "learning_rate"})
    settings = ", ".join(f"{name}={config[name]}" for name in own if config[name])
    return f"{type(inner).__name__}({settings})"


def describe_device(device: str) -> str:
    """Return the name of a device, such as "cpu" or "cuda, NVIDIA L4"."""
    if device == "cpu" and keras_backend.name == "torch":
        import torch

        threads = torch.get_num_threads()
        return f"{device}, {threads} thread{'s' if threads > 1 else ''}"
    if device != "cuda":
        return device
    if keras_backend.name == "tensorflow":
        import tensorflow

        gpu = tensorflow.config.list_physical_devices("GPU")[0]
        details = tensorflow.config.experimental.get_device_details(gpu)
        return f"{device}, {details.get('device_name', gpu.name)}"
    if keras_backend.name == "jax":
        import jax

        return f"{device}, {jax.devices('gpu')[0].device_kind}"
    import torch

    return f"{device}, {torch.cuda.get_device_name()}"


def facts(model: keras.Model, device: str) -> dict[str, Any]:
    """Return what to record about this process."""
    modules = [importlib.import_module(each) for each in ("keras", keras_backend.name, "numpy")]
    return {
        "framework": f"keras on {keras_backend.name}",
        "device": describe_device(device),
        "precision": model.dtype_policy.compute_dtype,
        "weights": sum(int(np.prod(each.shape)) for each in model.trainable_variables),
        "versions": {module.__name__: module.__version__ for module in modules},
    }
