"""What keeps a generated project alive: its hooks, its workflows, the weekly update."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from combinations import Combination, combinations, trained_combinations
from conftest import git, render
from test_update import append, commit, publish_next_version


def commands(project: Path, workflow: str) -> list[str]:
    """Return what a workflow runs, in its order."""
    text = (project / ".github" / "workflows" / f"{workflow}.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["jobs"].values()
    return [step["run"] for step in job["steps"] if "run" in step]


def bash(command: str, folder: Path, *programs: Path) -> str:
    """Run a step as GitHub's runner does; return what it printed."""
    paths = [*programs, Path(sys.executable).parent]
    result = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join([*map(str, paths), os.environ["PATH"]])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}"
    return result.stdout


def test_the_test_workflow(rendered: Callable[[Combination], Path], tmp_path: Path) -> None:
    """Install, lint, type-check, test, train, evaluate: to the letter, in a new clone."""
    project = shutil.copytree(rendered(combinations[0]), tmp_path / "digits")
    printed = [bash(command, project) for command in commands(project, "test")]
    assert "passed" in "".join(printed)
    assert "accuracy" in printed[-1]


@pytest.mark.parametrize("combination", trained_combinations[1:], ids=str)
def test_the_projects_own_tests(
    combination: Combination, rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """But those of files that know no framework, which passed above."""
    project = shutil.copytree(rendered(combination), tmp_path / "digits")
    passed = ["build_dataset", "search", "synthesize", "utils"]
    bash(
        "python -m pytest " + " ".join(f"--ignore tests/test_{each}.py" for each in passed), project
    )


def test_the_hooks(rendered: Callable[[Combination], Path]) -> None:
    project = rendered(combinations[0])
    text = (project / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (repository,) = yaml.safe_load(text)["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        files = [] if hook.get("pass_filenames") is False else ["train.py", "model/net.py"]
        bash(" ".join([hook["entry"], *files]), project)


def test_the_weekly_update(tmp_path: Path, scratch_repository: Path) -> None:
    """It proposes a release once, with what the person wrote in it, and then nothing."""
    project = render(f"git+{scratch_repository.as_uri()}", tmp_path / "leaf")
    git(project, "init", "--quiet", "--initial-branch", "main")
    append(project / "utils.py", "MINE = 1")
    commit(project)
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(project, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(project, "push", "--quiet", "origin", "main")
    programs = tmp_path / "programs"
    programs.mkdir()
    asked = tmp_path / "asked"
    (programs / "gh").write_text(f'#!/bin/sh\necho "$@" >> "{asked}"\ntest "$2" = create\n')
    (programs / "gh").chmod(0o755)

    def run_update() -> str:
        clone = tmp_path / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        git(tmp_path, "clone", "--quiet", "--branch", "main", "origin.git", "clone")
        return "".join(bash(command, clone, programs) for command in commands(clone, "update"))

    assert "Up to date" in run_update()
    assert not asked.exists()
    publish_next_version(scratch_repository)
    run_update()
    assert asked.read_text().splitlines()[-1] == "pr create --head template-update --fill"
    utils = git(tmp_path / "origin.git", "show", "template-update:utils.py")
    assert utils.startswith("# changed by the template\n")
    assert utils.endswith("MINE = 1\n")
    git(tmp_path / "origin.git", "branch", "--force", "main", "template-update")
    assert "Up to date" in run_update()
