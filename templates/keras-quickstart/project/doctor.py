"""Find out why a network does not learn: check machine, data, batches, network and loss by steps.

    python doctor.py                                  # experiments/baseline, trained or not
    python doctor.py --experiment experiments/wide --data data

Each check is a line: what was found, what was expected, the file to look at. It changes nothing.
Exit code 0: nothing is wrong; 2: something is.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from machinery import command_line
from parameters import Parameters

command = command_line.checkup(__name__, __doc__, Parameters)  # Answers --help and bad input.

import backend  # Before Keras, as it chooses Keras's backend.

# isort: split
import keras
import numpy as np

from build_dataset import Dataset, open_dataset
from framework import keras_backend, pretrained
from framework.pretrained import at_own_rates
from machinery import checkup, checkup_machine, checkup_network
from machinery.checkup import Arrays, Batch
from machinery.checkup_machine import Gpu, Machine
from model import augmentation, net, report
from model.data_loader import TrainingBatches, evaluation_batches, load_split

# Of plain gradient descent: so large that weights show what reached them, rounded as they are.
LARGE_RATE = 1e3


class Network:
    """A network as train.py makes and trains it, which takes and returns arrays of NumPy."""

    def __init__(self, parameters: Parameters, dataset: Dataset, device: str) -> None:
        self.parameters, self.dataset, self.device = parameters, dataset, device
        training = parameters.training
        self.model = self.make(
            lambda model: at_own_rates(keras.optimizers.AdamW, model, training.learning_rate)(
                training.learning_rate,  # As in train.py.
                weight_decay=training.weight_decay,
                global_clipnorm=training.clip_norm or None,
            )
        )
        pretrained.load(self.model)
        self.probe: keras.Model | None = None  # The same network, to take gradients of.

    def make(self, make_optimizer: Callable[[keras.Model], keras.Optimizer]) -> keras.Model:
        """Return the network, compiled as train.py does."""
        model = backend.make_model(self.parameters, self.dataset, self.device)
        optimizer, loss = make_optimizer(model), net.loss(self.dataset, self.parameters.model)
        model.compile(optimizer, loss, jit_compile=keras.backend.backend() == "jax")
        return model

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return the outputs in evaluation, each (B, ...)."""
        return keras.tree.flatten(self.model.predict_on_batch(inputs))

    def losses(self, batch: Batch) -> np.ndarray:
        """Return the loss of each example in evaluation, (B,)."""
        outputs = backend.to_tensors(self.model.predict_on_batch(batch[0]))
        measure = keras_backend.compiled(net.losses, self.dataset)
        return backend.to_numpy(measure(outputs, backend.to_tensors(batch[1])))

    def predictions(self, inputs: Arrays) -> Arrays:
        """Return what net.predict makes of the outputs, by name."""
        outputs = backend.to_tensors(self.model.predict_on_batch(inputs))
        return backend.to_numpy(keras_backend.compiled(net.predict, self.dataset)(outputs))

    def gradients(self, batch: Batch) -> dict[str, np.ndarray | None]:
        """Return the gradient in training of each weight that is trained.

        It is what one step of gradient descent takes off the weights, the same on every backend.
        """
        self.probe = self.probe or self.make(lambda _: keras.optimizers.SGD(LARGE_RATE))
        before = values(self.model, self.model.variables)
        backend.synchronize(self.probe)
        for variable in self.probe.variables:
            variable.assign(before[variable.path])
        self.probe.train_on_batch(*batch)
        after = values(self.probe, self.probe.trainable_variables)
        return {name: (before[name] - after[name]) / LARGE_RATE for name in after}

    def step(self, batch: Batch, rate: float) -> float:
        """Take an optimizer step with a learning rate; return the loss in training before it."""
        self.model.optimizer.learning_rate = rate
        return float(self.model.train_on_batch(*batch))

    def arrays(self) -> Arrays:
        """Return what a checkpoint would hold."""
        found = backend.State(self.model).to_arrays()
        return {name: np.array(array) for name, array in found.items()}

    def load(self, arrays: Arrays) -> None:
        """Put what `arrays` returned into this network."""
        backend.load_weights(self.model, arrays, Path("the checkpoint"))


def values(model: keras.Model, variables: Any) -> Arrays:
    """Return copies of the values of a network's variables."""
    backend.synchronize(model)
    return {each.path: np.array(keras.ops.convert_to_numpy(each)) for each in variables}


class Subject(checkup.Subject):
    """The experiment, and how Keras trains it."""

    def new_network(self, seed: int, dataset: Dataset) -> Network:
        """Return a network with the initial weights of a seed."""
        parameters = checkup_network.with_seed(self.parameters, seed)
        return Network(parameters, dataset, backend.choose_device(self.device))

    def training_batches(self, steps: range, augmented: bool) -> Iterator[Batch]:
        """Return the batches of some steps of the training."""
        whole = checkup_network.in_one_part(self.parameters)
        with checkup_network.augmented(augmentation, augmented):
            batches = TrainingBatches(load_split(self.data, self.dataset, "train"), whole)
            for step in steps:
                number = step % batches.steps_per_epoch
                if number == 0:
                    batches.start(step)
                yield batches[number]

    def evaluation_batches(self, split: str) -> Iterator[Batch]:
        """Return the batches of a split in its own order."""
        return evaluation_batches(load_split(self.data, self.dataset, split))


def describe_machine(name: str, parameters: Parameters) -> Machine:
    """Return what is known of the machine, and of the device of a name."""
    device = backend.choose_device(name)
    gpus, architectures = [], []
    if keras_backend.name == "torch":
        import torch

        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            capability = torch.cuda.get_device_capability(number)
            gpus.append(Gpu(torch.cuda.get_device_name(number), capability))
        architectures = torch.cuda.get_arch_list() if gpus else []
    return checkup_machine.look(
        framework=keras_backend.name,
        device=device,
        precision=parameters.training.precision,
        native_bfloat16=backend.choose_precision(device, "auto") == "bfloat16",
        built_for_gpus=device == "cuda" or bool(gpus),
        gpus=gpus,
        architectures=architectures,
    )


def make_subject(parameters: Parameters, dataset: Dataset, data: Path, device: str) -> Subject:
    """Return what is checked."""
    backend.prepare(parameters, dataset)
    backend.choose_device(device)  # For the CPU it hides the GPUs.
    return Subject(parameters, dataset, data, device, report)


command.run(describe_machine, open_dataset, make_subject)
