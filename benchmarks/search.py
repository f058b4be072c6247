"""Trials a minute of a search: with two worker processes, with one, a process for each trial.

    python benchmarks/search.py
    python benchmarks/search.py --trials 40 --rounds 5

The digits in torch-research's plain loop, three epochs a trial, one thread each. What a search
does before its first trial (imports, the first opening of the study) counts once, as it does for a
person; so the more trials, the more a worker that stays pays off.

- two workers, one worker: search_hyperparams.py --workers N.
- a process for each trial: `python train.py --experiment NEW --from BASE`, one after the other, as
  many libraries run what they are given as a command.
- processor time: of everything, which on a busy machine says more than the clock does. Two workers
  use about as much of it as one does: what they save is waiting.

Wall-clock time needs two idle cores. The goal there: two workers at least 1.8 times as fast as one
worker, and at least 6 times as fast as a process for each trial.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common import child_seconds, machine, print_table, ratios, render, spread, take_turns

BASE = "experiments/benchmark"
SEARCH = "experiments/benchmark-search"
SETTINGS = f"""from: {BASE}
trials: TRIALS
sampler: random
pruner: none
space:
  training.learning_rate: {{low: 0.0005, high: 0.02, log: true}}
"""


class Speed(NamedTuple):
    """How fast trials were trained."""

    a_minute: float  # by the clock
    processor_seconds: float  # for each


def run(project: Path, *words: object) -> None:
    """Run a command of the project with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    subprocess.run(command, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)


def timed_trials(count: int, train: Callable[[], None]) -> Speed:
    """Return how fast a function trained some trials in processes of its own."""
    began, processor = time.perf_counter(), child_seconds()
    train()
    seconds = time.perf_counter() - began
    return Speed(60 * count / seconds, (child_seconds() - processor) / count)


def search(project: Path, trials: int, workers: int) -> Speed:
    """Make trials with some worker processes."""
    folder = project / SEARCH
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "search.yaml").write_text(SETTINGS.replace("TRIALS", str(trials)), "utf-8")
    words = ("search_hyperparams.py", "--search", SEARCH, "--workers", workers)
    return timed_trials(trials, lambda: run(project, *words))


def train_each(project: Path, trials: int) -> Speed:
    """Train each trial in a process of its own."""

    def train() -> None:
        for number in range(trials):
            folder = f"{SEARCH}-process-{number}"
            words = ("train.py", "--experiment", folder, "--from", BASE, "--overwrite")
            run(project, *words, "--training.learning_rate", 0.001 * (number + 1))

    return timed_trials(trials, train)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=40, help="of each search [40]")
    parser.add_argument("--processes", type=int, default=5, help="trials as processes [5]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to time [3]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder) / "project")
        words = ("--experiment", BASE, "--from", "experiments/baseline", "--training.epochs", 3)
        run(project, "train.py", *words, "--training.warmup_epochs", 0)
        found = take_turns(
            {
                "two workers": lambda: search(project, arguments.trials, 2),
                "one worker": lambda: search(project, arguments.trials, 1),
                "a process for each trial": lambda: train_each(project, arguments.processes),
            },
            arguments.rounds,
        )
    print(machine("torch", "optuna"))
    two = [speed.a_minute for speed in found["two workers"]]
    rows = []
    for name, speeds in found.items():
        rates = [speed.a_minute for speed in speeds]
        seconds = spread([speed.processor_seconds for speed in speeds])
        rows.append([name, spread(rates, ".0f"), spread(ratios(two, rates)), seconds])
    head = ["", "trials a minute", "two workers against it", "processor seconds a trial"]
    print_table(head, rows)


if __name__ == "__main__":
    main()
