"""An experiment as several runs: train.py --folds and --seeds, and what came of them."""

import argparse
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from machinery import records
from machinery.errors import DivergedError, InputError
from machinery.fold_runs import plan_folds
from machinery.metrics import Objective, describe, read_metrics
from machinery.part_runs import train_parts
from machinery.seed_runs import plan_seeds
from machinery.terminal import quote


def train_several(
    arguments: argparse.Namespace,
    words: Sequence[str],
    check: Callable[[argparse.Namespace], object],
) -> None:
    """Train an experiment on folds or with seeds, print what came of it, and end the process.

    Without --folds and --seeds, do nothing.

    Args:
        arguments: of train.py.
        words: of its command line.
        check: refuses what one run is asked for, before the first begins.

    Raises:
        InputError: what is asked for is wrong; nothing was written.
        StoppedError: on request, with everything saved.
        DivergedError: some runs diverged, and the others are trained.
        SystemExit: with 0, all are trained; with another number, a run ended with it.
    """
    if arguments.folds is None and arguments.seeds is None:
        return
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        if os.environ.get(name, "1") != "1" and "SLURM_PTY_PORT" not in os.environ:
            raise InputError(
                f"{name}: got {os.environ[name]}, expected one process: --folds and --seeds start "
                "one for each run themselves. Start one task."
            )
    if arguments.folds is not None and arguments.seeds is not None:
        raise InputError(
            "--folds and --seeds: got both, expected one of them. Train the folds with one seed, "
            "and with --seed 1 in another --experiment."
        )
    parts = plan_folds(arguments) if arguments.folds is not None else plan_seeds(arguments)
    diverged = train_parts(arguments, parts, words, check)
    kind = "folds" if arguments.folds is not None else "seeds"
    for line in summarize([part.folder for part in parts if part.folder not in diverged], kind):
        print(line)
    if diverged:
        raise DivergedError(f"{', '.join(map(str, diverged))} diverged; the others are trained.")
    print(f"next: {quote(*next_step(arguments.experiment, kind))}")
    raise SystemExit(0)


def next_step(experiment: Path, kind: str) -> list[str | Path]:
    """Return the words of the command that follows: to predict on folds, or to compare runs."""
    if kind == "folds" and (records.PROJECT / "compete.py").exists():
        return ["python", "compete.py", "predict", "--experiment", experiment]
    root = experiment.parent
    return ["python", "synthesize_results.py", *([root] if root != Path("experiments") else [])]


def best_epochs(folders: Sequence[Path]) -> Iterator[dict[str, float]]:
    """Yield the metrics of the best epoch of each run.

    Raises:
        InputError: a run has no such epoch, or a file is damaged.
    """
    for folder in folders:
        best = objective.best(read_metrics(folder)) if (objective := objective_of(folder)) else None
        if best is None:
            raise InputError(f"{folder}: holds no trained epoch. Give the same command again.")
        yield best


def objective_of(folder: Path) -> Objective | None:
    """Return what a run was trained for; None: it has no record."""
    sessions = records.read_sessions(folder)
    return Objective(**sessions[-1]["objective"]) if sessions else None


def find_differences(folders: Sequence[Path]) -> list[str]:
    """Return the parameters that are not the same in all runs, but the seed."""
    found = [
        sessions[-1]["parameters"]
        for folder in folders
        if (sessions := records.read_sessions(folder))
    ]
    names = {name: None for parameters in found for name in parameters if name != "seed"}
    return [name for name in names if any(p.get(name) != found[0].get(name) for p in found)]


def describe_mean(
    folders: Sequence[Path], rows: Sequence[Mapping[str, float | None]], kind: str
) -> str:
    """Return a line with the mean of what several runs reached, or why there is none.

    Args:
        folders: of the runs, two or more.
        rows: the metrics of each, by name; None: it has not this one.
        kind: what they are: "folds" or "seeds".
    """
    if differing := find_differences(folders):
        return f"No mean: the runs differ by more than their {kind}, in {', '.join(differing)}."
    columns = {
        name: [value for row in rows if (value := row.get(name)) is not None] for name in rows[0]
    }
    said = [
        f"{name.replace('_', ' ')} {statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"
        for name, values in columns.items()
        if len(values) > 1
    ]
    return f"mean of {len(rows)} {kind} ± standard deviation:  {'  '.join(said)}"


def summarize(folders: Sequence[Path], kind: str) -> Iterator[str]:
    """Yield a line for each run with the metrics of its best epoch; of several, the mean and best.

    Args:
        folders: of the runs.
        kind: what they are: "folds" or "seeds".
    """
    rows = [*best_epochs(folders)]
    for folder, row in zip(folders, rows, strict=True):
        yield f"{folder.name}  best epoch {row['epoch']:3}  {describe(row, '  ')}"
    if len(rows) > 1:
        names = [name for name in rows[0] if name.startswith("val_")]
        yield describe_mean(
            folders, [{name: row.get(name) for name in names} for row in rows], kind
        )
    if (
        len(rows) > 1
        and not find_differences(folders)
        and kind == "seeds"
        and (objective := objective_of(folders[0]))
    ):
        best = objective.best(rows)
        yield f"best of {len(rows)} seeds: {folders[rows.index(best)].name}" if best else ""
