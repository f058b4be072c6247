"""Update a copy of a project by Copier, and say what this did to each file.

Nothing here decides what an update does: Copier does it, in a clone that is thrown away, and the
files before and after are compared.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import copier

from trainyard.answers import Answers, read_answers, refuse_unknown
from trainyard.git import clone, digests, git, names, repository_of
from trainyard.progress import Say
from trainyard.templates import refusals, render_recorded, render_updated

# What an update does to a file; what a person has to look at comes first.
KINDS = {
    "conflict": "both changed the same lines; the update marks them",
    "overwritten": "git ignores your file, and the template has one at the same path",
    "removed": "the template has it no longer",
    "new": "the template has it now",
    "automatic": "changed by the template, and merged where you changed it, too",
    "kept": "yours differs from the template's, and stays",
}
MERGED, LOST, DELETED = "merged with your changes", "and your changes in it", "you deleted it"


class Change(NamedTuple):
    """What an update does to one file."""

    kind: str  # One of KINDS.
    path: str
    note: str = ""

    @property
    def needs_a_person(self) -> bool:
        """Say whether somebody has to resolve it, or loses something of theirs."""
        return self.kind in ("conflict", "overwritten") or self.note == LOST


class Copy(NamedTuple):
    """A clone of a project, and what the template made of the same answers."""

    project: Path  # The project's folder in the clone.
    answers: Answers
    pristine: Path  # The folder of the project as the recorded version makes it.
    files: dict[str, str]  # Digests of the files there.


class Update(NamedTuple):
    """What an update has done to a copy."""

    version: str  # That it led to.
    changes: list[Change]

    def paths(self, kind: str) -> list[str]:
        """Return the paths of the changes of one kind."""
        return [change.path for change in self.changes if change.kind == kind]

    @property
    def needs_a_person(self) -> bool:
        """Say whether one of the changes does."""
        return any(change.needs_a_person for change in self.changes)


def copy_project(project: Path, folder: Path, say: Say) -> Copy:
    """Clone a project as it is committed, into an empty folder.

    Raises:
        InputError: it is no project that Copier could update.
    """
    top, below = repository_of(project)
    read_answers(project)
    say("copying the project")
    return make_copy(clone_repository(str(top), folder, below), folder, say)


def clone_repository(source: str, folder: Path, below: Path) -> Path:
    """Clone a repository, a path or a URL; return the folder of the project in the clone.

    Args:
        source: of the clone.
        folder: an empty one, for the clone.
        below: where the project lies in the repository.
    """
    # The name stays, since Copier gives it to templates.
    name = Path(source.rstrip("/")).name.removesuffix(".git") or "project"
    target = folder / "copy" / name
    target.parent.mkdir()
    clone(source, target)
    return target / below


def make_copy(project: Path, folder: Path, say: Say) -> Copy:
    """Make what the template made of the project in a clone, beside it.

    Args:
        project: its folder in the clone.
        folder: that the clone is in.
        say: tells what is being done.
    """
    answers = read_answers(project)
    say(f"making it anew from {answers.version}")
    pristine = folder / "pristine" / project.name
    return Copy(project, answers, pristine, render_recorded(answers, pristine))


def update(
    copy: Copy,
    folder: Path,
    to: str | None,
    data: Mapping[str, Any],
    say: Say,
    beside: Path | None = None,
) -> Update:
    """Let Copier update a copy, as `copier update` of this person does it in the project.

    Args:
        copy: of a project; it is changed.
        folder: an empty folder for the new version of the template.
        to: a version of the template; None: the newest, as Copier finds it.
        data: answers that change.
        say: tells what is being done.
        beside: the project itself, where the ignored files matter that an update could overwrite.
            None: a branch has no such files. Then nothing is said of what is kept either.

    Raises:
        InputError: Copier refuses the update, or the template has no such question.
    """
    new, ignored = {}, set()
    if beside:
        say(f"making it anew from {to or 'the newest version'}")
        new = render_updated(copy.answers, to, folder / "new" / copy.project.name, data)
        ignored = copy_ignored(beside, copy.project, {*copy.files, *new})
    before = digests(copy.project)
    say("updating the copy")
    with refusals(copy.project.name):
        worker = copier.run_update(
            copy.project, {**data}, defaults=True, overwrite=True, quiet=True, vcs_ref=to
        )
    known = [name for name in worker.template.questions_data if name[:1] != "_"]
    refuse_unknown(data, known, "--data")
    conflicts = names(copy.project, "diff", "-z", "--name-only", "--relative", "--diff-filter=U")
    changes = compare(before, digests(copy.project), copy.files, new, {*conflicts}, ignored)
    return Update(read_answers(copy.project).version, changes)


def copy_ignored(project: Path, copy: Path, paths: set[str]) -> set[str]:
    """Take the files that git ignores along, of those that the template could write."""
    # Of a second working tree, .git is a file, and the patterns lie with the first.
    path = ("rev-parse", "--git-path", "info/exclude")
    exclude, target = (each / git(each, *path).rstrip("\n") for each in (project, copy))
    if exclude.is_file():
        target.parent.mkdir(exist_ok=True)
        shutil.copy(exclude, target)
    listed = names(project, "ls-files", "-z", "--others", "--ignored", "--exclude-standard")
    found = paths & {*listed}
    for name in found:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / name, copy / name)
    return found


def compare(
    before: Mapping[str, str],
    after: Mapping[str, str],
    old: Mapping[str, str],
    new: Mapping[str, str],
    conflicts: set[str],
    ignored: set[str],
) -> list[Change]:
    """Say what happened to each file; what a person has to look at comes first.

    Args:
        before: digests of the project's files, by path.
        after: the same, updated.
        old: the same, as the old version of the template makes them.
        new: the same, as the new version does; empty: say nothing of what is kept.
        conflicts: paths that the update marked.
        ignored: paths that git ignores.
    """
    changes = []
    for path in {*before, *after, *old}:
        was, now = before.get(path), after.get(path)
        yours = path in old and was != old[path]
        if path in conflicts:
            changes.append(Change("conflict", path))
        elif now is None and was is not None:
            changes.append(Change("removed", path, LOST if yours else ""))
        elif was is None and now is not None:
            changes.append(Change("new", path))
        elif was != now:
            kind = "overwritten" if path in ignored else "automatic"
            changes.append(Change(kind, path, MERGED if yours and kind == "automatic" else ""))
        elif new and (path in old or path in new) and now != new.get(path):
            changes.append(Change("kept", path, DELETED if now is None else ""))
    return sorted(changes, key=lambda each: ([*KINDS].index(each.kind), each.path))
