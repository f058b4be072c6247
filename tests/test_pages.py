"""What the pages of docs/ type is typed, and prints what they show, but for the numbers."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from copier._template import Template
from PIL import Image

from conftest import git, root
from fleets import WAYS, copies, make, publish, template_repository
from test_update import commit, replace_line

# What a block of commands begins with, and what is typed nowhere: it installs, waits for a person,
# or needs a network.
COMMANDS = ("python ", "copier ", "cookiecutter ", "ls ", "tensorboard ", "trainyard ", "git ")
UNTYPED = re.compile(
    r".*(URL|/path/to|venv|pip install|uv |cookiecutter|tensorboard|pdb|NEW_FILES|--source).*\n"
)
# A command ends with 0, or with a code that the pages speak of.
PRELUDE = """
set -u
python() {
    "$PYTHON" "$@"; local code=$?
    case $code in 0|2|65|75) return $code;; esac
    exit $code
}
copier() { python -m copier "$@"; }
trainyard() { python -m trainyard "$@"; }
"""


def blocks(page: str) -> list[str]:
    """Return the indented blocks of a page, in their order."""
    text = (root / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    return [re.sub("^    ", "", block, flags=re.MULTILINE) for block in found]


def typed(page: str) -> str:
    """Return all that a person types on a page."""
    commands = [block for block in blocks(page) if block.startswith(COMMANDS)]
    return "".join(re.sub(UNTYPED, "", block) for block in commands)


def shown(page: str) -> Iterable[str]:
    """Return the lines that a page shows of what commands print, without their numbers."""
    for block in blocks(page):
        if not block.startswith((*COMMANDS, "<<<<<<<")):
            yield from (without_numbers(line) for line in block.splitlines() if line != "...")


def without_numbers(text: str) -> str:
    """Return a text whose numbers are all alike, with one blank for each gap."""
    text = re.sub(
        r"(?<!exit code )[-+]?\d[\d,.]*(e-?\d+)?", "0", text.replace("bfloat16", "float32")
    )
    text = text.replace("|", "")
    return re.sub(r"[ \t]+", " ", text).strip()


def type_page(page: str, folder: Path, commands: str = "") -> None:
    """Type a page in a folder, and find what it shows in what that prints.

    Args:
        page: its file.
        folder: to type in.
        commands: to type; without them, all that the page has.
    """
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": os.fspath(root),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-c", PRELUDE + (commands or typed(page))],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
    printed = without_numbers(done.stdout)
    expected = [*shown(page)]
    assert expected
    for line in expected:
        assert line in printed, f"docs/{page} shows: {line}\n{done.stdout}"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that docs/start.md makes and trains. Copy it; do not change it."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(root / "templates", folder / "templates")
    type_page("start.md", folder)
    return folder / "leaf"


def test_start(started: Path) -> None:
    assert (started / "experiments/baseline/metrics_test.json").is_file()
    assert git(started, "log", "--format=%s") == "Start\n"


@pytest.mark.deep
def test_work(started: Path, tmp_path: Path) -> None:
    project = shutil.copytree(started, tmp_path / "leaf")
    (project / "new").mkdir()
    Image.new("L", (8, 8)).save(project / "new" / "0.png")
    type_page("work.md", project)
    assert len((project / "predictions.csv").read_text().splitlines()) == 2


@pytest.mark.deep
def test_compare(started: Path, tmp_path: Path) -> None:
    """The experiments of docs/start.md are there; so the table has one row more."""
    type_page("compare.md", shutil.copytree(started, tmp_path / "leaf"))


# Alternatives, each typed in a project of its own.
ANOTHER_ANSWER = re.compile(r"copier update --defaults --data (\w+)=([\w-]+).*\n")


@pytest.fixture
def edited(tagged_repository: Path, tmp_path: Path) -> Path:
    """A project in which a line was changed that a release has changed since, too."""
    repository = template_repository(tagged_repository, tmp_path)
    project = make(repository, WAYS[0], tmp_path / "leaf")
    replace_line(project / "pyproject.toml", "addopts = ", 'addopts = "-ra --maxfail=1"')
    commit(project)
    for path in copies(repository, "pyproject.toml.jinja"):
        replace_line(path, "addopts = ", 'addopts = "-ra --durations=5"')
    publish(repository, "v0.2.0")
    return project


def test_update(edited: Path) -> None:
    """In small templates; with --deep in the whole ones."""
    type_page("update.md", edited, re.sub(ANOTHER_ANSWER, "", typed("update.md")))
    assert '"-ra --durations=5"' in (edited / "pyproject.toml").read_text("utf-8")
    assert git(edited, "status", "--porcelain") == ""
    assert git(edited, "log", "-1", "--format=%s") == "Update from the template\n"


@pytest.mark.deep
@pytest.mark.parametrize("answer", ANOTHER_ANSWER.findall(typed("update.md")), ids="=".join)
def test_update_to_another_answer(answer: tuple[str, str], edited: Path) -> None:
    """What the page says of model/, then its two commands that take the new ones."""
    name, value = answer
    git(edited, "checkout", "--quiet", "HEAD~1")  # The line of one's own is another matter.
    before = (edited / "model/net.py").read_bytes()
    (line,) = [each for each in typed("update.md").splitlines(True) if f"{name}={value}" in each]
    done = subprocess.run(
        ["bash", "-euc", PRELUDE + line],
        cwd=edited,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    conflicts = git(edited, "diff", "--name-only", "--diff-filter=U").split()
    if name == "loop":
        assert "LightningModule" in (edited / "train.py").read_text("utf-8")
        assert not conflicts
        assert (edited / "model/net.py").read_bytes() == before
        return
    assert "model/net.py" in conflicts
    assert ("experiments/baseline/params.yaml" in conflicts) == (name == "task")
    text = " ".join((root / "docs/update.md").read_text("utf-8").split())
    takes_theirs = "git checkout --theirs model && git add model"
    assert f"`{takes_theirs}`" in text
    subprocess.run(["bash", "-euc", takes_theirs], cwd=edited, check=True, capture_output=True)
    assert not git(edited, "diff", "--name-only", "--diff-filter=U", "--", "model")
    assert b"<<<<<<<" not in (edited / "model/net.py").read_bytes()
    assert (edited / "model/net.py").read_bytes() != before


def test_every_question_has_its_place() -> None:
    """On docs/choices.md, and each of its answers."""
    page = (root / "docs/choices.md").read_text(encoding="utf-8")
    for name, question in Template(url=str(root)).questions_data.items():
        if question.get("when") is not False and question.get("ask") is not False:
            assert f"`{name}`" in page or f"`{name}:" in page or f"{name.title()}" in page, name
            choices = question.get("choices", {})
            missing = [each for each in choices.values() if str(each) not in page]
            assert not missing or name == "task", (name, missing)
