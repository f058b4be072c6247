"""The batches that model/data_loader.py gives: whether they are the data, all of it, once."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from machinery.arrays import Array
from machinery.checkup import Arrays, Batch, Checkup, EndError, Subject
from machinery.splits import digests

LOADER = "model/data_loader.py"
AUGMENTATION = "model/augmentation.py"
LARGEST = 2**28  # Bytes of train: with more, an epoch is not read through.
FEW = 16  # Values of an example.


def check(checkup: Checkup, subject: Subject) -> None:
    """Compare an epoch, a changed batch, and the evaluation with the arrays on disk."""
    with checkup.checking("batches", LOADER):
        check_epoch(checkup, subject)
        check_augmentation(checkup, subject)
        check_evaluation(checkup, subject)


def steps_per_epoch(subject: Subject) -> int:
    """Return the optimizer steps of an epoch."""
    return math.ceil(subject.dataset.examples["train"] / subject.parameters.data.batch_size)


def read(subject: Subject, split: str) -> tuple[Arrays, Arrays]:
    """Return the inputs and the targets of a split as they lie on disk, padded where ragged."""
    dataset = subject.dataset
    arrays = dataset.read_split(subject.data, split)
    rows = np.arange(dataset.examples[split])
    inputs, targets = (
        {name: np.asarray(arrays[name].take(rows, axis=0)) for name in names}
        for names in (dataset.inputs, dataset.targets)
    )
    return inputs, targets


def is_large(subject: Subject) -> bool:
    """Return whether reading all of train would take long."""
    arrays = subject.dataset.arrays.values()
    size = sum(np.dtype(a.dtype).itemsize * math.prod(a.batch_shape) for a in arrays)
    return size * subject.dataset.examples["train"] > LARGEST


def check_epoch(checkup: Checkup, subject: Subject) -> None:
    """Check that an epoch has every example of train once, with the targets that are its own."""
    check = "an epoch"
    if is_large(subject):
        checkup.ok(check, "not read through, as train is large")
        return
    batches = [*subject.training_batches(range(steps_per_epoch(subject)), augmented=False)]
    inputs, targets = (concatenate([batch[part] for batch in batches]) for part in (0, 1))
    own_inputs, own_targets = read(subject, "train")
    found, expected = len(next(iter(inputs.values()))), subject.dataset.examples["train"]
    if found != expected:
        problem = f"has {found:,} examples. Expected each of the {expected:,} of train once."
        checkup.fail(check, problem, LOADER)
        raise EndError
    for name, own in own_targets.items():
        if targets[name].shape != own.shape or targets[name].dtype != own.dtype:
            problem = describe_other(name, targets[name], own)
            checkup.fail(check, problem, LOADER)
            raise EndError
    if describe_changed(inputs, own_inputs):
        same = False
    else:
        keys, own_keys = digests(*inputs.values()), digests(*own_inputs.values())
        same = bool(np.isin(keys, own_keys).any())
    if not same:
        problem = compare_targets(targets, own_targets)
        checkup.judge(check, problem, "every target of train once; inputs are changed", LOADER)
        return
    problem = compare_examples(keys, own_keys) or compare_pairs(
        keys, digests(*targets.values()), own_keys, digests(*own_targets.values())
    )
    checkup.judge(check, problem, f"each of the {expected:,} examples of train once", LOADER)


def concatenate(parts: list[Arrays]) -> Arrays:
    """Return the arrays of several batches as those of one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def describe_other(name: str, found: np.ndarray, own: np.ndarray) -> str:
    """Return in words that an array has another shape or dtype than on disk."""
    return (
        f"{name} of an example is {found.shape[1:]} {found.dtype}. Expected {own.shape[1:]} "
        f"{own.dtype}, as in dataset.json."
    )


def describe_changed(arrays: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray]) -> str:
    """Return in words which array of a batch has another shape or dtype than on disk."""
    for name, array in own.items():
        found = arrays[name]
        if found.shape[1:] != array.shape[1:] or found.dtype != array.dtype:
            return describe_other(name, found, array)
    return ""


def compare_targets(targets: Arrays, own: Arrays) -> str:
    """Return what is wrong where only the targets can be compared."""
    for name, array in own.items():
        if not np.array_equal(np.sort(targets[name], axis=None), np.sort(array, axis=None)):
            return f"has other values of {name} than train. Expected the same, in another order."
    return ""


def compare_examples(keys: np.ndarray, own: np.ndarray) -> str:
    """Return what is wrong with which examples there are, as digests, or an empty string."""
    known, counts = np.unique(own, return_counts=True)
    found, times = np.unique(keys, return_counts=True)
    if np.array_equal(known, found) and np.array_equal(counts, times):
        return ""
    lost = len(np.setdiff1d(known, found))
    return f"leaves out {lost:,} examples and has others twice. Expected each once."


def compare_pairs(
    keys: np.ndarray, answers: np.ndarray, own: np.ndarray, own_answers: np.ndarray
) -> str:
    """Return whether inputs have other targets than on disk, in words, or an empty string."""
    pairs = set(zip(own.tolist(), own_answers.tolist(), strict=True))
    strange = sum(pair not in pairs for pair in zip(keys.tolist(), answers.tolist(), strict=True))
    if not strange:
        return ""
    return f"gives {strange:,} of {len(keys):,} examples other targets than they have on disk."


def check_augmentation(checkup: Checkup, subject: Subject) -> None:
    """Compare a batch of training with the same one before it was changed at random."""
    check, steps = "augmentation", range(min(steps_per_epoch(subject), 4))
    with checkup.checking(check, AUGMENTATION):
        before = [*subject.training_batches(steps, augmented=False)]
        after = [*subject.training_batches(steps, augmented=True)]
        again = [*subject.training_batches(steps, augmented=True)]
    inputs, targets = (concatenate([batch[part] for batch in before]) for part in (0, 1))
    new_inputs, new_targets = (concatenate([batch[part] for batch in after]) for part in (0, 1))
    problem = (
        describe_changed(new_inputs, inputs)
        or describe_changed(new_targets, targets)
        or find_blank(inputs, new_inputs)
        or find_changed_targets(subject.dataset, targets, new_targets)
    )
    if not problem and not equal(after, again):
        problem = "a batch differs from itself, made again. Expected what the seed decides."
    changed = [name for name, array in inputs.items() if not same_bits(array, new_inputs[name])]
    found = f"changes {', '.join(changed)}" if changed else "changes nothing"
    checkup.judge(check, problem, found, AUGMENTATION)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two arrays are the same, NaN equal to NaN."""
    return one.shape == other.shape and np.ascontiguousarray(one).tobytes() == (
        np.ascontiguousarray(other).tobytes()
    )


def equal(one: list[Batch], other: list[Batch]) -> bool:
    """Return whether two lists of batches hold the same."""
    return all(
        same_bits(first[part][name], second[part][name])
        for first, second in zip(one, other, strict=True)
        for part in (0, 1)
        for name in first[part]
    )


def find_blank(before: Arrays, after: Arrays) -> str:
    """Return in words that examples have one value everywhere which had several before."""
    for name, array in before.items():
        if array[0].size < FEW:  # So few may well all be hidden.
            continue
        was, now = (is_blank(each.reshape(len(each), -1)) for each in (array, after[name]))
        if (share := (now & ~was).mean()) > 0.05:
            return f"leaves nothing of {name} in {share:.0%} of the examples."
    return ""


def is_blank(rows: np.ndarray) -> np.ndarray:
    """Return which rows have one value everywhere, (N,) bool."""
    return (rows == rows[:, :1]).all(axis=1)


def values_of(padded: np.ndarray, array: Array) -> np.ndarray:
    """Return a batch as the arrays on disk hold it: of a ragged array the values, one by one."""
    if array.shape[:1] != (None,):
        return padded
    there = padded.reshape(*padded.shape[:2], -1) != array.fill
    return padded[there.any(axis=2)]


def find_changed_targets(dataset: Any, before: Arrays, after: Arrays) -> str:
    """Return what augmentation does to targets that it should not, or an empty string."""
    for name, array in before.items():
        if not np.isfinite(after[name]).all():
            return f"makes values of {name} that are NaN or infinite."
        if problem := dataset.check(name, values_of(after[name], dataset.arrays[name])):
            return f"{name}: {problem}."
        # An example that is turned, moved or hidden in part is still what it was.
        if array.ndim == 1 and not np.array_equal(array, after[name]):
            count = int((array != after[name]).sum())
            return f"changes {name} in {count:,} of {len(array):,} examples. Expected the same."
    return ""


def check_evaluation(checkup: Checkup, subject: Subject) -> None:
    """Check that the evaluation gets a split as it is, in its own order."""
    count = subject.dataset.examples["val"]
    batches = [*subject.evaluation_batches("val")]
    inputs, targets = (concatenate([batch[part] for batch in batches]) for part in (0, 1))
    own_inputs, own_targets = read(subject, "val")
    found = len(next(iter(inputs.values())))
    problem = "" if found == count else f"gets {found:,} of the {count:,} examples of val."
    if not problem and (changed := describe_changed(targets, own_targets)):
        problem = changed
    for name, array in own_targets.items():
        if not problem and not same_bits(targets[name], array):
            problem = f"gets other values of {name} than val has, or in another order."
    if not problem and not describe_changed(inputs, own_inputs):
        moved = [name for name, array in own_inputs.items() if not same_bits(inputs[name], array)]
        if moved:
            problem = f"gets {moved[0]} not as it is in val. Expected no random change."
    checkup.judge("evaluation", problem, f"the {count:,} examples of val as they are", LOADER)
