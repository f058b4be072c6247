"""Train one experiment: a folder with a params.yaml.

    python train.py                                           # trains experiments/baseline
    python train.py --experiment experiments/wide --from experiments/baseline --model.width 64

The second line starts a new experiment from an old one, with changes. A run that was stopped or
killed continues when the same command is given again, and ends in the same weights, bit for bit.

Written to the experiment's folder: last, previous and best.safetensors, metrics.jsonl,
learning_curves.png, train.log, run.json and tensorboard/.
"""

import argparse
import itertools
import logging
import math
import signal
import time
import warnings
from collections.abc import Iterator
from typing import Any, cast

import command_line
import run_folder
import utils
from parameters import Parameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before PyTorch is imported.
        arguments, parameters = command_line.parse_training(__doc__)
        stop = utils.StopRequest(arguments.max_minutes)

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.plugins.environments import LightningEnvironment
from tqdm import tqdm

from backend import (
    autocast,
    choose_device,
    choose_dtype,
    describe,
    learning_rate,
    limit_threads,
    load_model,
    make_model,
    out_of_memory,
    restore_optimizer,
    to_arrays,
)
from build_dataset import Dataset, open_dataset
from evaluate import evaluate
from model import net
from model.data_loader import Split, load_split, training_batches

CHECK_STEPS = 50  # Steps between looks at the loss: on a GPU each look waits for the device.


class Learner(pl.LightningModule):
    """The network and how it learns, from wherever its experiment stands.

    Count by `progress.step`: batch_idx and what the Trainer counts begin anew in each process.

    Args:
        run: the experiment's folder, locked.
        device: where to compute.

    Raises:
        InputError: the checkpoint cannot be used; nothing was written.
    """

    def __init__(self, run: run_folder.Run, device: torch.device) -> None:
        super().__init__()
        dataset: Dataset = run.dataset
        self.automatic_optimization = False  # Its hooks take 0.15 ms a step.
        self.settings: Parameters = run.parameters  # A Module's `parameters` are its weights.
        training = self.settings.training
        self.examples = dataset.examples["train"]
        self.steps_per_epoch = math.ceil(self.examples / self.settings.data.batch_size)
        self.total_steps = training.epochs * self.steps_per_epoch
        self.compute_dtype = choose_dtype(device, training.precision)
        torch.manual_seed(utils.fold_seed(self.settings.seed))  # Initial weights.
        self.network = make_model(self.settings, dataset, device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), weight_decay=training.weight_decay, fused=True
        )
        self.progress = run_folder.Progress()
        if checkpoint := run.load():
            arrays, self.progress = checkpoint
            load_model(self.network, arrays, run.folder / run.last)
            restore_optimizer(self.optimizer, self.network, arrays)
        if training.compile:
            self.network.compile()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def on_train_epoch_start(self) -> None:
        self.train()  # The evaluation of the epoch before left it in the other mode.
        # Summed on the device: to read it at every step would make a GPU wait for Python.
        self.loss_sum = torch.tensor(self.progress.loss_sum, device=self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set what depends on the step: the learning rate, and the seed for dropout."""
        step = self.progress.step
        self.rate = learning_rate(step, self.steps_per_epoch, self.settings.training)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        seed = utils.fold_seed(self.settings.seed, step)
        if self.device.type == "cpu":
            # 1 us; torch.manual_seed also keeps the seed for every kind of GPU, in 110 us.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Take one optimizer step on images (B, H, W, C) uint8 and labels (B,) int64."""
        images, labels = batch
        training = self.settings.training
        # Trainer(precision=...) would put all of this method under autocast: backward as well.
        with autocast(self.device, self.compute_dtype):
            logits = self.network(images)
        loss = net.loss(logits, labels, self.settings.model.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        if training.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), training.clip_norm)
        # Lightning's wrapper of self.optimizer, by which the Trainer counts the steps.
        cast(LightningOptimizer, self.optimizers()).step()
        self.loss_sum += loss.detach() * len(labels)


class Bookkeeper(pl.Callback):
    """Keeps the run's folder while Lightning trains: checkpoints, metrics, log.

    Args:
        run: the experiment's folder, begun.
        learner: what is trained.
        val_split: what to evaluate on after each epoch.

    Raises:
        StoppedError: out of Trainer.fit, on request, with everything saved.
        DivergedError: likewise; the loss is NaN or infinite, the last good checkpoint is kept.
    """

    def __init__(self, run: run_folder.Run, learner: Learner, val_split: Split) -> None:
        self.run, self.learner, self.progress = run, learner, learner.progress
        self.val_split = val_split
        self.on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning has put its own handler there, which may end the process without a checkpoint.
        signal.signal(signal.SIGTERM, self.on_sigterm)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, done = divmod(self.progress.step, self.learner.steps_per_epoch)
        self.bar = tqdm(
            total=self.learner.steps_per_epoch,
            desc=f"epoch {epoch + 1}",
            initial=done,
            leave=False,
            disable=None,
        )
        self.epoch_started, self.first_step = time.monotonic(), self.progress.step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the step; look at the loss, save and stop where it is time."""
        progress = self.progress
        progress.step += 1
        self.bar.update()
        ended = progress.step % self.learner.steps_per_epoch == 0
        due = self.run.checkpoint_is_due()
        if ended or progress.step % CHECK_STEPS == 0 or due:
            progress.loss_sum = self.learner.loss_sum.item()
            self.run.check_loss(progress.loss_sum, progress.step)
        if due and not ended:
            self.run.checkpoint(to_arrays(self.learner.network, self.learner.optimizer), progress)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate, keep the metrics and the weights of the epoch, and see whether to go on."""
        self.bar.close()
        progress, learner = self.progress, self.learner
        seconds = time.monotonic() - self.epoch_started
        dtype = learner.compute_dtype
        metrics, _ = evaluate(learner.network, self.val_split, learner.device, dtype)
        epoch = progress.step // learner.steps_per_epoch
        train_loss = progress.loss_sum / learner.examples
        row = {"epoch": epoch, "step": progress.step, "train_loss": train_loss}
        row |= {f"val_{name}": value for name, value in metrics.items()}
        row |= {"learning_rate": learner.rate}
        examples = (progress.step - self.first_step) * learner.settings.data.batch_size
        speed = min(examples, learner.examples) / seconds
        arrays = to_arrays(learner.network, learner.optimizer)
        self.run.end_epoch(row, progress, arrays, speed, last=progress.step == learner.total_steps)
        trainer.should_stop = progress.finished


class Epochs:
    """The batches of all steps to go, an epoch at each iteration; the first may be a part of one.

    It has no length, from which Lightning would conclude that all epochs are as long.
    """

    def __init__(self, split: Split, learner: Learner, device: torch.device) -> None:
        self.learner = learner
        settings, first_step = learner.settings, learner.progress.step
        self.batches = training_batches(
            split, settings.data, settings.seed, first_step, learner.total_steps, device
        )

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        steps = self.learner.steps_per_epoch
        return itertools.islice(self.batches, steps - self.learner.progress.step % steps)


def train(run: run_folder.Run, device: torch.device) -> None:
    """Train the experiment of a locked folder to its end.

    Args:
        run: the experiment's folder.
        device: where to compute.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
        ResourceError: out of memory.
        StoppedError, DivergedError: see Bookkeeper.
    """
    with out_of_memory(run.folder, run.parameters.data.batch_size):
        train_split = load_split(run.data, run.dataset, "train", device)
        val_split = load_split(run.data, run.dataset, "val", device)
        limit_threads(run.parameters, run.dataset)
        learner = Learner(run, device)
        progress = learner.progress
        versions = utils.versions("torch", "pytorch-lightning", "numpy")
        run.begin(progress, framework="lightning", device=describe(device), versions=versions)
        run.announce(
            progress,
            learner.total_steps,
            f"{learner.steps_per_epoch:,} steps an epoch",
            f"{sum(p.numel() for p in learner.network.parameters()):,} weights",
            f"{describe(device)}, {learner.compute_dtype}",
        )
        if not progress.finished:
            bookkeeper = Bookkeeper(run, learner, val_split)
            trainer = make_trainer(learner, device, bookkeeper)
            trainer.fit(learner, Epochs(train_split, learner, device))
        run.finish(progress)


def make_trainer(learner: Learner, device: torch.device, callback: pl.Callback) -> pl.Trainer:
    """Return Lightning's Trainer for the epochs to go, without what the run folder does."""
    # Of itself Lightning says more than of the training, and PyTorch says what of it is outdated.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module="pytorch_lightning")
    warnings.filterwarnings("ignore", "GPU available but not used")
    training = learner.settings.training
    return pl.Trainer(
        accelerator=device.type,
        devices=1,
        max_epochs=training.epochs - learner.progress.step // learner.steps_per_epoch,
        deterministic=training.deterministic,
        callbacks=[callback],  # Yours go here, too; metrics are in metrics.jsonl, not self.log.
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=LightningEnvironment(),  # Else it would answer SLURM's signals in its own way.
    )


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
