"""The network, its loss and its predictions, before it is trained for long."""

import contextlib
from collections.abc import Generator
from typing import Any

import numpy as np

from machinery.checkup import Arrays, Batch, Checkup, EndError, Network, Subject
from machinery.parameter_file import change

NET = "model/net.py"
LOSSES = "model/net.py: losses"
PREDICT = "model/net.py: predict"
EXAMPLES = 16  # of the batch that is looked at
RATE = 1e-3  # of a few steps that no choice of the experiment shall disturb
STEPS = 5  # After them a last layer that starts from zero says something.
# How much float32 may differ by the order in which numbers are added, relative to the largest.
ROUNDING = 1e-3


def check(checkup: Checkup, subject: Subject) -> None:
    """Check a batch of the training: shapes, losses, gradients, and which input reaches what."""
    batch = first_batch(subject)
    with checkup.checking("network", NET):
        network = subject.new_network(subject.parameters.seed, subject.dataset)
        outputs = network.outputs(batch[0])
    check_shapes(checkup, subject.dataset, network, batch, outputs)
    check_start(checkup, subject)
    gradients: dict[str, float] = {}
    with checkup.checking("gradients", NET):
        for _ in range(STEPS):
            for name, gradient in network.gradients(batch).items():
                size = 0.0 if gradient is None else float(np.abs(gradient).max(initial=0))
                gradients[name] = max(size, gradients.get(name, 0.0), key=worse)
            network.step(batch, RATE)
    check_gradients(checkup, gradients)
    check_frozen(checkup, subject, gradients)
    check_evaluation(checkup, network, batch)
    check_losses(checkup, network, batch)
    check_influence(checkup, network, batch)
    check_normalisation(checkup, subject, batch)


def first_batch(subject: Subject, examples: int = EXAMPLES) -> Batch:
    """Return examples of the first batch of the training, not changed at random."""
    inputs, targets = next(iter(subject.training_batches(range(1), augmented=False)))
    return take(inputs, np.arange(examples)), take(targets, np.arange(examples))


def take(arrays: Arrays, rows: np.ndarray) -> Arrays:
    """Return some examples of a batch, as far as it has them."""
    return {name: array[rows[rows < len(array)]] for name, array in arrays.items()}


def worse(size: float) -> float:
    """Return what sorts sizes of gradients, NaN as the largest."""
    return size if np.isfinite(size) else np.inf


def check_shapes(
    checkup: Checkup, dataset: Any, network: Network, batch: Batch, outputs: list[np.ndarray]
) -> None:
    """Check that outputs, losses and predictions are there for each example, and finite."""
    inputs, targets = batch
    count = len(next(iter(targets.values())))
    problem = find_unfit("an output", outputs, count)
    if problem:
        wild = [name for name, array in inputs.items() if not np.isfinite(array).all()]
        problem += f" (There are some in {', '.join(wild)}, too.)" if wild else ""
        checkup.fail("outputs", problem, f"{NET}: forward")
        raise EndError
    checkup.ok("outputs", ", ".join(str(each.shape) for each in outputs))
    with checkup.checking("losses", LOSSES):
        losses = network.losses(batch)
    problem = find_unfit("losses", [losses], count)
    if not problem and losses.shape != (count,):
        problem = f"losses are {losses.shape}."
    if problem:
        expected = "Expected a finite number for each example, (B,)."
        checkup.fail("losses", f"{problem} {expected}", LOSSES)
        raise EndError
    with checkup.checking("predictions", PREDICT):
        predictions = network.predictions(inputs)
        problem = find_unfit("predictions", [*predictions.values()], count)
        problem = problem or find_wrong_number(dataset, targets, predictions)
    found = ", ".join(f"{name} {array.shape}" for name, array in predictions.items())
    checkup.judge("predictions", problem, found, NET if "values" in problem else PREDICT)
    if problem:
        raise EndError


def find_unfit(what: str, arrays: list[np.ndarray], count: int) -> str:
    """Return in words that an array has not an entry for each example, or is not finite."""
    for array in arrays:
        if array.shape[:1] != (count,):
            return f"{what} of {count} examples has the shape {array.shape}."
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            rows = ~np.isfinite(array.reshape(count, -1)).all(axis=1)
            return f"{what} is NaN or infinite in {rows.sum()} of {count} examples."
    return ""


def find_wrong_number(dataset: Any, targets: Arrays, predictions: Arrays) -> str:
    """Return in words that (B, K) predictions are for more or fewer values than a target has.

    The dataset's own check says which whole numbers a target may be.
    """
    for name, array in targets.items():
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            continue
        allowed = [not dataset.check(name, np.array([number])) for number in range(2**10)]
        values = sum(allowed)
        for what, found in predictions.items():
            if found.ndim == 2 and values < len(allowed) and found.shape[1] != values:
                return f"{what} are for {found.shape[1]} values of {name}. Expected {values}."
    return ""


def check_start(checkup: Checkup, subject: Subject) -> None:
    """Compare the loss of an untrained network with that of one that knows nothing."""
    with checkup.checking("loss at the start", NET):
        network = subject.new_network(subject.parameters.seed, subject.dataset)
        batches = zip(range(4), subject.evaluation_batches("train"), strict=False)
        found = float(np.mean(np.concatenate([network.losses(batch) for _, batch in batches])))
        expected = subject.report.initial_loss(subject.dataset)
    if not np.isfinite(found):
        checkup.fail("loss at the start", f"is {found}.", LOSSES)
    elif expected is None:
        checkup.ok("loss at the start", f"{found:.4g}")
    elif abs(found - expected) > expected / 2:  # More than random weights of usual size do.
        problem = f"is {found:.4g}. Expected about {expected:.4g}, that of a network that knows "
        problem += "nothing: are inputs normalised, initial weights small, losses a mean?"
        checkup.fail("loss at the start", problem, NET)
    else:
        checkup.ok("loss at the start", f"{found:.4g}, expected about {expected:.4g}")


def check_gradients(checkup: Checkup, sizes: dict[str, float]) -> None:
    """Check that a gradient reached each weight in a few steps; at first it may be zero."""
    problem = ""
    wild = [name for name, size in sizes.items() if not np.isfinite(size)]
    unreached = [name for name, size in sizes.items() if size == 0]
    if wild:
        problem = f"that of {wild[0]} is NaN or infinite."
    elif unreached:
        problem = f"none reaches {say(unreached)} in {STEPS} steps. Expected one in each weight."
    elif not sizes:
        problem = "there is no weight to train."
    checkup.judge("gradients", problem, f"reach all {len(sizes)} arrays of weights", NET)


def say(names: list[str]) -> str:
    """Return a few names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def check_frozen(checkup: Checkup, subject: Subject, trained: dict[str, float]) -> None:
    """Look for weights that start at random and are not trained: they would stay random."""
    seeds = (subject.parameters.seed, subject.parameters.seed + 1)
    one, other = (weights(subject.new_network(seed, subject.dataset).arrays()) for seed in seeds)
    frozen = [name for name in one if name not in trained]
    random = [name for name in frozen if not np.array_equal(one[name], other[name])]
    if random:
        expected = "Expected to train them, or that they come from a file."
        checkup.fail("frozen weights", f"{say(random)} start at random. {expected}", NET)


def weights(arrays: Arrays) -> Arrays:
    """Return the network's own numbers of a checkpoint, without whole ones such as counts."""
    return {
        name.removeprefix("model."): array
        for name, array in arrays.items()
        if name.startswith("model.") and np.issubdtype(array.dtype, np.floating)
    }


def differ(one: list[np.ndarray], other: list[np.ndarray], tolerance: float) -> bool:
    """Return whether outputs differ by more than a part of the largest of them."""
    largest = max(float(np.abs(each).max(initial=0)) for each in one) or 1.0
    return any(
        float(np.abs(a - b).max(initial=0)) > tolerance * largest
        for a, b in zip(one, other, strict=True)
    )


def check_influence(checkup: Checkup, network: Network, batch: Batch) -> None:
    """Check that each input reaches the outputs of its own example, and of no other."""
    inputs, _ = batch
    count = len(next(iter(inputs.values())))
    turned = np.roll(np.arange(count), 1)
    outputs = whatever_comes(network, inputs)
    ignored = []
    for name, array in inputs.items():
        other = {**inputs, name: array[turned]}
        varies = not np.array_equal(array, array[turned], equal_nan=True)
        if varies and not differ(outputs, whatever_comes(network, other), 1e-6):
            ignored.append(name)
    problem = f"{say(ignored)} changes no output." if ignored else ""
    names = ", ".join(inputs)
    checkup.judge("influence", problem, f"the outputs depend on {names}", f"{NET}: forward")
    if problem:
        raise EndError
    half = count // 2
    mixed = np.concatenate([np.arange(half), np.full(count - half, 0)])
    rest = whatever_comes(network, take(inputs, mixed))
    moved = whatever_comes(network, take(inputs, turned))
    problem = ""
    if differ([each[:half] for each in outputs], [each[:half] for each in rest], ROUNDING):
        problem = "outputs or predictions of an example change with the others in its batch."
    elif differ([each[turned] for each in outputs], moved, ROUNDING):
        problem = "outputs or predictions of an example change with its place in the batch."
    expected = " In evaluation, expected those of the example alone."
    found = "no example's outputs depend on another example"
    checkup.judge("batch", problem and problem + expected, found, f"{NET}: forward")


def whatever_comes(network: Network, inputs: Arrays) -> list[np.ndarray]:
    """Return outputs and predictions, each (B, ...), as numbers."""
    every = [*network.outputs(inputs), *network.predictions(inputs).values()]
    return [each.astype(np.float64) for each in every]


def check_losses(checkup: Checkup, network: Network, batch: Batch) -> None:
    """Check that the loss of an example does not change with the targets of another."""
    inputs, targets = batch
    losses, problem = network.losses(batch), ""
    for name, array in targets.items():
        other = np.flatnonzero([not np.array_equal(each, array[0]) for each in array])
        if not len(other):
            continue
        changed = np.concatenate([array[other[:1]], array[1:]])
        found = network.losses((inputs, {**targets, name: changed}))
        if not np.allclose(found[1:], losses[1:], 1e-5, 1e-6):
            problem = f"with other {name} of one example the losses of others change. Expected "
            problem += "that it depends on its own example alone."
    checkup.judge("losses", problem, f"one for each of {len(losses)} examples", LOSSES)


def check_evaluation(checkup: Checkup, network: Network, batch: Batch) -> None:
    """Check that evaluation repeats itself bit for bit, and leaves the network as it was."""
    before = network.arrays()
    first, second = network.outputs(batch[0]), network.outputs(batch[0])
    after = network.arrays()
    moved = [name for name, array in before.items() if array.tobytes() != after[name].tobytes()]
    problem = ""
    if any(a.tobytes() != b.tobytes() for a, b in zip(first, second, strict=True)):
        problem = "gives other outputs the second time: something random is left on."
    elif moved:
        problem = f"changes {say(moved)}. Expected that only training does."
    found = "repeats itself, and changes no weight"
    checkup.judge("evaluation", problem, found, f"{NET}: forward")
    if problem:
        raise EndError


def check_normalisation(checkup: Checkup, subject: Subject, batch: Batch) -> None:
    """Check that mean and std are applied once: then the unit of the inputs makes no difference.

    With inputs, mean and std all halved, float32 gives the same outputs bit for bit. The network
    takes the same few steps both times, as a last layer that starts from zero hides all.
    """
    dataset, check = subject.dataset, "normalisation"
    if not all(hasattr(dataset, name) for name in ("mean", "std")) or not len(dataset.mean):
        return
    halves = {name: [x / 2 for x in getattr(dataset, name)] for name in ("mean", "std")}
    moved = {"mean": [m + s for m, s in zip(dataset.mean, dataset.std, strict=True)]}
    names = [n for n in batch[0] if dataset.arrays[n].shape[-1:] == (len(dataset.mean),)]
    even = {n: a if is_float(a) else a // 2 * 2 for n, a in batch[0].items() if n in names[:1]}
    small = {n: a / 2 if is_float(a) else a // 2 for n, a in even.items()}
    results = []
    for inputs, changes in ((even, {}), (small, halves), (even, moved)):
        changed = {**batch[0], **{n: a.astype(batch[0][n].dtype) for n, a in inputs.items()}}
        with checkup.checking(check, NET):
            seen = dataset.model_copy(update=changes)
            network = subject.new_network(subject.parameters.seed, seen)
            for _ in range(STEPS):
                network.step((changed, batch[1]), RATE)
            results.append(network.outputs(changed))
    as_stored, in_halves, with_other_mean = results
    if not differ(as_stored, with_other_mean, 1e-6):
        message = "the outputs do not depend on mean and std of dataset.json. Does the network "
        checkup.warn(check, f"{message}normalise {say(names[:1])} in another way?")
        return
    problem = "the outputs change with the unit of the inputs. Expected (input - mean) / std, once."
    found = "mean and std are applied once"
    wrong = differ(as_stored, in_halves, ROUNDING)
    checkup.judge(check, problem if wrong else "", found, f"{NET}: forward")


def is_float(array: np.ndarray) -> bool:
    """Return whether an array holds floating-point numbers."""
    return np.issubdtype(array.dtype, np.floating)


@contextlib.contextmanager
def augmented(augmentation: Any, wanted: bool) -> Generator[None]:
    """Let no random change be drawn in the block, unless it is wanted.

    Args:
        augmentation: the module model/augmentation.py.
        wanted: change nothing of it.
    """
    draw = augmentation.draw
    if not wanted:
        augmentation.draw = lambda *_: {}
    try:
        yield
    finally:
        augmentation.draw = draw


def with_seed(parameters: Any, seed: int) -> Any:
    """Return the parameters of doctor's networks: of a seed, in float32, and not compiled.

    In bfloat16 rounding would hide what the checks compare.
    """
    own = {"seed": seed, "training.precision": "float32", "training.compile": False}
    return change(in_one_part(parameters), own)


def in_one_part(parameters: Any) -> Any:
    """Return the parameters with batches that are computed as a whole."""
    return change(parameters, {"training.accumulate": 1})
