"""evaluate.py of an experiment with several seeds or folds: each of its runs, and their mean."""

import argparse
import json
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from machinery.several_runs import find_differences


def split_runs(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """Return the arguments for each run of an experiment; for those alone if it has no others.

    An experiment with a checkpoint of its own is one run, whatever lies in its folder.

    Args:
        arguments: of evaluate.py. The folder of the data, where it is named, is that of all seeds;
            a fold has a folder of its own in it.
    """
    experiment: Path = arguments.experiment
    if (experiment / f"{arguments.checkpoint}.safetensors").exists():
        return [arguments]
    found = [
        (match[1], int(match[2]), path.parent)
        for path in experiment.glob("*/params.yaml")
        if (match := re.fullmatch(r"(seed|fold)-(\d+)", path.parent.name))
    ]
    runs = []
    for kind, _, folder in sorted(found):
        data = arguments.data
        if data is not None and kind == "fold":
            data /= folder.name
        runs.append(argparse.Namespace(**{**vars(arguments), "experiment": folder, "data": data}))
    return runs or [arguments]


def summarize(runs: Sequence[argparse.Namespace]) -> Iterator[str]:
    """Yield a line with the mean of what evaluate.py found for the seeds, and one for the folds.

    Args:
        runs: of split_runs, all of them evaluated.
    """
    if len(runs) < 2:
        return
    name = runs[0].split + ("" if runs[0].checkpoint == "best" else f"_{runs[0].checkpoint}")
    for kind in ("seed", "fold"):
        folders = [run.experiment for run in runs if run.experiment.name.startswith(f"{kind}-")]
        if len(folders) < 2:
            continue
        if differing := find_differences(folders):
            yield f"No mean: the runs differ by more than their {kind}s, in {', '.join(differing)}."
            continue
        rows = [json.loads((path / f"metrics_{name}.json").read_text("utf-8")) for path in folders]
        said = [
            f"{runs[0].split} {metric.replace('_', ' ')} {statistics.fmean(values):.4f} ± "
            f"{statistics.stdev(values):.4f}"
            for metric in rows[0]
            if len(values := [row[metric] for row in rows if row.get(metric) is not None]) > 1
        ]
        yield f"mean of {len(rows)} {kind}s ± standard deviation:  {'  '.join(said)}"
