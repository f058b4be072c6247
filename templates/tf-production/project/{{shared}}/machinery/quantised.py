"""Networks in eight bits: what they are calibrated with, and what they may lose: export.py --int8.

    exports/onnx/4/model.onnx      layers with weights compute with whole numbers of eight bits
    exports/onnx/4/export.json     "int8" holds metrics, sizes and times of float and int8

Rounding moves every prediction, so predictions are not compared. What counts is the metric that
decides which epoch is the best: on the whole test split it may be worse by a margin, no more.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from machinery.argument_parser import ArgumentParser
from machinery.elsewhere import ExportError, predict_elsewhere, time_elsewhere
from machinery.intervals import (
    Interval,
    KeptExamples,
    measuring,
    metric_intervals,
    read_groups,
    with_groups,
)
from machinery.metrics import Objective
from machinery.sampling import evaluation_batch_size

# Static: the calibration fixes the ranges of activations. Dynamic: each call finds them, over all
# of its examples, so a prediction depends a little on the examples beside it, which serve.py, as it
# computes requests together, does not let pass.
MODES = ("static", "dynamic")
CALIBRATION_EXAMPLES = 256  # of train, at most
CALLS = 50  # that are timed
TOGETHER = 64  # examples in a call, beside one alone
BATCHES = 16  # of evaluate.py that one process computes

Arrays = dict[str, np.ndarray]
# Takes "train", "val" or "test" and numbers of examples; returns inputs and targets, by name.
Take = Callable[[str, np.ndarray], tuple[Arrays, Arrays]]


class Calibration(NamedTuple):
    """Examples that show which numbers the layers have to hold."""

    mode: str  # one of MODES
    inputs: Arrays

    def batches(self, size: int) -> Iterator[Arrays]:
        """Yield the inputs in their order, so many examples at a time."""
        for first in range(0, len(next(iter(self.inputs.values()))), size):
            yield {name: array[first : first + size] for name, array in self.inputs.items()}

    def one_by_one(self) -> Iterator[Arrays]:
        """Yield the inputs of each example, (1, ...)."""
        yield from self.batches(1)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of export.py that ask for eight bits."""
    kind = "eight bits; dynamic: without calibration, not for serve.py [static]"
    parser.add_argument("--int8", nargs="?", const="static", choices=MODES, help=kind)
    margin = "how much worse on test int8 may be, in units of the metric [0.01 of 1, or 1 %]"
    parser.add_argument("--margin", type=float, help=margin)


class Quantising:
    """What a network in eight bits is made with, and how it is compared with the float one.

    Args:
        mode: one of MODES.
        margin: how much worse the metric on test may be, in its units; None: what is usual.
        dataset: what the network was trained on.
        take: returns examples.
        new_evaluation: returns an Evaluation of the dataset, which sums up metrics.
        objective: says which metric decides.
        groups: (N,) what each example of test belongs to; None: each stands for itself.
    """

    def __init__(
        self,
        mode: str,
        margin: float | None,
        dataset: Any,
        take: Take,
        new_evaluation: Callable[[Any], Any],
        objective: Objective,
        groups: np.ndarray | None = None,
    ) -> None:
        self.groups = groups
        self.margin, self.dataset, self.take = margin, dataset, take
        self.new_evaluation, self.objective = new_evaluation, objective
        # Every so many-th example of train: neighbours may be alike.
        examples = dataset.examples["train"]
        count = min(CALIBRATION_EXAMPLES, examples)
        inputs, _ = take("train", np.arange(count) * examples // count)
        self.calibration = Calibration(mode, inputs)
        self.evaluated: Arrays = {}  # what was measured last: int8 on test

    def compare(self, load: str, float_path: Path, path: Path) -> dict[str, Any]:
        """Measure both networks in new processes; return what export.json says of them.

        Args:
            load: Python that defines predict(inputs, path).
            float_path: the network that was exported.
            path: the one in eight bits.

        Raises:
            ExportError: it does not run there, or its metric is worse by more than the margin.
        """
        count = min(TOGETHER, self.dataset.examples["test"])
        about = {
            "mode": self.calibration.mode,
            "calibration_examples": len(next(iter(self.calibration.inputs.values()))),
            "timed_calls": CALLS,
            "examples_together": count,
            "float": self._measure(load, float_path, count),
            "int8": self._measure(load, path, count),
        }
        about["margin"] = self.refuse_worse(about)
        return about

    def intervals(self) -> dict[str, Interval]:
        """Return the interval of each metric of int8 on test; call `compare` first."""
        return metric_intervals(
            measuring(lambda: self.new_evaluation(self.dataset)), self.evaluated
        )

    def _measure(self, load: str, path: Path, count: int) -> dict[str, Any]:
        size = evaluation_batch_size(self.dataset.positions)
        evaluation, examples = self.new_evaluation(self.dataset), self.dataset.examples["test"]
        kept = KeptExamples(evaluation)
        for first in range(0, examples, BATCHES * size):
            rows = np.arange(first, min(first + BATCHES * size, examples))
            inputs, targets = self.take("test", rows)
            predictions = predict_elsewhere(load, path, inputs, size)
            evaluation.add(predictions, targets, np.zeros(len(rows)))
        self.evaluated = with_groups(kept.examples(), self.groups)
        metrics = evaluation.metrics()
        del metrics["loss"]  # An exported network does not give it.
        inputs, _ = self.take("test", np.arange(count))
        one, together = time_elsewhere(load, path, inputs, CALLS)
        return {
            "metrics": metrics,
            "bytes": path.stat().st_size,
            "seconds_one": one,
            "seconds_together": together,
        }

    def refuse_worse(self, about: Mapping[str, Any]) -> float:
        """Return the margin.

        Args:
            about: what `compare` says of both.

        Raises:
            ExportError: the metric is worse by more.
        """
        name = self.objective.metric.removeprefix("val_")
        before, after = (about[kind]["metrics"].get(name) for kind in ("float", "int8"))
        if before is None or after is None:
            raise ExportError(
                f"{name} is not defined for these examples of test, so nothing says what int8 "
                "costs; nothing was exported."
            )
        margin = self.objective.usual_margin(before) if self.margin is None else self.margin
        worse = before - after if self.objective.maximize else after - before
        if not worse <= margin:  # Also where it is no number.
            other = "dynamic" if about["mode"] == "static" else "static"
            raise ExportError(
                f"{name} on {self.dataset.examples['test']:,} examples of test is {before:.4g} in "
                f"float and {after:.4g} in int8: worse by {worse:.3g}, which is more than "
                f"--margin {margin:.3g}; nothing was exported. Try --int8 {other}, or allow more "
                "with --margin."
            )
        return margin


def plan(
    arguments: argparse.Namespace,
    dataset: Any,
    take: Take,
    new_evaluation: Callable[[Any], Any],
    objective: Callable[[Any], Objective],
) -> Quantising | None:
    """Return what --int8 asks for; None: nothing. The arguments are those of Quantising."""
    if not arguments.int8:
        return None
    decides, groups = objective(dataset), read_groups(dataset, arguments.data, "test")
    return Quantising(
        *(arguments.int8, arguments.margin, dataset, take, new_evaluation, decides, groups)
    )


def rows_of_table(about: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of float and int8, head first: metrics, size, milliseconds of a call."""
    together = f"ms, {about['examples_together']} examples"
    rows = [("", *about["float"]["metrics"], "kB", "ms, 1 example", together)]
    for kind in ("float", "int8"):
        found = about[kind]
        times = (f"{found[name] * 1000:.3g}" for name in ("seconds_one", "seconds_together"))
        metrics = (f"{value:.4f}" for value in found["metrics"].values())
        rows.append((kind, *metrics, f"{found['bytes'] / 1000:.1f}", *times))
    return rows


def describe(about: Mapping[str, Any]) -> str:
    """Return in words how both were measured."""
    how = "its ranges found at each call"
    if about["mode"] == "static":
        how = f"calibrated on {about['calibration_examples']} examples of train"
    return f"{about['mode']}, {how}; times are medians of {about['timed_calls']} calls"


def print_table(about: Mapping[str, Any]) -> None:
    """Print the table of float and int8."""
    rows = rows_of_table(about)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
