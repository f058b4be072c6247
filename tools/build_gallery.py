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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

import gallery_pages as pages
from gallery_pages import PROJECT, name_of, neighbour_of

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "tests"))

from combinations import Combination, checked_combinations  # noqa: E402
from projects import TASKS  # noqa: E402

AT_ONCE = 2
WIDTH, SMALL = 640, 220  # of a picture and of one in the index, in pixels
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
    """Make the project of a combination, below its name, by the command that its page shows."""
    template = root / "templates" / combination.template
    target = projects / name_of(combination) / PROJECT
    run(["-m", *pages.copy_command(combination, str(template), str(target))], projects)


def train(combination: Combination, project: Path, gallery: Path) -> dict[str, Any]:
    """Train and evaluate a project; keep its pictures; return what the pages say of it."""
    commands = pages.training_commands(combination)
    printed, seconds = zip(*(run(words, project) for words in commands), strict=True)
    experiment = project / pages.experiment_of(combination)
    session = json.loads((experiment / "run.json").read_text(encoding="utf-8"))["sessions"][-1]
    task, name = TASKS[combination.task], name_of(combination)
    drawn = {"learning_curves.png": 1.0, **task.pictures}
    for number, (picture, share) in enumerate(drawn.items()):
        save_picture(experiment / picture, share, WIDTH, gallery / pages.picture(name, number))
    first, share = next(iter(task.pictures.items()))
    save_picture(experiment / first, share, SMALL, gallery / pages.picture(name, "small"))
    keep = ("epochs", "seconds", "processor", "cores", "device", "precision", "weights", "versions")
    session["epochs"] = session["parameters"]["training.epochs"]
    return {
        **{key: session[key] for key in keep},
        "task": combination.task,
        "processor_seconds": sum(seconds),
        "printed": printed,
        "pictures": [*drawn],
        "metrics": json.loads((experiment / "metrics_test.json").read_text(encoding="utf-8")),
    }


def save_picture(source: Path, share: float, width: int, target: Path) -> None:
    """Write the upper part of a picture, scaled down to a width."""
    with Image.open(source) as image:
        shown = image.convert("RGB").crop((0, 0, image.width, round(share * image.height)))
    shown.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
    shown.quantize(128).save(target, optimize=True)


def for_each(
    combinations: list[Combination], act: Callable[[Combination], Any], doing: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Do something for combinations, two at a time, with a progress bar.

    Returns:
        what came of those that succeeded, and the errors of the others, by name.
    """
    done, failed = {}, {}
    with ThreadPoolExecutor(AT_ONCE) as executor, tqdm(total=len(combinations), desc=doing) as bar:
        names = {executor.submit(act, each): name_of(each) for each in combinations}
        try:
            for future in as_completed(names):
                name = names[future]
                try:
                    done[name] = future.result()
                except Failed as error:
                    failed[name] = str(error)
                    bar.write(f"error: {name}: {error}", file=sys.stderr)
                bar.set_postfix_str(name)
                bar.update()
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    return done, failed


def build(chosen: list[Combination], gallery: Path, docs: bool) -> dict[str, str]:
    """Write the pages of combinations, and the index of all; return what failed, with its error.

    Args:
        chosen: the combinations.
        gallery: an empty folder, or that of an earlier run.
        docs: renew the pictures in docs/tasks/, where PyTorch's plain loop is among them.
    """
    (gallery / "pictures").mkdir(parents=True, exist_ok=True)
    file = gallery / "results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        projects = Path(folder)
        needed = [each for each in SHOWN if each in chosen or each in map(neighbour_of, chosen)]
        _, unmade = for_each(needed, lambda each: render(each, projects), "rendering")
        # What a project and its neighbour differ in is read before they train.
        whole = [
            each
            for each in chosen
            if not {name_of(each), name_of(neighbour_of(each))} & unmade.keys()
        ]
        parts = {name_of(each): pages.describe(each, projects) for each in whole}
        done, failed = for_each(
            whole, lambda each: train(each, projects / name_of(each) / PROJECT, gallery), "training"
        )
        trivial: dict[str, Any] = {}  # Of each task once, as all its projects have the same data.
        for name, result in done.items():
            if result["task"] not in trivial:
                printed, _ = run(["-c", TRIVIAL, str(root / "tests")], projects / name / PROJECT)
                trivial[result["task"]] = json.loads(printed)
            result["trivial"] = trivial[result["task"]]
    results |= done
    for name in failed:
        results.pop(name, None)
    file.write_text(json.dumps(results, indent=1), encoding="utf-8")
    for each in whole:
        name = name_of(each)
        if name in done:
            text = pages.page(each, results[name], parts[name])
            (gallery / f"{name}.md").write_text(text, encoding="utf-8")
            if docs and each.choice == "plain":
                picture = gallery / pages.picture(name, 1)
                shutil.copy(picture, root / "docs" / "tasks" / f"{each.task}.png")
    (gallery / "index.md").write_text(pages.index(SHOWN, results), encoding="utf-8")
    print(f"{len(done)} pages in {gallery}; all took {sum(os.times()[:4]):.0f} CPU seconds.")
    return {**unmade, **failed}


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
    known = (given.folder / "results.json").is_file()
    if given.folder.exists() and not known and [*given.folder.glob("*")]:
        print(
            f"error: {given.folder}: expected an empty folder or an earlier gallery; nothing was "
            "written. Name another.",
            file=sys.stderr,
        )
        return 2
    try:
        failed = build(chosen, given.folder, given.docs)
    except KeyboardInterrupt:
        print("Stopped; the pages are as they were.", file=sys.stderr)
        return 130
    if failed:
        print(f"error: {len(failed)} have no page: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
