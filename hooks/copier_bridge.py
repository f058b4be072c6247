"""What Cookiecutter loads before its first question, so that Copier makes the project.

cookiecutter.json names the class below as an extension, and a call of `checked_project_name` names
the project's folder: the last moment at which a refusal is one line, since Cookiecutter wraps a
traceback around what a hook refuses, and at which nothing has been made.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, cast

from cookiecutter import __version__ as cookiecutter_version
from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

try:
    import copier
    from copier.errors import CopierError
except ImportError as error:
    raise ImportError(
        f"{sys.executable} has Cookiecutter and not Copier ({error}), expected both, since Copier "
        "makes the project. Add it (pipx inject cookiecutter copier, or uvx --with copier "
        "cookiecutter) and run the command again."
    ) from None
if tuple(map(int, cookiecutter_version.split(".")[:2])) < (2, 4):
    raise ImportError(
        f"got Cookiecutter {cookiecutter_version}, expected 2.4 or newer. Install a newer one and "
        "run the command again."
    )

root = Path(__file__).resolve().parent.parent
jinja_brace = "{" * 2 + " '{' " + "}" * 2
url_for_copier = re.compile(r"(git@|git://|git\+|https://git(hub|lab)\.com/).*|.*\.git")


class CopierBridge(Extension):
    """Gives Cookiecutter's templates `checked_project_name` and `copier_arguments`."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.arguments: dict[str, Any] = {}
        names = cast("dict[str, Any]", environment.globals)
        names["checked_project_name"] = self.checked_project_name
        names["copier_arguments"] = self.arguments

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Keep the braces of an answer: Cookiecutter renders those of the command line, too."""
        if name is not None or source in own_texts():
            return source
        return source.replace("{", jinja_brace)

    def checked_project_name(self, cookiecutter: dict[str, Any]) -> str:
        """The name of the project's folder, once Copier accepts every answer."""
        self.arguments |= arguments_for_copier(cookiecutter)
        check_answers(self.arguments)
        name = cookiecutter["project_name"]
        folder = Path(cookiecutter["_output_dir"], name)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise FailedHookException(
                f"{folder} exists, expected a new folder. Choose another project_name or place; "
                "`copier update`, inside of it, brings a project up to date."
            )
        return name


def own_texts() -> set[str]:
    """The texts in which braces are the template's own."""
    questions = json.loads((root / "cookiecutter.json").read_text(encoding="utf-8"))
    texts = {path.name for path in root.glob("*(cookiecutter)*")}
    for default in questions.values():
        texts |= {default} if isinstance(default, str) else set(default)
    return texts


def arguments_for_copier(cookiecutter: dict[str, Any]) -> dict[str, Any]:
    """What to call Copier with for the answers and the template that Cookiecutter was given.

    Copier itself drops the answers to questions that the chosen template does not ask.
    """
    data = {name: answer for name, answer in cookiecutter.items() if not name.startswith("_")}
    # Cookiecutter has a meaning of its own for a question named `template`.
    data["template"] = data.pop("template_name")
    given, clone = cookiecutter["_template"], cookiecutter["_repo_dir"]
    if given == clone:
        source = given if os.path.isabs(given) else os.path.abspath(given)
    else:
        source = os.path.abspath(clone)
        data["template_source"] = url_of(given, source)
    return {"src_path": source, "data": data, "vcs_ref": cookiecutter["_checkout"]}


def url_of(given: str, clone: str) -> str:
    """Where Copier finds again what Cookiecutter has cloned."""
    command = ["git", "-C", clone, "config", "--get", "remote.origin.url"]
    origin = ""
    if Path(clone, ".git").exists():
        result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        origin = result.stdout.strip()
    if not origin:
        raise FailedHookException(
            f"{given} has no repository to update from, expected a folder or the URL of a git "
            "repository. Clone or unpack it, and give the folder."
        )
    known = [url for url in (given, origin) if url_for_copier.fullmatch(url)]
    return known[0] if known else f"git+{origin}"


def check_answers(arguments: dict[str, Any]) -> None:
    """Let Copier do everything but write, and say in one line what it refuses."""
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # The hook's call repeats them.
            copier.run_copy(dst_path=folder, defaults=True, pretend=True, quiet=True, **arguments)
    except (ValueError, OSError, CopierError) as error:
        raise FailedHookException(f"{refusal(str(error), arguments)} Nothing was made.") from None


def refusal(message: str, arguments: dict[str, Any]) -> str:
    """Copier's message on one line, with the question and the answer by Cookiecutter's names."""
    message = " ".join(message.split())
    match = re.fullmatch(r"Validation error for question '(\w+)': (.*)", message)
    if not match:
        return (
            f"Copier cannot use {arguments['src_path']}, {arguments['vcs_ref'] or 'latest tag'}: "
            f"{message}. Expected this template, and with --checkout one of its tags."
        )
    question, expected = match.groups()
    answer = arguments["data"].get(question)
    question = "template_name" if question == "template" else question
    return f"{question}: got {answer!r}; {expected}. Run the command again with another answer."
