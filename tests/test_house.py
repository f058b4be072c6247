"""A team's answers land in every project, and a misspelled one is noticed."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import pytest
import yaml

from combinations import Combination, checked_combinations
from conftest import git, render, root
from test_update import append, commit, publish_next_version, replace_line
from test_upkeep import bash, commands

house = root / "docs" / "house.yml"
answers = yaml.safe_load(house.read_text(encoding="utf-8"))


def check_answers(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "tools" / "check_answers.py", *paths],
        capture_output=True,
        encoding="utf-8",
    )


def assert_in_its_place(project: Path) -> None:
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["authors"] == [{"name": answers["author"]}]
    assert metadata["license"] == answers["licence"]
    assert metadata["requires-python"] == answers["python_range"]
    assert f"Copyright (c) {answers['author']}\n" in (project / "LICENSE").read_text("utf-8")
    record = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert record["_src_path"] == answers["template_source"]
    assert {"author", "licence", "python_range", "ci", "code_owners"} < {*answers}
    for name in answers.keys() - {"template_source"}:
        assert record[name] == answers[name]
    assert (project / "CODEOWNERS").read_text("utf-8").endswith(f"* {answers['code_owners']}\n")
    files = {".gitlab-ci.yml", ".devcontainer/devcontainer.json", "AGENTS.md"}
    assert all((project / name).is_file() for name in files)
    assert not (project / ".github").exists()


@pytest.mark.parametrize(
    "combination", [c for c in checked_combinations if c.first_of_template and c.in_full], ids=str
)
@pytest.mark.parametrize("entry", ["folder", "root"])
def test_each_answer_of_a_data_file_lands(
    combination: Combination, entry: str, tmp_path: Path
) -> None:
    own = f"template={combination.template}"
    source = root if entry == "root" else root / "templates" / combination.template
    command = ["copy", "--defaults", "--quiet", "--data-file", house, "--data", own, source, "leaf"]
    subprocess.run([sys.executable, "-m", "copier", *command], cwd=tmp_path, check=True)
    assert_in_its_place(tmp_path / "leaf")


def test_each_answer_of_a_settings_file_lands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text(yaml.safe_dump({"defaults": answers}))
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    assert check_answers(settings).returncode == 0
    template = root / "templates" / "torch-research"
    copier.run_copy(str(template), tmp_path / "leaf", defaults=True, quiet=True)
    assert_in_its_place(tmp_path / "leaf")


def test_the_example_and_every_answers_file_pass(tmp_path: Path) -> None:
    project = render(root / "templates" / "keras-quickstart", tmp_path / "leaf", backend="jax")
    result = check_answers(house, project / ".copier-answers.yml")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("licens: MIT", ["licens", "did you mean licence?"]),
        ("holder: me", ["holder", "There are:", "author"]),
        ("licence: GPL", ["licence", "'GPL'", "BSD-3-Clause"]),
        ("project_name: Bad Name", ["project_name", "leaf-classifier"]),
        ('python_range: ">=3.13,<3.12"', ["python_range", "expected a range from 3.11 on"]),
        ('python_range: ">=3.9"', ["python_range", "expected a range from 3.11 on"]),
        ("author: 3", ["author", "3", "quotes"]),
        ("defaults: {lop: plain}", ["lop", "did you mean loop?"]),
        ("mit: .", ["mit"]),  # Computed, not asked.
        ("- author", ["expected `name: answer` lines"]),
        ("a: [", ["cannot be read"]),
    ],
)
def test_what_copier_would_ignore_is_said(text: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "house.yml"
    path.write_text(text)
    result = check_answers(path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    for part in [str(path), *expected]:
        assert part in result.stderr


# --- continuous integration and what else a team may want

TEMPLATES = ("torch-research", "tf-production", "keras-quickstart")


def render_for(folder: Path, template: str = TEMPLATES[0], **changes: str) -> Path:
    """Render a project of a team with other answers."""
    return render(root / "templates" / template, folder, **changes)


def test_each_provider_runs_the_same_commands(tmp_path: Path) -> None:
    """So those of GitHub, which test_upkeep.py runs to the letter, stand for all."""
    gitlab = render_for(tmp_path / "gitlab", ci="gitlab", python_range=">=3.12,<3.14")
    pipeline = yaml.safe_load((gitlab / ".gitlab-ci.yml").read_text("utf-8"))
    assert pipeline["default"]["image"] == "python:3.12"
    azure = render_for(tmp_path / "azure", ci="azure", python_range=">=3.12,<3.14")
    (job,) = yaml.safe_load((azure / "azure-pipelines.yml").read_text("utf-8"))["jobs"]
    version, *steps = job["steps"]
    assert version["inputs"] == {"versionSpec": "3.12"}
    expected = commands(render_for(tmp_path / "github"), "test")
    assert len(expected) == 8
    assert pipeline["test"]["script"] == expected == [step["script"] for step in steps]
    nowhere = render_for(tmp_path / "nowhere", ci="none")
    files = {path.name for path in nowhere.iterdir()}
    assert not files & {".github", ".gitlab-ci.yml", "azure-pipelines.yml", "AGENTS.md"}
    assert not files & {".devcontainer", "CODEOWNERS"}


def test_the_update_on_gitlab(tmp_path: Path, scratch_repository: Path) -> None:
    """It proposes a release once, as a draft and with a failing job where that conflicts."""
    project = render(f"git+{scratch_repository.as_uri()}", tmp_path / "leaf", ci="gitlab")
    git(project, "init", "--quiet", "--initial-branch", "main")
    append(project / "utils.py", "MINE = 1")
    commit(project)
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    origin = tmp_path / "origin.git"
    git(origin, "config", "receive.advertisePushOptions", "true")
    options = tmp_path / "options"
    hook = origin / "hooks" / "pre-receive"
    hook.write_text(f'#!/bin/sh\nenv | grep ^GIT_PUSH_OPTION_ > "{options}"\ntrue\n')
    hook.chmod(0o755)
    git(project, "remote", "add", "origin", str(origin))
    git(project, "push", "--quiet", "origin", "main")
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))
    script = (
        f"export TEMPLATE_REMOTE='{origin}'\n" + pipeline["update from the template"]["script"][1]
    )

    def update(expected: int = 0) -> str:
        clone = tmp_path / f"clone{len([*tmp_path.iterdir()])}"
        git(tmp_path, "clone", "--quiet", "--branch", "main", "origin.git", clone.name)
        return bash(script, clone, expected=expected)

    assert "Up to date" in update()
    publish_next_version(scratch_repository)
    update()
    assert "merge_request.title=Update from the template\n" in options.read_text()
    assert "is there: merge it" in update()
    git(origin, "branch", "--quiet", "-D", "template-update")
    replace_line(project / "requirements.txt", "tqdm", "tqdm==4.68")
    commit(project)
    git(project, "push", "--quiet", "origin", "main")
    assert "conflicts with your changes: requirements.txt" in update(expected=1)
    sent = options.read_text()
    assert "merge_request.title=Draft: Update from the template: conflicts\n" in sent
    assert "Conflicts: requirements.txt\n" in sent


@pytest.mark.parametrize("owners", ["leaf", "@a @", "@a,@b", "@a\n* @b", "@a * @b", "#@a"])
def test_owners_that_are_no_names_are_refused(owners: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="code_owners"):
        render_for(tmp_path / "leaf", code_owners=owners)


def test_a_container_to_work_in(tmp_path: Path) -> None:
    project = render_for(tmp_path / "leaf", development_container="with", project_name="leaf")
    text = (project / ".devcontainer" / "devcontainer.json").read_text("utf-8")
    assert json.loads(text)["name"] == "leaf"
    assert json.loads(text)["image"].endswith("/python:3.11")
    # The install command is the one that the checks begin with.
    assert json.loads(text)["postCreateCommand"] in commands(project, "test")


@pytest.mark.parametrize(
    "template",
    [TEMPLATES[0], *(pytest.param(each, marks=pytest.mark.deep) for each in TEMPLATES[1:])],
)
def test_agents_md_word_for_word(template: str, tmp_path: Path) -> None:
    """From a new project to its metrics; the packages are here, and the tests run elsewhere."""
    project = render_for(tmp_path / "leaf", template, coding_assistants="with", task="tabular")
    text = (project / "AGENTS.md").read_text("utf-8")
    assert len(text.splitlines()) <= 60
    lines = re.findall(r"^    (.+)$", text, re.MULTILINE)
    installs = [line for line in lines if "venv" in line or "pip install" in line]
    assert installs[-1] in commands(project, "test")
    for line in [line for line in lines if line not in (*installs, "python -m pytest")]:
        bash(line, project)
    found = json.loads((project / "experiments/try/metrics_val.json").read_text("utf-8"))
    assert found["accuracy"] > 0.5
    for name in re.findall(r"`([\w/.]+\.py|\w+/)`", text):
        assert (project / name).exists() or name == "data/", name
