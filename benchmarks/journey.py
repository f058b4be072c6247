"""From `python train.py` to the prompt, and how much Python there is to read, per combination.

    python benchmarks/journey.py                                  # every combination
    python benchmarks/journey.py --template torch-research

- Seconds of `python train.py`: the wall clock from the command to the prompt with the default
  parameters on the digits, imports and all, with as many threads as the project takes; and its
  processor time beside it, since a busy machine lengthens the first and hardly the second. Each
  round runs every project once; one round more comes before, for bytecode and data.
- Lines: those of Python that are not blank, docstrings and comments too, in the files that only
  this template has, without tests; and in train.py alone. The other modules are in all templates.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from common import (
    add_combination_options,
    combinations,
    machine,
    print_table,
    render,
    root,
    spread,
    take_turns,
    title,
)


def seconds_to_train(project: Path) -> tuple[float, float]:
    """Return the wall-clock and the processor seconds of `python train.py`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "train.py", "--overwrite"], cwd=project, capture_output=True, check=True
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def own_lines(project: Path) -> dict[str, int]:
    """Return the lines that are not blank of each module that only this template has."""
    shared = {
        Path(*(part for part in path.relative_to(root / "shared/project").parts if "{" not in part))
        for path in (root / "shared/project").rglob("*.py")
    }
    own = {path.relative_to(project) for path in project.rglob("*.py")} - shared
    return {
        path.as_posix(): sum(map(bool, map(str.strip, (project / path).read_text().splitlines())))
        for path in sorted(own)
        if path.parts[0] != "tests"
    }


def main() -> None:
    """Measure every combination and print one table, and the lines of every file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_combination_options(parser)
    parser.add_argument("--rounds", type=int, default=3, help="rounds to time [3]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        projects = {
            title(each): render(Path(folder, title(each)), each.template, **each.answers)
            for each in combinations(arguments.template, arguments.choice)
        }
        lines = {name: own_lines(project) for name, project in projects.items()}
        commands = {name: partial(seconds_to_train, path) for name, path in projects.items()}
        seconds = take_turns(commands, arguments.rounds)
    packages = ("torch", "pytorch-lightning", "tensorflow-cpu", "keras", "jax")
    print(f"{machine(*packages)}\n")
    rows = []
    for name, files in lines.items():
        both = (spread(each, ".1f") for each in zip(*seconds[name], strict=True))
        rows.append([name, *both, str(sum(files.values())), str(files["train.py"])])
    head = ["`python train.py`, seconds", "CPU seconds", "lines", "of which train.py"]
    print_table(["combination", *head], rows)
    for name, files in lines.items():
        print(f"\n{name}: {', '.join(f'{path} {count}' for path, count in files.items())}.")


if __name__ == "__main__":
    main()
