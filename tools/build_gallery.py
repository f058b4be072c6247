"""Render, train and show every combination of a template, its choice and a task: a page for each.

    .venv/bin/python tools/build_gallery.py                            # all 30, into gallery/
    .venv/bin/python tools/build_gallery.py /tmp/look --only tabular
    .venv/bin/python tools/build_gallery.py --only plain --docs        # renews docs/tasks/, too

Writes Markdown: index.md, a page for each combination, pictures/, and results.json, from which the
index is made, so that a later run with --only leaves the other pages as they are. Two combinations
train at once, each with one thread. Takes minutes, on Linux or macOS; needs what
requirements/test.txt installs. Exit code 0: all are shown; 1: some failed, which are named and have
no page; 2: the command line was refused, and nothing was written; 130: Ctrl-C.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import copier
from PIL import Image
from tqdm import tqdm

import gallery_pages as pages
from gallery_pages import PROJECT, name_of, neighbour_of

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "tests"))

from combinations import Combination, checked_combinations  # noqa: E402
from projects import TASKS  # noqa: E402

AT_ONCE = 2
# Most pixels of learning curves, which may be four side by side, of a picture, and in the index.
CURVES, LARGE, SMALL = (1400, 520), (640, 520), (220, 220)
SHOWN = [each for each in checked_combinations if not each.kaggle]

# What the trivial answer of a task reaches on test, by the project's own metrics.
TRIVIAL = """
import json, sys
from pathlib import Path
sys.path[:0] = ["", sys.argv[1]]
import numpy as np
from build_dataset import read_dataset
from model.report import Evaluation
from projects import TASKS

folder = Path("data")
dataset = read_dataset(folder)
train, test = (
    {n: a.take(np.arange(len(a)), axis=0) for n, a in read.items()}
    for read in (dataset.read_split(folder, s, dataset.targets) for s in ("train", "test"))
)
examples = dataset.examples["test"]
evaluation = Evaluation(dataset)
evaluation.add(TASKS[dataset.task].trivial.predict(train, examples), test, np.zeros(examples))
found = evaluation.metrics()
del found["loss"]
print(json.dumps(found))
"""


class Failed(Exception):
    """A command that a combination needs did not end well."""


def run(words: list[str], folder: Path) -> tuple[str, float]:
    """Run Python in a folder; return what it printed and the seconds of the processor it took.

    Raises:
        Failed: it ended with another code than 0.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert process.stdout
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = "\n".join(printed.splitlines()[-15:])
        raise Failed(f"`python {' '.join(words)}` ended with {process.returncode}:\n{last}")
    return printed, usage.ru_utime + usage.ru_stime


def render(combination: Combination, projects: Path) -> None:
    """Make the project of a combination, below its name, as the command on its page does."""
    template = str(root / "templates" / combination.template)
    target = projects / name_of(combination) / PROJECT
    copier.run_copy(template, target, data=combination.answers, defaults=True, quiet=True)


def train(combination: Combination, project: Path, gallery: Path) -> dict[str, Any]:
    """Train and evaluate a project; keep its pictures; return what the pages say of it."""
    commands = pages.training_commands(combination)
    printed, seconds = zip(*(run(words, project) for words in commands), strict=True)
    experiment = project / pages.experiment_of(combination)
    session = json.loads((experiment / "run.json").read_text(encoding="utf-8"))["sessions"][-1]
    task, name = TASKS[combination.task], name_of(combination)
    drawn = {"learning_curves.png": 1.0, **task.pictures}
    for number, (picture, share) in enumerate(drawn.items()):
        size = LARGE if number else CURVES
        save_picture(experiment / picture, share, size, gallery / pages.picture(name, number))
    first, share = next(iter(task.pictures.items()))
    save_picture(experiment / first, share, SMALL, gallery / pages.picture(name, "small"))
    trivial, _ = run(["-c", TRIVIAL, str(root / "tests")], project)
    keep = ("epochs", "seconds", "processor", "cores", "device", "precision", "weights", "versions")
    session["epochs"] = session["parameters"]["training.epochs"]
    return {
        **{key: session[key] for key in keep},
        "task": combination.task,
        "processor_seconds": sum(seconds),
        "printed": printed,
        "trivial": json.loads(trivial),
        "pictures": [*drawn],
        "metrics": json.loads((experiment / "metrics_test.json").read_text(encoding="utf-8")),
    }


def save_picture(source: Path, share: float, size: tuple[int, int], target: Path) -> None:
    """Write the upper part of a picture, scaled down."""
    with Image.open(source) as image:
        shown = image.convert("RGB").crop((0, 0, image.width, round(share * image.height)))
    shown.thumbnail(size, Image.Resampling.LANCZOS)
    shown.quantize(128).save(target, optimize=True)


def train_all(
    combinations: list[Combination], projects: Path, gallery: Path
) -> Iterator[tuple[Combination, dict[str, Any] | None]]:
    """Train projects, two at a time, with a progress bar.

    Yields:
        each combination and what came of it, as soon as it is there; None: it failed, as is said.
    """

    def act(combination: Combination) -> dict[str, Any]:
        return train(combination, projects / name_of(combination) / PROJECT, gallery)

    with ThreadPoolExecutor(AT_ONCE) as executor, tqdm(total=len(combinations)) as bar:
        waiting = {executor.submit(act, each): each for each in combinations}
        try:
            for future in as_completed(waiting):
                combination = waiting[future]
                try:
                    yield combination, future.result()
                except Failed as error:
                    bar.write(f"error: {name_of(combination)}: {error}", file=sys.stderr)
                    yield combination, None
                bar.set_postfix_str(name_of(combination))
                bar.update()
        finally:
            executor.shutdown(cancel_futures=True)


def build(chosen: list[Combination], gallery: Path, docs: bool) -> list[str]:
    """Write the pages of combinations, and the index of all; return the names of those that failed.

    Args:
        chosen: the combinations.
        gallery: an empty folder, or that of an earlier run.
        docs: renew the pictures in docs/tasks/, where PyTorch's plain loop is among them.
    """
    (gallery / "pictures").mkdir(parents=True, exist_ok=True)
    file = gallery / "results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        projects = Path(folder)
        needed = [each for each in SHOWN if each in chosen or each in map(neighbour_of, chosen)]
        for each in needed:
            render(each, projects)
        # What a project and its neighbour differ in is read before they train.
        parts = {name_of(each): pages.describe(each, projects) for each in chosen}
        for each, result in train_all(chosen, projects, gallery):
            name = name_of(each)
            results.pop(name, None)
            if result is None:
                failed.append(name)
                (gallery / f"{name}.md").unlink(missing_ok=True)
            else:
                results[name] = result
                if docs and each.choice == "plain":
                    picture = gallery / pages.picture(name, 1)
                    shutil.copy(picture, root / "docs" / "tasks" / f"{each.task}.png")
            file.write_text(json.dumps(results, indent=1), encoding="utf-8")
            (gallery / "index.md").write_text(pages.index(SHOWN, results), encoding="utf-8")
            for other in (other for other in chosen if name_of(other) in results):
                # Each time anew, as its neighbour may have a page by now.
                text = pages.page(other, results[name_of(other)], parts[name_of(other)], results)
                (gallery / f"{name_of(other)}.md").write_text(text, encoding="utf-8")
    pages_made = len(chosen) - len(failed)
    print(f"{pages_made} pages in {gallery}; they took {sum(os.times()[:4]):.0f} CPU seconds.")
    return failed


def problem_of(gallery: Path) -> str:
    """What is wrong with the place of a gallery; nothing if it is right."""
    file = gallery / "results.json"
    if gallery.is_dir() and file.is_file():
        try:
            if isinstance(json.loads(file.read_text(encoding="utf-8")), dict):
                return ""
        except ValueError:
            pass
        return f"{file}: damaged; expected what this tool wrote. Delete it and the pages beside it."
    if gallery.exists() and not (gallery.is_dir() and not [*gallery.iterdir()]):
        return f"{gallery}: expected an empty folder or an earlier gallery. Name another."
    return ""


def main(words: list[str] | None = None) -> int:
    """Build what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=root / "gallery", help="[gallery]")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="combinations with any of these in their names"
    )
    parser.add_argument("--docs", action="store_true", help="renew the pictures in docs/tasks/")
    given = parser.parse_args(words)
    chosen = [
        each
        for each in SHOWN
        if not given.only or any(word in name_of(each) for word in given.only)
    ]
    if not chosen:
        names = "\n  ".join(map(name_of, SHOWN))
        print(
            f"error: --only: no combination has {given.only} in its name:\n  {names}",
            file=sys.stderr,
        )
        return 2
    if problem := problem_of(given.folder):
        print(f"error: {problem} Nothing was written.", file=sys.stderr)
        return 2
    try:
        failed = build(chosen, given.folder, given.docs)
    except KeyboardInterrupt:
        print("Stopped; the pages that were done are there.", file=sys.stderr)
        return 130
    if failed:
        print(f"error: {len(failed)} have no page: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
