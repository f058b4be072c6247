"""Train one experiment: a folder with a params.yaml.

    python train.py                                           # trains experiments/baseline
    python train.py --experiment experiments/wide --from experiments/baseline --model.width 64

The second line starts a new experiment from an old one, with changes. A run that was stopped or
killed continues when the same command is given again, and ends in the same weights, bit for bit.

Written to the experiment's folder: last, previous and best.safetensors, metrics.jsonl,
learning_curves.png, train.log, run.json and tensorboard/.
"""

from collections.abc import Iterator
from contextlib import closing

from machinery import command_line
from parameters import Parameters

command = command_line.training(__name__, __doc__, Parameters)  # Answers --help and bad input.

import torch

import backend
from build_dataset import Dataset, open_dataset
from evaluate import evaluate
from framework import sharding
from framework.batch_parts import BatchParts
from framework.pretrained import parameter_groups
from framework.processes import join
from framework.weight_average import WeightAverage
from machinery.epoch import Epoch
from machinery.run import Run
from model import net
from model.data_loader import Batch, load_split, training_batches
from model.report import Evaluation, objective


def train(run: Run) -> None:
    """Train the experiment of a locked folder to its end, from a checkpoint if there is one.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
        StoppedError: on request, with everything saved.
        DivergedError: the loss is NaN or infinite; the last good checkpoint is kept.
    """
    parameters: Parameters = run.parameters
    dataset: Dataset = run.dataset
    device = backend.choose_device(run.device)
    dtype = backend.choose_precision(device, parameters.training.precision)
    is_sharded = sharding.is_on(run, dtype)
    backend.prepare(parameters, dataset)
    train_split = load_split(run.data, dataset, "train", device)
    val_split = load_split(run.data, dataset, "val", device)

    training = parameters.training
    make_model = sharding.make_model if is_sharded else backend.make_model
    model = make_model(parameters, dataset, device)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, training.learning_rate),
        weight_decay=training.weight_decay,
        fused=True,
    )
    average = WeightAverage(model, training.average) if training.average else None
    scaler = backend.make_scaler(device, dtype)
    state = (
        sharding.ShardedState(run, model, optimizer)
        if is_sharded
        else backend.State(model, optimizer, average, scaler)
    )
    run.begin(state, objective(dataset), backend.facts(model, device, dtype))
    if training.compile:
        model.compile()

    parts = BatchParts(model, run)
    steps = (run.progress.step, run.total_steps)
    with closing(training_batches(train_split, parameters, *steps, device, run.share)) as batches:
        for epoch in run.epochs():
            train_loss, rate = train_epoch(
                epoch, batches, parts, optimizer, scaler, device, dtype, average
            )
            evaluated = average.model if average else model
            evaluation = run.gather(Evaluation(dataset), val_split.examples)
            metrics = evaluate(evaluated, val_split, evaluation, device, dtype, run.share)
            epoch.end(train_loss, metrics, rate)
    run.finish()


def train_epoch(
    epoch: Epoch,
    batches: Iterator[Batch],
    parts: BatchParts,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    device: torch.device,
    dtype: torch.dtype,
    average: WeightAverage | None = None,
) -> tuple[float, float]:
    """Train to the end of the epoch; return its mean loss and its last learning rate."""
    run, parameters, model = epoch.run, epoch.run.parameters, parts.model
    training = parameters.training
    learning_rate = backend.make_schedule(training, run.steps_per_epoch)
    # Summed on the device, as reading it at every step would make Python wait for the GPU.
    loss_sum = torch.tensor(epoch.loss_sum, device=device)
    model.train()
    for step in epoch.steps():
        batch = backend.to_device(next(batches), device)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * learning_rate(step)

        optimizer.zero_grad()
        for number, inputs, targets, examples in parts.split(batch, step):
            outputs = losses = None  # Frees the memory of the part before.
            with parts.fitting():  # If it does not, training.on_out_of_memory says what to do.
                backend.seed_step(parameters.seed, number, device)  # For dropout.
                with backend.autocast(device, dtype):
                    outputs = model(inputs)
                losses = net.losses(outputs, targets, run.dataset, parameters.model)  # (B,)
                scaler.scale(losses.sum() / examples).backward()  # Adds to the gradients.
                parts.loss = losses.detach().sum()
        loss_sum += parts.loss
        if training.clip_norm:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        if average:
            average.update(step)

        if epoch.look_is_due():
            epoch.look(loss_sum.item())
    return loss_sum.item() / run.examples, learning_rate(epoch.last_step - 1)


command.run(train, open_dataset, join)
