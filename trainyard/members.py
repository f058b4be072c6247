"""One repository of a fleet: how it stands, and its update as a branch.

Everything happens in a clone in a temporary folder. Of the repository itself, a branch of its own
is all that is ever written.
"""

import json
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

from trainyard import updates
from trainyard.answers import read_settings
from trainyard.drift import find_drift
from trainyard.errors import InputError
from trainyard.fleet_list import Entry
from trainyard.git import git, is_dirty, not_on_default_branch
from trainyard.progress import say_nothing

BRANCH = "trainyard/update-{}"


class Wish(NamedTuple):
    """What is to be done with each repository."""

    to: str | None  # The version to update to; None: the newest.
    update: bool  # Make the branch.
    with_conflicts: bool  # Also where somebody has to resolve conflicts in it.
    python: str  # Trains the projects before and after; empty: nothing trains them.


class Member(NamedTuple):
    """How a repository stands."""

    name: str
    state: str
    source: str = ""  # Of the template.
    version: str = ""
    to: str = ""
    drifted: tuple[str, ...] = ()
    changes: tuple[updates.Change, ...] = ()
    branch: str = ""
    metrics: tuple[dict[str, float] | str, ...] = ()  # Of the smoke training, before and after.

    @property
    def conflicts(self) -> list[str]:
        """Return the paths that somebody has to look at."""
        return [change.path for change in self.changes if change.needs_a_person]


def look(entry: Entry, wish: Wish) -> Member:
    """Say how a repository stands; make its branch if this is wished.

    What goes wrong with one is said of it, so that the others are still told.
    """
    if entry.opted_out:
        return Member(entry.name, f"opted out: {entry.opted_out}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        try:
            return _look(entry, wish, Path(name))
        except InputError as error:
            said = str(error)
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        # The message names the clone; show the repository's own path.
        return Member(entry.name, f"refused: {said.replace(f'{name}/copy/', '')}")


def _look(entry: Entry, wish: Wish, folder: Path) -> Member:
    copy = updates.copy_repository(entry.source, folder, Path(), say_nothing)
    settings = read_settings(copy.project)
    if settings.opted_out:
        return Member(entry.name, f"opted out: {settings.opted_out}")
    drift = find_drift(copy.project, copy.pristine, copy.files, settings)
    metrics = [smoke(copy.project, folder / "before", wish.python)] if wish.python else []
    update = updates.update(copy, folder, wish.to, say_nothing)
    member = Member(
        entry.name,
        "behind" if update.version != copy.answers.version else "up to date",
        copy.answers.source,
        copy.answers.version,
        update.version,
        tuple(each.path for each in drift),
        tuple(update.changes),
    )
    if member.state == "behind" and member.conflicts:
        member = member._replace(state="conflicts")
    if member.state == "up to date" or not wish.update:
        return member
    if member.conflicts and not wish.with_conflicts:
        return member
    if is_working_tree(entry.source):
        if elsewhere := not_on_default_branch(Path(entry.source)):
            return member._replace(state=f"refused: {elsewhere}: no branch")
        if is_dirty(Path(entry.source)):
            return member._replace(state="has changes that are not committed: no branch")
    if wish.python and not member.conflicts:
        metrics.append(smoke(copy.project, folder / "after", wish.python))
    return push_branch(member._replace(metrics=tuple(metrics)), copy.project)


def is_working_tree(source: str) -> bool:
    """Say whether a repository is a folder in which somebody works."""
    if not Path(source).is_dir():
        return False
    return git(Path(source), "rev-parse", "--is-bare-repository").strip() == "false"


def push_branch(member: Member, project: Path) -> Member:
    """Commit an updated clone and push it as a new branch, unless there is one of this name."""
    branch = BRANCH.format(member.to)
    if git(project, "ls-remote", "--heads", "origin", f"refs/heads/{branch}"):
        return member._replace(state="its branch is there already", branch=branch)
    git(project, "switch", "--quiet", "--create", branch)
    git(project, "add", "--all")
    title = f"Update from the template: {member.version} to {member.to}"
    if member.conflicts:
        title += ", with conflicts"
    git(project, "commit", "--quiet", "--message", title)
    git(project, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    state = "branch made, with conflicts" if member.conflicts else "branch made"
    return member._replace(state=state, branch=branch)


def data_that_come_with(project: Path) -> list[str]:
    """Return what says to train on the project's own data, where it usually trains on others."""
    try:
        content = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return ["--data", "data"] if content.get("tool", {}).get("trainyard") else []


def smoke(project: Path, folder: Path, python: str) -> dict[str, float] | str:
    """Train a copy of a project for two epochs; return its metrics on test, or why there are none.

    Args:
        project: a clone.
        folder: for the copy, a new one.
        python: a program in whose environment the project's requirements are installed.
    """
    for path in sorted(project.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(project.resolve()):
            name = path.relative_to(project).as_posix()
            return f"not trained: {name} is a link that leads out of the repository"
    shutil.copytree(project, folder, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    experiment = ["--experiment", "experiments/smoke"]
    epochs = [
        "--from",
        "experiments/baseline",
        "--training.epochs",
        "2",
        *data_that_come_with(project),
    ]
    for words in (["train.py", *experiment, *epochs], ["evaluate.py", *experiment]):
        try:
            done = subprocess.run(
                [python, *words],
                cwd=folder,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise InputError(f"--python: {python} cannot be run: {error.strerror}.") from None
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            return f"{words[0]} ended with {done.returncode}: {last[0]}"
    path = folder / "experiments/smoke/metrics_test.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"evaluate.py ended well and wrote no {path.name} that can be read"
    return {name: value for name, value in metrics.items() if isinstance(value, float)}
