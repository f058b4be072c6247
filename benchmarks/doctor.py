"""CPU seconds of `python doctor.py` with the data that come with each task.

    python benchmarks/doctor.py
    python benchmarks/doctor.py --template keras-quickstart --task tabular --rounds 3

Given is the processor time of the whole command, user and system, on one thread: the imports, every
check and, in the first round, the preparation of the data. Needs Linux or macOS.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import child_seconds, harness, machine, print_table, render, spread


def cpu_seconds(project: Path) -> float:
    """Return the processor time of doctor.py, which must find that nothing is wrong."""
    before = child_seconds()
    subprocess.run([sys.executable, "doctor.py"], cwd=project, capture_output=True, check=True)
    return child_seconds() - before


def main() -> None:
    """Measure every task and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = harness().tasks
    parser.add_argument("--template", default="torch-research", help="[torch-research]")
    parser.add_argument("--task", nargs="+", choices=tasks, default=tasks, help="[every task]")
    parser.add_argument("--rounds", type=int, default=1, help="rounds to time [1]")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task in arguments.task:
            project = render(Path(folder, task), arguments.template, task=task)
            seconds = [cpu_seconds(project) for _ in range(arguments.rounds)]
            rows.append([task, spread(seconds, ".0f")])
    print(f"{machine('torch', 'tensorflow-cpu', 'keras', 'numpy')}; {arguments.template}\n")
    print_table(["task", "CPU seconds"], rows)


if __name__ == "__main__":
    main()
