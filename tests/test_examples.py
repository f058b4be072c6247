"""The example projects: a branch for each template, which each release updates."""

import subprocess
import sys
from pathlib import Path

import copier
import yaml

from conftest import git

ORIGIN = "https://example.org/trainyard.git"  # Nothing is read there: the tag is not there yet.
TEMPLATE = "torch-research"
BRANCH = f"example/{TEMPLATE}"
RENEW_ONE = f"""
import sys, renew_examples
try:
    print(*renew_examples.renew(sys.argv[1], ["{TEMPLATE}"]))
except renew_examples.Refused as refusal:
    print(f"refused: {{refusal}}")
"""


def renew(repository: Path, tag: str) -> str:
    """Renew the example of one template; return what is printed."""
    command = [sys.executable, "-c", RENEW_ONE, tag]
    result = subprocess.run(
        command, cwd=repository / "tools", capture_output=True, encoding="utf-8", check=True
    )
    return result.stdout.strip()


def tag(repository: Path, name: str) -> None:
    """Tag what the repository holds, as tools/release.py does, with a change of what all share."""
    with open(repository / "shared" / "project" / "utils.py", "a", encoding="utf-8") as file:
        file.write(f"# {name}\n")
    write = f"import record_version; record_version.write('{name}')"
    subprocess.run([sys.executable, "-c", write], cwd=repository / "tools", check=True)
    git(repository, "commit", "--all", "--quiet", "--message", name)
    git(repository, "tag", name)


def files_at(repository: Path, commit: str) -> dict[str, str]:
    """Return the text of every file of a commit, by path."""
    names = git(repository, "ls-tree", "-r", "--name-only", "-z", commit).split("\0")
    return {name: git(repository, "show", f"{commit}:{name}") for name in names if name}


def state(repository: Path) -> tuple[str, ...]:
    words = (["rev-parse", "HEAD"], ["status", "--porcelain"], ["worktree", "list"])
    return tuple(git(repository, *each) for each in words)


def test_history_of_an_example_is_a_copy_and_its_updates(scratch_repository: Path) -> None:
    repository = scratch_repository
    git(repository, "remote", "add", "origin", ORIGIN)
    tag(repository, "v9.1.0")
    before = state(repository)
    assert renew(repository, "v9.1.0") == BRANCH
    assert renew(repository, "v9.1.0") == ""  # It is there.
    assert state(repository) == before

    tag(repository, "v9.2.0")
    assert renew(repository, "v9.2.0") == BRANCH
    log = git(repository, "log", "--format=%s", BRANCH).splitlines()
    assert log == ["Update to v9.2.0", "Copy v9.1.0"]
    assert git(repository, "diff", "--name-only", f"{BRANCH}~1", BRANCH).split() == [
        ".copier-answers.yml",
        "utils.py",
    ]

    fresh = repository.parent / "fresh" / TEMPLATE  # The project's name is the folder's.
    data = {"template": TEMPLATE, "template_source": ORIGIN}
    copier.run_copy(str(repository), fresh, data=data, vcs_ref="v9.2.0", defaults=True, quiet=True)
    expected = {
        path.relative_to(fresh).as_posix(): path.read_text(encoding="utf-8")
        for path in fresh.rglob("*")
        if path.is_file()
    }
    found = files_at(repository, BRANCH)
    assert found == expected  # The answers, too.
    record = yaml.safe_load(found[".copier-answers.yml"])
    assert (record["_src_path"], record["_commit"]) == (ORIGIN, "v9.2.0")


def test_a_clone_goes_on_from_the_published_branch(scratch_repository: Path) -> None:
    """And a failure is said in one line, with nothing changed."""
    git(scratch_repository, "remote", "add", "origin", ORIGIN)
    tag(scratch_repository, "v9.1.0")
    renew(scratch_repository, "v9.1.0")
    tag(scratch_repository, "v9.2.0")
    clone = scratch_repository.parent / "clone"
    git(scratch_repository, "clone", "--quiet", str(scratch_repository), str(clone))
    refused = renew(clone, "v9.3.0")
    assert refused.startswith("refused: ")
    show = "import release, sys; sys.exit(release.show('9.3.0'))"
    result = subprocess.run(
        [sys.executable, "-c", show], cwd=clone / "tools", capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 1
    assert "v9.3.0 is tagged, but not all examples are renewed" in result.stderr
    assert "then: python tools/renew_examples.py v9.3.0" in result.stderr
    assert git(clone, "branch", "--list", "example/*") == ""
    assert renew(clone, "v9.2.0") == BRANCH
    assert len(git(clone, "log", "--format=%s", BRANCH).splitlines()) == 2


def test_an_address_with_a_password_is_not_published(scratch_repository: Path) -> None:
    tag(scratch_repository, "v9.1.0")
    for scheme in ("", "https", "git+https", "ssh"):
        if scheme:
            address = f"{scheme}://me:secret@example.org/trainyard.git"
            git(scratch_repository, "config", "remote.origin.url", address)
        refused = renew(scratch_repository, "v9.1.0")
        assert refused.startswith("refused: ")
        assert "secret" not in refused
    assert git(scratch_repository, "branch", "--list", "example/*") == ""
