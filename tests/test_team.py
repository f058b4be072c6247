"""docs/team.md, word for word: five repositories, a changed rule, five change requests."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import copier
import pytest

from conftest import git, render, root
from test_house import tag_a_change
from test_release import announce, release
from test_update import append, commit
from trainyard.command_line import make_parser

PAGE = (root / "docs/team.md").read_text(encoding="utf-8")
NAMES = ["leaf", "bark", "moss", "fern", "reed"]
# Blocks that begin with one of these are what a command prints.
PRINTED = ("drift ", "change ", "repository ", "<<<<<<< ")


NEWS = re.findall("^## News from Trainyard itself\n.*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[0]


def blocks(page: str = PAGE.replace(NEWS, "")) -> list[str]:
    """Return the indented blocks of a page, in their order; without news, which have a test."""
    found = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", page, re.MULTILINE)
    split = [part for block in found for part in re.split(r"\n\n", block)]
    return [re.sub("^    ", "", block, flags=re.MULTILINE).strip("\n") for block in split]


def test_the_commands_are_those_of_the_program() -> None:
    lines = re.findall(r"^    trainyard (.*)", PAGE, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line)
        assert make_parser(words).parse_args(words).run


def one_line(text: str) -> str:
    """Return a text with one blank for each gap."""
    return " ".join(text.split())


def test_news_from_trainyard_itself(scratch_repository: Path) -> None:
    """Word for word, where both sides have recorded another version since."""
    house = scratch_repository.parent / "templates"
    clone = ["clone", "--quiet", "--no-tags", str(scratch_repository), str(house)]
    git(scratch_repository, *clone)
    announce(house, "1.0.0")
    assert release(house, "1.0.0").returncode == 0
    append(scratch_repository / "README.md", "News.")
    append(scratch_repository / "shared/project/utils.py", "# News.")
    subprocess.run([sys.executable, scratch_repository / "tools/sync_shared.py"], check=True)
    commit(scratch_repository)
    recorded = [sys.executable, scratch_repository / "tools/record_version.py"]
    subprocess.run(recorded, check=True)
    commit(scratch_repository)
    pull, resolve = blocks(NEWS)
    environment = {
        **os.environ,
        "TRAINYARD": scratch_repository.as_uri(),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    options: Any = {"cwd": house, "env": environment, "capture_output": True, "text": True}
    pulled = subprocess.run(["bash", "-ec", pull], **options)
    assert pulled.returncode == 1
    conflicts = git(house, "diff", "--name-only", "--diff-filter=U").split()
    copies = sorted(path.relative_to(house).as_posix() for path in house.glob("*/*/*/version.yml"))
    assert conflicts == ["shared/version.yml", *copies]
    resolved = subprocess.run(["bash", "-ec", resolve], **options)
    assert resolved.returncode == 0, resolved.stderr
    assert git(house, "status", "--porcelain") == ""
    announce(house, "1.1.0")
    released = release(house, "1.1.0")
    assert released.returncode == 0, released.stderr
    assert git(house, "tag").split() == ["v1.0.0", "v1.1.0"]
    assert "# News." in (house / "shared/project/utils.py").read_text(encoding="utf-8")
    assert "News." in (house / "README.md").read_text(encoding="utf-8")


@pytest.mark.deep
def test_the_page_word_for_word(tagged_repository: Path, tmp_path: Path) -> None:
    """Where the page has a host, the test has a folder of bare repositories."""
    upstream = shutil.copytree(tagged_repository, tmp_path / "upstream")
    host = tmp_path / "host"
    host.mkdir()
    for name in ["templates", "house", *NAMES]:
        git(host, "init", "--quiet", "--bare", "--initial-branch", "main", f"{name}.git")
    commands = [block for block in blocks() if not block.startswith((*PRINTED, "gh "))]
    script = "\n".join(commands)
    script, count = re.subn("^export (TRAINYARD|HOST)=.*\n", "", script, flags=re.MULTILINE)
    assert count == 2
    script = re.sub("^python -m pip install .*\n", "", script, flags=re.MULTILINE)
    # 65 says that something was found, as the page shows.
    program = f'"{sys.executable}" -m trainyard'
    prelude = f'set -eu\ntrainyard() {{ {program} "$@" || test $? = 65; }}\n'
    work = tmp_path / "work"
    work.mkdir()
    variables = {
        "TRAINYARD": upstream.as_uri(),
        "HOST": host.as_uri(),
        "PYTHONPATH": str(root),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        ["bash", "-c", prelude + script],
        cwd=work,
        env={**os.environ, **variables},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = one_line(done.stdout.replace(host.as_uri(), "https://git.example.org/laboratory"))
    shown = [block for block in blocks() if block.startswith(PRINTED)]
    assert len(shown) == 5
    for block in shown:
        assert one_line(block) in printed
    for name in NAMES:
        assert "--durations=5" in git(host / f"{name}.git", "show", "main:pyproject.toml")
        text = (work / f"team/requests/{name}-v1.1.0.md").read_text(encoding="utf-8")
        assert "- The tests name their five slowest." in text
        assert ("Not to be merged" in text) == (name == "leaf")
    assert "Our own network" in git(host / "bark.git", "show", "main:model/net.py")


def test_a_second_template_and_ours_are_updated_each_by_itself(
    scratch_repository: Path, tmp_path: Path
) -> None:
    """The page's own section, in one project."""
    script = "\n".join(blocks())
    script = script[script.index("mkdir ../house") :]
    script = script[
        : script.index("--set-upstream origin main") + len("--set-upstream origin main")
    ]
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "house.git")
    (tmp_path / "team").mkdir()
    environment = {**os.environ, "HOST": tmp_path.as_uri()}
    subprocess.run(["bash", "-euc", script], cwd=tmp_path / "team", env=environment, check=True)
    project = render(f"git+{scratch_repository.as_uri()}", tmp_path / "bark")
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    copier.run_copy(f"{tmp_path.as_uri()}/house.git", project, defaults=True, quiet=True)
    commit(project)
    assert "security@example.org" in (project / "SECURITY.md").read_text("utf-8")
    ours, theirs = project / ".copier-answers.yml", project / ".copier-answers.house.yml"

    house = tmp_path / "house"
    append(house / "template" / "SECURITY.md.jinja", "It answers within a day.")
    commit(house)
    git(house, "tag", "v1.1.0")
    git(house, "push", "--quiet", "--tags")
    before = ours.read_bytes()
    run_update(project, answers_file=theirs.name)
    assert "within a day" in (project / "SECURITY.md").read_text("utf-8")
    assert "v1.1.0" in theirs.read_text("utf-8")
    assert ours.read_bytes() == before
    commit(project)

    tag_a_change(scratch_repository)
    before = theirs.read_bytes()
    run_update(project)
    assert "THEIRS = 1" in (project / "utils.py").read_text("utf-8")
    assert "v9.0.0" in ours.read_text("utf-8")
    assert theirs.read_bytes() == before
    assert "within a day" in (project / "SECURITY.md").read_text("utf-8")


def run_update(project: Path, answers_file: str | None = None) -> None:
    options: dict[str, Any] = {"defaults": True, "quiet": True, "overwrite": True}
    copier.run_update(project, answers_file=answers_file, **options)
