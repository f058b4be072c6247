"""What the benchmarks share: rendered projects, images, rounds, the machine in words, tables."""

import argparse
import concurrent.futures
import datetime
import importlib
import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import copier
import numpy as np

root = Path(__file__).resolve().parent.parent
template = root / "templates" / "torch-research"

# Side, channels, batch, images.
CASES = [(8, 1, 64, 3200), (8, 1, 256, 6400), (28, 1, 128, 1280), (32, 3, 128, 1280)]

Result = TypeVar("Result")


def render(folder: Path, name: str = "torch-research", **answers: str) -> Path:
    """Render a template with its defaults but for `answers`, as `copier copy --defaults` does."""
    copier.run_copy(str(template.with_name(name)), folder, answers, defaults=True, quiet=True)
    return folder


def combinations(
    template: str | None = None, choice: str | None = None, task: str = "image-classification"
) -> list[Any]:
    """Return the combinations of templates and choices for a task."""
    sys.path.append(str(root / "tests"))
    trained = importlib.import_module("combinations").checked_combinations
    return [
        each
        for each in trained
        if each.task == task and template in (None, each.template) and choice in (None, each.choice)
    ]


def add_combination_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take only some of the combinations."""
    parser.add_argument("--template", help="only this one, such as keras-quickstart")
    parser.add_argument("--choice", help="only this one, such as lightning or jax")


def title(combination: Any) -> str:
    """Return the name of a combination in the tables."""
    return combination.template + f", {combination.choice}" * (combination.choice != "-")


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a process of its own, which imports anew."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def import_project(folder: Path) -> None:
    """Let the modules of a rendered project be imported: train, evaluate, ..."""
    sys.path.insert(0, str(folder))
    sys.stderr.isatty = lambda: False  # ty: ignore[invalid-assignment]  # No progress bars.


def name_of(case: tuple[int, int, int, int]) -> str:
    """Return the name of one of CASES in the tables."""
    side, channels, batch, _ = case
    return f"{side}x{side}x{channels}, batch {batch}"


def add_measuring_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take more or fewer rounds, and only some of the images."""
    parser.add_argument("--rounds", type=int, default=11, help="rounds to time [11]")
    parser.add_argument("--images", default="", help="only these, such as 8x8 or 28x28 [all]")


def find_cases(images: str) -> list[tuple[int, int, int, int]]:
    """Return those of CASES whose name begins so."""
    return [case for case in CASES if name_of(case).startswith(images)]


def write_images(folder: Path, side: int, channels: int, count: int) -> Any:
    """Write `count` random images to train on, and 512 others, as build_dataset.py writes them."""
    build_dataset = importlib.import_module("build_dataset")
    rows = np.arange(count + 512)
    shape = (len(rows), side, side, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    splits = {"train": rows[:count], "val": rows[count:-256], "test": rows[-256:]}
    ids, classes = np.char.mod("image-%d", rows), [str(label) for label in range(10)]
    return build_dataset.write_images(folder, images, rows % 10, ids, splits, classes, "noise")


def read_images(data: Path, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the training images (N, H, W, C) uint8 and labels (N,) int64, in memory."""
    arrays = dataset.read_split(data, "train")
    return np.array(arrays["images"]), np.array(arrays["labels"])


def begin_run(folder: Path, parameters: Any, dataset: Any, data: Path) -> Any:
    """Return a run of the imported project, whose folder is locked, on the processor."""
    stop = importlib.import_module("machinery.stopping").StopRequest()
    run = importlib.import_module("machinery.run").Run
    return run(folder, parameters, dataset, data, stop, "cpu").__enter__()


def timed(
    epoch: Callable[[], object], count: int, clock: Callable[[], float] = time.process_time
) -> Callable[[], float]:
    """Return a function that calls `epoch` and returns its examples per second."""

    def speed() -> float:
        started = clock()
        epoch()
        return count / (clock() - started)

    return speed


def take_turns(loops: Mapping[str, Callable[[], Result]], rounds: int) -> dict[str, list[Result]]:
    """Call every loop once a round, each round beginning with another; return what they return."""
    results: dict[str, list[Result]] = {name: [] for name in loops}
    names = list(loops)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            result = loops[name]()
            if number:  # The first round warms up.
                results[name].append(result)
    return results


def machine(*packages: str) -> str:
    """Return the date, the processor, its cores, and the versions of Python and packages."""
    processor = platform.processor() or platform.machine()
    capabilities = set()
    if Path("/proc/cpuinfo").exists():
        facts = dict(
            line.partition(":")[::2] for line in Path("/proc/cpuinfo").read_text().splitlines()
        )
        facts = {name.strip(): value.strip() for name, value in facts.items()}
        processor = facts.get("model name", processor)
        capabilities = {"avx512_bf16", "amx_bf16"} & set(facts.get("flags", "").split())
    described = f"{processor} ({', '.join(sorted(capabilities)) or 'no bfloat16 known'})"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{datetime.date.today()}, {described}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return "median (smallest to largest)"."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return value / other of each round: what slowed a whole round down cancels out."""
    return [value / other for value, other in zip(values, others, strict=True)]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> None:
    """Print a Markdown table, text aligned to the left and the numbers after it to the right."""
    print(f"| {' | '.join(head)} |")
    print("|" + " --- |" * text_columns + " ---: |" * (len(head) - text_columns))
    for row in rows:
        print(f"| {' | '.join(row)} |")


def print_speeds(
    results: dict[str, dict[str, list[float]]], pairs: Sequence[tuple[str, str]]
) -> None:
    """Print a table of the examples per second of each loop, and one of ratios between loops.

    Args:
        results: for each kind of data, what take_turns returned.
        pairs: names of loops; the first is divided by the second.
    """
    loops = next(iter(results.values()))
    print("\nExamples per second:\n")
    rows = [
        [name, *(spread(each, ",.0f") for each in speeds.values())]
        for name, speeds in results.items()
    ]
    print_table(["data", *loops], rows)
    print("\nRatios:\n")
    rows = [
        [name, *(spread(ratios(speeds[a], speeds[b])) for a, b in pairs)]
        for name, speeds in results.items()
    ]
    print_table(["data", *(f"{a} / {b}" for a, b in pairs)], rows)
