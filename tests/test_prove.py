"""tools/prove.py: every defect of its list can be planted, and what became of it is said."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import prove
from conftest import git, root
from prove import BROKEN, FAILED, PASSED, Defect, Outcome

defects = prove.read_defects()


def test_every_defect_can_be_planted() -> None:
    """In one place, which is no copy, and so that the file stays Python."""
    stale = []
    for defect in defects:
        text = (root / defect.file).read_text(encoding="utf-8")
        if text.count(defect.old) == 1 and "{{shared}}" not in defect.file:
            planted = defect.plant(text)
            assert planted != text
            ast.parse(planted)
        else:
            stale.append(f"{defect.name}: {defect.file} holds `old` {text.count(defect.old)} times")
    assert stale == [], "tools/defects.toml is out of date"


def test_the_tests_of_every_defect_are_there_and_count() -> None:
    missing = []
    for defect in defects:
        (name,) = [word for word in defect.tests.split() if word.endswith(".py")]
        assert name not in prove.NOT_COUNTED
        folders = [root]
        if defect.project:
            template = root / "templates" / defect.project.split()[0]
            folders = [template / "project", *template.glob("project/{{*}}")]
            folders += [*template.glob("project/{{shared}}/{{*}}")]
        if not any((folder / name).is_file() for folder in folders):
            missing.append(f"{defect.name}: {name}")
    assert missing == []


def test_the_list_is_long_has_no_name_twice_and_few_excuses() -> None:
    assert len(defects) >= 40
    assert len({defect.name for defect in defects}) == len(defects)
    assert len([defect for defect in defects if defect.explanation]) <= 2
    for loop in ("{{plain}}", "{{lightning}}", "tf-production", "keras-quickstart", "machinery"):
        assert [defect for defect in defects if loop in defect.file]
    assert all((root / name.partition("::")[0]).is_file() for name in prove.NOT_COUNTED)


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (0, "..\n2 passed, 1 skipped in 1s", Outcome(PASSED)),
        (1, "FAILED tests/test_a.py::test_b[c d] - assert 1 == 2\n1 failed", Outcome(FAILED)),
        (1, "ERROR tests/test_a.py::test_b[c d] - RuntimeError\n1 error", Outcome(FAILED)),
        (1, "ERROR tests/test_a.py - ImportError\n1 error", Outcome(BROKEN)),
        (0, "ss\n2 skipped in 1s", Outcome(BROKEN)),
        (2, "Interrupted", Outcome(BROKEN)),
        (5, "no tests ran", Outcome(BROKEN)),
        (None, "", Outcome(BROKEN)),
    ],
)
def test_what_pytest_says_is_understood(code: int | None, output: str, expected: Outcome) -> None:
    outcome = prove.read_outcome(code, output)
    assert outcome.state == expected.state
    if outcome.state == FAILED:
        assert outcome.what == "tests/test_a.py::test_b[c d]"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One function and its tests, of which those of -k slow do not end."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "double.py").write_text("def double(x):\n    return x + x\n\n\nunused = 1\n")
    (folder / "test_double.py").write_text(
        "from double import double\n\n\ndef test_double():\n    assert double(2) == 4\n"
    )
    git(folder, "init", "--quiet")
    monkeypatch.setattr(prove, "root", folder)
    return folder


def defect(name: str, old: str, new: str, **others: str) -> Defect:
    return Defect(name, "double.py", old, new, "test_double.py", **others)


def test_a_table_says_what_became_of_each_defect(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (repository / "double.py").read_bytes()
    caught, survived = defect("caught", "x + x", "x - x"), defect("survives", "x + x", "x * x")
    assert prove.prove([caught, survived, defect("broken", "x + x", "(")], 2, False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "| caught | double.py | test_double.py::test_double |" in lines
    assert "| survives | double.py | SURVIVED |" in lines
    assert any(line.startswith("| broken | double.py | BROKEN: pytest ended") for line in lines)
    assert lines[-1].startswith("1 of 3 defects were caught")
    explained = defect("explained", "unused = 1", "unused = 2", explanation="it is not used")
    assert prove.prove([caught, explained], 1, False) == 0
    assert "| explained | double.py | SURVIVED: it is not used |" in capsys.readouterr().out
    assert (repository / "double.py").read_bytes() == before


def test_nothing_is_planted_where_a_test_fails_without_a_defect(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "double.py").write_text("def double(x):\n    return 3 * x\n")
    assert prove.prove([defect("any", "3 * x", "x")], 1, False) == 1
    assert "Nothing was planted" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows has no groups of processes")
def test_tests_that_hang_are_killed_with_what_they_started(tmp_path: Path) -> None:
    child = f"import time; time.sleep(600)  # {tmp_path}"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    command = [sys.executable, "-c", code]
    assert prove.run(command, tmp_path, os.environ, minutes=0.02) == (None, "")
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert child not in listing.stdout
