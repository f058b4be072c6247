"""Find out why a network does not learn: check machine, data, batches, network and loss by steps.

    python doctor.py                                  # experiments/baseline, trained or not
    python doctor.py --experiment experiments/wide --data data

Each check is a line: what was found, what was expected, the file to look at. It changes nothing.
Exit code 0: nothing is wrong; 2: something is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machinery import command_line
from parameters import Parameters

command = command_line.checkup(__name__, __doc__, Parameters)  # Answers --help and bad input.

from framework.quiet import import_tensorflow

import_tensorflow()

import keras
import numpy as np
import tensorflow as tf

import backend
from build_dataset import Dataset, open_dataset
from framework import pretrained
from framework.pretrained import at_own_rates
from machinery import checkup, checkup_machine, checkup_network
from machinery.checkup import Arrays, Batch
from machinery.checkup_machine import Gpu, Machine
from model import augmentation, net, report
from model.data_loader import evaluation_batches, load_split, training_batches
from train import TrainingSteps


class Network:
    """A network as train.py makes and trains it, which takes and returns arrays of NumPy."""

    def __init__(self, parameters: Parameters, dataset: Dataset) -> None:
        self.dataset = dataset
        self.model = backend.make_model(parameters, dataset, "float32")
        pretrained.load(self.model)
        training = parameters.training
        adamw = at_own_rates(keras.optimizers.AdamW, self.model, training.learning_rate)
        self.optimizer = adamw(  # As in train.py.
            0.0,
            weight_decay=training.weight_decay,
            global_clipnorm=training.clip_norm or None,
            epsilon=1e-8,
            name="optimizer",
        )
        self.optimizer.build(self.model.trainable_variables)
        self.steps = TrainingSteps(self.model, self.optimizer, parameters, dataset)
        self.graph = tf.function(self.steps.step, autograph=False, reduce_retracing=True)

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return the outputs in evaluation, each (B, ...)."""
        return [each.numpy() for each in tf.nest.flatten(self.model(to_tensors(inputs)))]

    def losses(self, batch: Batch) -> np.ndarray:
        """Return the loss of each example in evaluation, (B,)."""
        inputs, targets = map(to_tensors, batch)
        return net.losses(self.model(inputs), targets, self.dataset).numpy()

    def predictions(self, inputs: Arrays) -> Arrays:
        """Return what net.predict makes of the outputs, by name."""
        predictions = net.predict(self.model(to_tensors(inputs)), self.dataset)
        return {name: tensor.numpy() for name, tensor in predictions.items()}

    def gradients(self, batch: Batch) -> dict[str, np.ndarray | None]:
        """Return the gradient in training of each weight that is trained; None: there is none."""
        inputs, targets = map(to_tensors, batch)
        number = tf.cast(self.optimizer.iterations, tf.int64)
        examples = tf.shape(next(iter(targets.values())))[0]
        found, _ = self.steps.differentiate(inputs, targets, number, examples)
        named = zip(self.model.trainable_variables, found, strict=True)
        return {v.path: None if g is None else tf.convert_to_tensor(g).numpy() for v, g in named}

    def step(self, batch: Batch, rate: float) -> float:
        """Take an optimizer step with a learning rate; return the loss in training before it."""
        self.optimizer.learning_rate = rate
        inputs, targets = map(to_tensors, batch)
        return float(self.graph(inputs, targets)) / len(next(iter(batch[1].values())))

    def arrays(self) -> Arrays:
        """Return what a checkpoint would hold."""
        return backend.State(self.model, self.optimizer).to_arrays()

    def load(self, arrays: Arrays) -> None:
        """Put what `arrays` returned into this network."""
        backend.load_weights(self.model, arrays, Path("the checkpoint"))


def to_tensors(arrays: Arrays) -> dict[str, tf.Tensor]:
    """Return arrays as tensors."""
    return {name: tf.convert_to_tensor(array) for name, array in arrays.items()}


class Subject(checkup.Subject):
    """The experiment, and how TensorFlow trains it."""

    def new_network(self, seed: int, dataset: Dataset) -> Network:
        """Return a network with the initial weights of a seed."""
        return Network(checkup_network.with_seed(self.parameters, seed), dataset)

    def training_batches(self, steps: range, augmented: bool) -> Iterator[Batch]:
        """Return the batches of some steps of the training."""
        split = load_split(self.data, self.dataset, "train")
        with checkup_network.augmented(augmentation, augmented):
            batches = training_batches(split, self.parameters, steps.start, steps.stop)
            yield from map(to_arrays, batches)

    def evaluation_batches(self, split: str) -> Iterator[Batch]:
        """Return the batches of a split in its own order."""
        return evaluation_batches(load_split(self.data, self.dataset, split))


def to_arrays(batch: Any) -> Batch:
    """Return a batch as arrays."""
    inputs, targets = tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)
    return inputs, targets


def describe_machine(name: str, parameters: Parameters) -> Machine:
    """Return what is known of the machine, and of the device of a name."""
    gpus = []
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        if "compute_capability" in details:
            gpus.append(Gpu(details.get("device_name", gpu.name), details["compute_capability"]))
    device = backend.choose_device(name)
    return checkup_machine.look(
        framework="tensorflow",
        device="cuda" if device == "gpu" else device,
        precision=parameters.training.precision,
        native_bfloat16=backend.choose_precision(device, "auto") == "bfloat16",
        built_for_gpus=tf.test.is_built_with_cuda(),
        gpus=gpus,  # TensorFlow lists only those that it has code for, or can compile it.
    )


def make_subject(parameters: Parameters, dataset: Dataset, data: Path, device: str) -> Subject:
    """Return what is checked."""
    backend.prepare(parameters, dataset, backend.choose_device(device))
    return Subject(parameters, dataset, data, device, report)


command.run(describe_machine, open_dataset, make_subject)
