"""trainyard adopt: an existing repository takes a template on, and can be updated afterwards."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conftest import files_of, git, root
from test_release import announce, release
from test_update import append, copier_command, prepend
from trainyard.adoption import render_template
from trainyard.checks.report import check_folder, score
from trainyard.command_line import main

NET = """import torch.nn as nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x)


def loss_fn(outputs, labels):
    return -outputs[range(len(labels)), labels].mean()
"""
TRAIN = """import argparse

import torch

from model.net import Net, loss_fn

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)


def train(model, optimizer, x, y):
    optimizer.zero_grad()
    loss_fn(model(x), y).backward()
    optimizer.step()
"""
# The layout of Stanford's CS230 examples.
CS230 = {
    "README.md": "# Signs\n\n    python train.py\n",
    "train.py": TRAIN,
    "model/net.py": NET,
    "model/data_loader.py": "import torch\n\n\nclass Signs(torch.utils.data.Dataset):\n    x = 1\n",
    "utils.py": "def save(x):\n    return x\n",
    "requirements.txt": "torch\n",
    ".gitignore": "secret/\n",
}
NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "code", "outputs": [], "source": f"%pylab\n{NET}"},
            {"cell_type": "code", "outputs": [], "source": "import torch\nloss.backward()"},
        ]
    }
)
LONELY = {"train.py": TRAIN, "look.ipynb": NOTEBOOK, "model.py": NET, "parameters/a.py": "A = 1\n"}
LAYOUTS = {"cs230": CS230, "train.py and a notebook": LONELY}
ANSWERS = "{{ dict(_copier_answers, template=template) | to_nice_yaml }}"


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A repository with these files in one commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Mine")
    return folder


@pytest.fixture
def small_template(tmp_path: Path) -> Path:
    """A template with the paths of ours and little in its files, released once."""
    names = ("train.py", "utils.py", "model/__init__.py", "model/net.py", "model/report.py")
    files = {f"project/{name}": f"# {name} of the template\n" for name in names}
    files |= {
        "copier.yml": "_subdirectory: project\ntemplate: {type: str}\ntask: {default: a}\n"
        "licence: {default: MIT}\n"
        "model_of: {default: '', when: false}\n",
        "project/{{_copier_conf.answers_file}}.jinja": ANSWERS,
        "project/.gitignore": "secret/\n/experiments/*.pt\n",
        "project/parameters.py": "# parameters\n",
        "project/.github/workflows/test.yml": "name: test\n",
        "project/machinery/run.py": "# run\n",
        "project/data/README.md": "# data\n",
    }
    made = repository(tmp_path / "templates", files)
    git(made, "tag", "v1.0.0")
    return made


def adopt(folder: Path, source: Path, *words: str) -> int:
    """The exit code of the command."""
    command = ["adopt", str(folder), "--template", "torch-research", "--source", str(source)]
    try:
        return main([*command, *words])
    except SystemExit as ended:
        return int(ended.code or 0)


def state(folder: Path) -> tuple[object, ...]:
    """All that a refusal has to leave as it is."""
    refs = git(folder, "for-each-ref") if (folder / ".git").exists() else ""
    return files_of(folder), refs, (folder / ".git" / "worktrees").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_own_files_stay_and_updates_work(
    layout: str, small_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = LAYOUTS[layout]
    folder = repository(tmp_path / "signs", own)
    before = state(folder)[0], git(folder, "rev-parse", "HEAD")
    assert adopt(folder, small_template) == 0
    assert "git switch trainyard/adopt" in capsys.readouterr().out
    assert (state(folder)[0], git(folder, "rev-parse", "HEAD")) == before
    assert git(folder, "worktree", "list").count("\n") == 1

    git(folder, "switch", "--quiet", "trainyard/adopt")
    for name, text in own.items():
        assert (folder / name).read_text(encoding="utf-8") == text, name
    assert (folder / "machinery/run.py").exists()
    answers = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert (answers["_commit"], answers["template"]) == ("v1.0.0", "torch-research")
    shown = git(folder, "show", "trainyard/template:train.py")
    assert shown == "# train.py of the template\n"

    (small_template / "project/machinery/run.py").write_text("# run, newer\n")
    (small_template / "project/new.py").write_text("# new\n")
    git(small_template, "add", "--all")
    git(small_template, "commit", "--quiet", "--message", "Newer")
    git(small_template, "tag", "v1.1.0")
    result = copier_command(folder, "update", "--defaults", "--quiet")
    assert result.returncode == 0, result.stderr
    assert (folder / "machinery/run.py").read_text() == "# run, newer\n"
    assert (folder / "new.py").exists()
    assert not git(folder, "diff", "--name-only", "--diff-filter=U")
    for name, text in own.items():
        assert (folder / name).read_text(encoding="utf-8") == text, name


def test_the_report_says_what_is_left(small_template: Path, tmp_path: Path) -> None:
    folder = repository(tmp_path / "signs", CS230)
    assert adopt(folder, small_template) == 0
    report = git(folder, "show", "trainyard/adopt:ADOPT.md")
    assert "- `train.py`: The template's records parameters" in report
    assert "- `.gitignore`: Add what yours has not: `/experiments/*.pt`." in report
    assert "made with template=torch-research, task=a, licence=none." in report
    assert "- `model/net.py`: `loss_fn()`: `losses` in model/net.py" in report
    assert "- `train.py`: its options `--lr`" in report
    assert "class `Signs`: reading raw data goes into build_dataset.py" in report


@pytest.mark.parametrize(
    ("own", "fails"),
    [
        (CS230, ["ruff check --fix", "`pytest`", "in `model/net.py`, `train.py`"]),
        ({"a.py": "A = 1\n"}, ["ruff check --fix"]),
        ({"README.md": "# Signs\n"}, []),
        ({"a.py": "A = 1\n", ".github/workflows/test.yml": "name: mine\n"}, []),
    ],
)
def test_the_report_says_which_checks_fail_at_first(
    own: dict[str, str], fails: list[str], small_template: Path, tmp_path: Path
) -> None:
    folder = repository(tmp_path / "signs", own)
    assert adopt(folder, small_template) == 0
    report = git(folder, "show", "trainyard/adopt:ADOPT.md")
    said = report.partition("## Checks that may fail")[2].partition("## Then")[0]
    words = ("ruff check --fix", "`pytest`", "in `model/net.py`, `train.py`")
    assert [each for each in words if each in said] == fails


def test_a_file_whose_name_differs_in_case_is_yours(small_template: Path, tmp_path: Path) -> None:
    (small_template / "project/requirements.txt").write_text("-r base.txt\nnumpy\ntorch>=2\n")
    git(small_template, "add", "--all")
    git(small_template, "commit", "--quiet", "--message", "Requirements")
    git(small_template, "tag", "v1.1.0")
    folder = repository(tmp_path / "signs", {"a.py": "A = 1\n", "Requirements.txt": "torch\n"})
    assert adopt(folder, small_template) == 0
    report = git(folder, "show", "trainyard/adopt:ADOPT.md")
    line = (
        "- `requirements.txt`, yours is `Requirements.txt`: Add what yours has not: `-r "
        "base.txt`, `numpy`. Take in place of yours: `torch>=2`."
    )
    assert line in report


def test_files_that_would_hide_yours_are_left_out(small_template: Path, tmp_path: Path) -> None:
    folder = repository(tmp_path / "signs", LONELY)
    assert adopt(folder, small_template) == 0
    report = git(folder, "show", "trainyard/adopt:ADOPT.md")
    assert "- `model/net.py`: your model.py could not be imported beside a folder model/." in report
    assert "- `parameters.py`: your folder parameters/ could not be imported" in report
    assert "- `look.ipynb`: class `Net`: model/net.py, as `Net` or a part of it." in report
    assert "- `look.ipynb`: trains." in report
    added = git(folder, "ls-tree", "-r", "--name-only", "trainyard/adopt").split()
    assert not {"model/net.py", "model/__init__.py", "parameters.py"} & {*added}


def test_files_that_git_ignores_are_yours_too(small_template: Path, tmp_path: Path) -> None:
    """A checkout of the branch would overwrite them without a word."""
    folder = repository(
        tmp_path / "signs", {"a.py": "A = 1\n", ".gitignore": "/data\n/machinery\n"}
    )
    (folder / "data").mkdir()
    (folder / "data" / "README.md").write_text("mine\n")
    (folder / "machinery").write_text("a file where the template has a folder\n")
    assert adopt(folder, small_template) == 0
    git(folder, "switch", "--quiet", "trainyard/adopt")
    assert (folder / "data" / "README.md").read_text() == "mine\n"
    assert "`machinery/run.py`: your machinery is no folder" in (folder / "ADOPT.md").read_text()


def uncommitted(folder: Path) -> None:
    append(folder / "train.py", "# more")


def new_file(folder: Path) -> None:
    (folder / "new.py").write_text("")
    git(folder, "config", "status.showUntrackedFiles", "no")


def templated(folder: Path) -> None:
    (folder / ".copier-answers.yml").write_text("_commit: a\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "From a template")


def has_branch(name: str) -> Callable[[Path], object]:
    return lambda folder: git(folder, "branch", name)


def cannot_sign(folder: Path) -> None:
    git(folder, "config", "commit.gpgsign", "true")
    git(folder, "config", "gpg.program", "false")


def has_report(folder: Path) -> None:
    (folder / "ADOPT.md").write_text("Mine")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "A report")


@pytest.mark.parametrize(
    ("prepare", "words", "said"),
    [
        (uncommitted, [], "not committed"),
        (new_file, [], "not committed"),
        (templated, [], "made from a template already"),
        (has_branch("trainyard/adopt"), [], "has a branch trainyard/adopt"),
        (has_branch("trainyard/adopt/old"), [], "has a branch trainyard/adopt/old"),
        (has_branch("trainyard"), [], "has a branch trainyard already"),
        (cannot_sign, [], "/signs: git commit failed: error: gpg failed to sign"),
        (has_report, [], "ADOPT.md: is there already"),
        (None, ["--data", "loop"], "expected NAME=VALUE"),
        (None, ["--data", "looop=plain"], "asks no 'looop'. It asks: template, task, licence."),
        (None, ["--to", "v9"], "v9"),
        (None, ["--source", "nowhere"], "has no copier.yml"),
        (None, ["--source", "https://me:" + "secret@host/x"], "password"),
    ],
)
def test_a_refusal_changes_nothing(
    prepare: Callable[[Path], object] | None,
    words: list[str],
    said: str,
    small_template: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = repository(tmp_path / "signs", CS230)
    if prepare:
        prepare(folder)
    before = state(folder)
    assert adopt(folder, small_template, *words) == 2
    assert state(folder) == before
    assert said in capsys.readouterr().err


def test_both_branches_are_made_or_none(
    small_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch may come while the template is rendered."""
    folder = repository(tmp_path / "signs", CS230)
    git(folder, "branch", "trainyard/template/old")
    before = state(folder)
    monkeypatch.setattr("trainyard.adopt.refuse_unfit", lambda _: None)
    assert adopt(folder, small_template) == 2
    assert state(folder) == before


def test_what_the_answers_file_does_not_keep_is_taken(tmp_path: Path) -> None:
    """The usual of a house, and an answer to a question that does not arise, as Copier takes it."""
    rules = {"tracker": "none", "backstage_owner": "vision"}
    unasked = {"ci": "azure", "code_owners": "@mina"}
    render_template(str(root), "torch-research", None, rules | unasked, tmp_path / "leaf")
    record = (tmp_path / "leaf" / ".copier-answers.yml").read_text("utf-8")
    assert "backstage_owner: vision\n" in record
    assert "tracker:" not in record


@pytest.mark.parametrize("kind", ["no repository", "no commit", "a folder in one", "nothing"])
def test_what_is_no_repository_is_refused(kind: str, small_template: Path, tmp_path: Path) -> None:
    folder = tmp_path / "outer"
    if kind != "nothing":
        (folder / "inner").mkdir(parents=True)
    if kind == "no commit":
        git(folder, "init", "--quiet")
    if kind == "a folder in one":
        folder = repository(folder, CS230) / "model"
    assert adopt(folder, small_template) == 2


@pytest.mark.deep
def test_with_the_whole_template(scratch_repository: Path, tmp_path: Path) -> None:
    """The template of now, then a release of it; and the project is better checked than before."""
    folder = repository(tmp_path / "signs", CS230)
    passed, applicable = score(check_folder(folder))
    assert adopt(folder, scratch_repository, "--data", "loop=plain") == 0
    git(folder, "switch", "--quiet", "trainyard/adopt")
    ruff = [sys.executable, "-m", "ruff"]
    assert subprocess.run([*ruff, "check"], cwd=folder).returncode == 1
    for command in (["check", "--fix"], ["format"]):  # As ADOPT.md says.
        assert subprocess.run([*ruff, *command], cwd=folder).returncode == 0
    git(folder, "restore", ".")
    now = score(check_folder(folder))
    assert now[1] - now[0] < applicable - passed
    prepend(scratch_repository / "shared/project/check_data.py", "# changed by the template")
    subprocess.run(["python3", scratch_repository / "tools/sync_shared.py"], check=True)
    git(scratch_repository, "commit", "--all", "--quiet", "--message", "A change")
    announce(scratch_repository, "9.0.0")
    assert release(scratch_repository, "9.0.0").returncode == 0
    result = copier_command(folder, "update", "--defaults", "--quiet")
    assert result.returncode == 0, result.stderr
    assert (folder / "check_data.py").read_text().startswith("# changed by the template")
    assert not git(folder, "diff", "--name-only", "--diff-filter=U")
    assert (folder / "train.py").read_text() == TRAIN
