"""Examples per second of keras-quickstart's training, beside a loop by hand and stock Keras.

    python benchmarks/quickstart.py                  # every backend, each in a process of its own
    python benchmarks/quickstart.py --backend jax

Measured as in training.py, in processor time on one thread. All loops train the network of the
rendered project with its AdamW, schedule, clipping and label smoothing, in its precision.

A round is four epochs; only training is timed, not evaluation, checkpoints and metrics.

- project: one fit with the project's callback, as train.py calls it; once as it comes, with random
  shifts, and once without.
- bare: a training step over images in memory, indexed by a random permutation: for TensorFlow a
  tf.function, for JAX a jitted function of the stateless calls, for PyTorch eager, with Keras'
  optimizer; "torch.optim" is the same with PyTorch's own fused AdamW and clipping, in its place.
- stock: compile and fit on two arrays, as tutorials do: float32 images that are normalised already,
  without the normalisation in the network, and otherwise as fit comes, without a progress bar; in
  the project's precision and, as it comes, in float32.
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
    find_cases,
    import_project,
    in_own_process,
    machine,
    name_of,
    print_speeds,
    read_images,
    render,
    take_turns,
    timed,
    write_images,
)

EPOCHS = 4  # A round: one fit.
PACKAGES = {"tensorflow": "tensorflow-cpu", "jax": "jax", "torch": "torch"}  # As pip calls them.


class Setting:
    """What all loops train and on what: the network is made anew for each."""

    def __init__(self, data: Path, dataset: Any, parameters: Any) -> None:
        self.data, self.dataset, self.parameters = data, dataset, parameters
        self.images, self.labels = read_images(data, dataset)
        self.generator = np.random.default_rng(0)
        self.steps = -(-len(self.images) // parameters.data.batch_size)

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
        """Yield the images and labels of an epoch in a random order."""
        rows = self.generator.permutation(len(self.images))
        for batch in np.array_split(rows, self.steps):
            yield self.images[batch], self.labels[batch]


def loss_function(setting: Setting) -> Callable[[Any, Any], Any]:
    """Return the mean loss of a batch as a function of labels and outputs."""
    losses = importlib.import_module("model.net").losses
    dataset, parameters = setting.dataset, setting.parameters.model
    import keras

    return lambda labels, outputs: keras.ops.mean(
        losses(outputs, {"labels": labels}, dataset, parameters)
    )


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
            epochs=epoch + EPOCHS,
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
    images = (setting.images - np.float32(dataset.mean)) / np.float32(dataset.std)
    targets = keras.utils.to_categorical(setting.labels, len(dataset.classes))
    batch_size = setting.parameters.data.batch_size
    return lambda: stock.fit(images, targets, batch_size=batch_size, epochs=EPOCHS, verbose=0)


def several(epoch: Callable[[], None]) -> Callable[[], None]:
    """Return a function that trains as many epochs as the others do in a round."""

    def epochs() -> None:
        for _ in range(EPOCHS):
            epoch()

    return epochs


def bare_tensorflow(setting: Setting) -> Callable[[], None]:
    """Return a function that trains one epoch by a tf.function."""
    import tensorflow as tf

    (model, _), loss_of = setting.compiled(), loss_function(setting)
    model.optimizer.build(model.trainable_variables)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model({"images": images}, training=True))
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def epoch() -> None:
        loss = 0.0
        for images, labels in setting.batches():
            loss = step(tf.convert_to_tensor(images), tf.convert_to_tensor(labels))
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

    def loss_of(trainable: Any, fixed: Any, images: Any, labels: Any) -> Any:
        inputs = {"images": images}
        outputs, fixed = model.stateless_call(trainable, fixed, inputs, training=True)
        return mean_loss(labels, outputs), fixed

    @jax.jit
    def step(state: Any, images: Any, labels: Any) -> Any:
        trainable, fixed, moments = state
        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, fixed), gradients = gradient_of(trainable, fixed, images, labels)
        trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
        return (trainable, fixed, moments), loss

    def epoch() -> None:
        nonlocal state
        for images, labels in setting.batches():
            state, _ = step(state, images, labels)
        jax.block_until_ready(state)

    return epoch


def bare_torch(setting: Setting, native: bool = False) -> Callable[[], None]:
    """Return a function that trains one epoch by an eager loop; `native`: with torch.optim."""
    import torch

    (model, _), training = setting.compiled(), setting.parameters.training
    loss_of = loss_function(setting)
    variables = model.trainable_variables
    model.optimizer.build(variables)
    optimizer = torch.optim.AdamW(
        model.parameters(), training.learning_rate, weight_decay=training.weight_decay, fused=True
    )

    def epoch() -> None:
        for images, labels in setting.batches():
            outputs = model({"images": torch.from_numpy(images)}, training=True)
            loss = loss_of(torch.from_numpy(labels), outputs)
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
    folder: Path, backend: str, case: tuple[int, int, int, int], rounds: int
) -> dict[str, list[float]]:
    """Return the examples per second of each loop in each round."""
    side, channels, batch, count = case
    data = folder / f"{side}x{side} {batch}"
    dataset = write_images(data, side, channels, count)
    schema = importlib.import_module("parameters").Parameters
    values = {"data": {"batch_size": batch}, "training": {"epochs": EPOCHS * (rounds + 1)}}
    setting = Setting(data, dataset, schema.model_validate(values))
    values["data"]["shift"] = 0
    loops = {
        "project": project_loop(setting),
        "without shift": project_loop(Setting(data, dataset, schema.model_validate(values))),
        "bare": several(BARE[backend](setting)),
        "bare again": several(BARE[backend](setting)),
        "stock": stock_loop(setting),
        "stock, float32": stock_loop(setting, precision="float32"),
    }
    if backend == "jax":  # What train.py does not choose there.
        loops["bfloat16"] = project_loop(setting, precision="bfloat16")
    if backend == "torch":
        loops["torch.optim"] = several(bare_torch(setting, native=True))
    return take_turns({name: timed(loop, EPOCHS * count) for name, loop in loops.items()}, rounds)


def measure_backend(backend: str, images: str, rounds: int) -> None:
    """Measure on one backend and print two tables; `images`: see find_cases."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        import_project(render(Path(folder, "project"), "keras-quickstart", backend=backend))
        importlib.import_module("backend")  # Imports Keras, without TensorFlow's messages.
        for case in find_cases(images):
            results[name_of(case)] = measure(Path(folder), backend, case, rounds)
    pairs = [
        ("project", "bare"),
        ("without shift", "bare"),
        ("bare again", "bare"),
        ("project", "stock"),
        ("project", "stock, float32"),
    ]
    if backend == "jax":
        pairs.append(("bfloat16", "project"))
    if backend == "torch":
        pairs.append(("project", "torch.optim"))
    print(f"\n{machine('keras', PACKAGES[backend])}; Keras on {backend}; threads: 1")
    print_speeds(results, pairs)


def main() -> None:
    """Measure one backend or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=list(BARE), help="only this one")
    add_measuring_options(parser)
    arguments = parser.parse_args()
    # Read when the backend is imported; TensorFlow would run independent operations side by side.
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    os.environ.pop("KERAS_BACKEND", None)
    for backend in [arguments.backend] if arguments.backend else BARE:
        in_own_process(measure_backend, backend, arguments.images, arguments.rounds)


if __name__ == "__main__":
    main()
