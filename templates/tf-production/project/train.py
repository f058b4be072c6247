"""Train one experiment: a folder with a params.yaml.

    python train.py                                           # trains experiments/baseline
    python train.py --experiment experiments/wide --from experiments/baseline --model.width 64

The second line starts a new experiment from an old one, with changes. A run that was stopped or
killed continues when the same command is given again, and ends in the same weights, bit for bit.

Written to the experiment's folder: last, previous and best.safetensors, metrics.jsonl,
learning_curves.png, train.log, run.json and tensorboard/.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator

import command_line
import run_folder
import utils
from parameters import Parameters, TrainingParameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before TensorFlow is imported.
        arguments, parameters = command_line.parse_training(__doc__)
        stop = utils.StopRequest(arguments.max_minutes)

from quiet import import_tensorflow

import_tensorflow()

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from build_dataset import Dataset, open_dataset
from evaluate import (
    choose_device,
    choose_policy,
    evaluate,
    limit_threads,
    load_model,
    make_forward,
    make_model,
)
from model import net
from model.data_loader import load_split, training_batches

SECONDS_PER_CALL = 0.1  # Steps go into one call of the graph until it takes so long.


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a cosine to zero (https://arxiv.org/abs/1608.03983, without restarts).

    Args:
        steps_per_epoch: optimizer steps in an epoch.
        training: holds the highest rate and the lengths, in epochs.
    """

    def __init__(self, steps_per_epoch: int, training: TrainingParameters) -> None:
        super().__init__()
        self.highest = training.learning_rate
        self.warmup = training.warmup_epochs * steps_per_epoch  # in steps, as the next
        self.decay = max(training.epochs * steps_per_epoch - self.warmup, 1)

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Return the learning rate after a number of optimizer steps."""
        step = tf.cast(step, tf.float32)
        rise = (step + 1) / (self.warmup + 1)
        fall = (1 + tf.cos(math.pi * (step - self.warmup) / self.decay)) / 2
        return self.highest * tf.where(step < self.warmup, rise, fall)


class Trainer:
    """The training of one experiment, from wherever its folder stands.

    Args:
        run: the experiment's folder, locked.
        device: where to compute.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
    """

    def __init__(self, run: run_folder.Run, device: str) -> None:
        self.run = run
        dataset: Dataset = run.dataset
        self.parameters: Parameters = run.parameters
        training = self.parameters.training
        self.train_split = load_split(run.data, dataset, "train")
        self.val_split = load_split(run.data, dataset, "val")
        batch_size = self.parameters.data.batch_size
        self.steps_per_epoch = math.ceil(dataset.examples["train"] / batch_size)
        self.total_steps = training.epochs * self.steps_per_epoch
        self.steps_per_call = 1
        if training.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.policy = choose_policy(device, training.precision)
        self.seed = utils.fold_seed(self.parameters.seed)
        keras.utils.set_random_seed(self.seed % 2**32)  # Initial weights.
        self.model = make_model(self.parameters, dataset, self.policy)
        self.schedule = WarmupCosine(self.steps_per_epoch, training)
        self.optimizer = keras.optimizers.AdamW(
            self.schedule,
            weight_decay=training.weight_decay,
            global_clipnorm=training.clip_norm or None,
            epsilon=1e-8,
            name="optimizer",
        )
        self.optimizer.build(self.model.trainable_variables)
        self.progress = run_folder.Progress()
        if checkpoint := run.load():
            arrays, self.progress = checkpoint
            self.restore(arrays)
        self.forward = make_forward(self.model, dataset)
        self.train_steps = tf.function(self.train_steps)
        if training.compile:
            self.train_step = tf.function(self.train_step, jit_compile=True)

    def train_and_evaluate(self) -> None:
        """Train until the last epoch and evaluate on val after each.

        Raises:
            StoppedError: on request, with everything saved.
            DivergedError: the loss is NaN or infinite; the last good checkpoint is kept.
        """
        progress, epochs = self.progress, self.parameters.training.epochs
        batches = iter(
            training_batches(
                self.train_split,
                self.parameters.data,
                self.parameters.seed,
                first_step=progress.step,
                last_step=self.total_steps,
            )
        )
        while not progress.finished:
            started, first_step = time.monotonic(), progress.step
            train_loss = self.train_epoch(batches)
            seconds = time.monotonic() - started
            metrics, _ = evaluate(self.forward, self.val_split)
            epoch = progress.step // self.steps_per_epoch
            row = {"epoch": epoch, "step": progress.step, "train_loss": train_loss}
            row |= {f"val_{name}": value for name, value in metrics.items()}
            row |= {"learning_rate": float(self.schedule(progress.step - 1))}
            examples = (progress.step - first_step) * self.parameters.data.batch_size
            speed = min(examples, len(self.train_split.labels)) / seconds
            arrays = to_arrays(self.model, self.optimizer)
            self.run.end_epoch(row, progress, arrays, speed, last=epoch == epochs)

    def train_epoch(self, batches: Iterator) -> float:
        """Train to the end of the epoch; return its mean loss."""
        progress = self.progress
        epoch = progress.step // self.steps_per_epoch
        end = (epoch + 1) * self.steps_per_epoch
        bar = tqdm(total=self.steps_per_epoch, desc=f"epoch {epoch + 1}", leave=False, disable=None)
        bar.update(progress.step % self.steps_per_epoch)
        while progress.step < end:
            count, started = min(self.steps_per_call, end - progress.step), time.monotonic()
            # Tensors, since a Python number would be compiled in.
            loss_sum = self.train_steps(batches, tf.constant(count), tf.constant(progress.loss_sum))
            progress.loss_sum = float(loss_sum)
            progress.step += count
            bar.update(count)
            self.run.check_loss(progress.loss_sum, progress.step)
            whole = count == self.steps_per_call  # Not the rest of an epoch.
            if whole and time.monotonic() - started < SECONDS_PER_CALL:
                self.steps_per_call *= 2
            due = self.run.checkpoint_is_due()
            if due and progress.step < end:
                self.run.checkpoint(to_arrays(self.model, self.optimizer), progress)
        bar.close()
        return progress.loss_sum / len(self.train_split.labels)

    def train_steps(self, batches: Iterator, count: tf.Tensor, loss_sum: tf.Tensor) -> tf.Tensor:
        """Take so many optimizer steps inside one graph; return loss_sum plus their losses.

        A loss counts as often as its batch has examples.
        """
        for _ in tf.range(count):
            images, labels = next(batches)  # (B, H, W, C) uint8, (B,) int64
            loss = self.train_step(images, labels)
            loss_sum += loss * tf.cast(tf.size(labels), tf.float32)
        return loss_sum

    @tf.autograph.experimental.do_not_convert  # It has no loop, and converting takes seconds.
    def train_step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Take one optimizer step; return the loss."""
        step = tf.cast(self.optimizer.iterations, tf.int64)
        with tf.GradientTape() as tape:
            logits = self.model(images, seed=tf.stack([self.seed, step]))
            loss = net.loss(logits, labels, self.parameters.model.label_smoothing)
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take up the network and the optimizer of a checkpoint."""
        path = self.run.folder / self.run.last
        load_model(self.model, arrays, path)
        state = {f"optimizer.{variable.path}": variable for variable in self.optimizer.variables}
        found = {name: array for name, array in arrays.items() if name.startswith("optimizer.")}
        run_folder.check_fit(found, {name: each.shape for name, each in state.items()}, path)
        for name, variable in state.items():
            variable.assign(found[name])


def to_arrays(
    model: keras.Model, optimizer: keras.Optimizer | None = None
) -> dict[str, np.ndarray]:
    """Return the state of the network, and of the optimizer, as a checkpoint holds it."""
    variables = {f"model.{variable.path}": variable for variable in model.variables}
    if optimizer:
        variables |= {f"optimizer.{variable.path}": variable for variable in optimizer.variables}
    return {name: variable.numpy() for name, variable in variables.items()}


def train(run: run_folder.Run, device: str) -> None:
    """Train the experiment of a locked folder to its end; see Trainer for the arguments."""
    limit_threads(run.parameters, run.dataset)
    try:
        with tf.device(device):
            trainer = Trainer(run, device)
            progress = trainer.progress
            versions = {"tensorflow": tf.__version__, **utils.versions("keras", "numpy")}
            run.begin(progress, framework="tensorflow", device=describe(device), versions=versions)
            weights = sum(math.prod(each.shape) for each in trainer.model.trainable_variables)
            run.announce(
                progress,
                trainer.total_steps,
                f"{trainer.steps_per_epoch:,} steps an epoch",
                f"{weights:,} weights",
                f"{describe(device)}, {trainer.policy}",
            )
            trainer.train_and_evaluate()
            run.finish(progress)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        size = run.parameters.data.batch_size
        raise utils.ResourceError(
            f"{run.folder}: out of memory with data.batch_size {size}. Start a new experiment: "
            f"--experiment experiments/NEW --from {run.folder} "
            f"--data.batch_size {max(size // 2, 1)}"
        ) from None


def describe(device: str) -> str:
    """Return the name of a device, such as "cpu, 2 threads"."""
    if device == "gpu":
        gpu = tf.config.list_physical_devices("GPU")[0]
        return f"gpu, {tf.config.experimental.get_device_details(gpu).get('device_name', gpu.name)}"
    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}"


def main(arguments: argparse.Namespace, parameters: Parameters, stop: utils.StopRequest) -> None:
    """Train the experiment that the command line names."""
    device = choose_device(arguments.device)
    dataset = open_dataset(arguments.data)
    run_folder.log_to_terminal()
    with run_folder.Run(
        arguments.experiment, parameters, dataset, arguments.data, stop, arguments.overwrite
    ) as run:
        train(run, device)


if __name__ == "__main__":
    with utils.exit_codes():
        main(arguments, parameters, stop)
