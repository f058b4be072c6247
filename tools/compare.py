"""Train two versions of a template for some steps each, and name the first step that differs.

    python tools/compare.py HEAD~1 HEAD                        # two commits
    python tools/compare.py HEAD . -d task=tabular             # a commit and the working tree
    python tools/compare.py . . --template keras-quickstart -d backend=jax --steps 20
    python tools/compare.py . . --new-answer backend=jax --template keras-quickstart
    python tools/compare.py . . --new-python ../venv/bin/python     # other versions of packages

A version is a commit of this repository, or the folder of a clone, with what is not committed.
Both are rendered with their first parameters and prepare the data that they bring. The losses of
all steps are compared, and the metrics of the epochs that end on the way, bit for bit. Exit code 0:
these are equal; 1: they differ; 2: a version cannot be rendered or trained.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NoReturn

import copier

root = Path(__file__).resolve().parent.parent

# Runs train.py of a project, notes its losses, and ends it after so many steps.
NOTE_LOSSES = """
import json, os, sys
sys.path.insert(0, "")
steps, file = int(sys.argv.pop()), open(sys.argv.pop(), "w")
from machinery import epoch

epoch.LOOK_STEPS = 1
look, end = epoch.Epoch.look, epoch.Epoch.end

def note(step, values):
    print(json.dumps([step, values]), file=file, flush=True)

def noted_look(self, loss_sum):
    note(self.progress.step, {"sum of the epoch's losses": loss_sum})
    if self.progress.step >= steps:
        os._exit(0)
    look(self, loss_sum)

def noted_end(self, train_loss, metrics, learning_rate):
    note(self.progress.step, {f"val_{name}": float(value) for name, value in metrics.items()})
    end(self, train_loss, metrics, learning_rate)

epoch.Epoch.look, epoch.Epoch.end = noted_look, noted_end
with open("train.py", encoding="utf-8") as script:
    text = script.read()
# One step a call, where a template takes several.
text = text.replace("SECONDS_PER_CALL = 0.1", "SECONDS_PER_CALL = 0.0")
if os.path.exists("framework/keras_backend.py"):
    import backend
    backend.STEPS_PER_EXECUTION = 1
sys.argv = ["train.py"]
exec(compile(text, "train.py", "exec"))
"""


def render(version: str, template: str, answers: dict[str, str], target: Path) -> None:
    """Render a version of a template into a folder.

    Args:
        version: a commit, or the folder of a clone.
        template: its name.
        answers: to its questions.
        target: the folder.
    """
    source = Path(version)
    if not (source / "templates").is_dir():
        command = ["git", "-C", str(root), "archive", version]
        archive = subprocess.run(command, capture_output=True, check=False)
        if archive.returncode:
            say = archive.stderr.decode().strip().splitlines()[-1:]
            refuse(f"{version}: neither a commit nor the folder of a clone: {' '.join(say)}")
        source = target.with_name(f"{target.name}-source")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(source, filter="data")
    if not (source / "templates" / template).is_dir():
        refuse(f"{version}: has no template {template}.")
    folder = str(source / "templates" / template)
    copier.run_copy(folder, target, data=answers, defaults=True, quiet=True)


def train(project: Path, python: str, steps: int) -> list[list]:
    """Train a project for some steps; return what was noted: lists of a step and its values."""
    noted = project.with_suffix(".losses")
    command = [python, "-c", NOTE_LOSSES, str(noted), str(steps)]
    try:
        result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    except OSError as error:
        refuse(f"{python}: cannot be run: {error}")
    if result.returncode:
        refuse(f"{project.name} could not be trained:\n{result.stdout}{result.stderr}")
    return [json.loads(line) for line in noted.read_text(encoding="utf-8").splitlines()]


def first_difference(old: list[list], new: list[list]) -> str:
    """Return in words where two lists of noted values differ first; empty: nowhere."""
    for (step, values), (new_step, new_values) in zip(old, new, strict=False):
        if step != new_step:
            return f"after step {min(step, new_step)} one ends an epoch and the other does not"
        for name in {**values, **new_values}:
            was, now = values.get(name), new_values.get(name)
            if was != now:
                return f"step {step} is the first that differs: {name} was {was}, is {now}"
    if len(old) != len(new):
        return f"one ends after {min(len(old), len(new))} of {max(len(old), len(new))} values"
    return ""


def refuse(message: str) -> NoReturn:
    """End the process with a message, exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def read_answers(words: list[str]) -> dict[str, str]:
    """Return "name=value" words as answers."""
    if wrong := [word for word in words if "=" not in word]:
        refuse(f"{wrong[0]}: expected name=value.")
    return dict(word.split("=", 1) for word in words)


def main(words: list[str] | None = None) -> int:
    """Compare what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", help="a commit, or the folder of a clone")
    parser.add_argument("new", help="another, or the same")
    parser.add_argument("--template", default="torch-research", help="[torch-research]")
    parser.add_argument("--steps", type=int, default=100, help="[100]")
    parser.add_argument("-d", "--answer", action="append", default=[], metavar="NAME=VALUE")
    for side in ("old", "new"):
        parser.add_argument(f"--{side}-answer", action="append", default=[], metavar="NAME=VALUE")
        parser.add_argument(
            f"--{side}-python", default=sys.executable, type=os.path.abspath, help="[this one]"
        )
    given = parser.parse_args(words)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for side in ("old", "new"):
            project = Path(folder) / side
            answers = read_answers([*given.answer, *getattr(given, f"{side}_answer")])
            render(getattr(given, side), given.template, answers, project)
            found.append(train(project, getattr(given, f"{side}_python"), given.steps))
    if difference := first_difference(*found):
        print(f"{given.old} and {given.new} are not equal: {difference}.")
        return 1
    print(f"{given.old} and {given.new} have equal losses: {found[0][-1][0]} steps, bit for bit.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
