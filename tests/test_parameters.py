"""Each parameter changes the training as its meaning says, in every loop and with every task.

CHECKS and the tasks have a test for every field of the schema. A few short runs serve them all, of
one or two steps over all training examples. Most have a learning rate of almost zero, so that the
weights stay as they began. What a step did is read from the checkpoints: they hold the moments of
AdamW, and these tell the gradients.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from fork_server import ForkServer
from projects import answers, arrays_folder, experiment, task, template, tiny

pytestmark = pytest.mark.contracts

STILL = 1e-30  # A learning rate by which no weight changes.
BETAS = (0.9, 0.999)  # of AdamW
CLEAR = 5e-4  # A gradient beside which the epsilon of AdamW matters little, in every framework.
SEED, OTHER_SEED = 1, 2
RATE, DECAY = 0.05, 0.3
AVERAGE, SHORT_AVERAGE = 0.5, 0.05
Arrays = Mapping[str, np.ndarray]


class Checkpoint(NamedTuple):
    """What a checkpoint holds of the weights that are trained, by their names."""

    step: int
    weights: dict[str, np.ndarray]
    first: dict[str, np.ndarray]  # moments of the gradients
    second: dict[str, np.ndarray]
    averages: dict[str, np.ndarray]  # of the weights, where the run keeps them

    @property
    def first_gradients(self) -> dict[str, np.ndarray]:
        """The gradients of the first step, if that was the last one."""
        return {name: moment / (1 - BETAS[0]) for name, moment in self.first.items()}

    def gradients_after(self, before: "Checkpoint") -> dict[str, np.ndarray]:
        """Return the gradients of the one step since another checkpoint."""
        return {
            name: (moment - BETAS[0] * before.first[name]) / (1 - BETAS[0])
            for name, moment in self.first.items()
        }


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what PyTorch or Keras has of weights and moments, under the same names."""
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
        step = json.loads(file.metadata()["state"])["progress"]["step"]
    weights = {n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")}
    first, second = {}, {}
    for name in weights:
        for moments, ends in (
            (first, (f"optimizer.{name}.exp_avg", f"/{name.replace('/', '_')}_momentum")),
            (second, (f"optimizer.{name}.exp_avg_sq", f"/{name.replace('/', '_')}_velocity")),
        ):
            found = [array for key, array in arrays.items() if key.endswith(ends)]
            moments |= {name: found[0]} if found else {}
    trained = {name: weights[name] for name in first}
    averages = {name: arrays[f"average.{name}"] for name in first if f"average.{name}" in arrays}
    assert trained
    return Checkpoint(step, trained, first, second, averages)


def norm(gradients: Arrays) -> float:
    return float(np.sqrt(sum((gradient**2).sum() for gradient in gradients.values())))


def distance(these: Arrays, those: Arrays) -> float:
    """Return how far two sets of arrays are apart, as a share of the norm of one."""
    return norm({name: these[name] - those[name] for name in these}) / norm(these)


# ---------------------------------------------------------------------------------------------
# Code for `setup` of the fork server.

# Batches are not shuffled: each holds the rows of these numbers.
ROWS = """
import numpy, machinery.sampling as s
shuffled = s.BatchSampler.__iter__
s.BatchSampler.__iter__ = lambda self: ((epoch, numpy.array({rows})) for epoch, _ in shuffled(self))
"""

# Every seed begins with the same weights.
SAME_WEIGHTS = {
    "torch-research": """
import torch
torch.manual_seed = lambda seed: torch.default_generator.manual_seed(0)
""",
    "keras-quickstart": """
import train, keras
set_seed = keras.utils.set_random_seed
keras.utils.set_random_seed = lambda seed: set_seed(0)
""",
}
SAME_WEIGHTS["tf-production"] = SAME_WEIGHTS["keras-quickstart"]

# No epoch is better than the first.
SAME_METRICS = """
import model.report as r
metrics, first = r.Evaluation.metrics, {}
def same(self):
    first.update(first or metrics(self))
    return dict(first)
r.Evaluation.metrics = same
"""

# Writes down which rows are loaded, and whether two loaders are at work at the same time.
LOADERS = """
import json, multiprocessing, threading, model.data_loader as d
context = multiprocessing.get_context("fork")
together, met = context.Barrier(2), context.Event()
take = d.Split.take
def write(line):
    with open({path!r}, "a") as file:
        file.write(json.dumps(line) + chr(10))
def noted(self, rows):
    if self.examples == {examples} and len(rows) > 1:
        write(rows.tolist())
        if not met.is_set():
            try:
                together.wait(20)
                met.set()
                write("together")
            except threading.BrokenBarrierError:
                pass
    return take(self, rows)
d.Split.take = noted
"""

# Prints whether the framework is asked to compile the network, without doing so, and whether it
# computes deterministically.
COMPILES = {
    "torch-research": """
import torch
torch.nn.Module.compile = lambda *others, **named: print("compiled: True")
deterministic = torch.are_deterministic_algorithms_enabled
""",
    "tf-production": """
import tensorflow as tf
from tensorflow.python.framework import config
function = tf.function
def plain(*others, jit_compile=None, **named):
    if jit_compile and others and others[0].__module__ == "train":  # Keras compiles layers, too.
        print("compiled: True")
    return function(*others, **named)
tf.function = plain
deterministic = config.is_op_determinism_enabled
""",
    "keras-quickstart": """
import os, backend, keras
compile = keras.Model.compile
def plain(*others, jit_compile, **named):
    print(f"compiled: {jit_compile}")
    compile(*others, jit_compile=jit_compile and keras.backend.backend() == "jax", **named)
keras.Model.compile = plain
def deterministic():
    if keras.backend.backend() == "torch":
        import torch
        return torch.are_deterministic_algorithms_enabled()
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.framework import config
        return config.is_op_determinism_enabled()
    return "--xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "").split()
""",
}
REPORT = """
import machinery.run as r
finish = r.Run.finish
def report(self):
    print(f"deterministic: {deterministic()}")
    finish(self)
r.Run.finish = report
"""

# Prints when each part of a batch is computed, there and back. Only a graph has to be told when.
PART_ORDER = {
    "tf-production": """
import train, tensorflow as tf, model.net as n
losses, count = n.losses, 0
def noted(array, line):
    def note(values):
        print(line, flush=True)
        return values
    return tf.ensure_shape(tf.numpy_function(note, [array], array.dtype, stateful=False), [None])
def traced(outputs, targets, dataset, parameters=None):
    global count
    found = losses(outputs, targets, dataset, parameters)
    if not parameters:
        return found
    number, count = count, count + 1
    @tf.custom_gradient
    def in_order(x):
        back = lambda gradient: noted(gradient, f"back through part {number}")
        return noted(x, f"to part {number}"), back
    return in_order(found)
n.losses = traced
""",
}

# There is no memory to train with more than eight examples at a time.
SHORT = """
import torch, model.net as n
enough = n.losses
def short(outputs, targets, dataset, parameters=None):
    if parameters and len(next(iter(targets.values()))) > 8:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return enough(outputs, targets, dataset, parameters)
n.losses = short
"""

# Defines first_batch(data, dataset, parameters): inputs and targets.
FIRST_BATCH = {
    "torch-research": """
import torch
from model.data_loader import load_split, training_batches
cpu = torch.device("cpu")
def first_batch(*where, parameters):
    return next(training_batches(load_split(*where, "train", cpu), parameters, 0, 1, cpu))
""",
    "tf-production": """
from model.data_loader import load_split, training_batches
def first_batch(*where, parameters):
    return next(training_batches(load_split(*where, "train"), parameters, 0, 1))
""",
    "keras-quickstart": """
from model.data_loader import TrainingBatches, load_split
def first_batch(*where, parameters):
    return TrainingBatches(load_split(*where, "train"), parameters)[0]
""",
}

# Writes the first batch of some parameters, by name, and the names of all.
SAVE_BATCHES = """
import json, sys
from pathlib import Path
from build_dataset import read_dataset
from machinery.parameter_file import change, parameter_fields
from parameters import Parameters
data, base = Path({data!r}), change(Parameters(), {base!r})
for name, values in {variants!r}.items():
    inputs, _ = first_batch(data, read_dataset(data), parameters=change(base, values))
    numpy.savez(Path({target!r}) / name, **{{key: inputs[key] for key in inputs}})
names = [name for name, _ in parameter_fields(Parameters)]
(Path({target!r}) / "names.json").write_text(json.dumps(names))
sys.exit(0)
"""


# ---------------------------------------------------------------------------------------------
# The runs.


@dataclasses.dataclass
class Trained:
    """A finished run."""

    folder: Path
    output: str

    @property
    def rows(self) -> list[dict[str, float]]:
        """The metrics of each epoch."""
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").open()]

    @functools.cached_property
    def last(self) -> Checkpoint:
        """The state at the end."""
        return read_checkpoint(self.folder / "last.safetensors")

    @functools.cached_property
    def previous(self) -> Checkpoint:
        """The state that was saved before: in a run of two steps, after the first one."""
        return read_checkpoint(self.folder / "previous.safetensors")


class Runs:
    """The runs with one project: each is trained when a test first asks for it.

    Args:
        project: to train in.
        server: of the project.
        folder: for what is written beside the runs.
    """

    def __init__(self, project: Path, server: ForkServer, folder: Path) -> None:
        self.project, self.server, self.folder = project, server, folder
        self.task, self.template = task(project), template(project)
        self.data = project / "data"
        if self.task.own_data_shows_more:
            (folder / "own").mkdir()
            own = self.task.make_own_data(folder / "own")
            self.data = folder / "data"
            options = ("--source", own.source, "--data", self.data, *own.options)
            built = server.run("build_dataset", *options)
            assert built.code == 0, built.output
        self.dataset = json.loads((self.data / "dataset.json").read_text())
        self.examples: int = self.dataset["examples"]["train"]
        # One step an epoch, without anything random, and weights that stay.
        self.still = {
            **{**self.task.tiny, "seed": SEED, "data.batch_size": self.examples},
            **{"training.epochs": 2, "training.learning_rate": STILL, "training.warmup_epochs": 0},
            **{"training.weight_decay": 0, "training.clip_norm": 0},
            **{"training.precision": "float32", **self.task.plain},
        }
        self.in_order = ROWS.format(rows=f"range({self.examples})")

    def train(self, name: str, changes: Mapping[str, Any], setup: str) -> Trained:
        """Train what differs from `still` by some parameters."""
        parameters = tiny(self.project, {**self.still, **changes})
        folder = experiment(self.project, f"parameters-{name}", parameters)
        words = ("--experiment", folder, "--data", self.data)
        result = self.server.run("train", *words, setup=setup)
        assert result.code == 0, result.output
        return Trained(self.project / folder, result.output)

    @functools.cached_property
    def plain(self) -> Trained:
        """Two steps with the same weights."""
        return self.train("plain", {}, self.in_order + COMPILES[self.template] + REPORT)

    @functools.cached_property
    def optimized(self) -> Trained:
        """Two steps that change the weights. Gradients are clipped to half of the first one's."""
        return self.train_optimizing("optimized", {"training.average": AVERAGE})

    @functools.cached_property
    def optimized_in_parts(self) -> Trained:
        """The same two steps in parts, which are not all of one size."""
        assert self.examples % 7
        changes = {"training.accumulate": 7, "training.average": SHORT_AVERAGE}
        return self.train_optimizing("optimized-in-parts", changes)

    def train_optimizing(self, name: str, changes: Mapping[str, Any]) -> Trained:
        """Train all that AdamW and the schedule have parameters for."""
        optimizing = {
            **{"training.learning_rate": RATE, "training.warmup_epochs": 1},
            **{"training.weight_decay": DECAY, "training.clip_norm": self.clip_norm},
        }
        return self.train(name, {**optimizing, **changes}, self.in_order)

    @property
    def clip_norm(self) -> float:
        """Half the norm of the first step's gradients."""
        return norm(self.plain.previous.first_gradients) / 2

    def train_dropping(
        self, name: str, changes: Mapping[str, Any], times: int = 1, setup: str = ""
    ) -> Trained:
        """Train with dropout on eight examples, which a batch holds so many times."""
        rows = ROWS.format(rows=f"[*range(8)] * {times}")
        setup += SAME_METRICS + SAME_WEIGHTS[self.template] + rows
        setup += PART_ORDER.get(self.template, "")
        return self.train(name, {"model.dropout": 0.5, **changes}, setup)

    @functools.cached_property
    def dropping(self) -> Trained:
        """Steps that differ in dropout alone, until the patience is over."""
        return self.train_dropping("dropping", {"training.epochs": 9, "training.patience": 1})

    @functools.cached_property
    def dropping_with_another_seed(self) -> Trained:
        """The first of these steps with dropout of another seed."""
        return self.train_dropping("seed", {"training.epochs": 1, "seed": OTHER_SEED})

    @functools.cached_property
    def dropping_in_parts(self) -> Trained:
        """The first two of these steps as the two parts of one."""
        changes = {"training.epochs": 1, "training.accumulate": 2}
        return self.train_dropping("parts", changes, times=2)

    @functools.cached_property
    def dropping_split(self) -> Trained:
        """The same step, split as there is no memory for more than eight examples."""
        changes = {"training.epochs": 1, "training.on_out_of_memory": "split"}
        return self.train_dropping("split", changes, times=2, setup=SHORT)

    @functools.cached_property
    def busy(self) -> Trained:
        """Four steps, saved at every look and loaded by two workers, with another seed."""
        changes = {
            **{"training.epochs": 1, "training.checkpoint_minutes": 1e-9, "seed": OTHER_SEED},
            **{"data.batch_size": -(-self.examples // 4), "data.workers": 2},
            "training.schedule": "constant",
        }
        path = str(self.folder / "loaded.jsonl")
        return self.train("busy", changes, LOADERS.format(path=path, examples=self.examples))

    @functools.cached_property
    def special(self) -> Trained:
        """The first step of `plain` in bfloat16, compiled, deterministic."""
        changes = {
            **{"training.epochs": 1, "training.precision": "bfloat16"},
            **{"training.compile": True, "training.deterministic": True},
        }
        return self.train("special", changes, self.in_order + COMPILES[self.template] + REPORT)

    @functools.cached_property
    def batches(self) -> dict[str, dict[str, np.ndarray]]:
        """The inputs of all training examples in order: plain, and by what changes them."""
        target = self.folder / "batches"
        target.mkdir()
        variants: dict[str, Mapping[str, Any]] = {"plain": {}}
        for name, effect in self.task.changes_data.items():
            variants[name] = {name: effect.value}
            variants[f"{name} again"] = {name: effect.value}
            variants[f"{name} with another seed"] = {name: effect.value, "seed": OTHER_SEED}
        setup = SAVE_BATCHES.format(
            data=str(self.data), base=self.still, variants=variants, target=str(target)
        )
        result = self.server.run("train", setup=self.in_order + FIRST_BATCH[self.template] + setup)
        assert result.code == 0, result.output
        return {name: dict(np.load(target / f"{name}.npz")) for name in variants}

    @functools.cached_property
    def names(self) -> list[str]:
        """The parameters of the schema."""
        assert self.batches
        return json.loads((self.folder / "batches" / "names.json").read_text())


@pytest.fixture(scope="session")
def runs(project: Path, server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(project, server, tmp_path_factory.mktemp("parameters"))


# ---------------------------------------------------------------------------------------------
# What each parameter means.


def check_seed(runs: Runs) -> None:
    """It decides the first weights, the order, dropout and what happens to an example."""
    assert distance(runs.plain.last.weights, runs.busy.last.weights) > 0.1
    check_workers(runs)
    dropping, other = runs.dropping.previous, runs.dropping_with_another_seed.last
    assert distance(dropping.weights, other.weights) < 1e-6
    assert distance(dropping.first, other.first) > 1e-3
    for name in runs.task.changes_data:
        found, again, other = (
            runs.batches[key] for key in (name, f"{name} again", f"{name} with another seed")
        )
        assert all(np.array_equal(found[key], again[key], equal_nan=True) for key in found)
        assert any(not np.array_equal(found[key], other[key], equal_nan=True) for key in found)


def check_batch_size(runs: Runs) -> None:
    """So many examples make a step."""
    assert runs.plain.last.step == 2
    assert runs.busy.last.step == 4
    assert runs.busy.rows[0]["step"] == 4
    check_workers(runs)


def check_workers(runs: Runs) -> None:
    """So many load at the same time; together they load every batch of the epoch's order."""
    assert runs.busy
    lines = (runs.folder / "loaded.jsonl").read_text().splitlines()
    loaded = [json.loads(line) for line in lines]
    assert "together" in loaded
    order = np.random.default_rng((OTHER_SEED, 0, 0)).permutation(runs.examples)
    expected = {tuple(rows) for rows in np.array_split(order, 4)}
    assert {tuple(rows) for rows in loaded if rows != "together"} == expected


def check_sizes(runs: Runs) -> None:
    """The network has as many weights as these parameters ask for."""
    expected = runs.task.count_weights(runs.still, runs.dataset)
    assert sum(weights.size for weights in runs.plain.last.weights.values()) == expected


def check_dropout(runs: Runs) -> None:
    """Without it two steps are the same; with it each step drops other features, in each part."""
    first, last = runs.plain.previous, runs.plain.last
    without = first.first_gradients
    assert distance(without, last.gradients_after(first)) < 1e-3
    first, last = runs.dropping.previous, runs.dropping.last
    assert (first.step, last.step) == (1, 2)
    dropped, dropped_otherwise = first.first_gradients, last.gradients_after(first)
    assert distance(first.weights, last.weights) < 1e-6
    assert distance(dropped, dropped_otherwise) > 1e-3


def check_epochs(runs: Runs) -> None:
    """So many are trained, and the schedule ends with them."""
    for trained, epochs in ((runs.plain, 2), (runs.busy, 1)):
        assert [row["epoch"] for row in trained.rows] == [*range(1, epochs + 1)]


def check_rates(runs: Runs) -> None:
    """One epoch of warm-up, and the top of the cosine after it; each step decays the weights."""
    assert_optimized(runs.optimized, runs.plain.last)


def assert_optimized(trained: Trained, before: Checkpoint) -> None:
    """Fail unless the rates are as recorded, and the weights changed by them and their decay.

    Args:
        trained: by AdamW with RATE and DECAY.
        before: the weights at the start, as a learning rate of almost zero left them.
    """
    rates = [RATE / 2, RATE]
    assert [row["learning_rate"] for row in trained.rows] == pytest.approx(rates, rel=1e-5)
    states, seen = (trained.previous, trained.last), set()
    for step, (rate, after) in enumerate(zip(rates, states, strict=True), 1):
        for name, weights in before.weights.items():
            first, second = after.first[name], after.second[name]
            root = np.sqrt(second / (1 - BETAS[1] ** step))
            change = rate * first / (1 - BETAS[0] ** step) / np.where(root, root, 1)
            expected = weights * (1 - rate * DECAY) - change
            clear = (root > CLEAR) | (root == 0)
            found = after.weights[name]
            np.testing.assert_allclose(found[clear], expected[clear], rtol=0, atol=0.01 * rate)
            seen |= {name} if clear.any() and weights.any() else set()
        before = after
    assert len(seen) > 1


def check_schedule(runs: Runs) -> None:
    """A cosine falls to its half in the middle; without it the last rate is the first."""
    rates = [row["learning_rate"] for row in runs.plain.rows]
    assert rates == pytest.approx([STILL, STILL / 2], rel=1e-5)
    assert runs.busy.rows[0]["learning_rate"] == pytest.approx(STILL, rel=1e-5)


def check_average(runs: Runs) -> None:
    """It begins as the weights of the first step. In the second its decay is 1 / 10 at most.

    The best checkpoint holds the average of its epoch.
    """
    assert not runs.plain.last.averages
    for trained, decay in ((runs.optimized, 0.1), (runs.optimized_in_parts, SHORT_AVERAGE)):
        first, last = trained.previous, trained.last
        assert first.averages.keys() == last.averages.keys() == first.weights.keys()
        best = load_file(trained.folder / "best.safetensors")
        kept = {name: best[f"model.{name}"] for name in first.weights}
        assert min(distance(kept, first.averages), distance(kept, last.averages)) == 0
        assert distance(first.averages, first.weights) == 0
        for name, average in last.averages.items():
            expected = decay * first.weights[name] + (1 - decay) * last.weights[name]
            np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7)


def check_clip_norm(runs: Runs) -> None:
    """The gradients keep their direction and get this norm."""
    gradients, clipped = (
        trained.previous.first_gradients for trained in (runs.plain, runs.optimized)
    )
    assert norm(clipped) == pytest.approx(runs.clip_norm, rel=1e-3)
    assert distance(gradients, {name: 2 * array for name, array in clipped.items()}) < 1e-3


def check_accumulate(runs: Runs) -> None:
    """The parts of a batch have the mean of their gradients, weighted by their examples.

    The rest of a step happens once. A part gets the dropout that a step with it would have. It
    waits for the one before: otherwise the memory would hold both.
    """
    if runs.template in PART_ORDER:
        lines = runs.dropping_in_parts.output.splitlines()
        order = [f"{way} part {number}" for number in (0, 1) for way in ("to", "back through")]
        assert [line for line in lines if " part " in line] == order
    assert runs.dropping_in_parts.last.step == 1
    first, last = runs.dropping.previous, runs.dropping.last
    gradients = first.first_gradients, last.gradients_after(first)
    mean = {name: (gradients[0][name] + gradients[1][name]) / 2 for name in gradients[0]}
    assert distance(mean, runs.dropping_in_parts.last.first_gradients) < 1e-3
    assert_optimized(runs.optimized_in_parts, runs.plain.last)
    if not runs.task.normalises_over_batch:
        whole, in_parts = runs.optimized, runs.optimized_in_parts
        assert distance(whole.previous.first, in_parts.previous.first) < 1e-5
        assert distance(whole.last.first, in_parts.last.first) < 1e-3


def check_on_out_of_memory(runs: Runs) -> None:
    """The plain loop cuts a batch in two as training.accumulate would; the others refuse to."""
    if answers(runs.project).get("loop") == "plain":
        assert "memory was short in step 1. From this step on" in runs.dropping_split.output
        assert distance(runs.dropping_in_parts.last.first, runs.dropping_split.last.first) == 0
        return
    assert_refused(runs, {"training.on_out_of_memory": "split"}, "got split, expected stop")


def check_sharding(runs: Runs) -> None:
    """The plain loop refuses what needs whole weights beside it, the others all of it."""
    changes: dict[str, Any] = {"training.sharding": "full"}
    problem = "got full, expected none"
    if answers(runs.project).get("loop") == "plain":
        changes["training.accumulate"] = 2
        problem = "training.accumulate: got 2, expected 1 with training.sharding full"
    assert_refused(runs, changes, problem)


def assert_refused(runs: Runs, changes: dict[str, Any], problem: str) -> None:
    """Train with changes that this loop cannot do: it writes nothing."""
    folder = experiment(runs.project, "parameters-short", tiny(runs.project, changes))
    result = runs.server.run("train", "--experiment", folder, "--data", runs.data)
    assert result.code == 2, result.output
    assert problem in result.output
    assert [path.name for path in (runs.project / folder).iterdir()] == ["params.yaml"]


def check_patience(runs: Runs) -> None:
    """No epoch is better than the first, so the second is the last."""
    assert [row["epoch"] for row in runs.dropping.rows] == [1, 2]


def check_checkpoint_minutes(runs: Runs) -> None:
    """After so long the state is saved within an epoch."""
    assert 0 < runs.busy.previous.step < 4
    assert not (runs.dropping_in_parts.folder / "previous.safetensors").exists()


def check_precision(runs: Runs) -> None:
    """The first gradients are those of float32, rounded."""
    gradients, rounded = (
        trained.first_gradients for trained in (runs.plain.previous, runs.special.last)
    )
    # 0.22 was seen with one task, of which a loss has very many terms; the others stay below 0.1.
    assert 1e-4 < distance(gradients, rounded) < 0.3


def check_compile(runs: Runs) -> None:
    """The framework is asked for it, and otherwise not, but JAX always."""
    assert "compiled: True" in runs.special.output
    always = answers(runs.project).get("backend") == "jax"
    assert ("compiled: True" in runs.plain.output) == always


def check_deterministic(runs: Runs) -> None:
    """The framework is asked for it, and otherwise not."""
    assert "deterministic: True" in runs.special.output
    assert "deterministic: False" in runs.plain.output


CHECKS: dict[str, Callable[[Runs], None]] = {
    "seed": check_seed,
    "data.batch_size": check_batch_size,
    "data.workers": check_workers,
    "model.dropout": check_dropout,
    "training.epochs": check_epochs,
    "training.learning_rate": check_rates,
    "training.warmup_epochs": check_rates,
    "training.schedule": check_schedule,
    "training.weight_decay": check_rates,
    "training.clip_norm": check_clip_norm,
    "training.average": check_average,
    "training.accumulate": check_accumulate,
    "training.on_out_of_memory": check_on_out_of_memory,
    "training.sharding": check_sharding,
    "training.patience": check_patience,
    "training.checkpoint_minutes": check_checkpoint_minutes,
    "training.precision": check_precision,
    "training.compile": check_compile,
    "training.deterministic": check_deterministic,
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_parameter_does_what_it_says(runs: Runs, name: str) -> None:
    CHECKS[name](runs)


def test_sizes_of_the_network(runs: Runs) -> None:
    assert runs.task.sizes
    check_sizes(runs)


def test_what_happens_to_the_data(runs: Runs) -> None:
    for name, effect in runs.task.changes_data.items():
        effect.check(runs.batches["plain"], runs.batches[name])


def test_what_happens_to_the_loss(runs: Runs) -> None:
    folder = arrays_folder(runs.data)
    targets = {name: np.load(folder / f"train_{name}.npy") for name in runs.dataset["targets"]}
    for name, effect in runs.task.changes_loss.items():
        once, order, plain = {"training.epochs": 1}, runs.in_order, None
        if effect.rows:
            order = ROWS.format(rows=effect.rows(targets))
            plain = runs.train(f"{name}-plain", once, order).last
        changed = runs.train(name, {name: effect.value, **once}, order).last
        before = (plain or runs.plain.previous).first_gradients
        effect.check(before, changed.first_gradients, targets)


def test_every_parameter_has_a_test(runs: Runs) -> None:
    own = {*runs.task.sizes, *runs.task.changes_data, *runs.task.changes_loss}
    own |= {*runs.task.tested_in_projects}
    assert {*runs.names} == {*CHECKS, *own}
