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
import time
from collections.abc import Callable
from pathlib import Path

import backend
import command_line
import run_folder
import utils
from parameters import Parameters, TrainingParameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before Keras is imported.
        command = command_line.parse_training(__doc__)
        stop = utils.StopRequest(command[0].max_minutes)
        backend.load()
backend.load()  # In a worker of the search too, which does not come by above.

import keras

from build_dataset import Dataset, open_dataset
from checkpoints import named, restore, save, to_arrays
from evaluate import choose_device, evaluate, make_model
from model import net, report
from model.data_loader import TrainingBatches, load_split

SEGMENT_STEPS = 100  # At most, of one call of fit: a run saves and stops between two calls.


def train(
    run: run_folder.Run,
    dataset: Dataset,
    data: Path,
    device: str,
    stop: utils.StopRequest,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> None:
    """Train the experiment of a locked folder to its end.

    Args:
        run: the experiment's folder, locked.
        dataset: what dataset.json says.
        data: the folder of the arrays.
        device: where to compute.
        stop: asks to save and stop.
        on_epoch: called with each row of metrics, once all is saved.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
        StoppedError: on request, with everything saved.
        DivergedError: the loss is NaN or infinite; the last good checkpoint is kept.
        ResourceError: out of memory.
    """
    parameters: Parameters = run.parameters
    training, batch_size = parameters.training, parameters.data.batch_size
    train_split, val_split = (load_split(data, dataset, name) for name in ("train", "val"))
    steps_per_epoch = math.ceil(len(train_split.images) / batch_size)
    with backend.scope(device), backend.out_of_memory(run.folder, batch_size):
        schedule = learning_rate(training, steps_per_epoch)
        model = compile_model(parameters, dataset, device, schedule)
        progress = restore(run, model)
        run.begin(progress, device=device, versions=backend.versions())
        run_folder.logger.info(
            f"{run.folder}: {'continuing at' if progress.step else 'starting,'} step "
            f"{progress.step:,} of {training.epochs * steps_per_epoch:,}; "
            f"{steps_per_epoch:,} steps an epoch; {model.count_params():,} weights; "
            f"Keras on {backend.name}, {device}, {model.compute_dtype}"
        )
        began, saved = time.monotonic() - progress.seconds, time.monotonic()
        while not progress.finished:
            epoch = progress.step // steps_per_epoch + 1
            batches = TrainingBatches(
                train_split,
                parameters.data,
                parameters.seed,
                first_step=progress.step,
                last_step=min(progress.step + SEGMENT_STEPS, epoch * steps_per_epoch),
            )
            fit_began = time.monotonic()
            # Unless told not to, fit shuffles the batches, by a generator of its own.
            loss = model.fit(batches, shuffle=False, verbose=0).history["loss"][0]  # Their mean.
            speed = batches.examples / (time.monotonic() - fit_began)
            check_finite(run, loss, batches.last_step)
            progress.step = batches.last_step
            progress.loss_sum += loss * batches.examples
            progress.seconds = time.monotonic() - began
            stopping = bool(stop)
            if progress.step == epoch * steps_per_epoch:
                metrics, _ = evaluate(model, val_split)
                check_finite(run, metrics["loss"], progress.step)
                row = {
                    "epoch": epoch,
                    "step": progress.step,
                    "train_loss": progress.loss_sum / len(train_split.images),
                    **{f"val_{name}": value for name, value in metrics.items()},
                    "learning_rate": float(schedule(progress.step - 1)),
                }
                end_epoch(run, model, progress, row, speed)
                if on_epoch:
                    on_epoch(row)
            elif stopping or time.monotonic() > saved + 60 * training.checkpoint_minutes:
                save(run, model, progress)
                saved = time.monotonic()
            if stopping and not progress.finished:
                raise stop.stopped(run.folder, progress.step)
        run.finish(progress, data)


def learning_rate(
    training: TrainingParameters, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then a cosine to zero (https://arxiv.org/abs/1608.03983, no restarts)."""
    warmup = training.warmup_epochs * steps_per_epoch
    return keras.optimizers.schedules.CosineDecay(
        training.learning_rate / (warmup + 1),
        decay_steps=max(training.epochs * steps_per_epoch - warmup, 1),
        warmup_target=training.learning_rate,
        warmup_steps=warmup,
    )


def compile_model(
    parameters: Parameters,
    dataset: Dataset,
    device: str,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
) -> keras.Model:
    """Return the network with its initial weights, its optimizer and its loss."""
    training = parameters.training
    model = make_model(parameters, dataset, device)
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm or None
    )
    # Keras on JAX without jit_compile would compute one operation at a time.
    jit_compile = training.compile or backend.name == "jax"
    model.compile(optimizer, net.loss(parameters.model.label_smoothing), jit_compile=jit_compile)
    return model


def end_epoch(
    run: run_folder.Run,
    model: keras.Model,
    progress: run_folder.Progress,
    row: dict[str, float],
    speed: float,
) -> None:
    """Keep the metrics of an epoch and its weights, and see whether training ends."""
    training = run.parameters.training
    progress.loss_sum = 0.0
    best = progress.best is None or report.score(row) > report.score(progress.best)
    progress.end_epoch(row, best, training.patience, last=row["epoch"] == training.epochs)
    run.append_metrics(row, progress)
    if best:
        run.save_best(to_arrays(named(model=model)), progress)
    save(run, model, progress)
    run.session["examples_per_second"] = round(speed)
    run_folder.logger.info(
        f"epoch {row['epoch']:3}/{training.epochs}  train loss {row['train_loss']:.4f}  "
        + "  ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in row.items() if k[:4] == "val_")
        + f"  {speed:,.0f} examples/s"
    )


def check_finite(run: run_folder.Run, loss: float, step: int) -> None:
    """Raise DivergedError where the loss is not a number any more."""
    if not math.isfinite(loss):
        raise utils.DivergedError(
            f"{run.folder}: the loss is {loss} at step {step:,}; the checkpoints are of before. "
            "Start a new experiment with --from and a lower training.learning_rate or "
            "training.clip_norm."
        )


def main(arguments: argparse.Namespace, parameters: Parameters, stop: utils.StopRequest) -> None:
    """Train the experiment that the command line names."""
    device = choose_device(arguments.device)
    dataset = open_dataset(arguments.data)
    run_folder.log_to_terminal()
    with run_folder.Run(
        arguments.experiment, parameters, dataset.fingerprint, arguments.overwrite
    ) as run:
        train(run, dataset, arguments.data, device, stop)


if __name__ == "__main__":
    with utils.exit_codes():
        main(*command, stop)
