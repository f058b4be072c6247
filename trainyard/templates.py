"""The template of a project: renders it, and says how far behind its newest version is."""

import contextlib
import tempfile
import traceback
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import copier
from copier.errors import CopierError
from jinja2 import TemplateError
from plumbum import ProcessExecutionError

from trainyard.answers import ANSWERS_FILE, Answers
from trainyard.errors import InputError
from trainyard.git import digests, git

ALIASES = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}  # Copier's own.


@contextlib.contextmanager
def refusals(where: object) -> Generator[None]:
    """Turn what Copier, its git and Jinja refuse into InputError, with their words.

    Args:
        where: the project or the template that is named before them.
    """
    try:
        yield
    except ProcessExecutionError as error:
        said = " ".join(str(error.stderr).split())
        raise InputError(f"{where}: git failed: {said}") from None
    except (CopierError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{where}: Copier refused: {said}") from None
    except TemplateError as error:
        # Jinja puts the template's own file and line into the traceback.
        frames = [
            f"{Path(frame.filename).name}, line {frame.lineno}: "
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename.endswith((".jinja", ".yml"))
        ]
        said = f"{''.join(frames[-1:])}{' '.join(str(error).split())}"
        raise InputError(f"{where}: Jinja refused the template: {said}") from None


def render_recorded(answers: Answers, folder: Path) -> dict[str, str]:
    """Make the project anew as it was made: by its recorded version and answers alone.

    The defaults of a person's Copier settings file are left out, or each person would find another
    drift. Whom they trust stays.
    """
    with refusals("Copier's settings file"):
        settings = copier.Settings(trust=copier.load_settings().trust)
    return render(answers, answers.version, folder, settings)


def render_updated(
    answers: Answers, version: str | None, folder: Path, data: Mapping[str, Any]
) -> dict[str, str]:
    """Make the project anew as `copier update` of this person would, settings file included.

    Args:
        answers: of the project.
        version: as for render.
        folder: as for render.
        data: answers that change.
    """
    changed = answers._replace(given={**answers.given, **data})
    return render(changed, version, folder, None)


def render(
    answers: Answers, version: str | None, folder: Path, settings: copier.Settings | None
) -> dict[str, str]:
    """Make the project anew, as a version of the template gives it for some answers.

    Args:
        answers: of the project.
        version: a tag or a commit of the template; None: the newest.
        folder: the project is written into, a new one.
        settings: of Copier; None: the person's own.

    Returns:
        A digest of each file by its path, without the answers file, which differs by its nature.
    """
    with refusals(f"{answers.source}, version {version or 'newest'}"):
        copier.run_copy(
            answers.source,
            folder,
            data=answers.given,
            vcs_ref=version,
            defaults=True,
            quiet=True,
            settings=settings,
        )
    git(folder, "init", "--quiet")
    files = digests(folder)
    files.pop(ANSWERS_FILE, None)
    return files


@contextlib.contextmanager
def history(source: str) -> Generator[Path]:
    """Give a folder in which git knows all versions of a template: its own, or a clone for now."""
    if Path(source).is_dir():
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "template")
        url = source.removeprefix("git+")
        for short, whole in ALIASES.items():
            url = url.replace(short, whole, 1) if url.startswith(short) else url
        git(clone.parent, "clone", "--quiet", "--bare", "--filter=blob:none", "--", url, str(clone))
        yield clone


def distance(repository: Path, old: str, new: str) -> str:
    """Say how many releases lie between two versions, or commits where there is no release."""
    tags = git(repository, "tag", "--merged", new, "--no-merged", old).split()
    if tags:
        return f"{len(tags)} release{'s' * (len(tags) > 1)}"
    count = int(git(repository, "rev-list", "--count", f"{old}..{new}"))
    return f"{count} commit{'s' * (count > 1)}" if count else ""
