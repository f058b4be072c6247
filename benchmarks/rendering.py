"""Seconds to render torch-research through its folder, against two plain Copier templates.

    python benchmarks/rendering.py

"empty" asks one question and has one file with the answer in it. "same files" asks one question
and has the files of the rendered project as they are, without a tag, but for the record of the
answers: what Copier itself takes for so many files. Each round copies every template, each round
beginning with another one, with default answers and without output: as a whole command
(`python -m copier copy`), by the wall clock and by processor time, and in this process
(copier.run_copy). Given are the median over the rounds and, in brackets, the lowest and the
highest; a ratio is taken within a round. Needs a system that tells the resources of a child
process: Linux or macOS.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import copier

from common import machine, print_table, ratios, render, spread, template


def write_template(folder: Path, files: Path | None) -> Path:
    """Write a template with one question and, beside it, either one file or those of a project."""
    question = "project_name:\n  type: str\n  default: my-project\n"
    if files:
        shutil.copytree(files, folder / "project")
        (folder / "project" / ".copier-answers.yml").unlink()
        question = f"_subdirectory: project\n{question}"
    else:
        folder.mkdir()
        (folder / "README.md.jinja").write_text("# {{ project_name }}\n")
    (folder / "copier.yml").write_text(question)
    return folder


def command(source: Path, target: Path) -> None:
    """Copy as a person does."""
    words = ["-m", "copier", "copy", "--defaults", "--quiet", str(source), str(target)]
    subprocess.run([sys.executable, *words], check=True)


def in_process(source: Path, target: Path) -> None:
    """Copy once Copier is imported."""
    copier.run_copy(str(source), target, defaults=True, quiet=True)


def processor_time() -> float:
    """Return the processor time of the children of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


ways: dict[str, tuple[Callable[[Path, Path], None], Callable[[], float]]] = {
    "whole command, wall clock": (command, time.perf_counter),
    "whole command, processor time": (command, processor_time),
    "in process, wall clock": (in_process, time.perf_counter),
}


def main() -> None:
    """Measure both templates in every way and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds to time [20]")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "settings.yml")
        settings.write_text("{}\n")
        os.environ["COPIER_SETTINGS_PATH"] = str(settings)  # None of the person's own.
        sources = {
            "torch-research": template,
            "same files": write_template(Path(folder, "same"), render(Path(folder, "project"))),
            "empty": write_template(Path(folder, "empty"), None),
        }
        names = list(sources)
        for way, (copy, clock) in ways.items():
            seconds: dict[str, list[float]] = {name: [] for name in names}
            for number in range(arguments.rounds + 1):
                first = number % len(names)
                for name in names[first:] + names[:first]:
                    target = Path(folder, f"{way} {name} {number}")
                    started = clock()
                    copy(sources[name], target)
                    if number:  # The first round warms up.
                        seconds[name].append(clock() - started)
            ours, same, empty = seconds.values()
            compared = [spread(ratios(*pair)) for pair in [(ours, empty), (ours, same)]]
            rows.append([way, *(spread(values) for values in seconds.values()), *compared])
        count = sum(path.is_file() for path in Path(folder, "project").rglob("*"))
    print(f"{machine('copier')}; {count} files\n")
    head = ["seconds", *names, "torch-research / empty", "torch-research / same files"]
    print_table(head, rows)


if __name__ == "__main__":
    main()
