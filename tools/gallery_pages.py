"""The Markdown that tools/build_gallery.py writes: a page for each combination, and the index."""

import ast
import difflib
import functools
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "tests"))

from combinations import Combination, find_combination  # noqa: E402
from projects import TASKS  # noqa: E402

PROJECT = "myproj"  # The name of each project: it stands in its files.

# By choice, the one that it is shown beside.
NEIGHBOURS = {
    **{"plain": "lightning", "lightning": "plain", "-": "tensorflow"},
    **{"jax": "tensorflow", "tensorflow": "torch", "torch": "jax"},
}
# What is trained for fewer epochs than experiments/baseline says, by choice and task: the gallery
# has to be there in ten minutes on two cores.
SHORT_EPOCHS = {("jax", "semantic-segmentation"): 6, ("jax", "object-detection"): 10}

# Of these files the lines that differ are shown, unless most of them do.
COMPARED = ("train.py", "model/net.py", "backend.py", "keras.json", "requirements.txt")
MOSTLY_THE_SAME = 0.5  # the share of lines that two versions have in common, from which on
MOST_ROWS = 12  # of the table of files that differ; a longer one has to be opened
FEW_LINES = 20  # of a file that is shown in any case
PURPOSE = 70  # characters, at most, that say what a file is for
MADE_LATER = ("data", "experiments", "__pycache__")  # Nothing there is compared or listed.

# A site leaves the list of headings out, so that lines of code have room.
WIDE = """---
hide:
  - toc
---
"""
INDEX_START = f"""{WIDE}
# Gallery

<style>
.gallery {{ display: grid; gap: 0.8rem; margin: 1em 0 2em;
  grid-template-columns: repeat(auto-fill, minmax(max(7rem, 14%), 1fr)); }}
.gallery p {{ margin: 0; font-size: 0.65rem; line-height: 1.5; }}
.gallery img {{ display: block; width: 100%; border: 1px solid #8884; border-radius: 3px; }}
</style>
"""


def name_of(combination: Combination) -> str:
    """Return the name of a combination's page."""
    return "-".join(word for word in (*way_of(combination), combination.task))


def way_of(combination: Combination) -> list[str]:
    """Return the words of a combination's template and choice."""
    return [word for word in (combination.template, combination.choice) if word != "-"]


def title_of(combination: Combination) -> str:
    """Return a template and its choice as a person reads them."""
    return ", ".join(way_of(combination))


def task_title(task: str) -> str:
    """Return the name of a task as a person reads it."""
    return task.replace("-", " ").capitalize()


def neighbour_of(combination: Combination) -> Combination:
    """Return the combination with the same task that one is shown beside."""
    return find_combination(NEIGHBOURS[combination.choice], combination.task)


def picture(name: str, which: object) -> str:
    """Return the path of a picture from the gallery's folder."""
    return f"pictures/{name}-{which}.png"


def copy_command(combination: Combination) -> str:
    """Return the command that makes the project of a combination, in a clone of this repository."""
    answers = {name: value for name, value in combination.answers.items() if name != "licence"}
    given = " ".join(f"-d {name}={value}" for name, value in answers.items())
    template = f"templates/{combination.template}"
    return f"copier copy --defaults {given} \\\n    {template} {PROJECT}"


def experiment_of(combination: Combination) -> str:
    """Return the path of the experiment that is trained."""
    short = (combination.choice, combination.task) in SHORT_EPOCHS
    return "experiments/short" if short else "experiments/baseline"


def training_commands(combination: Combination) -> list[list[str]]:
    """Return the words behind `python` that train and evaluate."""
    epochs = SHORT_EPOCHS.get((combination.choice, combination.task))
    if epochs is None:
        return [["train.py"], ["evaluate.py"]]
    experiment = ["--experiment", experiment_of(combination)]
    changes = ["--from", "experiments/baseline", "--training.epochs", str(epochs)]
    return [["train.py", *experiment, *changes], ["evaluate.py", *experiment]]


def describe(combination: Combination, projects: Path) -> dict[str, str]:
    """Return what a page shows of the files of a project, as Markdown.

    Args:
        combination: of the project.
        projects: holds it and its neighbour, fresh from the template, in folders of their names.
    """
    here = projects / name_of(combination) / PROJECT
    there = projects / name_of(neighbour_of(combination)) / PROJECT
    return {
        "tree": tree(here),
        "train": (here / "train.py").read_text(encoding="utf-8"),
        "difference": difference(here, there),
    }


def tree(project: Path) -> str:
    """Return what lies at the top of a project and in model/, with what each file says it is."""
    lines = []
    order = sorted(project.iterdir(), key=lambda path: (path.name[0] == ".", path.is_file(), path))
    for path in order:
        if path.name not in MADE_LATER[2:]:
            lines.append((path.name + "/" * path.is_dir(), purpose(path)))
        if path.name == "model":
            files = sorted(path.glob("*.py"))
            lines += [(f"    {each.name}", purpose(each)) for each in files]
    width = max(len(name) for name, _ in lines) + 2
    cut = functools.partial(textwrap.shorten, width=PURPOSE, placeholder=" ...")
    return "\n".join(f"{name:{width}}{cut(about)}".rstrip() for name, about in lines)


def purpose(path: Path) -> str:
    """Return the first line of the docstring of a file or of a package; empty: there is none."""
    file = path / "__init__.py" if path.is_dir() else path
    if file.suffix != ".py" or not file.is_file():
        return ""
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return (said or "").split("\n")[0]


def files_of(project: Path) -> dict[str, str]:
    """Return the texts of a project that may differ, by path."""
    found = {path.relative_to(project): path for path in sorted(project.rglob("*"))}
    return {
        name.as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for name, path in found.items()
        if path.is_file() and not {*MADE_LATER} & {*name.parts}
    }


def difference(here: Path, there: Path) -> str:
    """Return in which files two projects differ, and the lines of those that are alike."""
    ours, theirs = files_of(here), files_of(there)
    rows, shown, same = [], [], 0
    # What a reader asks for first stands first.
    for name in sorted(ours.keys() | theirs.keys(), key=lambda each: (each not in COMPARED, each)):
        if name not in ours or name not in theirs:
            rows.append(f"| `{name}` | {'only here' if name in ours else 'only there'} |")
        elif ours[name] == theirs[name]:
            same += 1
        else:
            old, new = ours[name].splitlines(), theirs[name].splitlines()
            alike = difflib.SequenceMatcher(None, old, new, autojunk=False).ratio()
            most = max(len(old), len(new))
            if alike >= MOSTLY_THE_SAME or most <= FEW_LINES:
                changed = [*difflib.unified_diff(old, new, "here", "there", n=2, lineterm="")]
                count = sum(line[0] in "+-" for line in changed[2:])
                rows.append(f"| `{name}` | {count} changed lines |")
                if name in COMPARED:
                    shown.append(folded(f"<code>{name}</code>", changed, "diff"))
            else:
                rows.append(f"| `{name}` | written anew: {len(old)} and {len(new)} lines |")
    table = ["| file | difference |", "| --- | --- |", *rows]
    if len(rows) > MOST_ROWS:
        table = ["<details markdown>", f"<summary>{len(rows)} files</summary>", "", *table]
        table += ["", "</details>"]
    return "\n".join([f"{same} files are the same. These are not:", "", *table, "", *shown])


def folded(summary: str, lines: Sequence[str], language: str) -> str:
    """Return lines of code that a reader has to open."""
    head = ["<details markdown>", f"<summary>{summary}</summary>", ""]
    return "\n".join([*head, f"```{language}", *lines, "```", "", "</details>", ""])


def page(
    combination: Combination,
    result: Mapping[str, Any],
    parts: Mapping[str, str],
    known: Collection[str],
) -> str:
    """Return the page of a combination.

    Args:
        combination: what it shows.
        result: what came of its training.
        parts: what its files hold, of `describe`.
        known: the names of those that have a page.
    """
    name, task, title = name_of(combination), combination.task, title_of(combination)
    training, evaluation = (text.rstrip() for text in result["printed"])
    python = [f"python {' '.join(words)}" for words in training_commands(combination)]
    other = neighbour_of(combination)
    beside = title_of(other)
    if name_of(other) in known:
        beside = f"[{beside}]({name_of(other)}.md)"
    pictures = [
        f"[![{file.removesuffix('.png').replace('_', ' ')}]({picture(name, number)})]"
        f"({picture(name, number)})\n"
        for number, file in enumerate(result["pictures"])
    ]
    short = (
        ["These are fewer epochs than the project's own, so that the gallery is made in minutes.\n"]
        if (combination.choice, task) in SHORT_EPOCHS
        else []
    )
    return "\n".join(
        [
            WIDE,
            f"# {task_title(task)}: {title}\n",
            f"[All combinations](index.md) · beside it: {beside}\n",
            "```sh",
            copy_command(combination),
            f"cd {PROJECT}",
            *python,
            "```\n",
            *short,
            "## What it learned\n",
            *metrics_table(task, result),
            "",
            cost(result),
            "",
            *pictures,
            folded("What <code>train.py</code> printed", training.splitlines(), "text"),
            folded("What <code>evaluate.py</code> printed", evaluation.splitlines(), "text"),
            "## The project\n",
            f"```text\n{parts['tree']}\n```\n",
            "## train.py\n",
            f"```python\n{parts['train'].rstrip()}\n```\n",
            f"## Beside {title_of(other)}\n",
            f"The same task, with {beside} instead.",
            parts["difference"],
        ]
    )


def metrics_table(task: str, result: Mapping[str, Any]) -> list[str]:
    """Return the metrics on test beside those of an answer that takes no network."""
    rows = [f"| on test | the network | {TASKS[task].trivial.words} |", "| --- | ---: | ---: |"]
    for metric, value in result["metrics"].items():
        trivial = result["trivial"].get(metric)
        beside = "" if trivial is None else f"{trivial:.4f}"
        rows.append(f"| {metric.replace('_', ' ')} | {value:.4f} | {beside} |")
    return rows


def cost(result: Mapping[str, Any]) -> str:
    """Return in a sentence what training took, and where."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"{result['epochs']} epochs of {result['weights']:,} weights took {result['seconds']:.0f} "
        f"seconds; training and evaluating took {result['processor_seconds']:.0f} CPU seconds, "
        f"imports included. {result['processor']}, {result['cores']} cores for two trainings at "
        f"once; {result['device']}, {result['precision']}; {versions}."
    )


def index(shown: Sequence[Combination], results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the index: a grid of small pictures, a row for each task.

    Args:
        shown: every combination.
        results: what came of those that have a page, by name.
    """
    lines = [
        INDEX_START,
        "Every template with each of its loops or backends and each task, trained on the data that "
        "it brings. Numbers are of the test examples.\n",
    ]
    for task in dict.fromkeys(each.task for each in shown):
        metric, trivial = TASKS[task].metric, TASKS[task].trivial
        lines.append(f"## {task_title(task)}\n")
        reached = [
            result["trivial"][metric] for result in results.values() if result["task"] == task
        ]
        if reached:
            name = metric.replace("_", " ")
            lines.append(f"Without a network, {trivial.words}: {name} {reached[0]:.3f}.\n")
        lines.append('<div class="gallery" markdown>\n')
        for each in shown:
            if each.task == task:
                lines.append(f"{card(each, results.get(name_of(each)))}\n")
        lines.append("</div>\n")
    return "\n".join(lines)


def card(combination: Combination, result: Mapping[str, Any] | None) -> str:
    """Return the index's entry of a combination."""
    name, title = name_of(combination), title_of(combination)
    if result is None:
        return f"{title}<br>has no page yet"
    metric = TASKS[combination.task].metric
    image = f"![{task_title(combination.task)}, {title}]({picture(name, 'small')})"
    value = f"{metric.replace('_', ' ')} **{result['metrics'][metric]:.3f}**"
    return f"[{image}{title}]({name}.md)<br>{value}, {result['seconds']:.0f} s"
