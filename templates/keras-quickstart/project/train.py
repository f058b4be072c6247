"""Train one experiment: a folder with a params.yaml.

    python train.py                                           # trains experiments/baseline
    python train.py --experiment experiments/wide --from experiments/baseline --model.width 64

The second line starts a new experiment from an old one, with changes. A run that was stopped or
killed continues when the same command is given again, and ends in the same weights, bit for bit.

Written to the experiment's folder: last, previous and best.safetensors, metrics.jsonl,
learning_curves.png, train.log, run.json and tensorboard/.
"""

from machinery import command_line
from parameters import Parameters

command = command_line.training(__name__, __doc__, Parameters)  # Answers --help and bad input.

import backend  # Before Keras, as it chooses Keras's backend.

# isort: split
import keras

from build_dataset import Dataset, open_dataset
from evaluate import evaluate
from framework import keras_file
from framework.pretrained import at_own_rates
from framework.run_callback import RunCallback
from framework.weight_average import averaging
from machinery.memory import refuse_what_is_for_the_plain_loop
from machinery.run import Run
from model import net
from model.data_loader import TrainingBatches, feed, load_split
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
    training = parameters.training
    refuse_what_is_for_the_plain_loop(parameters)
    backend.prepare(parameters, dataset)
    device = backend.choose_device(run.device)
    devices = backend.count_devices(device)  # On JAX, each computes its part of a batch.
    run.share = run.share._replace(devices=devices)
    batches = TrainingBatches(load_split(run.data, dataset, "train"), parameters, devices)
    val_split = load_split(run.data, dataset, "val")

    with backend.scope(device):
        model = backend.make_model(parameters, dataset, device, devices)
        schedule = backend.make_schedule(training, run.steps_per_epoch)
        adamw = at_own_rates(keras.optimizers.AdamW, model, training.learning_rate)
        optimizer = averaging(adamw, training.average)(
            backend.by_part(schedule, training.accumulate),
            weight_decay=training.weight_decay,
            global_clipnorm=training.clip_norm or None,
            gradient_accumulation_steps=training.accumulate if training.accumulate > 1 else None,
        )
        model.compile(
            optimizer,
            net.loss(dataset, parameters.model),
            # Without it, Keras on JAX would compute one operation at a time.
            jit_compile=training.compile or keras.backend.backend() == "jax",
            steps_per_execution=backend.STEPS_PER_EXECUTION,
        )
        run.outputs += (keras_file.NAME,)  # --overwrite replaces it, too.
        run.begin(backend.State(model), objective(dataset), backend.facts(model, device))

        def evaluate_epoch() -> dict[str, float]:
            with backend.averaged(model):
                return evaluate(model, val_split, Evaluation(dataset))

        callback = RunCallback(run, batches, schedule, evaluate_epoch)
        for epochs in callback.epochs_to_fit():
            model.fit(
                feed(batches),
                initial_epoch=epochs.start,
                epochs=epochs.stop,
                callbacks=[callback],
                shuffle=False,  # The batches are shuffled already.
                verbose=0,
            )
        keras_file.write_best(run, device)
    run.finish()


command.run(train, open_dataset)
