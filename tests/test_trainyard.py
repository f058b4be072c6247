"""The command line of `trainyard`: what it refuses, and what it does not touch."""

import argparse
import importlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import git, root
from trainyard.command_line import VERBS, main
from trainyard.fleet import Report
from trainyard.members import Member

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


def test_the_verbs_speak_with_one_voice() -> None:
    """An option that several have means the same, in the same words; each project is `project`."""
    meanings: dict[str, set[object]] = {}
    for name in VERBS:
        parser = argparse.ArgumentParser()
        importlib.import_module(f"trainyard.{name}").add_arguments(parser)
        for action in parser._actions:
            if action.nargs != "?":
                told = (action.help, action.metavar, action.type, action.nargs)
                meanings.setdefault("/".join(action.option_strings) or action.dest, set()).add(told)
            else:
                assert action.dest == "project"
    assert {"--to", "--data", "--data-file", "--json"} <= meanings.keys()
    assert {option: told for option, told in meanings.items() if len(told) > 1} == {}


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
        ("repositories: ['https://[a']", "expected a URL or a path"),
        ("repositories: [a, a/]", "listed twice"),
        ("repositories: [https://host/a, https://host/a.git/]", "listed twice"),
        ("{repositories: [a], opt_out: {a: 3}}", "REPOSITORY: why"),
        ("{repositories: [a], opt_out: {a: ' '}}", "REPOSITORY: why"),
        ("{repositories: [a], opt_out: {b: old}}", "opt_out: b is none of the repositories"),
        ("repositories: [{repository: a}]", "{repository: ../mono, folder: leaf}"),
        ("repositories: [{repository: a, folder: ../b}]", "a path below its repository"),
        ("repositories: [{repository: a, folder: b}, a/b]", "listed twice"),
        ("repositores: [a]", "did you mean repositories?"),
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
    (tmp_path / "fleet.yml").write_text(
        "repositories: [leaf, missing, moss.git]\nopt_out: {moss/: old}\n"
    )
    assert main(["fleet", str(tmp_path / "fleet.yml"), "--jobs", "1"]) == 65
    printed = capsys.readouterr().out
    assert "leaf" in printed
    assert "missing" in printed
    assert printed.count("  refused: ") == 2
    assert "opted out: old" in printed
    assert "/copy/" not in printed


def test_a_bug_in_one_does_not_stop_the_others(
    project: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UnicodeError("no text")

    monkeypatch.setattr("trainyard.members._look", fail)
    (tmp_path / "fleet.yml").write_text("repositories: [leaf, moss]\n")
    assert main(["fleet", str(tmp_path / "fleet.yml"), "--jobs", "1"]) == 65
    assert capsys.readouterr().out.count("refused: UnicodeError: no text") == 2


def test_a_template_that_is_gone_leaves_the_rest_of_the_report() -> None:
    gone = Member("leaf", "behind", "/nowhere/at/all", "v1.0.0", "v1.1.0")
    with Report(["leaf", "moss"], None) as report:
        report.add(1, gone)
        report.add(0, gone._replace(name="moss"))
    assert report.in_order() == ([gone._replace(name="moss"), gone], ["", ""])


TEMPLATE = {
    "copier.yml": "_subdirectory: project\n",
    "project/{{_copier_conf.answers_file}}.jinja": "{{ _copier_answers | to_nice_yaml }}",
    "project/a.txt": "old\n",
}


@pytest.fixture
def behind(tmp_path: Path) -> Path:
    return make_behind(tmp_path)


def make_behind(tmp_path: Path) -> Path:
    """Return a committed project that is one release behind its template."""
    template, project = tmp_path / "template", tmp_path / "leaf"
    for name, text in TEMPLATE.items():
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text(text)
    git(template, "init", "--quiet")
    for tag, text in (("v1.0.0", "old\n"), ("v1.1.0", "new\n")):
        (template / "project/a.txt").write_text(text)
        commit(template)
        git(template, "tag", tag)
    project.mkdir()
    (project / "a.txt").write_text("old\n")
    write_answers(project, str(template), "v1.0.0")
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    return project


def leave_uncommitted(project: Path) -> str:
    (project / "new.py").write_text("")
    return "refused: has changes that are not committed: no branch"


def opt_out(project: Path) -> str:
    (project / ".trainyard.yml").write_text("opt_out: the paper is out\n")
    commit(project)
    return "opted out: the paper is out"


def give_no_reason(project: Path) -> str:
    (project / ".trainyard.yml").write_text("opt_out: ''\n")
    commit(project)
    return "opt_out: expected the reason in words"


def misspell(project: Path) -> str:
    (project / ".trainyard.yml").write_text("opt-out: the paper is out\n")
    commit(project)
    return "opt-out: unknown name; did you mean opt_out?"


def lose_the_template(project: Path) -> str:
    write_answers(project, "/nowhere/at/all", "v1.0.0")
    return opt_out(project)


def switch(project: Path) -> str:
    git(project, "switch", "--quiet", "--create", "wip")
    return "refused: wip is checked out, not main: no branch"


def detach(project: Path) -> str:
    git(project, "switch", "--quiet", "--detach")
    return "refused: no branch is checked out: no branch"


@pytest.mark.parametrize(
    "prepare",
    [leave_uncommitted, opt_out, lose_the_template, give_no_reason, misspell, switch, detach],
)
def test_no_branch_where_somebody_works_or_wants_none(
    prepare: Callable[[Path], str], behind: Path, tmp_path: Path, capsys: Captured
) -> None:
    expected = prepare(behind)
    (tmp_path / "fleet.yml").write_text("repositories: [leaf]\n")
    code = main(["fleet", str(tmp_path / "fleet.yml"), "--update", "--jobs", "1"])
    assert code == (0 if expected.startswith("opted out") else 65)
    assert expected in capsys.readouterr().out
    assert not git(behind, "branch", "--list", "trainyard/*")


def test_the_repository_of_a_hook_is_left_alone(
    behind: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git gives its hooks and aliases variables that would lead all other gits to it."""
    git(tmp_path, "init", "--quiet", "other")
    (tmp_path / "other/mine.py").write_text("")
    commit(tmp_path / "other")
    folder = tmp_path / "other/.git"
    before = git(tmp_path / "other", "for-each-ref")
    (tmp_path / "fleet.yml").write_text("repositories: [leaf]\n")
    monkeypatch.setenv("GIT_DIR", str(folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(folder / "index"))
    assert main(["fleet", str(tmp_path / "fleet.yml"), "--update", "--jobs", "1"]) == 0
    assert "branch made" in capsys.readouterr().out
    assert git(behind, "show", "trainyard/update-v1.1.0:a.txt") == "new\n"
    assert git(tmp_path / "other", "for-each-ref") == before
    assert git(tmp_path / "other", "status", "--porcelain") == ""


def test_the_folder_of_the_requests_is_made_first(
    behind: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "fleet.yml").write_text("repositories: [leaf]\n")
    words = ("fleet", str(tmp_path / "fleet.yml"), "--update", "--requests")
    assert "cannot be made" in refused(capsys, *words, str(tmp_path / "fleet.yml"))
    assert not git(behind, "branch", "--list", "trainyard/*")


def test_options_that_need_another_one(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "fleet.yml"
    path.write_text("repositories: [leaf]\n")
    assert "--update" in refused(capsys, "fleet", str(path), "--with-conflicts")
    assert "--update" in refused(capsys, "fleet", str(path), "--smoke")
    said = refused(capsys, "fleet", str(path), "--update", "--json")
    assert "would be lost. Add --requests" in said
    assert "1 or more" in refused(capsys, "fleet", str(path), "--jobs", "0")
    assert "leave one of them out" in refused(capsys, "drift", str(tmp_path), "--json", "--diff")
    assert "invalid choice" in refused(capsys, "fleets")
