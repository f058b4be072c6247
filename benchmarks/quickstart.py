"""Examples per second of keras-quickstart's training, beside a loop by hand and stock Keras.

    python benchmarks/quickstart.py                  # every backend and task
    python benchmarks/quickstart.py --backend jax --task text-classification

Measured as in training.py and on the same data, in processor time on one thread. All loops train
the network of the rendered project with its AdamW, schedule, clipping and losses, in its precision.

A round is four epochs, or what --epochs says. Only training is timed, not evaluation, checkpoints
and metrics.

- project: one fit with the project's callback, as train.py calls it, as it comes.
- unaugmented: the same without random changes of the examples.
- bare: a training step over arrays in memory, indexed by a random permutation; examples of
  different lengths are padded once before, as in training.py. For TensorFlow it is a tf.function,
  for JAX a jitted function of the stateless calls, for PyTorch eager, with Keras' optimizer;
  "torch.optim" is the same with PyTorch's own fused AdamW and clipping, in its place.
- bfloat16, with images to classify on JAX: the project told to compute in it.
- stock, with images to classify: compile and fit on two arrays, as tutorials do: float32 images
  that are normalised already, without the normalisation in the network, and otherwise as fit comes,
  without a progress bar; in the project's precision and, as it comes, in float32.
"""

import argparse
import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common import (
    add_measuring_options,
    begin_run,
    import_project,
    in_own_process,
    machine,
    make_parameters,
    print_speeds,
    random_batches,
    read_arrays,
    render,
    take_turns,
    timed,
    write_data,
)

PACKAGES = {"tensorflow": "tensorflow-cpu", "jax": "jax", "torch": "torch"}  # As pip calls them.


class Setting:
    """What all loops train and on what: the network is made anew for each."""

    def __init__(self, data: Path, dataset: Any, parameters: Any, epochs: int) -> None:
        self.data, self.dataset, self.parameters = data, dataset, parameters
        self.epochs = epochs  # in a round
        self.parts = read_arrays(data, dataset)  # inputs and targets
        self.generator = np.random.default_rng(0)
        self.steps = -(-dataset.examples["train"] // parameters.data.batch_size)

    def compiled(self, **changes: Any) -> tuple[Any, Any]:
        """Return the project's network as train.py compiles it, and its learning rates.

        Args:
            changes: of the parameters of the training.
        """
        train = importlib.import_module("train")
        import keras

        training = self.parameters.training.model_copy(update=changes)
        parameters = self.parameters.model_copy(update={"training": training})
        model = train.backend.make_model(parameters, self.dataset, "cpu")
        schedule = train.backend.make_schedule(training, self.steps)
        model.compile(
            keras.optimizers.AdamW(
                schedule, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm
            ),
            train.net.loss(self.dataset, parameters.model),
            jit_compile=keras.backend.backend() == "jax",
            steps_per_execution=train.backend.STEPS_PER_EXECUTION,
        )
        return model, schedule

    def batches(self) -> Any:
        """Return the inputs and targets of every step of an epoch, in a random order."""
        return random_batches(self.parts, self.generator, self.steps)


def loss_function(setting: Setting) -> Callable[[Any, Any], Any]:
    """Return the mean loss of a batch as a function of targets and outputs."""
    losses = importlib.import_module("model.net").losses
    dataset, parameters = setting.dataset, setting.parameters.model
    import keras

    return lambda targets, outputs: keras.ops.mean(losses(outputs, targets, dataset, parameters))


def project_loop(setting: Setting, **changes: Any) -> Callable[[], None]:
    """Return a function that trains more epochs as train.py does, with changed parameters."""
    train = importlib.import_module("train")
    data, dataset, parameters = setting.data, setting.dataset, setting.parameters

    class TrainingOnly(train.RunCallback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.run.progress.loss_sum = 0.0  # As it is where an epoch is kept.

    model, schedule = setting.compiled(**changes)
    run = begin_run(Path(tempfile.mkdtemp(dir=data)), parameters, dataset, data)
    facts = train.backend.facts(model, "cpu")
    run.begin(train.backend.State(model), train.objective(dataset), facts)
    batches = train.TrainingBatches(train.load_split(data, dataset, "train"), parameters)
    callback = TrainingOnly(run, batches, schedule, dict)

    def fit() -> None:
        epoch = run.progress.step // setting.steps
        batches.start(run.progress.step)
        model.fit(
            train.backend.feed(batches),
            initial_epoch=epoch,
            epochs=epoch + setting.epochs,
            callbacks=[callback],
            shuffle=False,
            verbose=0,
        )

    return fit


def stock_loop(setting: Setting, **changes: Any) -> Callable[[], None]:
    """Return a function that trains epochs by fit on arrays, with changed parameters."""
    import keras

    (model, _), dataset = setting.compiled(**changes), setting.dataset
    # Without the first two layers, the input and the normalisation.
    stock = keras.Sequential([keras.Input(dataset.image_shape), *model.layers[2:]])
    smoothing = setting.parameters.model.label_smoothing
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    stock.compile(model.optimizer, loss)
    images, labels = setting.parts[0]["images"], setting.parts[1]["labels"]
    images = (images - np.float32(dataset.mean)) / np.float32(dataset.std)
    targets = keras.utils.to_categorical(labels, len(dataset.classes))
    options = {"batch_size": setting.parameters.data.batch_size, "epochs": setting.epochs}
    return lambda: stock.fit(images, targets, **options, verbose=0)


def several(epoch: Callable[[], None], epochs: int) -> Callable[[], None]:
    """Return a function that trains as many epochs as the others do in a round."""

    def repeat() -> None:
        for _ in range(epochs):
            epoch()

    return repeat


def bare_tensorflow(setting: Setting) -> Callable[[], None]:
    """Return a function that trains one epoch by a tf.function."""
    import tensorflow as tf

    (model, _), loss_of = setting.compiled(), loss_function(setting)
    model.optimizer.build(model.trainable_variables)

    @tf.function
    def step(inputs: Any, targets: Any) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(targets, model(inputs, training=True))
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def epoch() -> None:
        loss = 0.0
        for batch in setting.batches():
            loss = step(*tf.nest.map_structure(tf.convert_to_tensor, batch))
        float(loss)

    return epoch


def bare_jax(setting: Setting) -> Callable[[], None]:
    """Return a function that trains one epoch by a jitted step without state."""
    import jax

    (model, _), mean_loss = setting.compiled(), loss_function(setting)
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    owners = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = tuple([variable.value for variable in owner] for owner in owners)

    def loss_of(trainable: Any, fixed: Any, inputs: Any, targets: Any) -> Any:
        outputs, fixed = model.stateless_call(trainable, fixed, inputs, training=True)
        return mean_loss(targets, outputs), fixed

    @jax.jit
    def step(state: Any, inputs: Any, targets: Any) -> Any:
        trainable, fixed, moments = state
        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, fixed), gradients = gradient_of(trainable, fixed, inputs, targets)
        trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
        return (trainable, fixed, moments), loss

    def epoch() -> None:
        nonlocal state
        for inputs, targets in setting.batches():
            state, _ = step(state, inputs, targets)
        jax.block_until_ready(state)

    return epoch


def bare_torch(setting: Setting, native: bool = False) -> Callable[[], None]:
    """Return a function that trains one epoch by an eager loop; `native`: with torch.optim."""
    import keras
    import torch

    (model, _), training = setting.compiled(), setting.parameters.training
    loss_of = loss_function(setting)
    variables = model.trainable_variables
    model.optimizer.build(variables)
    optimizer = torch.optim.AdamW(
        model.parameters(), training.learning_rate, weight_decay=training.weight_decay, fused=True
    )

    def epoch() -> None:
        for batch in setting.batches():
            inputs, targets = keras.tree.map_structure(torch.from_numpy, batch)
            loss = loss_of(targets, model(inputs, training=True))
            model.zero_grad()
            loss.backward()
            if native:
                torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
                optimizer.step()
            else:
                with torch.no_grad():
                    model.optimizer.apply([variable.value.grad for variable in variables])

    return epoch


BARE = {"tensorflow": bare_tensorflow, "jax": bare_jax, "torch": bare_torch}


def measure(
    data: Path, dataset: Any, batch: int, backend: str, rounds: int, epochs: int
) -> dict[str, list[float]]:
    """Return the examples per second of each loop in each round."""
    sections = {"data": {"batch_size": batch}, "training": {"epochs": epochs * (rounds + 1)}}
    setting = Setting(data, dataset, make_parameters(sections), epochs)
    unaugmented = Setting(data, dataset, make_parameters(sections, augmented=False), epochs)
    loops = {"project": project_loop(setting)}
    if unaugmented.parameters != setting.parameters:
        loops["unaugmented"] = project_loop(unaugmented)
    loops["bare"] = several(BARE[backend](setting), epochs)
    loops["bare again"] = several(BARE[backend](setting), epochs)
    if dataset.task == "image-classification":
        loops["stock"] = stock_loop(setting)
        loops["stock, float32"] = stock_loop(setting, precision="float32")
        if backend == "jax":  # What train.py does not choose there.
            loops["bfloat16"] = project_loop(setting, precision="bfloat16")
    if backend == "torch":
        loops["torch.optim"] = several(bare_torch(setting, native=True), epochs)
    count = epochs * dataset.examples["train"]
    return take_turns({name: timed(loop, count) for name, loop in loops.items()}, rounds)


def measure_task(backend: str, task: str, images: str, rounds: int, epochs: int) -> None:
    """Measure a task on one backend and print two tables; `images`: see find_cases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = render(folder / "project", "keras-quickstart", backend=backend, task=task)
        import_project(project)
        importlib.import_module("backend")  # Imports Keras, without TensorFlow's messages.
        results = {
            kind: measure(data, dataset, batch, backend, rounds, epochs)
            for kind, data, dataset, batch in write_data(folder, task, images)
        }
    pairs = [(name, "bare") for name in ("project", "unaugmented", "bare again")]
    pairs += [("project", "stock"), ("project", "stock, float32")]
    pairs += [("bfloat16", "project"), ("project", "torch.optim")]
    print(f"\n{machine('keras', PACKAGES[backend])}; Keras on {backend}; threads: 1")
    print_speeds(results, pairs)


def main() -> None:
    """Measure one backend or all, each task in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=list(BARE), help="only this one")
    parser.add_argument("--epochs", type=int, default=4, help="epochs in a round [4]")
    add_measuring_options(parser)
    arguments = parser.parse_args()
    # Read when the backend is imported; TensorFlow would run independent operations side by side.
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    os.environ.pop("KERAS_BACKEND", None)
    for backend in [arguments.backend] if arguments.backend else BARE:
        for task in arguments.task:
            in_own_process(
                measure_task,
                *(backend, task, arguments.images, arguments.rounds, arguments.epochs),
            )


if __name__ == "__main__":
    main()
