"""From `python train.py` to the prompt, per combination.

    python benchmarks/journey.py                                  # every combination
    python benchmarks/journey.py --template torch-research

The wall clock from the command to the prompt with the default parameters on the digits, imports
and all, with as many threads as the project takes; and its processor time beside it, since a busy
machine lengthens the first and hardly the second. Each round runs every project once; one round
more comes before, for bytecode and data.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from common import (
    add_combination_options,
    child_seconds,
    combinations,
    machine,
    print_table,
    render,
    spread,
    take_turns,
    title,
)


def seconds_to_train(project: Path) -> tuple[float, float]:
    """Return the wall-clock and the processor seconds of `python train.py`."""
    before, started = child_seconds(), time.perf_counter()
    subprocess.run(
        [sys.executable, "train.py", "--overwrite"], cwd=project, capture_output=True, check=True
    )
    return time.perf_counter() - started, child_seconds() - before


def main() -> None:
    """Measure every combination and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_combination_options(parser)
    parser.add_argument("--rounds", type=int, default=3, help="rounds to time [3]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            title(each): partial(
                seconds_to_train, render(Path(folder, title(each)), each.template, **each.answers)
            )
            for each in combinations(arguments.template, arguments.choice)
        }
        seconds = take_turns(commands, arguments.rounds)
    packages = ("torch", "pytorch-lightning", "tensorflow-cpu", "keras", "jax")
    print(f"{machine(*packages)}\n")
    rows = []
    for name in commands:
        rows.append([name, *(spread(each, ".1f") for each in zip(*seconds[name], strict=True))])
    head = ["`python train.py`, seconds", "CPU seconds"]
    print_table(["combination", *head], rows)


if __name__ == "__main__":
    main()
