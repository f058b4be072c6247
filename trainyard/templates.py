"""The template of a project: renders it, and says how far behind its newest version is."""

import contextlib
import tempfile
from collections.abc import Generator
from pathlib import Path

import copier
from copier.errors import CopierError
from plumbum import ProcessExecutionError

from trainyard.answers import ANSWERS_FILE, Answers
from trainyard.errors import InputError
from trainyard.git import digests, git


@contextlib.contextmanager
def refusals(where: object) -> Generator[None]:
    """Turn what Copier and its git refuse into InputError, with their words.

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


def render(answers: Answers, version: str | None, folder: Path) -> dict[str, str]:
    """Make the project anew, as a version of the template gives it for the same answers.

    Args:
        answers: of the project.
        version: a tag or a commit of the template; None: the newest.
        folder: the project is written into, a new one.

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
        git(clone.parent, "clone", "--quiet", "--bare", "--filter=blob:none", "--", url, str(clone))
        yield clone


def distance(repository: Path, old: str, new: str) -> str:
    """Say how many releases lie between two versions, or commits where there is no release."""
    tags = git(repository, "tag", "--merged", new, "--no-merged", old).split()
    if tags:
        return f"{len(tags)} release{'s' * (len(tags) > 1)}"
    count = int(git(repository, "rev-list", "--count", f"{old}..{new}"))
    return f"{count} commit{'s' * (count > 1)}" if count else ""
