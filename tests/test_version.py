"""shared/version.yml names a commit from which a project of today's templates can be updated."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import record_version
from conftest import files_of, git, version_recorded


def test_the_recorded_commit_has_the_templates_of_head() -> None:
    if reason := record_version.missing_history():
        pytest.skip(reason)
    if problem := record_version.problem():
        pytest.fail(
            f"{problem} {record_version.next_step} Changes of the templates that are not committed "
            "do not count: commit them first.",
            pytrace=False,
        )


def run(repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, repository / "tools/record_version.py", *options],
        capture_output=True,
        encoding="utf-8",
    )


def change_a_template(repository: Path) -> Path:
    """In a file that is no copy."""
    path = repository / "templates/torch-research/questions.yml"
    with open(path, "a", encoding="utf-8") as file:
        file.write("# changed\n")
    return path


def commit(repository: Path, *options: str) -> str:
    """Commit everything; return the commit."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Change", *options)
    return git(repository, "rev-parse", "HEAD").strip()


def stale(repository: Path) -> str:
    """What is wrong with the record; nothing if it is right."""
    result = run(repository, "--check")
    assert result.returncode == (1 if result.stderr else 0)
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_change_is_committed_then_recorded_then_the_record_is_committed(
    untagged_scratch_repository: Path,
) -> None:
    repository = untagged_scratch_repository
    assert stale(repository) == ""
    changed = change_a_template(repository)
    assert stale(repository) == "", "what is not committed does not count"
    change = commit(repository)
    assert changed.relative_to(repository).as_posix() in stale(repository)
    assert "Run `python3 tools/record_version.py`" in stale(repository)

    result = run(repository)
    assert result.returncode == 0, result.stderr
    assert version_recorded(repository) == change
    assert stale(repository) == ""
    commit(repository)
    assert stale(repository) == ""
    (repository / "README.md").write_text("No template.\n")
    commit(repository)
    assert stale(repository) == ""
    assert run(repository).returncode == 0
    assert git(repository, "status", "--porcelain") == ""


def test_the_record_of_two_branches_that_were_merged(untagged_scratch_repository: Path) -> None:
    repository = untagged_scratch_repository
    git(repository, "switch", "--quiet", "--create", "other")
    with open(repository / "copier.yml", "a", encoding="utf-8") as file:
        file.write("# changed\n")
    commit(repository)
    git(repository, "switch", "--quiet", "main")
    change_a_template(repository)
    commit(repository)
    git(repository, "merge", "--quiet", "--no-edit", "other")
    assert stale(repository)
    assert run(repository).returncode == 0
    assert version_recorded(repository) == git(repository, "rev-parse", "HEAD").strip()
    assert stale(repository) == ""


def test_a_commit_that_history_lost_is_not_recorded(untagged_scratch_repository: Path) -> None:
    repository = untagged_scratch_repository
    change_a_template(repository)
    commit(repository)
    assert run(repository).returncode == 0
    rewritten = commit(repository, "--amend")
    assert "expected a commit in the history of HEAD" in stale(repository)
    assert run(repository).returncode == 0
    assert version_recorded(repository) == rewritten
    assert stale(repository) == ""


@pytest.mark.parametrize("name", ['"v7.0.0"', "<<<<<<< HEAD"])
def test_a_wrong_record_is_mended(untagged_scratch_repository: Path, name: str) -> None:
    repository = untagged_scratch_repository
    right = version_recorded(repository)
    path = repository / "shared/version.yml"
    path.write_text(path.read_text().replace(f'"{right}"', name))
    commit(repository)
    assert "expected a commit or a tag of this clone" in stale(repository)
    assert run(repository).returncode == 0
    assert version_recorded(repository) == right
    assert stale(repository) == ""


def test_the_tag_of_a_release_may_stand_there(scratch_repository: Path) -> None:
    assert stale(scratch_repository) == ""
    assert run(scratch_repository).returncode == 0
    assert version_recorded(scratch_repository) == "v0.1.0"
    git(scratch_repository, "tag", "--delete", "v0.1.0")
    assert "got v0.1.0" in stale(scratch_repository)


def leave_a_change(repository: Path) -> None:
    change_a_template(repository)


def leave_outdated_copies(repository: Path) -> None:
    (repository / "shared/project/utils.py").write_text("changed = True\n")
    commit(repository)


def lose_the_repository(repository: Path) -> None:
    shutil.rmtree(repository / ".git")


def lose_old_commits(repository: Path) -> None:
    """As a shallow clone does."""
    shutil.rmtree(repository / ".git")
    git(repository, "init", "--quiet")
    head = commit(repository)
    (repository / ".git/shallow").write_text(f"{head}\n")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (leave_a_change, "commit them first:\n M templates/torch-research/questions.yml"),
        (leave_outdated_copies, "Copies of shared/ are out of date; run tools/sync_shared.py"),
        (lose_the_repository, "is no git repository, expected one with its history"),
        (lose_old_commits, "is a shallow clone, expected its whole history"),
    ],
)
def test_refusals_change_nothing(untagged_scratch_repository: Path, prepare, message: str) -> None:
    prepare(untagged_scratch_repository)
    before = files_of(untagged_scratch_repository)
    result = run(untagged_scratch_repository)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert files_of(untagged_scratch_repository) == before
