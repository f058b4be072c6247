"""Train one experiment: a folder with a params.yaml.

    python train.py                                           # trains experiments/baseline
    python train.py --experiment experiments/wide --from experiments/baseline --model.width 64

The second line starts a new experiment from an old one, with changes. A run that was stopped or
killed continues when the same command is given again, and ends in the same weights, bit for bit.

Written to the experiment's folder: last, previous and best.safetensors, metrics.jsonl,
learning_curves.png, train.log, run.json and tensorboard/.
"""

import functools
import time
from collections.abc import Iterator
from typing import Any

from machinery import command_line
from parameters import Parameters

command = command_line.training(__name__, __doc__, Parameters)  # Answers --help and bad input.

from framework.quiet import import_tensorflow

import_tensorflow()

import keras
import tensorflow as tf

import backend
from build_dataset import Dataset, open_dataset
from evaluate import evaluate, make_evaluation_step
from framework.pretrained import at_own_rates
from framework.processes import join
from framework.weight_average import WeightAverage, averaged
from machinery.epoch import Epoch
from machinery.memory import refuse_what_is_for_the_plain_loop
from machinery.run import Run
from machinery.sampling import fold_seed
from machinery.share import share_among_devices
from model import net
from model.data_loader import Batch, load_split, training_batches
from model.report import Evaluation, objective

# A call of the graph takes more and more steps, until it takes so long. 0: one step per call.
SECONDS_PER_CALL = 0.1


def train(run: Run) -> None:
    """Train the experiment of a locked folder to its end, from a checkpoint if there is one.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
        StoppedError: on request, with everything saved.
        DivergedError: the loss is NaN or infinite; the last good checkpoint is kept.
    """
    parameters: Parameters = run.parameters
    dataset: Dataset = run.dataset
    training = parameters.training
    refuse_what_is_for_the_plain_loop(parameters)
    device = backend.choose_device(run.device)
    precision = backend.choose_precision(device, training.precision)
    backend.prepare(parameters, dataset, device)
    train_split = load_split(run.data, dataset, "train")
    val_split = load_split(run.data, dataset, "val")

    # Of several GPUs and processes, each computes its share.
    strategy = run.group.strategy if run.group else backend.choose_strategy(device)
    devices = strategy.num_replicas_in_sync // run.share.processes
    run.share = share_among_devices(parameters, dataset, devices, run.share)
    with strategy.scope():
        model = backend.make_model(parameters, dataset, precision)
        learning_rate = backend.make_schedule(training, run.steps_per_epoch)
        adamw = backend.taking_sums(keras.optimizers.AdamW)
        optimizer = at_own_rates(adamw, model, training.learning_rate)(
            learning_rate,
            weight_decay=training.weight_decay,
            global_clipnorm=training.clip_norm or None,
            epsilon=1e-8,
            name="optimizer",
        )
        optimizer = backend.scaling_loss(optimizer, precision)
        optimizer.build(model.trainable_variables)
        average = WeightAverage(model, training.average) if training.average else None
    state = backend.State(model, optimizer, average)
    run.begin(state, objective(dataset), backend.facts(model, device, precision))

    steps = TrainingSteps(model, optimizer, parameters, dataset, average, strategy)
    evaluation_step = make_evaluation_step(model, val_split, dataset)
    first, last = run.progress.step, run.total_steps
    batches = training_batches(train_split, parameters, first, last, strategy, run.share)
    for epoch in run.epochs():
        train_loss = train_epoch(epoch, batches, steps)
        with averaged(average):
            evaluation = run.gather(Evaluation(dataset), val_split.examples)
            metrics = evaluate(evaluation_step, val_split, evaluation, run.share)
        epoch.end(train_loss, metrics, float(learning_rate(epoch.last_step - 1)))
    run.finish()


def train_epoch(epoch: Epoch, batches: Iterator[Batch], steps: "TrainingSteps") -> float:
    """Train to the end of the epoch; return its mean loss."""
    loss_sum = epoch.loss_sum
    while epoch.steps_left:
        count, began = min(steps.per_call, epoch.steps_left), time.perf_counter()
        # As tensors: for each new Python number TensorFlow would compile the graph again.
        loss_sum = float(steps.take(batches, tf.constant(count), tf.constant(loss_sum)))
        whole = count == steps.per_call  # Not the rest of an epoch.
        slow = time.perf_counter() - began >= SECONDS_PER_CALL
        if whole and epoch.run.group:  # All processes take as many steps: the slowest decides.
            slow = epoch.run.group.largest(slow)
        if whole and not slow:
            steps.per_call *= 2
        epoch.advance(count)
        if epoch.look_is_due():
            epoch.look(loss_sum)
    return loss_sum / epoch.run.examples


class TrainingSteps:
    """Optimizer steps as one graph. A call takes several of them, as each call costs time.

    Args:
        model: the network.
        optimizer: of its trainable variables, built.
        parameters: of the experiment.
        dataset: what is learned.
        average: of the network's weights, if it is kept.
        strategy: under which these were made, if several devices share a batch.
    """

    def __init__(
        self,
        model: net.Net,
        optimizer: keras.Optimizer,
        parameters: Parameters,
        dataset: Dataset,
        average: WeightAverage | None = None,
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        self.strategy = strategy or tf.distribute.get_strategy()
        # In how many parts each device computes its share of a batch.
        devices = self.strategy.num_replicas_in_sync
        self.own_parts = max(parameters.training.accumulate // devices, 1)
        self.model, self.optimizer, self.average = model, optimizer, average
        self.parameters, self.dataset = parameters, dataset
        self.seed = fold_seed(parameters.seed)
        self.per_call = 1
        self.take = tf.function(self.take)
        if parameters.training.compile and devices == 1:
            self.step = tf.function(self.step, jit_compile=True)
        elif parameters.training.compile:  # What the devices add up is no part of it.
            self.differentiate = tf.function(self.differentiate, jit_compile=True)

    def take(self, batches: Iterator[Batch], count: tf.Tensor, loss_sum: tf.Tensor) -> tf.Tensor:
        """Take `count` steps; return loss_sum plus the losses of their examples."""
        for _ in tf.range(count):
            losses = self.strategy.run(self.step, next(batches))
            loss_sum += self.strategy.reduce("SUM", losses, axis=None)
        return loss_sum

    @tf.autograph.experimental.do_not_convert  # Its loop is unrolled; converting takes seconds.
    def step(self, inputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor]) -> tf.Tensor:
        """Take one optimizer step; return the sum of the losses of this device's examples."""
        parts, replica = self.own_parts, tf.distribute.get_replica_context()
        step = tf.cast(self.optimizer.iterations, tf.int64)
        number = tf.cast(replica.replica_id_in_sync_group, tf.int64)  # of this device, from 0
        first = parts * (step * replica.num_replicas_in_sync + number)
        (examples,) = backend.sum_over_devices([tf.shape(next(iter(targets.values())))[0]])
        gradients, loss_sum = [], 0.0
        for part, (batch, _) in enumerate(backend.split_batch((inputs, targets), parts)):
            # A part waits for the gradients of the one before, so that memory holds one at a time.
            with tf.control_dependencies([each for each in gradients if each is not None]):
                found, part_sum = self.differentiate(*batch, first + part, examples)
            gradients = backend.add_gradients(gradients, found) if part else found
            loss_sum += part_sum
        gradients = backend.sum_over_devices(gradients)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        backend.average_over_devices(self.model.non_trainable_variables)
        if self.average:
            self.average.update(self.optimizer.iterations - 1)
        return loss_sum

    def differentiate(
        self,
        inputs: dict[str, tf.Tensor],
        targets: dict[str, tf.Tensor],
        number: tf.Tensor,
        examples: tf.Tensor,
    ) -> tuple[list[Any], tf.Tensor]:
        """Return the gradients of a part of a batch, and the sum of the losses of its examples.

        Args:
            inputs: of the part.
            targets: of the part.
            number: of the part, counted from the start of the training: it seeds dropout.
            examples: in the whole batch, over which the gradients are the mean.
        """
        with tf.GradientTape() as tape:
            outputs = self.model(inputs, seed=tf.stack([self.seed, number]))
            losses = net.losses(outputs, targets, self.dataset, self.parameters.model)  # (B,)
            loss_sum = tf.reduce_sum(losses)
            loss = self.optimizer.scale_loss(loss_sum / tf.cast(examples, loss_sum.dtype))
        return tape.gradient(loss, self.model.trainable_variables), loss_sum


command.run(train, open_dataset, functools.partial(join, refuse_to_wait=command.refuse_to_wait))
