"""The command line of `trainyard`: what it refuses, and what it does not touch."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import git, root
from trainyard.command_line import VERBS, main

Captured = pytest.CaptureFixture[str]


def refused(capsys: Captured, *words: str) -> str:
    """Return the one line with which a command refuses."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("error: ")
    return line


def test_help_has_an_example_of_each_verb(capsys: Captured) -> None:
    """And only the verb that is named is imported."""
    for name in VERBS:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"\n    trainyard {name}" in capsys.readouterr().out
    code = "import sys; from trainyard.command_line import make_parser; make_parser([])\n"
    code += "print([name for name in sys.modules if name[:10] == 'trainyard.'])"
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert printed == "['trainyard.errors', 'trainyard.command_line']\n"


def test_the_package_holds_the_program_alone(tmp_path: Path) -> None:
    """As pip builds it from a clone, without the network: its building tools are installed."""
    clone = tmp_path / "clone"
    shutil.copytree(root / "trainyard", clone / "trainyard")
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(root / name, clone)
    (clone / "docs").mkdir()
    (clone / "docs/other.py").write_text("")
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", *words, clone], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == {
        path.relative_to(root).as_posix() for path in (root / "trainyard").rglob("*.py")
    }
    assert any(name.endswith("entry_points.txt") for name in names)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed project that says it was made from nowhere."""
    project = tmp_path / "leaf"
    project.mkdir()
    write_answers(project, "/nowhere/at/all")
    git(project, "init", "--quiet")
    commit(project)
    return project


def write_answers(project: Path, source: str, version: str = "v0.1.0") -> None:
    text = f"_src_path: {source}\n_commit: {version}\ntemplate: torch-research\n"
    (project / ".copier-answers.yml").write_text(text)


def commit(project: Path) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Mine")


@pytest.mark.parametrize("verb", ["preview", "drift"])
def test_what_is_no_project_is_refused(
    verb: str, project: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert "no such f" in refused(capsys, verb, str(tmp_path / "missing"))
    assert "/nowhere/at/all" in refused(capsys, verb, str(project))
    secret = "https://me:s3cret@example.org/trainyard.git"
    for source, expected in {
        "../trainyard": "a relative path",
        secret: "holds a user or a password",
        "''": "has no _src_path",
    }.items():
        write_answers(project, source)
        said = refused(capsys, verb, str(project))
        assert expected in said
        assert "s3cret" not in said
    (project / ".copier-answers.yml").write_text("[")
    assert "cannot be read" in refused(capsys, verb, str(project))
    (project / ".copier-answers.yml").unlink()
    assert "Expected a project made from the template" in refused(capsys, verb, str(project))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "lists no repository"),
        ("repos: [a]", "repos: unknown name"),
        ("repositories: a", "expected a list"),
        ("repositories: [a, a]", "listed twice"),
        ("repositories: [https://me:s3cret@example.org/a.git]", "holds a user or a password"),
        ("repositories: [https://t0ken@example.org/a.git]", "holds a user or a password"),
        ("opt_out: {a: 3}", "REPOSITORY: why"),
        ("[", "cannot be read"),
    ],
)
def test_a_bad_list_is_refused(text: str, expected: str, tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text(text)
    said = refused(capsys, "fleet", str(path))
    assert str(path) in said
    assert expected in said
    assert "s3cret" not in said
    assert "t0ken" not in said


def test_what_cannot_be_looked_at_does_not_stop_the_others(
    project: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "fleet.yml").write_text("repositories: [leaf, missing]\nopt_out: {moss: old}\n")
    assert main(["fleet", str(tmp_path / "fleet.yml"), "--jobs", "1"]) == 65
    printed = capsys.readouterr().out
    assert "leaf" in printed
    assert "missing" in printed
    assert printed.count("  refused: ") == 2
    assert "opted out: old" in printed
    assert str(tmp_path / "copy") not in printed


def test_options_that_need_another_one(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text("repositories: [leaf]\n")
    assert "--update" in refused(capsys, "fleet", str(path), "--with-conflicts")
    assert "1 or more" in refused(capsys, "fleet", str(path), "--jobs", "0")
    assert "invalid choice" in refused(capsys, "fleets")
