"""evaluate.py of an experiment with several seeds or folds: each of its runs, and their mean."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from machinery import records
from machinery.errors import InputError
from machinery.several_runs import describe_mean


def split_runs(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """Return arguments for each run of an experiment; without runs in its folder, those given.

    An experiment with a checkpoint of its own is one run, whatever lies in its folder. A run that
    was stopped or diverged is left out, and named on standard error.

    Args:
        arguments: of evaluate.py. The folder of the data, where it is named, is that of all seeds;
            a fold has a folder of its own in it.

    Raises:
        InputError: none of the runs is trained to its end.
    """
    experiment: Path = arguments.experiment
    found = sorted(
        (match[1], int(match[2]), path.parent)
        for path in experiment.glob("*/params.yaml")
        if (match := re.fullmatch(r"(seed|fold)-(\d+)", path.parent.name))
    )
    if not found or (experiment / f"{arguments.checkpoint}.safetensors").exists():
        return [arguments]
    runs = []
    for kind, _, folder in found:
        if not records.is_finished(folder):
            print(f"warning: {folder} is not trained to its end: left out.", file=sys.stderr)
            continue
        data = arguments.data
        if data is not None and kind == "fold":
            data /= folder.name
        runs.append(argparse.Namespace(**{**vars(arguments), "experiment": folder, "data": data}))
    if not runs:
        raise InputError(
            f"{experiment}: none of its runs is trained to its end. Give the command that trains "
            "them again."
        )
    return runs


def summarize(runs: Sequence[argparse.Namespace]) -> Iterator[str]:
    """Yield a line with the mean of what evaluate.py found for the seeds, and one for the folds.

    Args:
        runs: of split_runs, all of them evaluated.
    """
    for kind in ("seed", "fold"):
        those = [run for run in runs if run.experiment.name.startswith(f"{kind}-")]
        if len(those) > 1:
            rows = [
                {f"{run.split}_{name}": value for name, value in _read_metrics(run).items()}
                for run in those
            ]
            yield describe_mean([run.experiment for run in those], rows, f"{kind}s")


def _read_metrics(run: argparse.Namespace) -> dict[str, float | None]:
    ending = "" if run.checkpoint == "best" else f"_{run.checkpoint}"
    path = run.experiment / f"metrics_{run.split}{ending}.json"
    return json.loads(path.read_text(encoding="utf-8"))
