"""Bringing a template into a repository that was not made from it, without touching its files."""

import contextlib
import filecmp
import os
import shutil
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import copier

from trainyard.adoption_report import write_report
from trainyard.errors import InputError
from trainyard.git import NO_HOOKS, QUIET_COMMIT, git, names
from trainyard.templates import refusals

# As the author of the template's own branch; the branch with the person's files is theirs.
AUTHOR = ("-c", "user.name=trainyard", "-c", "user.email=trainyard@localhost")


class Plan(NamedTuple):
    """What becomes of the template's files; paths have forward slashes.

    Args:
        added: which the project has not.
        kept: which it has with other content, with the path of its own, which stays: on some
            systems A.md and a.md are one.
        same: which it has with the same content.
        left_out: which would hide or break a file of the project, with the reason.
    """

    added: list[str]
    kept: dict[str, str]
    same: list[str]
    left_out: dict[str, str]


def render_template(
    source: str, template: str, version: str | None, answers: Mapping[str, str], folder: Path
) -> None:
    """Render a template into a new folder, whose name becomes the project's.

    Raises:
        InputError: Copier refuses an answer, or the template has no such question.
    """
    with refusals(source):
        worker = copier.run_copy(
            source,
            folder,
            data={"template": template, **answers},
            # Code that is there may not get a licence that nobody chose for it.
            user_defaults={"licence": "none"},
            vcs_ref=version,
            defaults=True,
            quiet=True,
        )
    # An answer to a question that does not arise, or that is the usual of a house, is not stored.
    for name in {*answers} - {*worker.template.questions_data} - {"template"}:
        asked = worker.template.questions_data.items()
        known = ", ".join(each for each, about in asked if about.get("when") is not False)
        raise InputError(f"--data: {template} asks no {name!r}. It asks: {known}.")


def make_plan(folder: Path, rendered: Path) -> Plan:
    """Return what becomes of each file of the template.

    Args:
        folder: of the project, all of it committed.
        rendered: the template.
    """
    theirs = names(folder, "ls-tree", "-r", "-z", "--name-only", "--full-tree", "HEAD")
    plan = Plan([], {}, [], {})
    ours = sorted(
        path.relative_to(rendered).as_posix() for path in rendered.rglob("*") if path.is_file()
    )
    hidden = _hiding(ours, theirs)
    by_lower_case = {name.lower(): name for name in theirs}
    for name in ours:
        own = by_lower_case.get(name.lower())
        if own or os.path.lexists(folder / name):
            path = folder / (own or name)
            is_same = path.is_file() and filecmp.cmp(path, rendered / name, shallow=False)
            if is_same:
                plan.same.append(name)
            else:
                plan.kept[name] = own or name
        elif reason := hidden.get(name) or _in_the_way(folder, name):
            plan.left_out[name] = reason
        else:
            plan.added.append(name)
    return plan


def _hiding(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
    """Return which files of the template would hide one of the project from `import`, and why."""
    modules = {name[:-3] for name in theirs if "/" not in name and name.endswith(".py")}
    folders = {name.partition("/")[0] for name in theirs if name.endswith(".py") and "/" in name}
    packages = {name.partition("/")[0] for name in ours if name.endswith("/__init__.py")}
    found = {}
    for name in ours:
        top = name.partition("/")[0]
        if top in packages & modules:
            found[name] = f"your {top}.py could not be imported beside a folder {top}/"
        if name.endswith(".py") and name[:-3] in folders:
            found[name] = f"your folder {name[:-3]}/ could not be imported beside {name}"
    return found


def _in_the_way(folder: Path, name: str) -> str:
    """Return which file of the project stands where the template has a folder; nothing: none."""
    for parent in [*PurePosixPath(name).parents][:-1]:
        path = folder / parent
        if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
            return f"your {parent} is no folder"
    return ""


def make_branches(
    folder: Path, rendered: Path, plan: Plan, temporary: Path, branch: str, pristine: str
) -> str:
    """Commit the project with the template's files, and the template alone; return the first.

    The person's branch and working tree stay as they are. An error leaves no branch.

    Args:
        folder: of the project.
        rendered: the template.
        plan: for each of its files.
        temporary: an empty folder, or one that holds the template.
        branch: the name of the first.
        pristine: the name of the second.
    """
    git(rendered, "init", "--quiet", "--initial-branch", "template")
    git(rendered, "add", "--all", "--force")
    message = "The template, as it came"
    git(rendered, *AUTHOR, "-c", "commit.gpgsign=false", *QUIET_COMMIT, "--message", message)
    with _worktree(folder, temporary / "adopted") as adopted:
        for name in plan.added:
            target = adopted / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(rendered / name, target)
        report = write_report(folder, adopted, rendered, plan, pristine)
        git(adopted, "add", "--force", "--", *plan.added, report)
        try:
            message = "Take the template on; ADOPT.md says what is left"
            git(adopted, *QUIET_COMMIT, "--message", message)
        except InputError as error:
            raise InputError(
                f"{error}. Nothing was changed. See that `git commit --allow-empty` works there (a "
                "key that signs has to be unlocked before), then adopt again."
            ) from None
        commit = git(adopted, "rev-parse", "HEAD").strip()
        words = ("--quiet", "--no-tags", "--no-write-fetch-head", str(rendered))
        git(folder, "fetch", *words, "refs/heads/template")
        template = git(rendered, "rev-parse", "HEAD").strip()
        both = f"create refs/heads/{branch} {commit}\ncreate refs/heads/{pristine} {template}\n"
        git(folder, "update-ref", "--stdin", text=both)  # Both, or none.
    return commit


@contextlib.contextmanager
def _worktree(folder: Path, place: Path) -> Generator[Path]:
    """Give a second working tree of a repository, at its commit of now, and take it away again."""
    git(folder, *NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(place), "HEAD")
    try:
        yield place
    except InputError as error:  # Nobody finds the place any more.
        raise InputError(str(error).replace(str(place), str(folder))) from None
    finally:
        git(folder, "worktree", "remove", "--force", str(place))
