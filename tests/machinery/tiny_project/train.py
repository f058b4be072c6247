"""Train the tiny project's classifier, without any framework."""

from machinery import command_line
from parameters import Parameters

command = command_line.training(__name__, __doc__, Parameters)

import time

import numpy as np

from backend import State, choose_device
from build_dataset import open_dataset
from machinery.arrays import Examples
from machinery.epoch import Epoch
from machinery.run import Run
from machinery.sampling import BatchSampler, fold_seed
from machinery.shards.sharded import order_of
from model.report import objective

Split = dict[str, Examples]


def train(run: Run) -> None:
    """Train a run to its end."""
    device = choose_device(run.device)
    train_split, val = (run.dataset.read_split(run.data, name) for name in ("train", "val"))
    state = State(run.parameters.model, run.dataset.classes)
    facts = {"framework": "numpy", "device": device, "precision": "float64"}
    run.begin(state, objective(run.dataset), {**facts, "weights": state.weights.size})
    for epoch in run.epochs():
        loss_sum = train_epoch(epoch, run, state, train_split)
        rate = run.parameters.training.learning_rate
        epoch.end(loss_sum / run.examples, evaluate(state, val), rate)
    run.finish()


def train_epoch(epoch: Epoch, run: Run, state: State, split: Split) -> float:
    """Train what is left of an epoch; return the sum of the loss over its examples."""
    parameters, seed = run.parameters, run.parameters.seed
    sampler = BatchSampler(
        run.examples,
        parameters.data.batch_size,
        seed,
        epoch.first_step,
        epoch.last_step,
        order=order_of(split),
    )
    batches, loss_sum = iter(sampler), epoch.loss_sum
    for step in epoch.steps():
        _, rows = next(batches)
        noise = np.random.default_rng(fold_seed(seed, step)).normal(size=(len(rows), 2))
        points = split["points"].take(rows, axis=0) + parameters.data.noise * noise
        labels = split["labels"].take(rows, axis=0)
        loss_sum += train_step(state, points, labels, parameters.training)
        time.sleep(parameters.training.pause)
        if epoch.look_is_due():
            epoch.look(loss_sum)
    return loss_sum


def train_step(state: State, points: np.ndarray, labels: np.ndarray, training) -> float:
    """Change the weights; return the sum of the loss before that."""
    with np.errstate(all="ignore"):  # A run may diverge.
        features = state.features(points)
        logs = state.log_probabilities(features)
        gradient = np.exp(logs)
        gradient[np.arange(len(labels)), labels] -= 1
        state.velocity = training.momentum * state.velocity
        state.velocity -= training.learning_rate * features.T @ gradient / len(labels)
        state.weights = state.weights + state.velocity
    return float(-logs[np.arange(len(labels)), labels].sum())


def evaluate(state: State, split: Split) -> dict[str, float]:
    """Return the metrics of a split."""
    points, labels = (
        array.take(np.arange(len(array)), axis=0) for array in (split["points"], split["labels"])
    )
    with np.errstate(all="ignore"):
        logs = state.log_probabilities(state.features(points))
    loss = -logs[np.arange(len(logs)), labels].mean()
    return {"loss": float(loss), "accuracy": float((logs.argmax(1) == labels).mean())}


command.run(train, open_dataset)
