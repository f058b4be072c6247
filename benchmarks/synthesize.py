"""Seconds that synthesize_results.py takes for 1,000 experiments, by processor time and the clock.

    python benchmarks/synthesize.py

A project of torch-research trains one experiment for one epoch. Its folder is copied, with other
parameters, seeds and 30 epochs of metrics: --experiments of them, each setting with five seeds,
half of them evaluated. Each round runs the whole command, once without and once with --baseline.
Given are the median over the rounds and, in brackets, the lowest and the highest. Needs a system
that tells the resources of a child process: Linux or macOS.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine, print_table, render, spread

SEEDS, EPOCHS = 5, 30


def train(project: Path) -> Path:
    """Return the folder of an experiment that was trained and evaluated."""
    folder = project / "experiments" / "first"
    words = ["--experiment", str(folder), "--from", "experiments/baseline"]
    for command in (["train.py", *words, "--training.epochs", "1"], ["evaluate.py", *words[:2]]):
        subprocess.run([sys.executable, *command], cwd=project, check=True, capture_output=True)
    return folder


def write_experiments(first: Path, folder: Path, count: int) -> None:
    """Write experiments as they would be after a longer training with other parameters."""
    record = json.loads((first / "run.json").read_text())
    row = json.loads((first / "metrics.jsonl").read_text().splitlines()[0])
    generator = random.Random(0)
    for i in range(count):
        setting, seed = divmod(i, SEEDS)
        target = folder / f"setting_{setting:03}" / f"seed-{seed}"
        left_out = ["*.safetensors", "tensorboard"] + (["*_test.*", "evaluations.json"] * (i % 2))
        shutil.copytree(first, target, ignore=shutil.ignore_patterns(*left_out))
        changed = {
            "seed": seed,
            "model.width": 8 + setting,
            "training.learning_rate": 1 / (setting + 9),
        }
        record["sessions"][-1]["parameters"] |= changed
        (target / "run.json").write_text(json.dumps(record, indent=2))
        lines = []
        for epoch in range(1, EPOCHS + 1):
            metrics = {n: v + generator.gauss(0, 0.01) for n, v in row.items() if "_" in n}
            lines.append(json.dumps(row | metrics | {"epoch": epoch, "step": epoch * row["step"]}))
        (target / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def measure(project: Path, *words: str) -> tuple[float, float]:
    """Return the seconds of the processor and of the clock that the command takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "synthesize_results.py", "many", *words]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, ended - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(machine("matplotlib", "pydantic"))
    with tempfile.TemporaryDirectory() as name:
        project = render(Path(name) / "project")
        write_experiments(train(project), project / "many", arguments.experiments)
        found = {
            words: [measure(project, *words) for _ in range(arguments.rounds)]
            for words in ((), ("--baseline", "setting_000"))
        }
    rows = [
        [
            " ".join(("synthesize_results.py many", *words)),
            *(spread(each) for each in zip(*rounds, strict=True)),
        ]
        for words, rounds in found.items()
    ]
    print_table(["command", "processor, s", "clock, s"], rows)


if __name__ == "__main__":
    main()
