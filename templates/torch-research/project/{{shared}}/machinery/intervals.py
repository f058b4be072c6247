"""How sure a metric is: its interval by the bootstrap, which draws the examples of a split anew.

    experiments/baseline/examples_test.npz     predictions, targets and losses that were evaluated
    exports/onnx/3/examples_test.npz           the same, beside the version, for promote.py

A thousand times as many examples as there are, drawn with repetition, are evaluated like the split
itself; the middle 95 % of what comes out are the interval. Two versions are compared on the same
draws. Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 13.3 (the
percentile interval) and 8 (paired data). It holds for other examples of the same kind, and says
nothing of another training of the same network. Where the data say which examples belong together,
such as those of a patient (build_dataset.py --group), whole groups are drawn: their examples are
alike, so they say less than as many of other groups. Source: Davison and Hinkley, Bootstrap Methods
and their Application, 1997, section 3.8. Over few groups it is too narrow: of means that were drawn
of 5 groups it held the truth in 84 % of the cases, of 20 groups in 93 %. Fewer than 20 have none.
Below about 50 examples it is too narrow, and so it is where examples are of groups that nobody
named, or follow one another in time.
"""

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from machinery.arrays import GROUPS
from machinery.files import write_atomically
from machinery.records import evaluated_steps

FILE = "examples_test.npz"  # beside a version
RESAMPLES = 1000
CONFIDENCE = 0.95
MOST_BYTES = 2**24  # of predictions and targets that are kept; of more there is no interval
MOST_SECONDS = 30.0  # that the resamples may take; a metric that takes longer has no interval
TRIED = 5  # resamples that tell how long all take
FEWEST_GROUPS = 20  # that are drawn; over fewer an interval would be too narrow
MOST_UNDEFINED = 0.05  # of the resamples, such as those in which no example of a class is

Examples = Mapping[str, np.ndarray]  # what was evaluated, (N, ...) by name
Interval = tuple[float, float]
# Returns the metrics of examples, by name.
Measure = Callable[[Examples], Mapping[str, float]]


class KeptExamples:
    """Keeps what is added to an evaluation, as far as it is small.

    Args:
        evaluation: an Evaluation of model/report.py, to which nothing was added yet.
    """

    def __init__(self, evaluation: Any) -> None:
        self._batches: list[dict[str, np.ndarray]] = []
        self._bytes = 0
        self._add, evaluation.add = evaluation.add, self.add

    def add(self, predictions: Examples, targets: Examples, losses: np.ndarray) -> None:
        """Add a batch to the evaluation, and keep it."""
        self._add(predictions, targets, losses)
        batch = merge(predictions, targets, losses)
        self._bytes += sum(array.nbytes for array in batch.values())
        if self._bytes <= MOST_BYTES:
            self._batches.append(batch)
        else:
            self._batches.clear()

    def examples(self) -> dict[str, np.ndarray]:
        """Return all that was added; nothing where it was much, or where batches differ in shape.

        These are lists of things found, which are as long as the longest of a batch.
        """
        shapes = {tuple((n, a.shape[1:]) for n, a in batch.items()) for batch in self._batches}
        if len(shapes) != 1:
            return {}
        return {
            name: np.concatenate([batch[name] for batch in self._batches])
            for name in self._batches[0]
        }

    def files(self, name: str) -> list[str]:
        """Return the names of the files for a split, such as "test_last": of test alone."""
        return [f"examples_{name}.npz"] if name.startswith("test") else []

    def write(self, folder: Path, name: str, groups: np.ndarray | None = None) -> None:
        """Write what was added into the folder of an experiment, and say so of groups.

        Args:
            folder: of the experiment.
            name: of the split, such as "test_last".
            groups: (N,) what each example belongs to; None: examples stand for themselves.
        """
        examples = with_groups(self.examples(), groups)
        for file in self.files(name):
            write_examples(folder / file, examples)
            if count := count_groups(examples):
                few = too_few(count)
                how = (
                    f"without an interval: {few}"
                    if few
                    else "export.py's intervals draw them whole"
                )
                print(f"of {count:,} group{'s' * (count > 1)} ({how})")


def merge(predictions: Examples, targets: Examples, losses: np.ndarray) -> dict[str, np.ndarray]:
    """Return what was evaluated under names of which each is there once."""
    return {
        **{f"predictions.{name}": array for name, array in predictions.items()},
        **{f"targets.{name}": array for name, array in targets.items()},
        "losses": losses,
    }


def with_groups(examples: Examples, groups: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return what was evaluated, with the group of each example, where both are known."""
    return {**examples} if groups is None or not examples else {**examples, GROUPS: groups}


def count_groups(examples: Examples) -> int:
    """Return how many groups the examples are of; 0 where each stands for itself."""
    return len(np.unique(examples[GROUPS])) if GROUPS in examples else 0


def too_few(groups: int) -> str:
    """Return why examples of so few groups have no interval; nothing where they may have one.

    Args:
        groups: that the examples are of; 0: each stands for itself.
    """
    if groups == 1:
        return "all examples of test are of one group, so nothing says how groups differ"
    if 0 < groups < FEWEST_GROUPS:
        return (
            f"the examples of test are of {groups} groups, and over fewer than {FEWEST_GROUPS} it "
            "would be too narrow"
        )
    return ""


def read_groups(dataset: Any, folder: Path, split: str) -> np.ndarray | None:
    """Return what each example of a split belongs to, (N,) int; None: each stands for itself.

    Args:
        dataset: what dataset.json says.
        folder: of dataset.json.
        split: train, val or test.

    Raises:
        InputError: the file is missing, or does not fit dataset.json.
    """
    if not dataset.grouped:
        return None
    groups = dataset.read_split(folder, split, [GROUPS])[GROUPS]
    return groups.take(np.arange(dataset.examples[split]), axis=0)


def write_examples(path: Path, examples: Examples) -> None:
    """Write what was evaluated."""
    content = io.BytesIO()
    arrays: dict[str, Any] = dict(examples)
    np.savez_compressed(content, **arrays)
    write_atomically(path, content.getvalue())


def read_examples(path: Path) -> dict[str, np.ndarray]:
    """Return what was evaluated; nothing where it was not written, or cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception:  # Of a damaged archive, each of its parts raises something else.
        return {}


def read_evaluation(
    experiment: Path, checkpoint: str, step: int
) -> tuple[dict[str, float] | None, dict[str, np.ndarray]]:
    """Return the metrics on test, and what was evaluated there, as far as evaluate.py wrote them.

    It may be of an earlier step: a run can be evaluated while it trains. Then it is left out.

    Args:
        experiment: the folder.
        checkpoint: "best" or "last".
        step: of the checkpoint.
    """
    suffix = "" if checkpoint == "best" else f"_{checkpoint}"
    names = f"metrics_test{suffix}.json", f"examples_test{suffix}.npz"
    steps = evaluated_steps(experiment)
    metrics, examples = (
        experiment / name if steps.get(name) == step and (experiment / name).exists() else None
        for name in names
    )
    return (
        json.loads(metrics.read_text("utf-8")) if metrics else None,
        read_examples(examples) if examples else {},
    )


def measuring(new_evaluation: Callable[[], Any]) -> Measure:
    """Return what evaluates examples as evaluate.py does.

    Args:
        new_evaluation: returns an Evaluation of model/report.py.
    """

    def measure(examples: Examples) -> Mapping[str, float]:
        parts: dict[str, dict[str, np.ndarray]] = {"predictions": {}, "targets": {}}
        for name, array in examples.items():
            kind, _, name = name.partition(".")
            if name:
                parts[kind][name] = array
        evaluation = new_evaluation()
        evaluation.add(parts["predictions"], parts["targets"], examples["losses"])
        return evaluation.metrics()

    return measure


def resample(measure: Measure, *kept: Examples) -> list[list[Mapping[str, float]]]:
    """Return the metrics of each resample, for each of some evaluations of the same examples.

    Args:
        measure: evaluates examples.
        kept: of each evaluation, what was evaluated; in the first that has groups they are drawn.

    Returns:
        RESAMPLES of each; nothing where there are no examples, where they are of too few groups, or
        where it would take too long.
    """
    if not all(kept) or any(too_few(count_groups(each)) for each in kept):
        return []
    count = len(kept[0]["losses"])
    groups = next((each[GROUPS] for each in kept if GROUPS in each), np.arange(count))
    draw = drawing(groups)
    generator, found = np.random.default_rng(0), []
    began = time.thread_time()
    for number in range(1, RESAMPLES + 1):
        rows = draw(generator)
        found.append([measure({n: a[rows] for n, a in each.items()}) for each in kept])
        took = time.thread_time() - began
        if number == TRIED and took * RESAMPLES / TRIED > MOST_SECONDS:
            return []
    return found


def drawing(groups: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    """Return what draws as many groups as there are, with repetition, and gives their examples.

    Args:
        groups: (N,) what each example belongs to.
    """
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)

    def draw(generator: np.random.Generator) -> np.ndarray:
        drawn = generator.integers(len(sizes), size=len(sizes))
        many = sizes[drawn]
        within = np.arange(many.sum()) - np.repeat(many.cumsum() - many, many)
        return order[np.repeat(starts[drawn], many) + within]

    return draw


def middle(values: Sequence[float | None]) -> Interval | None:
    """Return what the middle 95 % of some values lie between.

    None where too many are undefined, or where all are equal: a resample of examples that are all
    right is all right, which does not mean that the next example will be.
    """
    known = [value for value in values if value is not None and np.isfinite(value)]
    if len(known) < (1 - MOST_UNDEFINED) * len(values) or not known or min(known) == max(known):
        return None
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def metric_intervals(measure: Measure, examples: Examples) -> dict[str, Interval]:
    """Return the interval of each metric that has one."""
    resamples = [one for (one,) in resample(measure, examples)]
    names = dict.fromkeys(name for each in resamples for name in each)
    found = {name: middle([each.get(name) for each in resamples]) for name in names}
    return {name: interval for name, interval in found.items() if interval}


def difference_interval(
    measure: Measure, examples: Examples, others: Examples, metric: str
) -> Interval | None:
    """Return the interval of the metric of some examples less that of others, drawn in pairs.

    Args:
        measure: evaluates examples.
        examples: what was evaluated.
        others: what another network predicts of the same examples, in the same order.
        metric: its name.

    Returns:
        None where there is none: see `resample` and `middle`
    """
    for name, array in examples.items():
        if name.startswith("targets.") and not np.array_equal(array, others.get(name, ())):
            return None
    pairs = resample(measure, examples, others)
    values = [
        None if metric not in one or metric not in other else one[metric] - other[metric]
        for one, other in pairs
    ]
    return middle(values)


def in_words(interval: Interval | None) -> str:
    """Return an interval for people."""
    return "no interval" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
