"""Check a deep-learning project, whoever made it: is it safe, recorded and fair?

    trainyard check                     # the project here
    trainyard check ../leaf --json      # for other programs
    trainyard check --list              # all checks: why they matter, how to mend, when they err

It reads what git tracks or would track, Python as syntax trees, and runs nothing of the project.
A project leaves out a check, with a reason, in its pyproject.toml:

    [tool.trainyard.check.ignore]
    TY104 = "the recordings are small, and the tests need them"

or in a line by a comment: # trainyard: ignore[TY302] we wrote this file ourselves

exit codes: 0 all checks passed; 65 something was found; 2 the folder cannot be checked
"""

import argparse
import dataclasses
import io
import json
import shutil
import sys
from pathlib import Path

from trainyard.errors import FOUND


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("project", nargs="?", type=Path, default=Path(), help="its folder [.]")
    parser.add_argument("--json", action="store_true", help="print it for a program to read")
    parser.add_argument(
        "--list", action="store_true", help="describe all checks, and check nothing"
    )


def run(arguments: argparse.Namespace) -> int:
    """Check a project, or list the checks; return the exit code."""
    from trainyard.checks.definition import all_checks
    from trainyard.checks.report import check_folder, score, to_json, to_lines, to_list

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A path need not be text.
    width = shutil.get_terminal_size((100, 24)).columns
    if arguments.list:
        if arguments.json:
            described = [dataclasses.asdict(each) for each in all_checks()]
            for each in described:
                del each["find"], each["applies"]
            print(json.dumps(described, indent=2, ensure_ascii=False))
        else:
            print("\n".join(to_list(width)))
        return 0
    results = check_folder(arguments.project, quiet=not sys.stderr.isatty())
    if arguments.json:
        print(json.dumps(to_json(arguments.project, results), indent=2, ensure_ascii=False))
    else:
        print("\n".join(to_lines(results, width)))
    passed, applicable = score(results)
    return 0 if passed == applicable else FOUND
