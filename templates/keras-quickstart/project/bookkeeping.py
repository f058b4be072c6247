"""What a run keeps while Keras trains: checkpoints, metrics, where it stands.

A checkpoint holds every variable of the network and of the optimizer, and the sum of the loss in
the epoch. Those of the network count the random numbers that dropout has drawn, and those of the
optimizer count the steps, on which the learning rate depends. (A .weights.h5 file holds neither.)
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

import backend
from evaluate import evaluate, load_variables, named
from model.data_loader import TrainingBatches, load_split
from run_folder import Progress, Run


class Bookkeeper(keras.callbacks.Callback):
    """Keeps the run's folder while Keras trains: checkpoints, metrics, log.

    Args:
        run: the experiment's folder, locked.
        model: compiled; takes up the last checkpoint where there is one.
        schedule: the learning rate by step.
        batches: what fit trains on.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
        StoppedError: out of fit, on request, with everything saved.
        DivergedError: likewise; the loss is NaN or infinite, the last good checkpoint is kept.
    """

    def __init__(
        self,
        run: Run,
        model: keras.Model,
        schedule: Callable[[int], Any],
        batches: TrainingBatches,
    ) -> None:
        super().__init__()
        self.set_model(model)
        self.run, self.schedule = run, schedule
        self.batches, self.val_split = batches, load_split(run.data, run.dataset, "val")
        self.epochs = run.parameters.training.epochs
        model.optimizer.build(model.trainable_variables)
        # The loss summed over the epoch, and over how many examples.
        self.loss_variables = named(metrics=model.metrics_variables)
        self.state = named(model=model.variables, optimizer=model.optimizer.variables)
        self.state |= self.loss_variables
        self.progress = Progress()
        if checkpoint := run.load():
            arrays, self.progress = checkpoint
            load_variables(self.state, arrays, run.folder / run.last)
            self.saved_loss = {name: arrays[name] for name in self.loss_variables}

    def begin(self, device: str) -> None:
        """Start writing into the run's folder."""
        self.run.begin(
            self.progress,
            framework=f"keras on {backend.name}",
            device=device,
            versions=backend.versions(),
        )
        weights = sum(math.prod(variable.shape) for variable in self.model.trainable_variables)
        self.run.announce(
            self.progress,
            self.epochs * self.batches.steps_per_epoch,
            f"{self.batches.steps_per_epoch:,} steps an epoch",
            f"{weights:,} weights",
            f"Keras on {backend.name}, {device}, {self.model.dtype_policy.name}",
        )

    def epochs_to_go(self) -> Iterator[range]:
        """Yield the epochs of each call of fit: first the rest of a cut one, which is shorter."""
        epoch, done = divmod(self.progress.step, self.batches.steps_per_epoch)
        if done:
            self.batches.start(self.progress.step)  # From their length fit knows that of an epoch.
            yield range(epoch, epoch + 1)
            epoch += 1
        if not self.progress.finished:
            self.batches.start(epoch * self.batches.steps_per_epoch)
            yield range(epoch, self.epochs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.start(self.progress.step)
        done = self.progress.step % self.batches.steps_per_epoch
        if done:  # Of an epoch that an earlier process began; fit has just forgotten its loss.
            load_variables(self.loss_variables, self.saved_loss, self.run.folder / self.run.last)
        self.bar = tqdm(
            total=self.batches.steps_per_epoch,
            desc=f"epoch {epoch + 1}",
            initial=done,
            leave=False,
            disable=None,
        )
        self.epoch_started, self.first_step = time.monotonic(), self.progress.step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the steps of an execution; look at the loss, save and stop where it is time."""
        progress, epoch_end = self.progress, self.first_step + len(self.batches)
        before, progress.step = progress.step, min(self.first_step + batch + 1, epoch_end)
        self.bar.update(progress.step - before)
        self.run.check_loss(logs["loss"], progress.step)
        if self.run.checkpoint_is_due() and progress.step < epoch_end:
            self.run.checkpoint(self.to_arrays(), progress)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Evaluate, keep the metrics and the weights of the epoch, and see whether to go on."""
        self.bar.close()
        progress = self.progress
        seconds = time.monotonic() - self.epoch_started
        metrics, _ = evaluate(self.model, self.val_split)
        row = {"epoch": epoch + 1, "step": progress.step, "train_loss": logs["loss"]}
        logs.update({f"val_{name}": value for name, value in metrics.items()})  # For others, too.
        row |= {name: value for name, value in logs.items() if name.startswith("val_")}
        row |= {"learning_rate": float(self.schedule(progress.step - 1))}
        examples = (progress.step - self.first_step) * self.run.parameters.data.batch_size
        speed = min(examples, self.run.dataset.examples["train"]) / seconds
        last = epoch + 1 == self.epochs
        self.run.end_epoch(row, progress, self.to_arrays(), speed, last)
        self.model.stop_training = progress.finished

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint holds."""
        if backend.name == "jax":  # fit keeps the values outside of the variables.
            self.model.jax_state_sync()
        return {name: keras.ops.convert_to_numpy(each) for name, each in self.state.items()}
