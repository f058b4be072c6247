"""What a project was made from: its answers file, and what it says to this program."""

import argparse
import difflib
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trainyard.errors import InputError
from trainyard.git import refuse_credentials

ANSWERS_FILE = ".copier-answers.yml"
SETTINGS_FILE = ".trainyard.yml"
SETTINGS = ("drift", "opt_out", "check")  # The last one is for checks/settings.py.


class Answers(NamedTuple):
    """What Copier wrote into a project."""

    source: str  # Where the template is: a path or a URL.
    version: str  # Of the template: a tag or a commit.
    given: dict[str, Any]  # Answers by the names of the questions.


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a YAML file with names at its top holds.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected lines such as `name: value`.")
    return {str(name): value for name, value in content.items()}


def read_answers(project: Path) -> Answers:
    """Return what a project was made from.

    Raises:
        InputError: it was not made by Copier, or does not say from where in a way that can be used.
    """
    path = project / ANSWERS_FILE
    if not project.is_dir():
        raise InputError(f"{project}: no such folder. Expected a project made from the template.")
    if not path.is_file():
        raise InputError(f"{path}: no such file. Expected a project made from the template.")
    content = read_yaml(path)
    source, version = (str(content.get(name) or "") for name in ("_src_path", "_commit"))
    if not source or not version:
        name = "_commit" if source else "_src_path"
        raise InputError(
            f"{path}: has no {name}, so nobody can say which version it was made from. Copy the "
            "template again, from its URL or its whole path, and merge by hand."
        )
    refuse_credentials(source, f"{path}: _src_path")
    if not Path(source).is_absolute() and ":" not in source:
        raise InputError(
            f"{path}: _src_path is {source}, a relative path. Expected the template's URL or its "
            "whole path."
        )
    return Answers(
        source, version, {name: each for name, each in content.items() if name[:1] != "_"}
    )


def refuse_unknown(content: Mapping[str, Any], known: Collection[str], where: object) -> None:
    """Raise InputError where a file has a name that nobody reads, with the nearest one."""
    for name in sorted(content.keys() - {*known}):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
        raise InputError(f"{where}: {name}: unknown name; {hint}")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add --data and --data-file, as `copier update` has them."""
    meaning = "an answer to a question of the template, such as task=tabular; again for more"
    parser.add_argument("--data", action="append", default=[], metavar="NAME=VALUE", help=meaning)
    meaning = "a YAML file of answers; --data comes first"
    parser.add_argument("--data-file", type=Path, metavar="FILE", help=meaning)


def read_data(words: Iterable[str], file: Path | None = None) -> dict[str, Any]:
    """Return the answers of --data and --data-file; as for Copier, those of --data come first.

    Raises:
        InputError: one has no =, or the file cannot be read.
    """
    answers = read_yaml(file) if file else {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InputError(f"--data: {word!r}, expected NAME=VALUE, such as task=tabular.")
        answers[name] = value
    return answers


class ProjectSettings(NamedTuple):
    """What the optional .trainyard.yml of a project says to `drift` and `fleet`."""

    yours: list[str]  # Patterns of files that are no drift.
    opted_out: str  # Why the fleet leaves the project alone; empty: it does not.

    def is_yours(self, name: str) -> bool:
        """Say whether one of the patterns is for this file."""
        return any(fnmatchcase(name, pattern) for pattern in self.yours)


def read_settings(project: Path) -> ProjectSettings:
    """Return what a project says to this program.

    Raises:
        InputError: a value is wrong, or a name unknown: a misspelt opt_out would be a branch.
    """
    path = project / SETTINGS_FILE
    content = read_yaml(path) if path.is_file() else {}
    refuse_unknown(content, SETTINGS, path)
    yours, reason = content.get("drift", []), content.get("opt_out")
    if not isinstance(yours, list) or not all(isinstance(each, str) for each in yours):
        raise InputError(f"{path}: drift: expected a list of files, such as [machinery/run.py].")
    if "opt_out" in content and not (isinstance(reason, str) and reason.strip()):
        raise InputError(f"{path}: opt_out: expected the reason in words.")
    return ProjectSettings(yours, reason or "")
