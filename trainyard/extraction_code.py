"""The code that trained a run, brought back from git."""

import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from trainyard.answers import ANSWERS_FILE, read_yaml
from trainyard.checks.repository import LFS_POINTER, list_files
from trainyard.errors import InputError
from trainyard.extraction import Run
from trainyard.git import git, names, refuse_credentials

# Of all experiments that the commit holds, the one that a command without options trains.
FIRST = "experiments/baseline/params.yaml"


def same_code(runs: Sequence[Run]) -> Run:
    """Return the last of some runs, whose code trained all of them.

    Raises:
        InputError: they were trained by different code.
    """
    newest = max(runs, key=lambda run: str(run.last.get("started", "")))
    for run in runs:
        then, now = run.last.get("code"), newest.last.get("code")
        if then != now:
            both = sorted({*(then or {})} | {*(now or {})})
            changed = [n for n in both if (then or {}).get(n) != (now or {}).get(n)]
            raise InputError(
                f"{run.name} and {newest.name} were trained with different code: "
                f"{', '.join(changed)}. Extract each into a folder of its own."
            )
    return newest


def restore_code(project: Path, run: Run, staging: Path) -> str:
    """Write the code that a run recorded into a new folder; return a sentence that says whence.

    Args:
        project: its folder.
        run: of the project.
        staging: the new folder.
    """
    commit, diff = run.last.get("git_commit"), run.last.get("git_changes")
    if commit and _knows(project, str(commit)):
        _unpack(project, str(commit), staging)
        origin = f"The code is that of commit {commit}, which {run.name} recorded"
        missing = _missing(project, str(commit), staging)
        if diff:
            _apply(run.folder / str(diff), staging)
            origin += f", with the changes to it in {diff}"
        origin += f".{missing}"
    else:
        _copy(project, staging)
        reason = f"git has no commit {commit}" if commit else f"{run.name} recorded no commit"
        origin = f"The code is that of the working tree, since {reason}: it may have changed since."
        if untracked := _untracked(project):
            origin += f" Files that git does not track are in it: {', '.join(untracked)}."
    _leave_out(staging)
    sessions = [session for session in run.sessions if session.get("code") != run.last.get("code")]
    if sessions:
        origin += f" Earlier sessions of {run.name} ran other code, as its run.json says."
    return origin


def _knows(project: Path, commit: str) -> bool:
    """Return whether git has a commit."""
    try:
        git(project, "cat-file", "-e", f"{commit}^{{commit}}")
        return bool(git(project, "ls-tree", commit, "--", "train.py"))
    except InputError:
        return False


def _unpack(project: Path, commit: str, staging: Path) -> None:
    archive = staging.with_suffix(".tar")
    git(project, "archive", "--format=tar", f"--output={archive}", commit)
    try:
        with tarfile.open(archive) as file:
            file.extractall(staging, filter="data")
    except tarfile.FilterError as error:
        raise InputError(f"{project}: commit {commit} holds a link out of it: {error}") from None


def _missing(project: Path, commit: str, staging: Path) -> str:
    """Return a sentence on each kind of content that git does not give; nothing: all is there."""
    entries = [each.split("\t", 1) for each in names(project, "ls-tree", "-r", "-z", commit)]
    modules = [name for facts, name in entries if facts.startswith("160000 ")]
    left_out = [
        name
        for facts, name in entries
        if name not in modules and not os.path.lexists(staging / name)
    ]
    pointers = [
        name
        for _, name in entries
        if (staging / name).is_file() and (staging / name).read_bytes()[:40].startswith(LFS_POINTER)
    ]
    kinds = {
        "Repositories of their own (submodules) are empty in it": modules,
        ".gitattributes leaves out (export-ignore)": left_out,
        "Of files in Git LFS there are the pointers alone": pointers,
    }
    return "".join(f" {kind}: {', '.join(found)}." for kind, found in kinds.items() if found)


def _untracked(project: Path) -> list[str]:
    """Return the files of a working tree that git would track; of one without git, nothing."""
    try:
        return names(project, "ls-files", "-z", "--others", "--exclude-standard")
    except InputError:
        return []


def _apply(diff: Path, staging: Path) -> None:
    """Apply the changes that a run recorded.

    Raises:
        InputError: the file is gone, or does not fit.
    """
    if not diff.is_file():
        raise InputError(f"{diff}: not found, so the code of the run cannot be brought back.")
    git(staging, "init", "--quiet")  # So that no repository around it counts.
    git(staging, "apply", "--whitespace=nowarn", str(diff.resolve()))
    shutil.rmtree(staging / ".git")


def _copy(project: Path, staging: Path) -> None:
    for name in list_files(project):
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / name, staging / name)


def _leave_out(staging: Path) -> None:
    """Delete other experiments, and the place of the template where it is one of a machine."""
    first = staging / FIRST
    kept = first.read_bytes() if first.is_file() else None
    if (staging / "experiments").is_symlink():
        (staging / "experiments").unlink()
    shutil.rmtree(staging / "experiments", ignore_errors=True)
    if kept is not None:
        first.parent.mkdir(parents=True)
        first.write_bytes(kept)
    answers = staging / ANSWERS_FILE
    if answers.is_file():
        source = str(read_yaml(answers).get("_src_path", ""))
        if not _is_public(source):
            answers.unlink()


def _is_public(source: str) -> bool:
    """Return whether the place of a template says nothing of a machine, and holds no secret."""
    try:
        refuse_credentials(source, ANSWERS_FILE)
    except InputError:
        return False
    return source.startswith(("https://", "git+https://", "git@", "gh:", "gl:"))
