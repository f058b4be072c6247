"""Projects of every release and every way in, edited as people edit, reach the newest release."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import combinations
from combinations import Combination, combinations_of_this_tier
from conftest import files_of, git, render
from projects import run
from test_release import announce, release
from test_update import append, commit, copier_command, prepend

# The modules of a template's source, copies aside.
SOURCES = ("shared/project/**/*.py", "templates/*/project/**/*.py")


def add_a_file(repository: Path) -> None:
    """Release 1: a new file, and a change in one that all templates share."""
    (repository / "shared/project/added_later.py").write_text('"""New in the template."""\n')
    prepend(repository / "shared/project/utils.py", "# Changed by the template.")


def rename_a_parameter(repository: Path) -> None:
    """Release 2: clip_norm gets another name, and says what it was."""
    paths = [path for pattern in SOURCES for path in repository.glob(pattern)]
    paths += repository.glob("shared/project/*/experiments/baseline/params.yaml")
    for path in paths:
        if "{{shared}}" not in path.parts:
            text = path.read_text(encoding="utf-8")
            text = re.sub(r"\bclip_norm\b", "gradient_norm", text)
            if path.name == "parameters.py":
                norm = 'description="clip gradients to this norm; 0: off"'
                text = text.replace(norm, 'json_schema_extra={"was": "clip_norm"}, description="n"')
            path.write_text(text, encoding="utf-8")


def change_the_loops(repository: Path) -> None:
    """Release 3: every train.py, and what is installed."""
    for path in repository.glob("templates/*/project/**/train.py"):
        replace(path, '"""Train one experiment:', '"""Train a single experiment:')
    append(repository / "shared/project/requirements/dev.txt", "codespell")


RELEASES = {"9.1.0": add_a_file, "9.2.0": rename_a_parameter, "9.3.0": change_the_loops}


COMBINATIONS = combinations_of_this_tier()
WAYS = ("folder", "url", "cookiecutter")
MY_LAST_LINE = "# Here I trained."
pytestmark = pytest.mark.xdist_group("releases")  # They share the projects.


def make(way: str, combination: Combination, repository: Path, target: Path) -> None:
    """Make a project, as the repository stands."""
    template, answers = combination.template, combination.answers
    if way == "folder":
        render(repository / "templates" / template, target, **answers)
    elif way == "root":
        render(repository, target, template=template, **answers)
    elif way == "url":
        render(f"git+{repository.as_uri()}", target, template=template, **answers)
    else:
        words = {"template_name": template, "project_name": target.name, **answers}
        program = Path(sys.executable).with_name("cookiecutter")
        command = [program, "--no-input", repository, *map("=".join, words.items())]
        target.parent.mkdir(parents=True)
        subprocess.run(command, cwd=target.parent, check=True, capture_output=True)
    git(target, "init", "--quiet", "--initial-branch", "main")


@pytest.fixture(scope="module")
def projects(
    tagged_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[Combination, list[Path]]:
    """Projects of each release but the last; the last is out at the end.

    The first is made from each release, each by another way, and any other once: ways and releases
    take turns.
    """
    root = tmp_path_factory.mktemp("releases")
    repository = shutil.copytree(tagged_repository, root / "trainyard")
    projects: dict[Combination, list[Path]] = {each: [] for each in COMBINATIONS}
    for number, (version, change) in enumerate(RELEASES.items()):
        for turn, combination in enumerate(COMBINATIONS):
            way = WAYS[(turn + number) % 3]
            if turn == 0 or turn % 3 == number:
                project = root / str(combination) / version / "leaf"
                make(way, combination, repository, project)
                projects[combination].append(project)
        change(repository)
        subprocess.run([sys.executable, repository / "tools/sync_shared.py"], check=True)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", f"Work towards {version}")
        announce(repository, version)
        assert release(repository, version).returncode == 0
    return projects


def edit(project: Path) -> None:
    """What people do: another network, loader and default, renamed, deleted and new files."""
    prepend(project / "model/net.py", "# A net of my own.")
    append(project / "model/data_loader.py", "# A loader of my own.")
    replace(project / "parameters.py", "epochs: int = Field(15", "epochs: int = Field(20")
    append(project / "train.py", MY_LAST_LINE)
    append(project / "README.md", "Mine.")
    (project / "model/losses.py").write_text("MINE = 1\n")
    (project / "tests/test_model.py").unlink()
    (project / "data/README.md").unlink()


def replace(path: Path, pattern: str, text: str) -> None:
    old = path.read_text(encoding="utf-8")
    new = re.sub(pattern if "\\b" in pattern else re.escape(pattern), text, old)
    assert new != old
    path.write_text(new, encoding="utf-8")


def check_updated(project: Path) -> None:
    """Nothing of the person's is lost, and all of the template's is there."""
    result = copier_command(project, "update", "--defaults")
    assert result.returncode == 0, result.stderr
    assert git(project, "diff", "--name-only", "--diff-filter=U") == ""
    files = {
        name: content.decode("utf-8", "replace") for name, content in files_of(project).items()
    }
    assert not [name for name, text in files.items() if re.search("^<<<<<<< ", text, re.M)]
    assert files["model/net.py"].startswith("# A net of my own.\n")
    assert files["model/data_loader.py"].endswith("# A loader of my own.\n")
    assert "epochs: int = Field(20" in files["parameters.py"]
    assert files["train.py"].endswith(f"{MY_LAST_LINE}\n")
    assert files["README.md"].endswith("Mine.\n")
    assert files["model/losses.py"] == "MINE = 1\n"
    assert not {"tests/test_model.py", "data/README.md"} & files.keys()
    assert "added_later.py" in files
    assert files["utils.py"].startswith("# Changed by the template.\n")
    assert "gradient_norm" in files["parameters.py"]
    assert files["train.py"].startswith('"""Train a single experiment:')
    assert "codespell" in files["requirements/dev.txt"]
    assert f"_commit: v{[*RELEASES][-1]}" in files[".copier-answers.yml"]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_every_project_comes_along(
    combination: Combination, projects: dict[Combination, list[Path]]
) -> None:
    """One of them with an experiment that was stopped before and continues after; at the gate of
    one template: what renames a parameter is the machinery's.
    """
    first, *others = projects[combination]
    if combinations.deep or combination == COMBINATIONS[0]:
        edit(first)
        begin_training(first)
        check_updated(first)
        continue_training(first)
    else:
        others = projects[combination]
    for project in others:
        edit(project)
        commit(project)
        check_updated(project)


def begin_training(project: Path) -> None:
    experiment = project / "experiments" / "mine"
    experiment.mkdir()
    (experiment / "params.yaml").write_text(
        "data: {batch_size: 256}\nmodel: {width: 4}\ntraining: {epochs: 2, clip_norm: 0.5}\n"
    )
    assert run(project, "build_dataset.py").returncode == 0
    stopped = run(project, "train.py", "--experiment", "experiments/mine", "--max-minutes", 0)
    assert stopped.returncode == 75, stopped.stderr
    commit(project)


def continue_training(project: Path) -> None:
    """With the old name of the parameter, in the file and in the checkpoint."""
    continued = run(project, "train.py", "--experiment", "experiments/mine")
    assert continued.returncode == 0, continued.stderr
    assert "continuing at step" in continued.stdout
    sessions = json.loads((project / "experiments/mine/run.json").read_text())["sessions"]
    assert sessions[-1]["parameters"]["training.gradient_norm"] == 0.5
    new = ("--experiment", "experiments/new", "--from", "experiments/mine", "--training.epochs", 1)
    assert run(project, "train.py", *new, "--training.gradient_norm", 1).returncode == 0
    assert "gradient_norm: 1.0" in (project / "experiments/new/params.yaml").read_text()
