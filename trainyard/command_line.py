"""The command line of the program: one verb, one module.

A verb's module has a docstring, which --help prints, `add_arguments(parser)`, and
`run(arguments)`, which returns the exit code.
"""

import argparse
import importlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from trainyard.errors import BAD_INPUT, exit_codes

VERBS = {
    "preview": "what `copier update` would do to each file, before it does it",
    "drift": "which files of the template are not as the template made them",
    "check": "is a project, whoever made it, safe, recorded and fair?",
    "adopt": "bring an existing project under the template, on a branch",
    "extract": "a clean copy of code and experiments for a paper, which reruns",
    "fleet": "version, drift and foreseen conflicts of many repositories; updates as branches",
}

# Inside a hook or an alias of git they would send each of our gits to that repository.
OF_A_REPOSITORY = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"),
)

DESCRIPTION = """\
Keep many projects alike.

    trainyard preview                  # what would `copier update` do to the project here?
    trainyard drift ../leaf --json     # which of the template's files were changed?
    trainyard check                    # is the project here safe, recorded and fair?
    trainyard fleet fleet.yml          # the same of many repositories, in a table
    trainyard VERB --help              # all options of a verb, with examples

exit codes: 0 done; 1 a bug (traceback); 2 bad input, nothing was changed; 65 a check found
something; 130 Ctrl-C"""


class ArgumentParser(argparse.ArgumentParser):
    """argparse, with errors in the form of the projects."""

    def __init__(self, **options: Any) -> None:
        options["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> Any:
        print(f"error: {message}. See --help.", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def version() -> str:
    """Return the installed version; from a clone that is not installed, say so."""
    try:
        return importlib.metadata.version("trainyard")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def make_parser(words: Sequence[str]) -> ArgumentParser:
    """Return the parser for a command line; of the verbs, only the one it names is imported."""
    parser = ArgumentParser(prog="trainyard", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"trainyard {version()}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    named = next((word for word in words if not word.startswith("-")), None)
    for name, summary in VERBS.items():
        if name != named:
            verbs.add_parser(name, help=summary)
            continue
        verb = importlib.import_module(f"trainyard.{name}")
        of_verb = verbs.add_parser(name, help=summary, description=verb.__doc__)
        verb.add_arguments(of_verb)
        of_verb.set_defaults(run=verb.run)
    return parser


def prepare_git() -> None:
    """Let each git that is started, Copier's too, find its own repository and ask nothing."""
    for name in OF_A_REPOSITORY:
        os.environ.pop(name, None)
    os.environ.setdefault("GIT_TERMINAL_PROMPT", "0")
    # SSH would ask at the terminal whether it knows a host. A person's own command for it stays.
    if "GIT_SSH" not in os.environ and not _has_ssh_command():
        os.environ.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")


def _has_ssh_command() -> bool:
    command = ["git", "config", "core.sshCommand"]
    try:
        return bool(subprocess.run(command, capture_output=True).stdout.strip())
    except FileNotFoundError:
        return False  # The first use of git says that it is missing.


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code.

    Args:
        words: after the program's name; None: those that it was called with.
    """
    words = sys.argv[1:] if words is None else words
    prepare_git()
    with exit_codes():
        arguments = make_parser(words).parse_args(words)
        return arguments.run(arguments)
