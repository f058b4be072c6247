"""Find out why a network does not learn: check machine, data, batches, network and loss by steps.

    python doctor.py                                  # experiments/baseline, trained or not
    python doctor.py --experiment experiments/wide --data data

Each check is a line: what was found, what was expected, the file to look at. It changes nothing.
Exit code 0: nothing is wrong; 2: something is.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from machinery import command_line
from parameters import Parameters

command = command_line.checkup(__name__, __doc__, Parameters)  # Answers --help and bad input.

import numpy as np
import torch

import backend
from build_dataset import Dataset, open_dataset
from framework import pretrained
from machinery import checkup, checkup_machine, checkup_network
from machinery.checkup import Arrays, Batch
from machinery.checkup_machine import Gpu, Machine
from model import augmentation, net, report
from model.data_loader import evaluation_batches, load_split, training_batches


class Network:
    """A network as train.py makes and trains it, which takes and returns arrays of NumPy."""

    def __init__(self, parameters: Parameters, dataset: Dataset, device: torch.device) -> None:
        self.parameters, self.dataset, self.device = parameters, dataset, device
        self.model = backend.make_model(parameters, dataset, device)
        pretrained.load(self.model)
        training = parameters.training
        self.optimizer = torch.optim.AdamW(  # As in train.py.
            pretrained.parameter_groups(self.model, training.learning_rate),
            weight_decay=training.weight_decay,
        )
        self.steps = 0

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return the outputs in evaluation, each (B, ...)."""
        return flatten(self.evaluate(inputs))

    def losses(self, batch: Batch) -> np.ndarray:
        """Return the loss of each example in evaluation, (B,)."""
        outputs, targets = self.evaluate(batch[0]), self.to_tensors(batch[1])
        return net.losses(outputs, targets, self.dataset).detach().cpu().numpy()

    def predictions(self, inputs: Arrays) -> Arrays:
        """Return what net.predict makes of the outputs, by name."""
        return backend.to_numpy(net.predict(self.evaluate(inputs), self.dataset))

    def gradients(self, batch: Batch) -> dict[str, np.ndarray | None]:
        """Return the gradient in training of each weight that is trained; None: there is none."""
        self.differentiate(batch)
        weights = self.model.named_parameters()
        found = {name: weight.grad for name, weight in weights if weight.requires_grad}
        return {n: None if g is None else g.cpu().numpy().copy() for n, g in found.items()}

    def step(self, batch: Batch, rate: float) -> float:
        """Take an optimizer step with a learning rate; return the loss in training before it."""
        loss = self.differentiate(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * rate
        if clip_norm := self.parameters.training.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm)
        self.optimizer.step()
        self.steps += 1
        return loss

    def arrays(self) -> Arrays:
        """Return what a checkpoint would hold."""
        return {
            n: a.copy() for n, a in backend.State(self.model, self.optimizer).to_arrays().items()
        }

    def load(self, arrays: Arrays) -> None:
        """Put what `arrays` returned into this network."""
        backend.load_weights(self.model, arrays, Path("the checkpoint"))

    @torch.no_grad()
    def evaluate(self, inputs: Arrays) -> Any:
        """Return the outputs in evaluation as tensors."""
        self.model.eval()
        return self.model(self.to_tensors(inputs))

    def differentiate(self, batch: Batch) -> float:
        """Put the gradients of the mean loss in training into the weights; return the loss."""
        inputs, targets = map(self.to_tensors, batch)
        self.model.train()
        backend.seed_step(self.parameters.seed, self.steps, self.device)  # For dropout.
        self.optimizer.zero_grad()
        outputs = self.model(inputs)
        loss = net.losses(outputs, targets, self.dataset, self.parameters.model).mean()
        loss.backward()
        return loss.item()

    def to_tensors(self, arrays: Arrays) -> dict[str, torch.Tensor]:
        """Return arrays as tensors on the device."""
        return {name: torch.tensor(array, device=self.device) for name, array in arrays.items()}


def flatten(outputs: Any) -> list[np.ndarray]:
    """Return the tensors in what a network returns, which may be a dictionary or a tuple."""
    if isinstance(outputs, torch.Tensor):
        return [*backend.to_numpy({"": outputs}).values()]
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [array for value in values for array in flatten(value)]


class Subject(checkup.Subject):
    """The experiment, and how PyTorch trains it."""

    def new_network(self, seed: int, dataset: Dataset) -> Network:
        """Return a network with the initial weights of a seed."""
        device = backend.choose_device(self.device)
        return Network(checkup_network.with_seed(self.parameters, seed), dataset, device)

    def training_batches(self, steps: range, augmented: bool) -> Iterator[Batch]:
        """Return the batches of some steps of the training."""
        device = torch.device("cpu")
        split = load_split(self.data, self.dataset, "train", device)
        with checkup_network.augmented(augmentation, augmented):
            batches = training_batches(split, self.parameters, steps.start, steps.stop, device)
            yield from map(to_arrays, batches)

    def evaluation_batches(self, split: str) -> Iterator[Batch]:
        """Return the batches of a split in its own order."""
        loaded = load_split(self.data, self.dataset, split, torch.device("cpu"))
        return map(to_arrays, evaluation_batches(loaded))


def to_arrays(batch: Any) -> Batch:
    """Return a batch as arrays."""
    inputs, targets = map(backend.to_numpy, batch)
    return inputs, targets


def describe_machine(name: str, parameters: Parameters) -> Machine:
    """Return what is known of the machine, and of the device of a name."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [
        Gpu(torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number))
        for number in range(count)
    ]
    device = backend.choose_device(name)
    return checkup_machine.look(
        framework="torch",
        device=device.type,
        precision=parameters.training.precision,
        native_bfloat16=backend.choose_precision(device, "auto") == torch.bfloat16,
        built_for_gpus=torch.version.cuda is not None,
        gpus=gpus,
        architectures=torch.cuda.get_arch_list() if gpus else (),
    )


def make_subject(parameters: Parameters, dataset: Dataset, data: Path, device: str) -> Subject:
    """Return what is checked."""
    backend.prepare(parameters, dataset)
    return Subject(parameters, dataset, data, device, report)


command.run(describe_machine, open_dataset, make_subject)
