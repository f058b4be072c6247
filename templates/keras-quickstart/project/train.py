"""Train one experiment: a folder with a params.yaml.

    python train.py                                           # trains experiments/baseline
    python train.py --experiment experiments/wide --from experiments/baseline --model.width 64

The second line starts a new experiment from an old one, with changes. A run that was stopped or
killed continues when the same command is given again, and ends in the same weights, bit for bit.

Written to the experiment's folder: last, previous and best.safetensors, metrics.jsonl,
learning_curves.png, train.log, run.json and tensorboard/.
"""

import argparse

import backend
import command_line
import run_folder
import utils
from parameters import Parameters

if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before Keras is imported.
        arguments, parameters = command_line.parse_training(__doc__)
        stop = utils.StopRequest(arguments.max_minutes)
        backend.load()
backend.load()  # In a worker of the search too, which does not come by above.

import keras

from bookkeeping import Bookkeeper
from build_dataset import open_dataset
from evaluate import choose_device, make_model
from model import net
from model.data_loader import TrainingBatches, load_split


def train(run: run_folder.Run, device: str) -> None:
    """Train the experiment of a locked folder to its end; raise as Bookkeeper, or ResourceError."""
    parameters: Parameters = run.parameters
    split = load_split(run.data, run.dataset, "train")
    batches = TrainingBatches(split, parameters.data, parameters.seed)
    with backend.scope(device), backend.out_of_memory(run.folder, parameters.data.batch_size):
        model = make_model(parameters, run.dataset, device)
        schedule = compile_model(model, parameters, batches.steps_per_epoch)
        keeper = Bookkeeper(run, model, schedule, batches)
        keeper.begin(device)
        for epochs in keeper.epochs_to_go():  # Once; or twice, after a stop within an epoch.
            model.fit(
                backend.feed(batches),  # As the backend reads them fastest.
                initial_epoch=epochs.start,
                epochs=epochs.stop,
                callbacks=[keeper],
                shuffle=False,  # The batches come in an order of their own.
                verbose=0,
            )
        run.finish(keeper.progress)


def compile_model(
    model: keras.Model, parameters: Parameters, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Give the network its optimizer and its loss; return the schedule of the learning rate.

    Linear warm-up, then a cosine to zero (https://arxiv.org/abs/1608.03983, no restarts).
    """
    training = parameters.training
    warmup_steps = training.warmup_epochs * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        training.learning_rate / (warmup_steps + 1),
        decay_steps=max(training.epochs * steps_per_epoch - warmup_steps, 1),
        warmup_target=training.learning_rate,
        warmup_steps=warmup_steps,
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm or None
    )
    model.compile(
        optimizer,
        net.loss(parameters.model.label_smoothing),  # net.metrics are taken after each epoch.
        # Keras on JAX without jit_compile would compute one operation at a time.
        jit_compile=training.compile or backend.name == "jax",
        steps_per_execution=backend.STEPS_PER_EXECUTION,
    )
    return schedule


def main(arguments: argparse.Namespace, parameters: Parameters, stop: utils.StopRequest) -> None:
    """Train the experiment that the command line names."""
    if parameters.training.deterministic:
        backend.be_deterministic()  # Before JAX looks for devices: it reads its flags only then.
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
