"""The data as they lie on disk: what doctor.py finds in them before anything is trained."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from machinery.arrays import SPLITS, Examples
from machinery.checkup import Checkup
from machinery.ragged import Ragged
from machinery.shards.sharded import Sharded
from machinery.splits import digests

BUILD = "build_dataset.py"
LARGEST = 2**28  # Bytes of an array that are read: a second. Of a larger one, some examples.
LEAKED = 0.01  # The share of a split in train from which its metrics are too good to be believed.
RARE = 100  # A value so many times rarer than the most frequent one deserves a warning.
MANY = 1000  # Numbers of an example; with more, none of them is looked at by itself.
CORRELATED = 0.9999  # Numbers that follow each other so closely are the same in other words.


def check(checkup: Checkup, dataset: Any, folder: Path) -> None:
    """Check the arrays against dataset.json, and the splits against each other."""
    with checkup.checking("data", BUILD):
        splits = {split: dataset.read_split(folder, split) for split in SPLITS}
        ids = {split: dataset.read_ids(folder, split) for split in SPLITS}
    sizes = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    problem = next(iter(find_bad_ids(ids)), "")
    checkup.judge("data", problem, f"{sizes} examples, as dataset.json says", BUILD)
    for name in dataset.targets:
        check_target(checkup, name, {split: arrays[name] for split, arrays in splits.items()})
    train = {name: some(splits["train"][name]) for name in (*dataset.inputs, *dataset.targets)}
    check_inputs(checkup, dataset, train)
    check_statistics(checkup, dataset, train)
    check_duplicates(checkup, dataset, splits, ids)
    check_given_away(checkup, dataset, train)


def some(examples: Examples) -> np.ndarray:
    """Return the values of an array; of a large one, those of examples all over it."""
    if isinstance(examples, Sharded):
        examples = examples.beginning(LARGEST)
    values = examples.values if isinstance(examples, Ragged) else examples
    return np.asarray(values[:: max(1, -(-values.nbytes // LARGEST))])


def find_bad_ids(ids: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield what is wrong with the ids: each names one example of one split."""
    every = np.concatenate([*ids.values()])
    found, counts = np.unique(every, return_counts=True)
    if (counts > 1).any():
        twice = found[counts > 1]
        yield (
            f"{len(twice):,} ids are not unique, such as {str(twice[0])!r}. Expected a name of its "
            "own for each example, in all splits."
        )


def check_inputs(checkup: Checkup, dataset: Any, train: Mapping[str, np.ndarray]) -> None:
    """Say of each input whether it varies; what is no number is left to the network's check."""
    for name in dataset.inputs:
        values = train[name]
        finite = np.isfinite(values)
        if not finite.any() or values[finite].min() == values[finite].max():
            what = "no number" if not finite.any() else f"{values[finite][0]} everywhere"
            problem = f"is {what} in train. Expected values that differ."
            checkup.fail(f"input {name}", problem, BUILD)
            continue
        low, high = values[finite].min(), values[finite].max()
        rest = f", {1 - finite.mean():.1%} NaN or infinite" if not finite.all() else ""
        checkup.ok(f"input {name}", f"{values.dtype} from {low:.6g} to {high:.6g}{rest}")


def check_target(checkup: Checkup, name: str, splits: Mapping[str, Examples]) -> None:
    """Check the range of a target, and that train has every value that val and test have."""
    check = f"target {name}"
    values = {split: some(examples) for split, examples in splits.items()}
    for split, array in values.items():
        if not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            problem = f"{count:,} values of {split} are NaN or infinite. Expected numbers."
            return checkup.fail(check, problem, BUILD)
    train = values["train"]
    if train.min() == train.max():
        problem = f"is {train.flat[0]} in all of train, so there is nothing to learn."
        return checkup.fail(check, problem, BUILD)
    described = f"{train.dtype} from {train.min():.6g} to {train.max():.6g}"
    if train.ndim > 1 or not np.issubdtype(train.dtype, np.integer):
        return checkup.ok(check, described)
    found, counts = np.unique(train, return_counts=True)
    for split in ("val", "test"):
        if len(unseen := np.setdiff1d(values[split], found)):
            problem = f"{split} has the value {unseen[0]}, which train has not."
            return checkup.fail(check, problem, BUILD)
    rarest, most = counts.min(), counts.max()
    described += f", each value {rarest:,} to {most:,} times in train"
    if most > RARE * rarest:
        advice = "A network may learn to say the frequent ones always."
        return checkup.warn(check, f"{described}. {advice}")
    return checkup.ok(check, described)


def check_statistics(checkup: Checkup, dataset: Any, train: Mapping[str, np.ndarray]) -> None:
    """Compare mean and std of dataset.json, where it has them, with those of the arrays.

    They belong to the input or, as target_mean and target_std, to the target whose last axis has
    as many places; over all other axes and what is no number, the mean is taken.
    """
    for prefix, names in (("", dataset.inputs), ("target_", dataset.targets)):
        recorded = [getattr(dataset, f"{prefix}{what}", None) for what in ("mean", "std")]
        if None in recorded or recorded == [[], []] or recorded == [0, 1]:
            continue
        mean, std = (np.atleast_1d(np.asarray(each, np.float64)) for each in recorded)
        arrays = {name: train[name] for name in names}
        fitting = {name: a for name, a in arrays.items() if prefix or a.shape[-1:] == mean.shape}
        problems = [compare(array, mean, std) for array in fitting.values()]
        if not problems:
            continue
        check = f"{prefix}mean and {prefix}std".replace("_", " ")
        problem = "" if "" in problems else f"of {next(iter(fitting))}: {problems[0]}"
        checkup.judge(check, problem, "dataset.json has those of train", BUILD)


def compare(array: np.ndarray, mean: np.ndarray, std: np.ndarray) -> str:
    """Return how mean and std differ from those of an array, in words, or an empty string."""
    values = array.reshape(-1, len(mean)).astype(np.float64)
    known = np.isfinite(values)
    counts = np.maximum(known.sum(axis=0), 1)
    found = np.where(known, values, 0).sum(axis=0) / counts
    spread = np.sqrt(np.where(known, (values - found) ** 2, 0).sum(axis=0) / counts)
    # Where all is equal, dividing by the spread would be an error: 1 is as good there. Of a large
    # array some examples were looked at, so a tenth may be chance.
    near = (np.abs(mean - found) <= 0.1 * spread + 1e-5 * np.abs(found) + 1e-6) & (
        (np.abs(std - spread) <= 0.1 * spread + 1e-6) | ((std == 1) & (spread < 1))
    )
    if near.all():
        return ""
    place = int(np.argmin(near))
    return (
        f"dataset.json says {mean[place]:.6g} and {std[place]:.6g} at place {place}, train has "
        f"{found[place]:.6g} and {spread[place]:.6g}. Expected the same."
    )


def check_duplicates(
    checkup: Checkup, dataset: Any, splits: Mapping[str, Mapping[str, Examples]], ids: Mapping
) -> None:
    """Look for examples of val and test that are in train, too, with the same answer.

    Equal inputs with another answer, as a table of few columns has them, tell nothing in advance.
    """
    names = (*dataset.inputs, *dataset.targets)
    size = sum(splits[split][name].nbytes for split in SPLITS for name in names)
    if size > 4 * LARGEST:
        checkup.ok("splits", f"not compared, as the arrays have {size / 2**30:.1f} GiB")
        return
    groups = {s: digests(*(splits[s][name] for name in names)) for s in SPLITS}
    # Where few different examples exist, such as of two numbers, they are in each split by chance.
    chance = len(np.unique(groups["train"])) < len(groups["train"]) / 2
    for split in ("val", "test"):
        leaked = np.isin(groups[split], groups["train"])
        if not leaked.any():
            continue
        first = str(ids[split][np.argmax(leaked)])
        message = f"{leaked.mean():.1%} of {split} are in train, too, such as {first!r}."
        if chance or leaked.mean() <= LEAKED:
            checkup.warn("splits", message)
        else:
            expected = "Expected none, as the network has seen the answers."
            checkup.fail("splits", f"{message} {expected}", BUILD)
            return
    checkup.ok("splits", "compared, val and test with train")


def check_given_away(checkup: Checkup, dataset: Any, train: Mapping[str, np.ndarray]) -> None:
    """Look for a number of the input that is the target in other words."""
    for target in dataset.targets:
        answers = train[target].astype(np.float64)
        if answers.ndim != 1 or answers.min() == answers.max():
            continue
        for name in dataset.inputs:
            rows = train[name].reshape(len(train[name]), -1)
            if rows.shape[1] > MANY or len(rows) != len(answers):
                continue
            for place in range(rows.shape[1]):
                if correlation(rows[:, place].astype(np.float64), answers) > CORRELATED:
                    problem = f"number {place} of {name} follows {target} exactly: it tells it."
                    checkup.fail("inputs", f"{problem} Expected what is known before.", BUILD)
                    return


def correlation(numbers: np.ndarray, answers: np.ndarray) -> float:
    """Return the size of the correlation over the numbers that there are; 0 without a spread."""
    known = np.isfinite(numbers)
    numbers, answers = numbers[known], answers[known]
    if len(numbers) < 10 or numbers.std() == 0 or answers.std() == 0:
        return 0.0
    return float(np.abs(np.corrcoef(numbers, answers)[0, 1]))
