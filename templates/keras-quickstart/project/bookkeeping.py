"""What a run keeps while Keras trains: checkpoints, metrics, where it stands.

A checkpoint holds every variable of the network and of the optimizer. Those of the network count
the random numbers that dropout has drawn, and those of the optimizer count the steps, on which the
learning rate depends. (A .weights.h5 file holds neither.)
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

import backend
import utils
from model.data_loader import TrainingBatches
from run_folder import Progress, Run, check_fit

SEGMENT_STEPS = 100  # At most, of one call of fit: a run saves and stops between two calls.


def named(**owners: keras.Model | keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """Return the variables of the owners, by names such as "model.conv2d/kernel"."""
    return {
        f"{prefix}.{variable.path}": variable
        for prefix, owner in owners.items()
        for variable in owner.variables
    }


def to_arrays(variables: Mapping[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Return the values of variables, by the same names."""
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}


def load_variables(
    variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray], path: Path
) -> None:
    """Put the arrays of a checkpoint into variables.

    Args:
        variables: of the network, and of the optimizer or not.
        arrays: what the checkpoint holds.
        path: the checkpoint, to name in the message.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    owners = {name.partition(".")[0] for name in variables}
    found = {name: array for name, array in arrays.items() if name.partition(".")[0] in owners}
    check_fit(found, {name: variable.shape for name, variable in variables.items()}, path)
    for name, variable in variables.items():
        variable.assign(found[name])


class Bookkeeper:
    """Cuts training into calls of fit and keeps the run's folder between them.

    Args:
        run: the experiment's folder, locked.
        model: compiled; takes up the last checkpoint where there is one.
        train_examples: how many there are.
        stop: asks to save and stop.
        on_epoch: called with each row of metrics, once all is saved.

    Raises:
        InputError: the checkpoint cannot be used; nothing was written.
    """

    def __init__(
        self,
        run: Run,
        model: keras.Model,
        train_examples: int,
        stop: utils.StopRequest,
        on_epoch: Callable[[dict[str, float]], None] | None,
    ) -> None:
        self.run, self.model, self.train_examples = run, model, train_examples
        self.steps_per_epoch = math.ceil(train_examples / run.parameters.data.batch_size)
        self.stop, self.on_epoch = stop, on_epoch
        self.epochs = run.parameters.training.epochs
        model.optimizer.build(model.trainable_variables)
        self.state = named(model=model, optimizer=model.optimizer)
        self.progress = Progress()
        if checkpoint := run.load():
            arrays, self.progress = checkpoint
            load_variables(self.state, arrays, run.folder / run.last)
        self.examples, self.seconds = 0, 0.0  # Trained in this epoch, by this process.

    def begin(self, device: str, data: Path) -> None:
        """Start writing into the run's folder."""
        self.run.begin(
            self.progress,
            framework=f"keras on {backend.name}",
            device=device,
            data=str(data),
            versions=backend.versions(),
        )
        weights = sum(math.prod(variable.shape) for variable in self.model.trainable_variables)
        self.run.announce(
            self.progress,
            self.epochs * self.steps_per_epoch,
            f"{self.steps_per_epoch:,} steps an epoch",
            f"{weights:,} weights",
            f"Keras on {backend.name}, {device}, {self.model.dtype_policy.name}",
        )

    def segments(self) -> Iterator[tuple[int, int]]:
        """Yield the first and the last step of each call of fit, until training ends.

        Raises:
            StoppedError: on request, with everything saved.
        """
        progress = self.progress
        while not progress.finished:
            epoch_end = (progress.step // self.steps_per_epoch + 1) * self.steps_per_epoch
            self.began = time.monotonic()
            yield progress.step, min(progress.step + SEGMENT_STEPS, epoch_end)
            stopping = bool(self.stop)
            if progress.step < epoch_end and (stopping or self.run.save_is_due()):
                self.run.save(to_arrays(self.state), progress)
            if stopping and not progress.finished:
                raise self.stop.stopped(self.run.folder, progress.step)

    def end_segment(self, batches: TrainingBatches, loss: float) -> bool:
        """Count what fit has trained on, at what mean loss; return whether the epoch is over.

        Raises:
            DivergedError: the loss is NaN or infinite; the last good checkpoint is kept.
        """
        self.run.check_loss(loss, batches.last_step)
        self.seconds += time.monotonic() - self.began
        self.examples += batches.examples
        self.progress.step = batches.last_step
        self.progress.loss_sum += loss * batches.examples
        return self.progress.step % self.steps_per_epoch == 0

    def end_epoch(self, metrics: Mapping[str, float], learning_rate: float) -> None:
        """Keep an epoch: metrics on val, weights, a checkpoint; raise as end_segment does."""
        progress = self.progress
        epoch = progress.step // self.steps_per_epoch
        train_loss = progress.loss_sum / self.train_examples
        row = {"epoch": epoch, "step": progress.step, "train_loss": train_loss}
        row |= {f"val_{name}": value for name, value in metrics.items()}
        row |= {"learning_rate": learning_rate}
        speed = self.examples / self.seconds
        self.examples, self.seconds = 0, 0.0
        self.run.end_epoch(row, progress, to_arrays(self.state), speed, last=epoch == self.epochs)
        if self.on_epoch:
            self.on_epoch(row)
