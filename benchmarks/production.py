"""Examples per second of tf-production's training, beside a loop by hand and stock Keras.

    python benchmarks/production.py                  # every task
    python benchmarks/production.py --task tabular

Measured as in training.py and on the same data, in processor time on one thread. All loops train
the network of the rendered project with its AdamW, schedule, clipping and losses, in its precision
but for the last one.

- project: train.train_epoch of the rendered project with its loader, which moves steps into one
  graph, as it comes.
- unaugmented: the same without random changes of the examples.
- bare: a training step as a tf.function, called for each batch of arrays in memory, indexed by a
  random permutation; examples of different lengths are padded once before, as in training.py.
- stock, with images to classify: compile and fit on two arrays, as tutorials do: float32 images
  that are normalised already, without the normalisation in the network, and otherwise as fit comes,
  without a progress bar; once in the project's precision and once in float32, which is what Keras
  computes in unless told.
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


class Setting:
    """What a loop trains and on what: made anew for each, as train.py does."""

    def __init__(self, data: Path, dataset: Any, parameters: Any) -> None:
        backend, loader = map(importlib.import_module, ("backend", "model.data_loader"))
        import keras

        training = parameters.training
        self.dataset, self.parameters = dataset, parameters
        self.run = begin_run(Path(tempfile.mkdtemp(dir=data)), parameters, dataset, data)
        self.split = loader.load_split(data, dataset, "train")
        backend.prepare(parameters, dataset, "cpu")
        self.precision = backend.choose_precision("cpu", training.precision)
        self.model = backend.make_model(parameters, dataset, self.precision)
        self.schedule = backend.make_schedule(training, self.run.steps_per_epoch)
        self.parts = read_arrays(data, dataset)  # inputs and targets
        self.optimizer = keras.optimizers.AdamW(
            self.schedule,
            weight_decay=training.weight_decay,
            global_clipnorm=training.clip_norm,
            epsilon=1e-8,
            name="optimizer",
        )
        self.optimizer.build(self.model.trainable_variables)


def project_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], object]:
    """Return a function that trains one more epoch as the project's train.py does."""
    train, setting = importlib.import_module("train"), Setting(data, dataset, parameters)
    run, model, optimizer = setting.run, setting.model, setting.optimizer
    facts = train.backend.facts(model, "cpu", setting.precision)
    run.begin(train.backend.State(model, optimizer), train.objective(dataset), facts)
    steps = train.TrainingSteps(model, optimizer, parameters, dataset)
    batches = train.training_batches(setting.split, parameters, 0, run.total_steps)
    return lambda: train.train_epoch(train.Epoch(run), batches, steps)


def bare_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], None]:
    """Return a function that trains one epoch by a tf.function over batches by plain indexing."""
    import tensorflow as tf

    losses_of = importlib.import_module("model.net").losses
    setting = Setting(data, dataset, parameters)
    model, optimizer, steps = setting.model, setting.optimizer, setting.run.steps_per_epoch
    generator = np.random.default_rng(0)

    @tf.function
    def step(inputs: Any, targets: Any, seed: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = losses_of(model(inputs, seed=seed), targets, dataset, parameters.model)
            loss = tf.reduce_mean(losses)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def epoch() -> None:
        loss = 0.0
        for number, batch in enumerate(random_batches(setting.parts, generator, steps)):
            inputs, targets = tf.nest.map_structure(tf.convert_to_tensor, batch)
            loss = step(inputs, targets, tf.constant([0, number], tf.int64))
        float(loss)

    return epoch


def stock_network(dataset: Any, parameters: Any) -> Any:
    """Return the network as a functional model of Keras' layers, without the normalisation."""
    import keras

    x = inputs = keras.Input(dataset.image_shape)
    for number in range(2 * parameters.stages):
        width = parameters.width * 2 ** (number // 2)
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = keras.layers.ReLU()(x)
        if number % 2:
            x = keras.layers.MaxPooling2D(2, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(parameters.dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(len(dataset.classes), dtype="float32")(x))


def stock_loop(
    data: Path, dataset: Any, parameters: Any, policy: str | None = None
) -> Callable[[], None]:
    """Return a function that trains one epoch by fit on arrays; `policy`: in another precision."""
    import keras

    setting, training = Setting(data, dataset, parameters), parameters.training
    if policy:  # Otherwise the project's.
        keras.config.set_dtype_policy(policy)
    model = stock_network(dataset, parameters.model)
    optimizer = keras.optimizers.AdamW(
        setting.schedule, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm
    )
    smoothing = parameters.model.label_smoothing
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    model.compile(optimizer, loss)
    images, labels = setting.parts[0]["images"], setting.parts[1]["labels"]
    images = (images - np.float32(dataset.mean)) / np.float32(dataset.std)
    targets = keras.utils.to_categorical(labels, len(dataset.classes))
    return lambda: model.fit(images, targets, batch_size=parameters.data.batch_size, verbose=0)


def measure(data: Path, dataset: Any, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return the examples per second of each loop in each round."""
    sections = {"data": {"batch_size": batch}, "training": {"epochs": rounds + 1}}
    parameters, unaugmented = make_parameters(sections), make_parameters(sections, augmented=False)
    loops = {"project": project_loop(data, dataset, parameters)}
    if unaugmented != parameters:
        loops["unaugmented"] = project_loop(data, dataset, unaugmented)
    loops["bare"] = bare_loop(data, dataset, parameters)
    loops["bare again"] = bare_loop(data, dataset, parameters)
    if dataset.task == "image-classification":
        loops["stock"] = stock_loop(data, dataset, parameters)
        loops["stock, float32"] = stock_loop(data, dataset, parameters, policy="float32")
    count = dataset.examples["train"]
    return take_turns({name: timed(loop, count) for name, loop in loops.items()}, rounds)


def measure_task(task: str, images: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return what `measure` does for each kind of data of a task; `images`: see find_cases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import_project(render(folder / "project", "tf-production", task=task))
        importlib.import_module("framework.quiet").import_tensorflow()
        return {
            kind: measure(data, dataset, batch, rounds)
            for kind, data, dataset, batch in write_data(folder, task, images)
        }


def main() -> None:
    """Measure every kind of data and print two tables for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_measuring_options(parser)
    arguments = parser.parse_args()
    # Read when TensorFlow is imported.
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    print(f"\n{machine('tensorflow-cpu', 'keras')}; threads: 1")
    pairs = [(name, "bare") for name in ("project", "unaugmented", "bare again")]
    pairs += [("project", "stock"), ("project", "stock, float32")]
    for task in arguments.task:
        # A process for each: the modules of their projects have the same names.
        results = in_own_process(measure_task, task, arguments.images, arguments.rounds)
        print_speeds(results, pairs)


if __name__ == "__main__":
    main()
