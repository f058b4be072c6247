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
from projects import task
from test_release import announce, release
from test_update import append, commit, publish_next_version, replace_line


def commands(project: Path, workflow: str) -> list[str]:
    """Return what a workflow runs, in its order."""
    text = (project / ".github" / "workflows" / f"{workflow}.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["jobs"].values()
    return [step["run"] for step in job["steps"] if "run" in step]


def bash(command: str, folder: Path, *programs: Path, expected: int = 0) -> str:
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
    assert result.returncode == expected, f"{command}\n{result.stdout}"
    return result.stdout


def test_the_test_workflow(rendered: Callable[[Combination], Path], tmp_path: Path) -> None:
    """Install, lint, type-check, test, train, evaluate: to the letter, in a new clone."""
    project = shutil.copytree(rendered(combinations[0]), tmp_path / "leaf")
    printed = [bash(command, project) for command in commands(project, "test")]
    assert "passed" in "".join(printed)
    assert task(project).metric in printed[-1]


# Tests of a project that know no framework, or run its commands as test_pipeline.py here does.
FRAMEWORK_FREE = ("build_dataset", "pipeline")


@pytest.mark.parametrize("combination", trained_combinations[1:], ids=str)
def test_the_projects_own_tests(
    combination: Combination, rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """Those of the framework in each; the others in every loop once, the tasks taking turns."""
    project = shutil.copytree(rendered(combination), tmp_path / "leaf")
    left_out = () if combination.runs_every_project_test else FRAMEWORK_FREE
    ignored = [f"--ignore tests/test_{name}.py" for name in left_out]
    assert all((project / words.split()[1]).exists() for words in ignored)
    printed = bash(" ".join(["python -m pytest --durations=5", *ignored]), project)
    assert "passed" in printed


def test_the_hooks(rendered: Callable[[Combination], Path]) -> None:
    project = rendered(combinations[0])
    text = (project / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (repository,) = yaml.safe_load(text)["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        files = [] if hook.get("pass_filenames") is False else ["train.py", "model/net.py"]
        bash(" ".join([hook["entry"], *files]), project)


def test_the_weekly_update(
    rendered: Callable[[Combination], Path], tmp_path: Path, scratch_repository: Path
) -> None:
    """It proposes a release once, as a draft and with a failing job where that conflicts."""
    project = render(f"git+{scratch_repository.as_uri()}", tmp_path / "leaf")
    git(project, "init", "--quiet", "--initial-branch", "main")
    append(project / "utils.py", "MINE = 1")
    replace_line(project / "requirements.txt", "tqdm", "tqdm==4.68")
    commit(project)
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    origin = tmp_path / "origin.git"
    git(project, "remote", "add", "origin", str(origin))
    git(project, "push", "--quiet", "origin", "main")
    programs, open_one = tmp_path / "programs", tmp_path / "open"
    programs.mkdir()
    (programs / "gh").write_text(
        "#!/bin/sh\n"
        f'case "$2" in list) test -f "{open_one}" && echo 7;; *) echo "$@" > "{open_one}";; esac\n'
        "true\n"
    )
    (programs / "gh").chmod(0o755)

    def run_update(expected: int = 0) -> str:
        clone = tmp_path / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        git(tmp_path, "clone", "--quiet", "--branch", "main", "origin.git", "clone")
        *others, last = commands(clone, "update")
        for command in others:
            bash(command, clone, programs)
        return bash(last, clone, programs, expected=expected)

    def look_for_conflicts(branch: str, expected: int) -> str:
        """What the workflow of the tests does first."""
        clone = tmp_path / "clone"
        git(clone, "checkout", "--quiet", branch)
        return bash(commands(clone, "test")[0], clone, expected=expected)

    assert "Up to date" in run_update()
    assert not open_one.exists()
    publish_next_version(scratch_repository)
    assert "::error::The update conflicts with your changes: requirements.txt" in run_update(1)
    proposed = (
        "pr create --draft --head template-update --title Update from the template: conflicts"
    )
    assert proposed in open_one.read_text()
    assert "Conflicts: requirements.txt" in open_one.read_text()
    assert "requirements.txt:" in look_for_conflicts("template-update", 1)
    assert look_for_conflicts("main", 0) == ""
    assert "<<<<<<< before updating" in git(origin, "show", "template-update:requirements.txt")
    utils = git(origin, "show", "template-update:utils.py")
    assert utils.startswith("# changed by the template\n")
    assert utils.endswith("MINE = 1\n")
    head = git(origin, "rev-parse", "template-update")
    assert "is open" in run_update()
    assert git(origin, "rev-parse", "template-update") == head
    # Resolved and merged, the branch left there: nothing to do until the next release.
    git(project, "pull", "--quiet", "origin", "template-update")
    shutil.copy(rendered(combinations[0]) / "requirements.txt", project)
    commit(project)
    git(project, "push", "--quiet", "origin", "main")
    open_one.unlink()
    assert "Up to date" in run_update()
    announce(scratch_repository, "9.1.0")
    assert release(scratch_repository, "9.1.0").returncode == 0
    run_update()
    assert "pr create --head template-update" in open_one.read_text()
    assert "Nothing of yours conflicts" in open_one.read_text()
    assert look_for_conflicts("template-update", 0) == ""


def test_a_template_in_a_folder_is_not_looked_for_elsewhere(
    rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    project = shutil.copytree(rendered(combinations[0]), tmp_path / "leaf")
    assert "is no URL" in bash(commands(project, "update")[-1], project)
