"""CPU seconds until the generated commands answer, and the packages that they import for it.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --task tabular

Each round starts every command below once in a rendered project, one after another, each round
beginning with another one. Given is the processor time, user and system, of the process: the
median over the rounds and, in brackets, the lowest and the highest. Bytecode is compiled before the
first round. The packages are the installed ones that `python -X importtime` lists, each by the name
that it is imported by. Needs a system that tells the resources of a child process: Linux or macOS.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from importlib.metadata import packages_distributions
from pathlib import Path

from common import child_seconds, machine, print_table, render, spread

COMMANDS = {  # The arguments of python, and the exit code that they must end with.
    "-c pass": 0,
    "train.py --help": 0,
    "train.py --experiment experiments/refused": 2,
    "evaluate.py --help": 0,
    "evaluate.py --experiment experiments/refused": 2,
    "search_hyperparams.py --help": 0,
    "synthesize_results.py --help": 0,
    "build_dataset.py --help": 0,
    "-c import torch": 0,
}


def run(project: Path, arguments: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run python in the project and see that it ends as it should."""
    first, rest = arguments.split(maxsplit=1)
    words = [first, rest] if first == "-c" else arguments.split()
    result = subprocess.run(
        [sys.executable, *options, *words], cwd=project, capture_output=True, text=True, check=False
    )
    assert result.returncode == COMMANDS[arguments], result.stderr
    return result


def cpu_seconds(project: Path, arguments: str) -> float:
    """Return the processor time of a command."""
    before = child_seconds()
    run(project, arguments)
    return child_seconds() - before


def packages(project: Path, arguments: str) -> str:
    """Return the installed packages that a command imports."""
    report = run(project, arguments, "-X", "importtime").stderr
    modules = set(re.findall(r"^import time: +\d+ \| +\d+ \| *(\w+)", report, re.MULTILINE))
    others = {"_distutils_hack"} | {path.stem for path in project.iterdir()}  # Not the command's.
    return ", ".join(sorted(modules & set(packages_distributions()) - others)) or "none"


def main() -> None:
    """Measure every command and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="rounds to time [15]")
    parser.add_argument("--task", default="image-classification", help="[image-classification]")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {command: [] for command in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder, "project"), task=arguments.task)
        refused = project / "experiments" / "refused" / "params.yaml"
        refused.parent.mkdir()
        refused.write_text("training: {learning_rate: fast, epoch: 3}\n")
        names = {command: packages(project, command) for command in COMMANDS}
        commands = list(COMMANDS)
        for number in range(arguments.rounds):
            first = number % len(commands)
            for command in commands[first:] + commands[:first]:
                seconds[command].append(cpu_seconds(project, command))
    print(f"{machine('torch', 'pydantic', 'optuna')}\n")
    rows = [[f"`python {c}`", names[c], spread(values)] for c, values in seconds.items()]
    print_table(["command", "packages imported", "CPU seconds"], rows, text_columns=2)


if __name__ == "__main__":
    main()
