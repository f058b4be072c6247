"""`trainyard drift` and `trainyard fleet`, on repositories as teams have them."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from packaging.version import Version

import combinations
from combinations import Combination, checked_combinations
from conftest import files_of, first_tag, git, root
from fleets import (
    WAYS,
    edit_other_lines,
    edit_own_rooms,
    edit_same_lines,
    make,
    second_release,
    template_repository,
    third_release,
)
from test_update import append, commit
from trainyard.answers import read_settings
from trainyard.command_line import main
from trainyard.drift import find_drift
from trainyard.fleet import look_at_all

Captured = pytest.CaptureFixture[str]
# https://github.com/renovatebot/renovate/blob/main/lib/modules/manager/copier/index.ts
RENOVATE_READS = re.compile(r"(^|/)\.copier-answers(\..+)?\.ya?ml")


@pytest.fixture(scope="module")
def template(tagged_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of the templates, with three releases. Look, do not write."""
    repository = template_repository(tagged_repository, tmp_path_factory.mktemp("template"))
    second_release(repository)
    third_release(repository)
    return repository


def bare(project: Path, folder: Path) -> Path:
    """Return a bare repository with what a project has committed."""
    git(folder, "clone", "--quiet", "--bare", str(project), str(folder / f"{project.name}.git"))
    return folder / f"{project.name}.git"


def drift(project: Path, capsys: Captured) -> tuple[int, list[tuple[str, str]]]:
    """Return the exit code, and path and kind of each file that has drifted."""
    code = main(["drift", str(project), "--json"])
    files = json.loads(capsys.readouterr().out)["files"]
    return code, [(each["path"], each["kind"]) for each in files]


def test_drift_is_what_differs_of_the_templates_files(
    template: Path, tmp_path: Path, capsys: Captured
) -> None:
    """Not of the person's, nor of those that the project says are its own."""
    project = make(template, WAYS[0], tmp_path / "leaf")
    edit_own_rooms(project)
    append(project / "train.py", "MINE = 1")
    append(project / "requirements.txt", "timm")
    (project / "experiments/baseline/params.yaml").unlink()
    assert drift(project, capsys) == (0, [])

    append(project / "machinery/errors.py", "MINE = 1")
    (project / "requirements/dev.txt").unlink()
    changed = [("machinery/errors.py", "changed"), ("requirements/dev.txt", "deleted")]
    assert drift(project, capsys) == (65, changed)
    assert main(["drift", str(project), "--diff"]) == 65
    printed = capsys.readouterr().out
    assert "\n+MINE = 1\n" in printed
    assert "changed  machinery/errors.py   +1 -0" in printed
    assert "2 of the template's files have drifted from v0.1.0." in printed
    assert "\033" not in printed

    (project / ".trainyard.yml").write_text("drift: [machinery/*, requirements/dev.txt]\n")
    assert drift(project, capsys) == (0, [])


def test_what_our_pages_tell_people_to_change_is_no_drift(
    rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """New parameters renew schemas/, Renovate renews actions, and one of two updates goes."""
    pristine, project = rendered(WAYS[0]), tmp_path / "leaf"
    shutil.copytree(pristine, project)
    paths = [*files_of(pristine)]
    for name in ("schemas/params.json", "schemas/search.json", ".gitignore", "LICENSE"):
        assert name in paths
        append(project / name, "mine")
    for name in ("renovate.json", ".github/workflows/update.yml"):
        (project / name).unlink()
    workflow = project / ".github/workflows/test.yml"
    newer = f"@{'0123abcd' * 5} # v99"
    bumped = re.sub(r"(uses: [^@]+)@.*", rf"\1{newer}", workflow.read_text("utf-8"))
    assert f"actions/checkout{newer}" in bumped
    workflow.write_text(bumped, "utf-8")
    assert find_drift(project, pristine, paths, read_settings(project)) == []

    for theirs, mine in ("actions/checkout", "mine/checkout"), (newer, "@main"):
        workflow.write_text(bumped.replace(theirs, mine, 1), "utf-8")
        (one,) = find_drift(project, pristine, paths, read_settings(project))
        assert one == (".github/workflows/test.yml", "changed", 1, 1)
    append(project / "machinery/errors.py", "MINE = 1")
    (project / "schemas/params.json").unlink()
    (project / "machinery/run.py").unlink()
    found = [
        (each.path, each.kind)
        for each in find_drift(project, pristine, paths, read_settings(project))
    ]
    assert found == [
        (".github/workflows/test.yml", "changed"),
        *(("machinery/errors.py", "changed"), ("machinery/run.py", "deleted")),
    ]


def test_renovate_would_find_the_template(template: Path, tmp_path: Path) -> None:
    """As its manager `copier` reads a repository: the file's name, and tags to compare."""
    project = make(template, WAYS[0], tmp_path / "leaf")
    (name,) = [each for each in files_of(project) if RENOVATE_READS.search(each)]
    answers = yaml.safe_load((project / name).read_text(encoding="utf-8"))
    assert answers["_src_path"] == str(template)
    tags = git(template, "tag").split()
    assert max(map(Version, tags)) > Version(answers["_commit"])
    renovate = json.loads((root / "shared/project/renovate.json").read_text(encoding="utf-8"))
    assert "copier" in renovate["enabledManagers"]


def fleet(folder: Path, capsys: Captured, *options: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and what is told of each repository by its name."""
    code = main(["fleet", str(folder / "fleet.yml"), "--json", *options])
    return code, {each["name"]: each for each in json.loads(capsys.readouterr().out)}


def write_list(folder: Path, names: list[str], opt_out: dict[str, str]) -> None:
    text = yaml.safe_dump({"repositories": names, "opt_out": opt_out})
    (folder / "fleet.yml").write_text(text)


# What is done to a project, and how it then stands: version, drifted files, conflicts.
Edit = Callable[[Path], None]
MEMBERS: list[tuple[str, list[Edit]]] = [
    (first_tag, [edit_own_rooms]),
    (first_tag, [edit_same_lines, edit_own_rooms]),
    ("v0.2.0", [edit_other_lines, edit_own_rooms]),
    ("v0.3.0", [edit_own_rooms]),
    (first_tag, [edit_other_lines]),
    ("v0.2.0", []),
]
EXPECTED = {first_tag: "2 releases", "v0.2.0": "1 release", "v0.3.0": ""}


def members(count: int) -> list[tuple[str, list[Edit]]]:
    return [MEMBERS[number % len(MEMBERS)] for number in range(count)]


def test_a_fleet_and_its_branches(template: Path, tmp_path: Path, capsys: Captured) -> None:
    """Bare repositories at several versions, some drifted, some conflicting; 30 with --deep."""
    ways = [*WAYS, *checked_combinations] if combinations.deep else WAYS
    names: dict[str, tuple[str, list[Edit]]] = {}
    for number, (version, edits) in enumerate(members(30 if combinations.deep else 4)):
        project = make(template, ways[number % len(ways)], tmp_path / f"p{number}", version)
        for edit in edits:
            edit(project)
        commit(project)
        names[bare(project, tmp_path).name] = version, edits
    opted_out = {"p29.git": "the paper is out"} if combinations.deep else {}
    write_list(tmp_path, [*names], opted_out)
    jobs = ("--jobs", "2" if combinations.deep else "1")
    branch, requests = "trainyard/update-v0.3.0", tmp_path / "requests"
    update = ("--update", "--requests", str(requests))
    heads = [git(tmp_path / name, "rev-parse", "main") for name in names]
    if combinations.deep:  # At the gate, --update alone: it tells the same.
        code, stands = fleet(tmp_path, capsys, *jobs)
        check_stands(stands, names, opted_out)
        assert not [name for name in names if git(tmp_path / name, "branch", "--list", branch)]

    code, stands = fleet(tmp_path, capsys, *update, *jobs)
    assert code == 65
    check_stands(stands, names, opted_out)
    made = {name for name in names if stands[name]["state"] == "branch made"}
    assert made == {
        name
        for name, (version, edits) in names.items()
        if version != "v0.3.0" and edit_same_lines not in edits and name not in opted_out
    }
    assert [git(tmp_path / name, "rev-parse", "main") for name in names] == heads
    for name in names:
        listed = git(tmp_path / name, "branch", "--list", branch).split()
        assert listed == ([branch] if name in made else [])
    for name in made:
        assert git(tmp_path / name, "rev-list", "--count", f"main..{branch}") == "1\n"
        shown = git(tmp_path / name, "show", f"{branch}:pyproject.toml")
        assert "line-length = 90" in shown
        assert "_commit: v0.3.0" in git(tmp_path / name, "show", f"{branch}:.copier-answers.yml")
    assert {path.name for path in requests.iterdir()} == {
        name.replace(".git", "-v0.3.0.md") for name in made
    }
    text = (requests / "p2-v0.3.0.md").read_text()
    assert text.startswith("# Update from the template: v0.2.0 to v0.3.0\n")
    assert "| `pyproject.toml` | automatic |" in text
    assert "still are:\n`machinery/errors.py`." in text

    write_list(tmp_path, ["p1.git"], {})
    code, stands = fleet(tmp_path, capsys, *update, "--with-conflicts", *jobs)
    assert stands["p1.git"]["state"] == "branch made, with conflicts"
    marked = git(tmp_path / "p1.git", "show", f"{branch}:constraints.txt")
    assert "<<<<<<< before updating" in marked
    if combinations.deep:
        code, stands = fleet(tmp_path, capsys, *update, "--with-conflicts", *jobs)
        assert stands["p1.git"]["state"] == "its branch is there already"
        assert git(tmp_path / "p1.git", "show", f"{branch}:constraints.txt") == marked


def check_stands(
    stands: dict[str, Any], names: dict[str, tuple[str, list[Edit]]], opted_out: dict[str, str]
) -> None:
    """Check what is told of each repository of the list, in its order."""
    assert [*stands] == [*names]
    for name, (version, edits) in names.items():
        stand = stands[name]
        if name in opted_out:
            assert stand["state"] == f"opted out: {opted_out[name]}"
            continue
        assert (stand["version"], stand["to"]) == (version, "v0.3.0")
        assert stand["behind"] == EXPECTED[version]
        assert stand["drifted"] == (["machinery/errors.py"] if edit_other_lines in edits else [])
        assert stand["conflicts"] == (["constraints.txt"] if edit_same_lines in edits else [])


def say_cache(entry: str, wish: None) -> tuple[int, str]:
    """Stand for `look`: say which cache of Copier's this process has."""
    time.sleep(0.2)  # So that each process gets some.
    return os.getpid(), os.environ["COPIER_CACHE_DIR"]


def test_no_two_processes_share_a_cache_of_copier(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fetches into it while another one checks out made git fail now and then."""
    shared = os.environ["COPIER_CACHE_DIR"]
    monkeypatch.setattr("trainyard.fleet.look", say_cache)
    entries: Any = ["leaf", "bark", "moss", "fern", "reed", "oak"]
    arrived: dict[int, Any] = {}
    look_at_all(entries, cast("Any", None), 2, arrived.__setitem__)
    assert arrived.keys() == {*range(len(entries))}
    said = arrived.values()
    caches = {pid: cache for pid, cache in said}
    assert len({*said}) == len(caches) == len({*caches.values()})
    assert shared not in caches.values()
    assert not any(Path(cache).exists() for cache in caches.values())
    assert os.environ["COPIER_CACHE_DIR"] == shared
