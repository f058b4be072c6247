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
from parameters import Parameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before PyTorch is imported.
        arguments, parameters = command_line.parse_training(__doc__)
        stop = utils.StopRequest(arguments.max_minutes)

import numpy as np
import torch
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
from model.data_loader import load_split, training_batches

CHECK_STEPS = 50  # Steps between looks at the loss: on a GPU each look waits for the device.


class Trainer:
    """The training of one experiment, from wherever its folder stands.

    Args:
        run: the experiment's folder, locked.
        device: where to compute.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
    """

    def __init__(self, run: run_folder.Run, device: torch.device) -> None:
        self.run, self.device = run, device
        dataset: Dataset = run.dataset
        self.parameters: Parameters = run.parameters
        training = self.parameters.training
        self.train_split = load_split(run.data, dataset, "train", device)
        self.val_split = load_split(run.data, dataset, "val", device)
        batch_size = self.parameters.data.batch_size
        self.steps_per_epoch = math.ceil(dataset.examples["train"] / batch_size)
        self.total_steps = training.epochs * self.steps_per_epoch
        limit_threads(self.parameters, dataset)
        self.dtype = choose_dtype(device, training.precision)
        if training.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # What cuBLAS asks for.
        torch.use_deterministic_algorithms(training.deterministic)
        torch.manual_seed(utils.fold_seed(self.parameters.seed))  # Initial weights.
        self.model = make_model(self.parameters, dataset, device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), weight_decay=training.weight_decay, fused=True
        )
        self.progress = run_folder.Progress()
        if checkpoint := run.load():
            arrays, self.progress = checkpoint
            self.restore(arrays)
        if training.compile:
            self.model.compile()

    def train_and_evaluate(self) -> None:
        """Train until the last epoch and evaluate on val after each.

        Raises:
            StoppedError: on request, with everything saved.
            DivergedError: the loss is NaN or infinite; the last good checkpoint is kept.
        """
        progress, epochs = self.progress, self.parameters.training.epochs
        batches = training_batches(
            self.train_split,
            self.parameters.data,
            self.parameters.seed,
            first_step=progress.step,
            last_step=self.total_steps,
            device=self.device,
        )
        while not progress.finished:
            started, first_step = time.monotonic(), progress.step
            train_loss, rate = self.train_epoch(batches)
            seconds = time.monotonic() - started
            metrics, _ = evaluate(self.model, self.val_split, self.device, self.dtype)
            epoch = progress.step // self.steps_per_epoch
            row = {"epoch": epoch, "step": progress.step, "train_loss": train_loss}
            row |= {f"val_{name}": value for name, value in metrics.items()}
            row |= {"learning_rate": rate}
            examples = (progress.step - first_step) * self.parameters.data.batch_size
            speed = min(examples, len(self.train_split.labels)) / seconds
            arrays = to_arrays(self.model, self.optimizer)
            self.run.end_epoch(row, progress, arrays, speed, last=epoch == epochs)

    def train_epoch(
        self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[float, float]:
        """Train to the end of the epoch; return its mean loss and its last learning rate."""
        progress = self.progress
        epoch = progress.step // self.steps_per_epoch
        end = (epoch + 1) * self.steps_per_epoch
        # Summed on the device: to read it at every step would make a GPU wait for Python.
        loss_sum = torch.tensor(progress.loss_sum, device=self.device)
        self.model.train()
        bar = tqdm(total=self.steps_per_epoch, desc=f"epoch {epoch + 1}", leave=False, disable=None)
        bar.update(progress.step % self.steps_per_epoch)
        while progress.step < end:
            images, labels = next(batches)  # (B, H, W, C) uint8, (B,) int64
            loss, rate = self.train_step(images, labels)
            loss_sum += loss * len(labels)
            progress.step += 1
            bar.update()
            due = self.run.checkpoint_is_due()
            if progress.step == end or progress.step % CHECK_STEPS == 0 or due:
                progress.loss_sum = loss_sum.item()
                self.run.check_loss(progress.loss_sum, progress.step)
            if due and progress.step < end:
                self.run.checkpoint(to_arrays(self.model, self.optimizer), progress)
        bar.close()
        return progress.loss_sum / len(self.train_split.labels), rate

    def train_step(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Take one optimizer step; return the loss, still on the device, and the learning rate."""
        training, step = self.parameters.training, self.progress.step
        rate = learning_rate(step, self.steps_per_epoch, training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        seed = utils.fold_seed(self.parameters.seed, step)  # For dropout.
        if self.device.type == "cpu":
            # torch.manual_seed also tells every kind of GPU there may be: 110 us instead of 1.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        # From pinned memory only: elsewhere (MPS) the source may be gone before it is copied.
        pinned = self.device.type == "cuda"
        images = images.to(self.device, non_blocking=pinned)
        labels = labels.to(self.device, non_blocking=pinned)
        with autocast(self.device, self.dtype):
            logits = self.model(images)
        loss = net.loss(logits, labels, self.parameters.model.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        if training.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.clip_norm)
        self.optimizer.step()
        return loss.detach(), rate

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take up the network and the optimizer of a checkpoint."""
        load_model(self.model, arrays, self.run.folder / self.run.last)
        restore_optimizer(self.optimizer, self.model, arrays)


def train(run: run_folder.Run, device: torch.device) -> None:
    """Train the experiment of a locked folder to its end; see Trainer for the arguments."""
    with out_of_memory(run.folder, run.parameters.data.batch_size):
        trainer = Trainer(run, device)
        progress = trainer.progress
        versions = utils.versions("torch", "numpy")
        run.begin(progress, framework="torch", device=describe(device), versions=versions)
        run.announce(
            progress,
            trainer.total_steps,
            f"{trainer.steps_per_epoch:,} steps an epoch",
            f"{sum(p.numel() for p in trainer.model.parameters()):,} weights",
            f"{describe(device)}, {trainer.dtype}",
        )
        trainer.train_and_evaluate()
        run.finish(progress)


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
