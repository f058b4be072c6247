"""`trainyard preview` says what the update then does, file by file, and touches nothing."""

import json
from pathlib import Path

import pytest

from combinations import Combination, checked_combinations
from conftest import files_of, git
from fleets import (
    WAYS,
    edit,
    make,
    second_release,
    template_repository,
)
from test_update import copier_command
from trainyard.command_line import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def template(tagged_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of the templates, with two releases. Look, do not write."""
    repository = template_repository(tagged_repository, tmp_path_factory.mktemp("template"))
    second_release(repository)
    return repository


def what_an_update_does(project: Path) -> dict[str, set[str]]:
    """Update the project itself; return the paths by kind, as git and the files tell."""
    before = files_of(project)
    result = copier_command(project, "update", "--defaults")
    assert result.returncode == 0, result.stderr
    after = files_of(project)
    conflicts = {*git(project, "diff", "--name-only", "--diff-filter=U").split()}
    ignored = {*git(project, "ls-files", "-oi", "--exclude-standard").split()}
    changed = {path for path in before if path in after and before[path] != after[path]}
    return {
        "conflict": conflicts,
        "overwritten": changed & ignored,
        "removed": before.keys() - after.keys(),
        "new": after.keys() - before.keys(),
        "automatic": changed - conflicts - ignored,
    }


def preview(project: Path, capsys: Captured) -> tuple[int, dict[str, set[str]]]:
    """Return the exit code, and the paths by kind."""
    code = main(["preview", str(project), "--json"])
    paths: dict[str, set[str]] = {}
    for each in json.loads(capsys.readouterr().out)["files"]:
        paths.setdefault(each["kind"], set()).add(each["path"])
    return code, paths


# Thirty projects over all templates and tasks; at the gate one of each template.
PROJECTS = [
    pytest.param(number, each, marks=[] if number < len(WAYS) else pytest.mark.deep)
    for number, each in enumerate([*WAYS, *checked_combinations][:30])
]


@pytest.mark.parametrize(("number", "combination"), PROJECTS, ids=str)
def test_a_preview_is_what_the_update_does(
    number: int, combination: Combination, template: Path, tmp_path: Path, capsys: Captured
) -> None:
    project = make(template, combination, tmp_path / "leaf")
    edit(project, number)
    before = files_of(project)
    code, paths = preview(project, capsys)
    assert files_of(project) == before
    assert git(project, "status", "--porcelain") == ""
    edited = b"MINE = 1" in before.get("publish.py", b"")
    kept = paths.pop("kept", set())
    done = what_an_update_does(project)
    assert {kind: paths.get(kind, set()) for kind in done} == done
    lost = "publish.py" in done["removed"] and edited
    assert code == (65 if done["conflict"] or done["overwritten"] or lost else 0)
    if number == 0:
        assert kept >= {"README.md", "model/net.py"}
        assert done["removed"] >= {"publish.py", "machinery/arrays.py"}
        assert done["conflict"] >= {"constraints.txt", "added_later.py"}
        assert done["overwritten"] == {"machinery/added_later.py"}
        assert done["automatic"] >= {"utils.py", "train.py", "machinery/errors.py"}
