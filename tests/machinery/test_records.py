"""run.json: sessions, the code that trained, and what evaluations wrote."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from machinery import records

CODE = '''"""Doc."""


def f(x):
    """Doc."""
    return x + 1  # Comment.
'''
SAME = '''"""Other."""
# Comment.

def f(
    x,
):
    return x+1
'''


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of some code."""
    folder = tmp_path / "code"
    (folder / "model").mkdir(parents=True)
    for name in ("train.py", "model/net.py", "predict.py"):
        (folder / name).write_text(CODE)
    monkeypatch.setattr(records, "PROJECT", folder)
    monkeypatch.chdir(folder)
    return folder


def test_comments_docstrings_and_layout_are_no_other_code(code: Path) -> None:
    before = records.code_digests()
    assert list(before) == ["model/net.py", "train.py"]
    assert before["train.py"] == before["model/net.py"]
    (code / "train.py").write_text(SAME)
    assert records.code_digests() == before
    for other in (CODE.replace("+ 1", "+ 2"), CODE + "\nf('a text is no docstring')\n", "def f(:"):
        (code / "train.py").write_text(other)
        assert records.code_digests()["train.py"] != before["train.py"]
    (code / "train.py").write_text(CODE.replace('"""Doc."""\n    ', '"""Doc."""\n    "x"\n    '))
    assert records.code_digests()["train.py"] != before["train.py"]


def test_every_file_that_trains_is_code(code: Path) -> None:
    """What the known files import belongs to it, and what nobody imports does not."""
    text = """
import losses, numpy.linalg
from optimizers.lion import Lion
from model import net
from . import nothing
import build_dataset, parameters, machinery.run
"""
    (code / "train.py").write_text(text)
    (code / "optimizers").mkdir()
    (code / "optimizers" / "lion.py").write_text("from . import base\nfrom .math import root")
    for name in ("base", "math"):
        (code / "optimizers" / f"{name}.py").write_text("import train")
    for name in ("losses", "plots", "build_dataset", "parameters", "model/parameters"):
        (code / f"{name}.py").write_text("x = (")  # No Python yet.
    assert list(records.code_digests()) == [
        *("losses.py", "model/net.py", "optimizers/base.py", "optimizers/lion.py"),
        *("optimizers/math.py", "train.py"),
    ]


def test_code_that_changed_is_named(code: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert records.changed_code(run) == ""
    records.Record(run, {})
    assert records.changed_code(run) == ""
    (code / "model" / "net.py").write_text("x = 1")
    (code / "model" / "blocks.py").write_text("x = 1")
    assert records.changed_code(run).endswith("that of now: model/blocks.py, model/net.py")


def test_the_commit_and_the_changes_are_kept(code: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert records.git_state() == (None, b"")
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    commit, changes = records.git_state()
    assert commit
    assert len(commit) == 40
    assert changes == b""
    assert records.Record(run, {}).session["git_changes"] is None
    (code / "model" / "blocks.py").write_text("x = 1\n")
    assert records.changed_code(run).endswith("that of now: model/blocks.py")
    (code / "model" / "blocks.py").unlink()
    (code / "train.py").write_text("x = 1\n")
    (code / "new.py").write_text("y = 1\n")
    (code / "notes.md").write_text("not code")
    session = records.Record(run, {}).session
    assert session["git_commit"] == commit
    changes = (run / session["git_changes"]).read_bytes()
    assert b"+x = 1" in changes
    assert b"+y = 1" in changes
    assert b"not code" not in changes
    (code / "train.py").write_text("x = 2\n")
    message = records.changed_code(run)
    diff = run / session["git_changes"]
    included = f"git checkout {commit[:12]} -- train.py, then git apply --include=train.py {diff}"
    assert included in message
    (code / "new.py").unlink()
    records.Record(run, {})  # A later session keeps the diff of this one.
    assert diff.read_bytes() == changes
    assert len(records.diffs(run)) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"diff.external": "echo EXTERNAL"},
        {"color.ui": "always", "core.quotePath": "false", "diff.context": "0"},
        {"diff.noprefix": "true"},
        {"diff.mnemonicPrefix": "true", "status.showUntrackedFiles": "no"},
        {"diff.python.textconv": "echo", "diff.python.command": "echo COMMAND"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_the_changes_bring_the_code_back_whatever_the_settings_of_git(
    settings: dict[str, str], code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    (code / ".gitattributes").write_text("*.py diff=python\nbytes.txt -diff\n")
    (code / "bytes.txt").write_bytes(b"\0\1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "-q", code, tmp_path / "clone"], check=True)
    changed = {"model/net.py": b"x = 1\n", "model/n\u00e4her.py": b"y = 1\n", "bytes.txt": b"\0\2"}
    for name, content in changed.items():
        (code / name).write_bytes(content)
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
    for number, (name, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    commit, changes = records.git_state()
    assert commit
    monkeypatch.delenv("GIT_CONFIG_COUNT")
    subprocess.run(["git", "apply"], input=changes, cwd=tmp_path / "clone", check=True)
    for name, content in changed.items():
        assert (tmp_path / "clone" / name).read_bytes() == content


@pytest.mark.parametrize("above", ["", "nested"])
def test_the_way_back_to_changed_code_is_one(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: str
) -> None:
    """Some was committed then, some was changed, some was new; some has changed since."""

    def git(*words: str) -> None:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
        subprocess.run(["git", *identity, *words], check=True, capture_output=True)

    project, run = code / above, tmp_path / "run"
    if above:
        project.mkdir()
        for name in ("train.py", "model"):
            (code / name).rename(project / name)
        monkeypatch.setattr(records, "PROJECT", project)
    git("init", "-q")
    (project / "losses.py").write_text("x = 0\n")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.chdir(project)
    run.mkdir()
    (project / "train.py").write_text("import losses, blocks, model.extra\n")
    (project / "blocks.py").write_text("x = 1\n")
    (project / "model" / "net.py").write_text("x = 1\n")
    (project / "model" / "extra.py").write_text("x = 1\n")
    records.Record(run, {})
    before = records.code_digests()
    assert "model/extra.py" in before
    (project / "train.py").write_text("import losses, blocks, later\n")
    for name in ("later.py", "losses.py", "model/extra.py"):
        (project / name).write_text("x = 2\n")
    _, _, commands = records.changed_code(run).partition("bring it back: ")
    git("add", ".")
    git("commit", "-qm", "second")
    for command in commands.split(", then "):
        subprocess.run(shlex.split(command), check=True)
    assert records.code_digests() == before


def test_code_has_one_digest_in_each_version_of_python(code: Path) -> None:
    text = "def f(x: int = 1) -> str:\n    return f'{x!r:>{x}} {[*str(x)]}'\n"
    (code / "train.py").write_text(text)
    assert records.code_digests()["train.py"] == "1274d7cd"


def test_sessions_are_added_and_updated(tmp_path: Path) -> None:
    assert records.read_sessions(tmp_path) == []
    assert not records.is_finished(tmp_path)
    first = records.Record(tmp_path, {"data": "elsewhere"})
    first.update(outcome="stopped")
    assert records.data_of(None, tmp_path) == Path("elsewhere")
    second = records.Record(tmp_path, {})
    assert [s["outcome"] for s in records.read_sessions(tmp_path)] == ["stopped", "running"]
    second.update(outcome="finished", seconds=3)
    assert records.is_finished(tmp_path)
    assert records.data_of(tmp_path) == Path("elsewhere")
    assert records.data_of(None) == Path("data")


SESSIONS = [
    *([{}, 1], ["outcome"], [{"outcome": 3}], {"outcome": 1}, [{"outcome": "x", "data": 5}]),
    *([{"outcome": "x", name: wrong}] for name in ("parameters", "code") for wrong in ([1], "x")),
    *([{"outcome": "x", name: 5}] for name in ("git_commit", "git_changes")),
    [{"outcome": "x", "code": {"train.py": 5}}],
]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"sessions": 1}', "[" * 10_000]
    + [json.dumps({"sessions": sessions}) for sessions in SESSIONS],
)
def test_a_damaged_record_holds_no_sessions(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert records.read_sessions(tmp_path) == []
    assert not records.is_finished(tmp_path)
    assert records.data_of(tmp_path) == Path("data")
    assert records.changed_code(tmp_path) == ""
    assert records.diffs(tmp_path) == []


def test_a_locked_folder_is_one_that_runs(tmp_path: Path) -> None:
    assert not records.is_running(tmp_path)
    with FileLock(tmp_path / ".lock"):
        assert records.is_running(tmp_path)
    (tmp_path / ".lock").touch()
    assert not records.is_running(tmp_path)


def test_only_what_an_evaluation_noted_is_deleted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("metrics_test.json", "worst_test.png", "metrics_mine.json", "notes.txt"):
        (run / name).touch()
    (tmp_path / "outside").touch()
    (run / "folder").mkdir()
    for name in ("metrics_test.json", "worst_test.png"):
        with records.writing_evaluation(run, [name], 4), pytest.raises(Timeout):
            FileLock(run / ".evaluations.lock", timeout=0).acquire()
    file = run / records.EVALUATIONS_FILE
    names = json.loads(file.read_text())["files"]
    assert names == {"metrics_test.json": 4, "worst_test.png": 4} == records.evaluated_steps(run)
    wrong = ["../outside", "..", ".", "", "folder", "gone", 3, str(tmp_path / "outside")]
    wrong += ["params.yaml", "a\0b"]
    (run / "params.yaml").touch()
    file.write_text(json.dumps({"files": [*names, *wrong]}))
    records.delete_evaluations(run)
    assert sorted(path.name for path in run.iterdir()) == [
        *(".evaluations.lock", "folder", "metrics_mine.json", "notes.txt", "params.yaml")
    ]
    assert (tmp_path / "outside").exists()
    records.delete_evaluations(run)
