"""`copier update` where the template's repository has no tag: from commit to commit."""

from pathlib import Path

import pytest
import yaml

from combinations import checked_combinations
from conftest import git, record_version, render, version_recorded
from test_release import announce, release
from test_releases import make
from test_update import (
    answers_file,
    append,
    change_the_templates,
    commit,
    copier_command,
    replace_line,
)


def answers_of(project: Path) -> dict[str, str]:
    return yaml.safe_load((project / answers_file).read_text(encoding="utf-8"))


def edit(project: Path) -> None:
    """What people do: changed, new and deleted files, theirs and the template's."""
    append(project / "utils.py", "MINE = 1")
    append(project / "README.md", "Mine.")
    append(project / "model/net.py", "MINE = 1")
    append(project / "experiments/baseline/params.yaml", "# mine")
    (project / "model/losses.py").write_text("MINE = 1\n")
    (project / "data/README.md").unlink()
    commit(project)


# The other ways record what one of these does.
@pytest.mark.parametrize("way", ["folder", pytest.param("url", marks=pytest.mark.deep)])
def test_two_commits_and_a_first_release_later(
    way: str, untagged_scratch_repository: Path, tmp_path: Path
) -> None:
    repository, project = untagged_scratch_repository, tmp_path / "project" / "leaf"
    make(way, checked_combinations[0], repository, project)
    edit(project)
    before = answers_of(project)
    change_the_templates(repository)
    record_version(repository)
    assert copier_command(project, "check-update", "--quiet").returncode == 2

    result = copier_command(project, "update", "--defaults")
    assert result.returncode == 0, result.stderr
    assert "<<<<<<<" not in git(project, "diff")
    yours = ["README.md", "model", "experiments", "data"]
    assert git(project, "status", "--porcelain", "--", *yours) == ""
    utils = (project / "utils.py").read_text(encoding="utf-8")
    assert utils.startswith("# changed by the template\n")
    assert utils.endswith("MINE = 1\n")
    assert (project / "added_later.py").is_file()
    assert "codespell" in (project / "requirements/dev.txt").read_text(encoding="utf-8")
    head = git(repository, "describe", "--always").strip()
    assert answers_of(project) == before | {"_commit": head}
    commit(project)
    assert copier_command(project, "check-update", "--quiet").returncode == 0

    announce(repository, "9.0.0")
    assert release(repository, "9.0.0").returncode == 0
    assert copier_command(project, "check-update", "--quiet").returncode == 2
    assert copier_command(project, "update", "--defaults").returncode == 0
    assert answers_of(project) == before | {"_commit": "v9.0.0"}
    assert git(project, "diff", "--name-only").split() == [answers_file]


@pytest.mark.deep  # As with tags.
def test_an_overlapping_edit_shows_a_conflict(
    untagged_scratch_repository: Path, tmp_path: Path
) -> None:
    repository = untagged_scratch_repository
    project = render(repository / "templates/torch-research", tmp_path / "leaf")
    git(project, "init", "--quiet")
    replace_line(project / "requirements.txt", "tqdm", "tqdm==4.68")
    commit(project)
    change_the_templates(repository)
    assert copier_command(project, "update", "--defaults").returncode == 0
    assert "UU requirements.txt" in git(project, "status", "--porcelain")


def test_the_ways_in_differ_in_the_commit_alone(untagged_repository: Path, tmp_path: Path) -> None:
    """The folder's is the one with the same templates, since a commit cannot hold its own hash."""
    projects = []
    for way in ("folder", "root", "cookiecutter"):
        projects.append(tmp_path / way / "leaf")
        make(way, checked_combinations[0], untagged_repository, projects[-1])
        commit(projects[-1])
    trees = [git(project, "ls-tree", "-r", "HEAD").splitlines() for project in projects]
    assert trees[1] == trees[2]
    assert [name.split()[-1] for name in set(trees[0]) - set(trees[1])] == [answers_file]
    folder, root = map(answers_of, projects[:2])
    assert folder["_commit"] == version_recorded(untagged_repository)
    assert folder == root | {"_commit": folder["_commit"]}

    # The record is a commit of its own: an update to it brings nothing else.
    assert copier_command(projects[0], "update", "--defaults").returncode == 0
    assert git(projects[0], "diff", "--name-only").split() == [answers_file]
    assert answers_of(projects[0]) == root
