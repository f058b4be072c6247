"""What the commands need of TensorFlow beside the model: devices, precision, the state of a run."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from framework.quiet import import_tensorflow

import_tensorflow()

import keras
import numpy as np
import tensorflow as tf

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
    '-c constraints.txt "tensorflow[and-cuda]"'
)


def choose_device(name: str) -> str:
    """Return TensorFlow's name, "cpu" or "gpu", of a device; "auto" is a GPU if there is one.

    Raises:
        InputError: this machine has no such device.
    """
    gpu = bool(tf.config.list_physical_devices("GPU"))
    mac = sys.platform == "darwin"
    available = {"cuda": gpu and not mac, "mps": gpu and mac, "cpu": True}
    return "cpu" if devices.choose(name, available, GPU_ADVICE) == "cpu" else "gpu"


def choose_strategy(device: str) -> tf.distribute.Strategy:
    """Return what shares out every batch among the devices of a kind that TensorFlow sees.

    Where there is one device, that is TensorFlow's default strategy, which changes nothing. Call it
    after `prepare`, as it starts the devices.
    """
    found = tf.config.list_logical_devices(device.upper())
    if len(found) < 2:
        return tf.distribute.get_strategy()
    keras.utils.clear_session()  # Within the strategy's scope, TensorFlow would lose it.
    return tf.distribute.MirroredStrategy([each.name for each in found])


def choose_precision(device: str, precision: str) -> str:
    """Return the dtype to compute in; "auto" is the one that the device is fastest in."""
    if precision != "auto":
        return precision
    if device == "gpu":
        gpu = tf.config.list_physical_devices("GPU")[0]
        details = tf.config.experimental.get_device_details(gpu)  # Only NVIDIA's have a capability.
        return devices.fastest_precision(details.get("compute_capability", (0, 0)))
    processor = Path("/proc/cpuinfo")  # Only Linux has it.
    flags = processor.read_text("utf-8") if processor.exists() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def prepare(parameters: Parameters, dataset: Dataset, device: str) -> None:
    """Set what holds for the whole process: device, threads, and whether it is deterministic.

    A small batch gets one CPU thread, unless OMP_NUM_THREADS is set. Several threads wait for each
    other many times a step. With little to compute in between, they gain little on an idle machine
    and cost much on a busy one.
    """
    if device == "cpu":  # Otherwise TensorFlow would take the GPU and all of its memory.
        tf.config.set_visible_devices([], "GPU")
    small = parameters.data.batch_size * dataset.positions < 2**14
    limit_threads(1 if small else 0)
    if debugging.is_on():  # Each operation is computed when Python comes to it.
        tf.config.run_functions_eagerly(True)
        tf.data.experimental.enable_debug_mode()
    if parameters.training.deterministic:
        tf.config.experimental.enable_op_determinism()


def limit_threads(otherwise: int) -> None:
    """Let TensorFlow compute with OMP_NUM_THREADS threads, or with so many; 0: one per core."""
    threads = os.environ.get("OMP_NUM_THREADS", otherwise)
    # TensorFlow may have started its threads already, and OMP_NUM_THREADS may be no number.
    with contextlib.suppress(RuntimeError, ValueError):
        tf.config.threading.set_intra_op_parallelism_threads(int(threads))


def make_model(parameters: Parameters, dataset: Dataset, precision: str) -> net.Net:
    """Return the network with its initial weights, which are float32 in any precision."""
    if not tf.distribute.has_strategy():  # Otherwise choose_strategy has done it.
        keras.utils.clear_session()  # Otherwise a second network gets other names of variables.
    keras.utils.set_random_seed(fold_seed(parameters.seed) % 2**32)
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    model = net.Net(parameters.model, dataset)
    model.autocast = False  # Otherwise Keras rounds float inputs to bfloat16 before the network.
    arrays = {name: dataset.arrays[name] for name in dataset.inputs}
    # The first call makes the weights.
    model({name: np.zeros((1, *array.batch_shape), array.dtype) for name, array in arrays.items()})
    return model


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then constant, or a cosine to zero.

    The cosine is that of https://arxiv.org/abs/1608.03983, without restarts.

    Args:
        training: holds the highest rate and the lengths, in epochs.
        steps_per_epoch: optimizer steps in an epoch.
    """

    def __init__(self, training: TrainingParameters, steps_per_epoch: int) -> None:
        super().__init__()
        self.highest, self.kind = training.learning_rate, training.schedule
        self.warmup_steps = training.warmup_epochs * steps_per_epoch
        # Never 0, as the cosine is computed in a training that only warms up, too.
        self.decay_steps = max(training.epochs * steps_per_epoch - self.warmup_steps, 1)

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Return the learning rate after a number of optimizer steps."""
        step = tf.cast(step, tf.float32)
        rise = (step + 1) / (self.warmup_steps + 1)
        after = 1.0
        if self.kind == "cosine":
            after = (1 + tf.cos(math.pi * (step - self.warmup_steps) / self.decay_steps)) / 2
        return self.highest * tf.where(step < self.warmup_steps, rise, after)

    def get_config(self) -> dict[str, Any]:
        """Return the settings; Keras asks for them when an optimizer describes itself."""
        names = ("highest", "kind", "warmup_steps", "decay_steps")
        return {name: getattr(self, name) for name in names}


def make_schedule(training: TrainingParameters, steps_per_epoch: int) -> Warmup:
    """Return the learning rate as a function of the optimizer steps done."""
    return Warmup(training, steps_per_epoch)


def split_batch(batch: Batch, parts: int) -> Iterator[tuple[Batch, tf.Tensor]]:
    """Yield the parts of a batch, and with each how many examples the whole batch has.

    The parts are nearly equal: no two differ by more than one example.
    """
    examples = tf.shape(next(iter(batch[1].values())))[0]
    if parts == 1:
        yield batch, examples
        return
    sizes = (examples + parts - 1 - tf.range(parts)) // parts  # The first ones may have one more.
    inputs, targets = (
        {name: tf.split(tensor, sizes, num=parts) for name, tensor in tensors.items()}
        for tensors in batch
    )
    for part in range(parts):
        part_inputs = {name: tensors[part] for name, tensors in inputs.items()}
        yield (part_inputs, {name: tensors[part] for name, tensors in targets.items()}), examples


def add_gradients(these: Sequence[Any], those: Sequence[Any]) -> list[Any]:
    """Return the sums of two lists of gradients, None where a variable has none."""
    return [
        None if one is None else tf.convert_to_tensor(one) + tf.convert_to_tensor(other)
        for one, other in zip(these, those, strict=True)
    ]


def sum_over_devices(tensors: Sequence[Any]) -> list[Any]:
    """Return the sums of tensors, such as gradients, over the devices that share a batch.

    None, the gradient of a variable that has none, stays None.
    """
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        return [*tensors]
    # A copy is on the device that computes; a tensor of the graph may be on none by name.
    found = [tf.identity(each) for each in tensors if each is not None]
    sums = iter(replica.all_reduce(tf.distribute.ReduceOp.SUM, found))
    return [None if each is None else next(sums) for each in tensors]


def average_over_devices(variables: Sequence[Any]) -> None:
    """Give variables that each device has changed for itself their mean: batch norm's statistics.

    Keras leaves them different, and would then evaluate and save those of the first device.
    """
    replica = tf.distribute.get_replica_context()
    different = [each for each in variables if "float" in each.dtype]
    if replica.num_replicas_in_sync == 1 or not different:
        return
    values = [tf.identity(each) for each in different]
    means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, values)
    for variable, mean in zip(different, means, strict=True):
        variable.assign(mean)


def taking_sums(optimizer: Any) -> type[keras.Optimizer]:
    """Return an optimizer whose gradients are summed over the devices already.

    Keras would clip the gradients of each device and add them up after that, so that several
    devices would clip more than one. The name of what adds up is Keras's own (3.15).

    Args:
        optimizer: its type, such as keras.optimizers.AdamW.
    """

    class TakingSums(optimizer):
        def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
            return grads_and_vars

    TakingSums.__name__ = optimizer.__name__  # The same steps, so a run may go on with it.
    return TakingSums


def scaling_loss(optimizer: keras.Optimizer, precision: str) -> keras.Optimizer:
    """Return an optimizer that scales the loss in float16, where small gradients would be zeros.

    It doubles its scale now and then. Where gradients become infinite, it skips the step and halves
    its scale (https://arxiv.org/abs/1710.03740, section 3.2).
    """
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "float16" else optimizer


class State:
    """What a checkpoint holds: the network and its optimizer.

    Args:
        model: the network, with its weights made.
        optimizer: of the network's trainable variables, built.
        average: of the network's weights, if it is kept.
    """

    is_elastic = is_sharded = False

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        average: WeightAverage | None = None,
    ) -> None:
        self.model = model
        paths = [variable.path for variable in model.trainable_variables]
        # In float16, what wraps the optimizer to scale the loss has variables of its own.
        inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
        own = {variable.path: variable for variable in inner.variables}
        every = {variable.path: variable for variable in optimizer.variables}
        # The variables of each owner, by their names in a checkpoint without its own.
        self.owners: dict[str, dict[str, Any]] = {
            "model.": {variable.path: variable for variable in model.variables},
            "optimizer.": own,
            "average.": dict(zip(paths, average.variables, strict=True)) if average else {},
            "scaler.": {path: each for path, each in every.items() if path not in own},
        }
        self.optimizer_name = describe_optimizer(optimizer)

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
        """Return the arrays that a run begins with, for the other processes."""
        return self.to_arrays()

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for a checkpoint."""
        return {
            owner + name: variable.numpy()
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


def describe_optimizer(optimizer: keras.Optimizer) -> str:
    """Return an optimizer in words, with the settings that a continued run must keep."""
    # In float16 it is wrapped in one that scales the loss.
    inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
    config = inner.get_config()
    own = ", ".join(
        f"{name}={config[name]}"
        for name in sorted(config)
        if name not in ("name", "learning_rate") and config[name] is not None
    )
    return f"{type(inner).__name__}({own})"


def describe_device(device: str) -> str:
    """Return the name of a device, such as "cpu, 2 threads"; of several, that of the first."""
    if device == "gpu":
        gpu = tf.config.list_physical_devices("GPU")[0]
        return f"gpu, {tf.config.experimental.get_device_details(gpu).get('device_name', gpu.name)}"
    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}"


def facts(model: keras.Model, device: str, precision: str) -> dict[str, Any]:
    """Return what to record about this process."""
    return {
        "framework": "tensorflow",
        "device": describe_device(device),
        "precision": precision,
        "weights": sum(math.prod(each.shape) for each in model.trainable_variables),
        # The package may be tensorflow or tensorflow-cpu.
        "versions": {"tensorflow": tf.__version__, **versions("keras", "numpy")},
    }
