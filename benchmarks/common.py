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
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def harness() -> Any:
    """Return the module of the tests that lists tasks and combinations."""
    sys.path.append(str(root / "tests"))
    return importlib.import_module("combinations")


def combinations(
    template: str | None = None, choice: str | None = None, task: str = "image-classification"
) -> list[Any]:
    """Return the combinations of templates and choices for a task."""
    return [
        each
        for each in harness().checked_combinations
        if each.task == task
        and not each.kaggle
        and template in (None, each.template)
        and choice in (None, each.choice)
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
    """Let a command take one task, more or fewer rounds, and only some of the images."""
    tasks = harness().tasks
    parser.add_argument(
        "--task", nargs="+", choices=tasks, default=tasks, help="only these [every task]"
    )
    parser.add_argument("--rounds", type=int, default=11, help="rounds to time [11]")
    parser.add_argument(
        "--images", default="", help="of image-classification: such as 8x8 or 28x28 [all]"
    )


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


def write_table(folder: Path, count: int) -> Any:
    """Write random rows of two classes to train on, and 512 others, as build_dataset.py does."""
    build_dataset = importlib.import_module("build_dataset")
    columns, target = map(importlib.import_module, ("machinery.columns", "machinery.targets"))
    rows, generator = np.arange(count + 512), np.random.default_rng(0)
    names = [f"number {column}" for column in range(24)]
    levels = {
        f"category {column}": generator.integers(0, 10, len(rows)).astype(str)
        for column in range(6)
    }
    found = columns.Columns(names, generator.normal(size=(len(rows), len(names))), levels)
    classes = target.Target("binary", rows % 2, ["no", "yes"])
    splits = {"train": rows[:count], "val": rows[count:-256], "test": rows[-256:]}
    ids = np.char.mod("row-%d", rows)
    return build_dataset.write_rows(folder, found, classes, ["class"], ids, splits, "noise")


def write_data(folder: Path, task: str, images: str) -> Iterator[tuple[str, Path, Any, int]]:
    """Write each kind of data of a task; yield its name, folder, description and batch size.

    Args:
        folder: where to.
        task: random images or rows, and of the other tasks the data that come with the project.
        images: see find_cases.
    """
    if task == "image-classification":
        for case in find_cases(images):
            side, channels, batch, count = case
            data = folder / f"{side}x{side} {batch}"
            yield name_of(case), data, write_images(data, side, channels, count), batch
    elif task == "tabular":
        data = write_table(folder / "table", 12_800)
        for batch in (64, 256):
            yield f"table, batch {batch}", folder / "table", data, batch
    else:
        build_dataset = importlib.import_module("build_dataset")
        build_dataset.prepare_default(folder / "data")
        batch = make_parameters({}).data.batch_size
        dataset = build_dataset.read_dataset(folder / "data")
        yield f"{task}, batch {batch}", folder / "data", dataset, batch


def make_parameters(sections: Mapping[str, Any], augmented: bool = True) -> Any:
    """Return the imported project's parameters with values of the sections data and training.

    Args:
        sections: other values than the defaults.
        augmented: whether the training examples are changed at random, as it comes.
    """
    parameters = importlib.import_module("parameters").Parameters.model_validate(sections)
    if not augmented:
        changes = {name: 0 for name in ("shift", "hide") if hasattr(parameters.data, name)}
        data = parameters.data.model_copy(update=changes)
        parameters = parameters.model_copy(update={"data": data})
    return parameters


def read_arrays(data: Path, dataset: Any) -> tuple[dict[str, np.ndarray], ...]:
    """Return inputs and targets of the training examples by name, in memory, (N, ...)."""
    arrays = dataset.read_split(data, "train")
    return tuple(
        {name: in_memory(arrays[name], dataset.arrays[name].batch_shape) for name in names}
        for names in (dataset.inputs, dataset.targets)
    )


def in_memory(examples: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the examples of an array as one; `shape`: of each, to which ragged ones are padded."""
    if isinstance(examples, np.ndarray):
        return np.array(examples)
    padded = np.full((len(examples), *shape), examples.fill, examples.values.dtype)
    for row, place in enumerate(padded):
        place[: len(examples[row])] = examples[row]
    return padded


def random_batches(
    parts: Sequence[Mapping[str, np.ndarray]], generator: np.random.Generator, steps: int
) -> Iterator[list[dict[str, np.ndarray]]]:
    """Yield inputs and targets of every step of an epoch in a random order, by plain indexing.

    Args:
        parts: inputs and targets of all examples.
        generator: draws the order.
        steps: in the epoch.
    """
    examples = len(next(iter(parts[0].values())))
    for rows in np.array_split(generator.permutation(examples), steps):
        yield [{name: array[rows] for name, array in part.items()} for part in parts]


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


def child_seconds() -> float:
    """Return the processor seconds, user and system, of the child processes that have ended."""
    import resource  # Linux and macOS have it.

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
        pairs: names of loops; the first is divided by the second, where there are both.
    """
    loops = next(iter(results.values()))
    pairs = [pair for pair in pairs if loops.keys() >= set(pair)]
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
