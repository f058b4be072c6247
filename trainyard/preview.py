"""Say what `copier update` would do to each file of a project, before it does it.

    trainyard preview                     # the project here, to the newest version
    trainyard preview ../leaf --to v1.2.0
    trainyard preview --data loop=lightning
    trainyard preview --json >preview.json

Copier updates a clone in a temporary folder, with the answers that the project has, those of --data
and --data-file, and the defaults of new questions, and the files before and after are compared; the
project itself is only read. What is not committed is no part of it: an update would refuse it.

    conflict     both changed the same lines; the update marks them
    overwritten  git ignores your file, and the template has one at the same path
    removed      the template has it no longer
    new          the template has it now
    automatic    changed by the template, and merged where you changed it, too
    kept         yours differs from the template's, and stays

exit codes: 0 nobody has to do anything by hand; 65 somebody has: a conflict, or a file of yours
that would be overwritten or removed; 2 bad input
"""

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path

from trainyard import updates
from trainyard.answers import add_data, read_data
from trainyard.errors import FOUND
from trainyard.git import is_dirty
from trainyard.progress import print_table, say

COLOURS = {"conflict": "red", "overwritten": "red", "removed": "yellow", "new": "green"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("project", nargs="?", type=Path, default=Path(), help="its folder [.]")
    parser.add_argument("--to", metavar="VERSION", help="of the template [the newest]")
    add_data(parser)
    parser.add_argument("--json", action="store_true", help="print it for a program to read")


def run(arguments: argparse.Namespace) -> int:
    """Print what an update would do; return the exit code."""
    project = arguments.project.resolve()
    data = read_data(arguments.data, arguments.data_file)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = updates.copy_project(project, folder, say)
        update = updates.update(copy, folder, arguments.to, data, say, beside=project)
    if is_dirty(project):
        print("warning: not all is committed; this is of the last commit.", file=sys.stderr)
    if arguments.json:
        files = [change._asdict() for change in update.changes]
        told = {"version": copy.answers.version, "to": update.version, "files": files}
        print(json.dumps(told, indent=2))
    else:
        show(copy.answers.version, update)
        if any(change.kind != "kept" for change in update.changes):
            # `copier update ../leaf` fails in Copier 9.19.
            there = project == Path().resolve()
            before = "" if there else f"cd {shlex.quote(str(arguments.project))} && "
            print(f"Next: {before}{shlex.join(command(arguments))}")
    return FOUND if update.needs_a_person else 0


def show(version: str, update: updates.Update) -> None:
    """Print a table of the files, and a line that sums it up."""
    if update.changes:
        colours = [COLOURS.get(change.kind, "") for change in update.changes]
        print_table([("change", "file", ""), *update.changes], 0, colours)
        print()
    counts = {kind: len(update.paths(kind)) for kind in updates.KINDS}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    print(f"{version} -> {update.version}: {said or 'nothing changes'}")
    if any(change.note == updates.LOST for change in update.changes) or update.paths("overwritten"):
        print("Before the update, move away what you need of the files overwritten or removed.")
    if update.paths("conflict"):
        print("After it, choose in the files with conflicts: git grep '^<<<<<<< before updating'")


def command(arguments: argparse.Namespace) -> list[str]:
    """Return the command that does what was previewed, for the folder of the project."""
    words = ["copier", "update", "--defaults"]
    if arguments.to:
        words += ["--vcs-ref", arguments.to]
    if arguments.data_file:
        words += ["--data-file", str(arguments.data_file.resolve())]
    return [*words, *(word for each in arguments.data for word in ("--data", each))]
