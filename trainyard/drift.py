"""Say which files of the template are not as the template made them.

    trainyard drift                       # the project here
    trainyard drift ../leaf --diff        # and what is different in them
    trainyard drift --json >drift.json

The project is made anew, in a temporary folder, from the version and the answers that
.copier-answers.yml records; then each file of the template is compared. What is yours never counts:
the commands at the project's top (train.py, parameters.py, ...), model/, experiments/, data/,
competition/, tests/, schemas/, README.md, TASK.md, KAGGLE.md, LICENSE, .gitignore, and the packages
in requirements.txt and constraints.txt; nor another version of an action in a workflow, nor that
update.yml or renovate.json is deleted, of which a project needs one at most. A project that means
to differ says so in .trainyard.yml:

    drift: [.github/workflows/*, machinery/pictures.py]     # these are ours

exit codes: 0 nothing has drifted; 65 something has; 2 bad input
"""

import argparse
import difflib
import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from trainyard.answers import ProjectSettings, read_answers, read_settings
from trainyard.errors import FOUND, InputError
from trainyard.progress import print_table, say
from trainyard.templates import render_recorded

YOURS = ("model/", "experiments/", "data/", "competition/", "tests/", "schemas/")
YOUR_FILES = (
    *("README.md", "TASK.md", "KAGGLE.md", "LICENSE", ".gitignore"),
    *("requirements.txt", "constraints.txt"),
)
DELETED_AT_WILL = (".github/workflows/update.yml", "renovate.json")  # Two ways to one thing.
# An action of GitHub at a commit or a version, which Renovate replaces by newer ones.
ACTION = re.compile(r"(.*\buses:\s*[^@\s]+@)(?:[0-9a-f]{40}|v?\d[\w.]*)\s*(?:#.*)?")


class Drift(NamedTuple):
    """A file of the template that is not as the template made it."""

    path: str
    kind: str  # "changed" or "deleted"
    added: int = 0  # Lines that the template's file does not have,
    removed: int = 0  # and lines that only it has.


def is_owned_by_template(path: str) -> bool:
    """Say whether an update renews a file, and nobody is expected to edit it."""
    is_command = "/" not in path and path.endswith(".py")
    return not (is_command or path.startswith(YOURS) or path in YOUR_FILES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("project", nargs="?", type=Path, default=Path(), help="its folder [.]")
    parser.add_argument("--json", action="store_true", help="print it for a program to read")
    parser.add_argument("--diff", action="store_true", help="print what is different, too")


def run(arguments: argparse.Namespace) -> int:
    """Print what has drifted; return the exit code."""
    if arguments.json and arguments.diff:
        raise InputError("--diff is for people, --json for programs; leave one of them out.")
    project = arguments.project.resolve()
    answers, settings = read_answers(project), read_settings(project)
    with tempfile.TemporaryDirectory() as name:
        pristine = Path(name, project.name)
        say(f"making it anew from {answers.version}")
        files = render_recorded(answers, pristine)
        found = find_drift(project, pristine, files, settings)
        if arguments.json:
            told = {"version": answers.version, "files": [each._asdict() for each in found]}
            print(json.dumps(told, indent=2))
        elif found:
            rows = [(each.kind, each.path, f"+{each.added} -{each.removed}") for each in found]
            print_table([("drift", "file", "lines"), *rows], 0, ["yellow"] * len(found))
        if arguments.diff:
            for each in found:
                for line in difference(project, pristine, each.path):
                    print(line if line.endswith("\n") else f"{line}\n", end="")
                print()
    if not arguments.json:
        print(f"{len(found)} of the template's files have drifted from {answers.version}.")
    return FOUND if found else 0


def find_drift(
    project: Path, pristine: Path, paths: Iterable[str], settings: ProjectSettings
) -> list[Drift]:
    """Compare the template's files in a project with the same as the template made them.

    Args:
        project: its folder.
        pristine: the folder of the project made anew.
        paths: of the files there.
        settings: which of them the project declares to be its own.
    """
    found = []
    for path in sorted(paths):
        if not is_owned_by_template(path) or settings.is_yours(path):
            continue
        if not (project / path).is_file():
            if path not in DELETED_AT_WILL:
                found.append(Drift(path, "deleted", 0, len(lines(pristine / path))))
        elif difflines := difference(project, pristine, path):
            signs = [line[0] for line in difflines[2:]]
            found.append(Drift(path, "changed", signs.count("+"), signs.count("-")))
    return found


def difference(project: Path, pristine: Path, path: str) -> list[str]:
    """Return the lines of a unified difference, from the template's file to the project's.

    Versions of actions do not count.
    """
    mine = lines(project / path) if (project / path).is_file() else []
    versions = {match[1]: line for line in mine if (match := ACTION.fullmatch(line.rstrip()))}
    template = [
        versions.get(match[1], line) if (match := ACTION.fullmatch(line.rstrip())) else line
        for line in lines(pristine / path)
    ]
    return [*difflib.unified_diff(template, mine, f"template/{path}", path)]


def lines(path: Path) -> list[str]:
    """Return the lines of a file; what is not UTF-8 is escaped."""
    return path.read_text(encoding="utf-8", errors="backslashreplace").splitlines(keepends=True)
