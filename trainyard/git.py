"""Git, as a process: what it says on failing is what the person reads."""

import hashlib
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from trainyard.errors import InputError

# The person's hooks are for the person's changes.
NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")
QUIET_COMMIT = (*NO_HOOKS, "commit", "--quiet", "--no-verify")


def git(folder: Path, *words: str, text: str = "") -> str:
    """Return what git prints, run in a folder.

    Args:
        folder: of a repository.
        words: of the command; options of git itself stand before it.
        text: for its standard input.

    Raises:
        InputError: git failed, or is not there.
    """
    command = ["git", "-C", str(folder), *words]
    # No question can be answered here: a repository that asks for a password is refused instead.
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    try:
        result = subprocess.run(
            command,
            env=environment,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except FileNotFoundError:
        raise InputError("git: not found. Install it from git-scm.com.") from None
    if result.returncode:
        said = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        rest = [*words]
        while rest[0].startswith("-"):
            del rest[: 2 if rest[0] == "-c" else 1]
        raise InputError(f"{folder}: git {rest[0]} failed: {said}")
    return result.stdout


def names(folder: Path, *words: str) -> list[str]:
    """Return the paths that a command of git lists, asked with -z."""
    return [name for name in git(folder, *words).split("\0") if name]


def refuse_credentials(url: str, where: str) -> None:
    """Raise InputError where a URL holds a password or a token, without repeating it.

    Args:
        url: or a path, or the short form of SSH, git@host:path.
        where: the URL was read.
    """
    try:
        parts = urlsplit(url.removeprefix("git+"))
    except ValueError:  # It has brackets where a host should be.
        raise InputError(f"{where}: expected a URL or a path.") from None
    secret_user = parts.username and parts.scheme in ("http", "https")
    if parts.password or secret_user:
        raise InputError(
            f"{where}: the URL of {parts.hostname}{parts.path} holds a user or a password. "
            "Expected one without: git's credential helper, or SSH, keeps secrets out of files."
        )


def repository_of(folder: Path) -> tuple[Path, Path]:
    """Return the top of the repository around a folder, and the folder's path below it.

    Raises:
        InputError: there is none, or it has no commit.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Expected a project made from the template.")
    try:
        top = git(folder, "rev-parse", "--show-toplevel").rstrip("\n")
        git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except InputError:
        raise InputError(
            f"{folder}: is no git repository with a commit, which an update needs: git init && "
            "git add -A && git commit"
        ) from None
    return Path(top), folder.resolve().relative_to(Path(top).resolve())


def is_dirty(folder: Path) -> bool:
    """Say whether a folder has changes that are not committed, new files among them."""
    return bool(git(folder, "status", "--porcelain", "--untracked-files=normal", "--", "."))


def not_on_default_branch(folder: Path) -> str:
    """Say what is checked out where it is not the default branch; nothing: it is.

    Args:
        folder: a working tree. Its default branch is origin's; else main or master, where it has
            one of them; else any.
    """
    try:
        head = git(folder, "symbolic-ref", "--quiet", "--short", "HEAD").strip()
    except InputError:
        return "no branch is checked out"
    try:
        origin = git(folder, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
        default = origin.strip().removeprefix("origin/")
    except InputError:
        heads = git(folder, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        default = next((name for name in ("main", "master") if name in heads), head)
    return "" if head == default else f"{head} is checked out, not {default}"


def clone(source: str, target: Path) -> None:
    """Clone a repository, which is only read: a path as it is committed, a URL without history."""
    how = ["--shared"] if Path(source).is_dir() else ["--depth", "1"]
    git(target.parent, *NO_HOOKS, "clone", "--quiet", *how, "--", source, str(target))
    try:
        git(target, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except InputError:
        raise InputError(f"{source}: has no commit on its default branch.") from None


def digests(folder: Path) -> dict[str, str]:
    """Return a digest of each file in a working tree, those that git ignores too, by its path."""
    found = {}
    for name in names(folder, "ls-files", "-z", "--cached", "--others"):
        path = folder / name
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
