"""One repository of a fleet: how it stands, and its update as a branch.

Everything happens in a clone in a temporary folder. Of the repository itself, a branch of its own
is all that is ever written.
"""

import hashlib
import json
import os
import re
import shutil
import site
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainyard import updates
from trainyard.answers import read_answers, read_settings
from trainyard.drift import find_drift
from trainyard.errors import InputError
from trainyard.fleet_list import Entry
from trainyard.git import (
    NO_HOOKS,
    QUIET_COMMIT,
    git,
    is_dirty,
    not_on_default_branch,
    repository_of,
)
from trainyard.progress import say_nothing

BRANCH = "trainyard/update-{}"
NOT_TRAINED = "not trained: the conflicts come first"
# What training takes of this environment. The rest, such as tokens, is kept from the new code,
# which nobody has read yet.
KEPT = (
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "CUDA_HOME", "SYSTEMROOT"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    *("OMP_NUM_THREADS", "TMPDIR", "TEMP", "TMP", "USER", "USERNAME", "LOGNAME", "TZ"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE"),
)


class Wish(NamedTuple):
    """What is to be done with each repository."""

    to: str | None  # The version to update to; None: the newest.
    update: bool  # Make the branch.
    with_conflicts: bool  # Also where somebody has to resolve conflicts in it.
    python: str  # Trains the projects before and after; empty: nothing trains them.
    data: Mapping[str, Any]  # Answers that change.


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
    answers: tuple[str, ...] = ()  # The names of those that change.

    @property
    def conflicts(self) -> list[str]:
        """Return the paths that somebody has to look at."""
        return [change.path for change in self.changes if change.needs_a_person]

    @property
    def title(self) -> str:
        """Return the first line of the commit and of the change request."""
        title = f"Update from the template: {self.version} to {self.to}"
        if self.version == self.to:
            which = f": {', '.join(self.answers)}" if self.answers else ""
            title = f"Other answers to the template{which}"
        return f"{title}, with conflicts" if self.conflicts else title


def look(entry: Entry, wish: Wish) -> Member:
    """Say how a repository stands; make its branch if this is wished.

    What goes wrong with one is said of it, so that the others are still told.
    """
    if entry.opted_out:
        return Member(entry.name, f"opted out: {entry.opted_out}")
    member = Member(entry.name, "")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        try:
            member, project = _look(entry, wish, Path(name))
            if wish.update and member.state in ("behind", "answers differ", "conflicts"):
                member = make_branch(entry, member, wish, project, Path(name))
            return member
        except InputError as error:
            said = str(error)
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        # The message names the clone; show the repository's own path.
        return member._replace(state=f"refused: {said.replace(f'{name}/copy/', '')}")


def _look(entry: Entry, wish: Wish, folder: Path) -> tuple[Member, Path]:
    """Return how a repository stands, and its project in a clone, updated."""
    refuse_folder_of_a_repository(entry)
    project = updates.clone_repository(entry.source, folder, Path(entry.folder))
    settings = read_settings(project)
    if settings.opted_out:  # Said before the template is needed, which may be gone by now.
        return Member(entry.name, f"opted out: {settings.opted_out}"), project
    copy = updates.make_copy(project, folder, say_nothing)
    drift = find_drift(copy.project, copy.pristine, copy.files, settings)
    update = updates.update(copy, folder, wish.to, wish.data, say_nothing)
    state = "up to date"
    if update.version != copy.answers.version:
        state = "behind"
    elif wish.data and update.changes:
        state = "answers differ"
    # As the files have them: a default is not stored, nor what is not asked, and words become
    # numbers.
    old, new = copy.answers.given, read_answers(project).given
    member = Member(
        entry.name,
        state,
        copy.answers.source,
        copy.answers.version,
        update.version,
        tuple(each.path for each in drift),
        tuple(update.changes),
        answers=tuple(name for name in wish.data if old.get(name) != new.get(name)),
    )
    if member.conflicts and state != "up to date":
        member = member._replace(state="conflicts")
    return member, project


def refuse_folder_of_a_repository(entry: Entry) -> None:
    """Raise InputError where a path of the list is below the top of a repository."""
    if is_working_tree(entry.source):
        top, below = repository_of(Path(entry.source))
        if below != Path():
            raise InputError(
                f"{entry.name}: is a folder of the repository {top}. List it as "
                f"{{repository: {top}, folder: {below.as_posix()}}}."
            )


def is_working_tree(source: str) -> bool:
    """Say whether a repository is a folder in which somebody works."""
    if not Path(source).is_dir():
        return False
    return git(Path(source), "rev-parse", "--is-bare-repository").strip() == "false"


def make_branch(entry: Entry, member: Member, wish: Wish, project: Path, folder: Path) -> Member:
    """Commit an updated clone and push it as a new branch, where nothing is in its way.

    Training comes last, and only for a branch that is made.

    Args:
        entry: of the list.
        member: how the repository stands.
        wish: what is to be done.
        project: in the clone, updated.
        folder: that the clone is in.
    """
    if member.conflicts and not wish.with_conflicts:
        return member
    branch = name_branch(entry, member, wish)
    if git(project, "ls-remote", "--heads", "origin", f"refs/heads/{branch}"):
        return member._replace(state="its branch is there already", branch=branch)
    if is_working_tree(entry.source):
        if elsewhere := not_on_default_branch(Path(entry.source)):
            return member._replace(state=f"refused: {elsewhere}: no branch")
        if is_dirty(Path(entry.source, entry.folder)):
            return member._replace(state="refused: has changes that are not committed: no branch")
    if wish.python:
        member = member._replace(
            metrics=train_before_and_after(entry, member, wish, project, folder)
        )
    # As for adopt, the person's hooks are for the person's changes.
    git(project, *NO_HOOKS, "switch", "--quiet", "--create", branch)
    git(project, "add", "--all")
    git(project, *QUIET_COMMIT, "--message", member.title)
    git(project, *NO_HOOKS, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    state = "branch made, with conflicts" if member.conflicts else "branch made"
    return member._replace(state=state, branch=branch)


def name_branch(entry: Entry, member: Member, wish: Wish) -> str:
    """Return a name of its own for each folder, version and change of answers."""
    parts = [BRANCH.format(member.to)]
    if entry.label:
        parts.append(entry.label)
    if wish.data:
        told = json.dumps({**wish.data}, sort_keys=True, default=str)
        parts.append(f"answers-{hashlib.sha256(told.encode()).hexdigest()[:8]}")
    return "-".join(parts)


def end_of(branch: str) -> str:
    """Return what tells a branch of this program from its others, as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", branch.removeprefix(BRANCH.format("")))


def train_before_and_after(
    entry: Entry, member: Member, wish: Wish, project: Path, folder: Path
) -> tuple[dict[str, float] | str, ...]:
    """Return the metrics of two epochs on the last commit, and on the update of it."""
    if member.conflicts:
        return NOT_TRAINED, NOT_TRAINED
    before = folder / "committed"
    git(project, *NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(before), "HEAD")
    return (
        smoke(before / entry.folder, folder / "before", wish.python),
        smoke(project, folder / "after", wish.python),
    )


def data_that_come_with(project: Path) -> list[str]:
    """Return what says to train on the project's own data, where it usually trains on others."""
    try:
        content = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return ["--data", "data"] if content.get("tool", {}).get("trainyard") else []


def find_link_out_of(project: Path) -> str:
    """Return the path of a link that leads elsewhere, which a copy would not have; or nothing."""
    for path in sorted(project.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(project.resolve()):
            return path.relative_to(project).as_posix()
    return ""


def make_environment(home: Path) -> dict[str, str]:
    """Return the variables for training, with a home of its own and the person's packages.

    Args:
        home: an empty folder.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    # Else packages of `pip install --user` would be looked for in the new home.
    return kept | {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "PYTHONUSERBASE": site.getuserbase(),
    }


def smoke(project: Path, folder: Path, python: str) -> dict[str, float] | str:
    """Train a copy of a project for two epochs; return its metrics on test, or why there are none.

    Args:
        project: a clone.
        folder: for the copy, a new one.
        python: a program in whose environment the project's requirements are installed.
    """
    if name := find_link_out_of(project):
        return f"not trained: {name} is a link that leads out of the project"
    shutil.copytree(project, folder, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    home = Path(f"{folder}-home")
    home.mkdir()
    environment = make_environment(home)
    experiment = ["--experiment", "experiments/smoke"]
    epochs = ["--from", "experiments/baseline", "--training.epochs", "2"]
    epochs += data_that_come_with(project)
    for words in (["train.py", *experiment, *epochs], ["evaluate.py", *experiment]):
        if said := run_python([python, *words], folder, environment):
            return said
    return read_metrics(folder / "experiments/smoke/metrics_test.json")


def run_python(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a script in a folder; return how it failed, or nothing."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise InputError(f"--python: {command[0]} cannot be run: {error.strerror}.") from None
    if not done.returncode:
        return ""
    last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
    return f"{command[1]} ended with {done.returncode}: {last[0]}"


def read_metrics(path: Path) -> dict[str, float] | str:
    """Return the metrics that an evaluation wrote, or that there are none."""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"evaluate.py ended well and wrote no {path.name} that can be read"
    return {name: value for name, value in metrics.items() if isinstance(value, float)}
