"""What keeps a generated project alive: its hooks, its workflows, the weekly update."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import combinations as tier
from combinations import Combination, combinations, evening_combinations, find_combination, tasks
from conftest import git, overlay_files, render, root
from projects import TASKS, task
from test_release import announce, release
from test_update import append, commit, publish_next_version, replace_line


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs of a workflow."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def commands(project: Path, workflow: str, job: str | None = None) -> list[str]:
    """Return what a workflow runs, or one job of it, in its order."""
    found = jobs(project / ".github" / "workflows" / f"{workflow}.yml")
    steps = [step for name in found if job in (None, name) for step in found[name]["steps"]]
    return [step["run"] for step in steps if "run" in step]


def bash(
    command: str,
    folder: Path,
    *programs: Path,
    expected: int = 0,
    variables: dict[str, str] | None = None,
) -> str:
    """Run a step as GitHub's runner does; return what it printed."""
    paths = [*programs, Path(sys.executable).parent]
    result = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join([*map(str, paths), os.environ["PATH"]])}
        | (variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert result.returncode == expected, f"{command}\n{result.stdout}"
    return result.stdout


def quick_python(folder: Path) -> Path:
    """Make a folder with a `python` that installs nothing, and says what it would train."""
    folder.mkdir()
    (folder / "python").write_text(
        "#!/bin/sh\n"
        'case "$*" in "-m pip "*) ;;\n'
        """train.py*) echo "$@" "$(sed -n 's/^_commit: //p' .copier-answers.yml)" """
        f'>> "{folder}/trained";;\n'
        "evaluate.py*) printf 'best, 360 of test:\\n  loss       0.5\\n  score      0.9\\n';;\n"
        f'*) exec "{sys.executable}" "$@";; esac\n'
    )
    (folder / "python").chmod(0o755)
    return folder


def smoke_line(evaluated: str, command: str) -> str:
    """Return what a weekly update makes of what evaluate.py prints."""
    (program,) = re.findall(r"awk '(.*?)'", command)
    result = subprocess.run(
        ["awk", program], input=evaluated, capture_output=True, text=True, check=True
    )
    return result.stdout


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Those of the repository, of a project, and of one with a house's package index."""
    found = [*root.glob(".github/workflows/*")]
    for index in ("", "https://packages.example.org/simple"):
        folder = tmp_path_factory.mktemp("workflows") / "leaf"
        project = render(root / "templates" / "torch-research", folder, package_index=index)
        found += project.glob(".github/workflows/*")
    assert len(found) >= 5
    return found


def test_every_action_is_one_commit(workflows: list[Path]) -> None:
    """Of which the comment names the release, and it is the same in all workflows."""
    found: dict[str, set[str]] = {}
    for path in workflows:
        for line in re.findall(r"uses:(.*)", path.read_text(encoding="utf-8")):
            pinned = re.fullmatch(r" ([\w/-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert pinned, f"{path}: {line}"
            found.setdefault(pinned[1], set()).add(pinned[2])
    assert len(found) >= 2
    assert all(len(commits) == 1 for commits in found.values()), found
    renovate = json.loads((root / "shared/project/renovate.json").read_text())
    assert "helpers:pinGitHubActionDigests" in renovate["extends"]
    assert "github-actions" in renovate["enabledManagers"]


def test_a_workflow_may_do_little(workflows: list[Path]) -> None:
    """It may read the code, and leaves no token in the checkout; a job says what else it needs."""
    for path in workflows:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] in ({}, {"contents": "read"}), path
        steps = [step for job in jobs(path).values() for step in job["steps"]]
        checkouts = [step for step in steps if "checkout@" in step.get("uses", "")]
        assert checkouts, path
        assert all(step["with"]["persist-credentials"] is False for step in checkouts), path


def test_new_code_runs_where_nothing_can_be_written(workflows: list[Path]) -> None:
    """Of the weekly update: the job that trains has no token, and the others do not run it."""
    for path in [path for path in workflows if path.name == "update.yml"]:
        found = jobs(path)
        assert found["train"]["permissions"] == {"contents": "read"}
        assert not re.search(r"secrets|token|GH_", str(found["train"]), re.IGNORECASE)
        assert found["tell"]["permissions"] == {"pull-requests": "write"}
        assert not [step for step in found["tell"]["steps"] if "uses" in step]
        assert "train.py" in str(found.pop("train"))
        assert "train.py" not in str(found)


def test_zizmor_finds_nothing_in_the_workflows(workflows: list[Path]) -> None:
    """Offline: whether a commit is that of its release, only GitHub could say."""
    zizmor = shutil.which("zizmor", path=str(Path(sys.executable).parent))
    assert zizmor, "zizmor is not installed; requirements/test.txt names it"
    command = [zizmor, "--offline", "--no-progress", *map(str, workflows)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_type_checker_is_one_version() -> None:
    """Each release of it still finds other things, which would fail a job that nobody changed."""
    text = (root / "shared" / "project" / "requirements/dev.txt").read_text(encoding="utf-8")
    assert re.search(r"^ty==\d+\.\d+\.\d+\b", text, re.MULTILINE)


def test_the_test_workflow(rendered: Callable[[Combination], Path], tmp_path: Path) -> None:
    """Install, lint, type-check, test, train, evaluate: to the letter, in a new clone."""
    project = shutil.copytree(rendered(combinations[0]), tmp_path / "leaf")
    printed = [bash(command, project) for command in commands(project, "test")]
    assert "passed" in "".join(printed)
    assert task(project).metric in printed[-1]
    told = smoke_line(printed[-1], "".join(commands(project, "update")))
    assert re.fullmatch(rf"loss [\d.]+, {task(project).metric} [\d.]+", told)


# What differs by the backend of Keras.
BY_BACKEND = ["tests/test_backend.py", "tests/test_backbone.py"]
# One way of each template. Those of the first one are run as its workflow says.
OWN_TESTS = [each for each in evening_combinations if each.first_of_template][1:]


@pytest.mark.parametrize("combination", OWN_TESTS, ids=str)
def test_the_projects_own_tests(
    combination: Combination, rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """Those of its network in each; of the framework, with the first task; of the task, once.

    At the gate, a way that has no contracts there overfits nothing: it trains in its evening. And
    JAX, which compiles for minutes, runs what differs by the backend; the rest is run on PyTorch.
    """
    project = shutil.copytree(rendered(combination), tmp_path / "leaf")
    files = own_test_files(combination)
    words = ["python", "-m", "pytest", "--durations=5"]
    if not (tier.deep or combination.at_the_gate):
        words += ["-k", "'not overfits'"]
        if combination.choice == "jax" and combination.in_full:
            files = BY_BACKEND
    assert "passed" in bash(" ".join([*words, *files]), project)


def own_test_files(combination: Combination) -> list[str]:
    """Return the tests of its project that are not run with another one."""
    overlays = (combination.task.replace("-", "_"), *TASKS[combination.task].overlays)
    folders = {f"{{{{{overlay}}}}}" for overlay in overlays}

    def is_run(source: Path) -> bool:
        knows_framework = "{{shared}}" not in source.parts
        of_task = combination.task == tasks[0] or folders & {*source.parts}
        return bool(of_task and (knows_framework or combination.first_of_task))

    files = overlay_files(combination).items()
    return [name for name, source in files if name[:11] == "tests/test_" and is_run(source)]


def test_keras_on_another_backend(rendered: Callable[[Combination], Path], tmp_path: Path) -> None:
    """The project's own tests on PyTorch: with the first task, those above run on JAX."""
    combination = find_combination("torch")
    project = shutil.copytree(rendered(combination), tmp_path / "leaf")
    words = ["python", "-m", "pytest", "--durations=5", *own_test_files(combination)]
    assert "passed" in bash(" ".join(words), project)


def test_the_tests_of_a_competition(
    rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """Those that the overlay brings; it knows no framework, so one project has them run."""
    combination = next(each for each in combinations if each.kaggle)
    project = shutil.copytree(rendered(combination), tmp_path / "leaf")
    found = [
        name
        for name, source in overlay_files(combination).items()
        if name.startswith("tests/test_") and "{{competition}}" in source.parts
    ]
    assert "passed" in bash(" ".join(["python", "-m", "pytest", *found]), project)


def test_the_hooks(rendered: Callable[[Combination], Path], tmp_path: Path) -> None:
    project = shutil.copytree(rendered(combinations[0]), tmp_path / "leaf")
    text = (project / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (repository,) = yaml.safe_load(text)["repos"]
    assert repository["repo"] == "local"
    conflicts, rejected, *tools = repository["hooks"]
    assert (conflicts["language"], rejected["language"]) == ("pygrep", "fail")
    marked = "a = 1\n<<<<<<< before updating\na = 2\n=======\na = 3\n>>>>>>> after updating\n"
    assert len(re.findall(conflicts["entry"], marked, re.MULTILINE)) == 2
    assert re.search(rejected["files"], "model/net.py.rej")
    for hook in tools:
        assert hook["language"] == "system"
        files = [] if hook.get("pass_filenames") is False else ["train.py", "model/net.py"]
        bash(" ".join([hook["entry"], *files]), project)


def test_what_an_update_left_fails_the_checks(
    rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """Marks of conflicts, and rejected parts that Copier writes on request."""
    project = shutil.copytree(rendered(combinations[0]), tmp_path / "leaf")
    git(project, "init", "--quiet")
    commit(project)
    check = commands(project, "test")[0]
    bash(check, project)
    for name in ("utils.py", "utils.py.rej"):
        append(project / name, "<<<<<<< before updating" if name == "utils.py" else "@@ -1 +1 @@")
        commit(project)
        assert name in bash(check, project, expected=1)
        git(project, "reset", "--quiet", "--hard", "HEAD~1")


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
    programs, open_one = quick_python(tmp_path / "programs"), tmp_path / "open"
    (programs / "gh").write_text(
        "#!/bin/sh\n"
        'case "$2" in setup-git) ;;\n'
        f'list) test -f "{open_one}" && echo 7;; *) echo "$@" >> "{open_one}";; esac\n'
        "true\n"
    )
    (programs / "gh").chmod(0o755)

    def run_update(expected: int = 0) -> str:
        clone, output = check_out("main"), tmp_path / "output"
        output.write_text("")
        variables = {"GITHUB_OUTPUT": str(output), "GITHUB_REPOSITORY": "mina/leaf"}
        install, propose = commands(clone, "update", "update")
        printed = bash(install, clone, programs)
        printed += bash(propose, clone, programs, expected=expected, variables=variables)
        if "proposed=yes\n" not in output.read_text():
            return printed
        for command in commands(clone, "update", "train"):
            bash(command, check_out("template-update"), programs, variables=variables)
        (metrics,) = re.findall("^metrics=(.*)", output.read_text(), re.MULTILINE)
        (tell,) = commands(clone, "update", "tell")
        return printed + bash(tell, tmp_path, programs, variables=variables | {"METRICS": metrics})

    def check_out(branch: str) -> Path:
        clone = tmp_path / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        git(
            tmp_path,
            "clone",
            "--quiet",
            "--branch",
            branch,
            "--depth",
            "2",
            origin.as_uri(),
            "clone",
        )
        return clone

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
    assert not (programs / "trained").exists()
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
    created, edited = open_one.read_text().splitlines()
    assert created.startswith("pr create --head template-update")
    assert created.endswith("--body Nothing of yours conflicts.")
    assert edited == (
        "pr edit template-update --repo mina/leaf --body Nothing of yours conflicts. Two epochs of "
        "training give on test, before: loss 0.5, score 0.9; after: loss 0.5, score 0.9."
    )
    trained = (programs / "trained").read_text().splitlines()
    assert trained == [
        f"train.py --experiment experiments/{when}-update --from experiments/baseline "
        f"--training.epochs 2 {version}"
        for when, version in (("before", "v9.0.0"), ("after", "v9.1.0"))
    ]
    changed = git(origin, "diff", "--name-only", "main", "template-update").split()
    assert not [name for name in changed if name.startswith(("experiments", "before", "after"))]
    assert look_for_conflicts("template-update", 0) == ""


def test_a_template_in_a_folder_is_not_looked_for_elsewhere(
    rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    project = shutil.copytree(rendered(combinations[0]), tmp_path / "leaf")
    assert "is no URL" in bash(commands(project, "update")[1], project)


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_what_is_looked_for_weekly(ci: str, tmp_path: Path) -> None:
    """Whatever address Copier takes, also where it stands for a host; and no folder."""
    project = render(root / "templates" / "torch-research", tmp_path / "leaf", ci=ci)
    name = ".github/workflows/update.yml" if ci == "github" else ".gitlab-ci.yml"
    (look,) = re.findall(r"if ! (grep .*); then", (project / name).read_text("utf-8"))
    record = project / ".copier-answers.yml"
    for address in ("https://a.org/t", "ssh://git@a.org/t", "git@a.org:t.git", "gh:a/t", "gl:a/t"):
        record.write_text(f"_src_path: {address}\n")
        bash(look, project)
    for folder in ("/templates", "../gh:a", "C:/templates"):
        record.write_text(f"_src_path: {folder}\n")
        bash(look, project, expected=1)


def test_the_weekly_update_takes_the_copier_that_we_test() -> None:
    """One version: what it brings writes into the repository."""
    tested = re.findall(
        "^copier==(.*)$", (root / "requirements/constraints.txt").read_text("utf-8"), re.MULTILINE
    )
    for name in ("{{github_actions}}/.github/workflows/update.yml", "{{gitlab_ci}}/.gitlab-ci.yml"):
        text = (root / "shared/project" / f"{name}.jinja").read_text(encoding="utf-8")
        assert re.findall(r"pip install \"?copier(?:==)?(.*)", text) == tested, name
