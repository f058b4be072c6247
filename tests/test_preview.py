"""`trainyard preview` says what the update then does, file by file."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, checked_combinations, combinations_of_this_tier
from conftest import files_of, git, render
from test_release import announce, release
from test_update import append, commit, copier_command, prepend, replace_line
from trainyard.command_line import main

Preview = Callable[..., tuple[int, dict]]


def change_all_templates(repository: Path) -> None:
    """A release with each kind of change, in every template."""
    shared = repository / "shared/project"
    prepend(shared / "utils.py", "# changed by the template")
    prepend(shared / "machinery/errors.py", "# changed by the template")
    append(shared / "requirements-dev.txt", "codespell")
    append(shared / "{{image_classification}}/data/README.md", "changed by the template")
    (shared / "added_later.py").write_text('"""New in the template."""\n')
    (shared / "machinery/added_later.py").write_text('"""New in the template."""\n')
    (shared / "machinery/statistics_file.py").unlink()
    (shared / "publish.py").unlink()
    for path in repository.glob("templates/*/project/constraints.txt"):
        replace_line(path, "tqdm==", "tqdm==4.99.0")
    for path in repository.glob("templates/*/project/**/train.py"):
        append(path, "# changed by the template")
    subprocess.run([sys.executable, repository / "tools/sync_shared.py"], check=True)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Work towards the next version")
    announce(repository, "9.0.0")
    assert release(repository, "9.0.0").returncode == 0


@pytest.fixture(scope="module")
def repositories(
    tagged_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Where the template is: projects are made from its first release, and the next is out."""
    folder = tmp_path_factory.mktemp("preview")
    repository = shutil.copytree(tagged_repository, folder / "trainyard")
    change_all_templates(repository)
    return repository, folder


def same_lines(project: Path) -> None:
    replace_line(project / "constraints.txt", "tqdm==", "tqdm==4.68.0")


def other_lines(project: Path) -> None:
    append(project / "utils.py", "MINE = 1")
    append(project / "machinery/errors.py", "MINE = 1")


def own_rooms(project: Path) -> None:
    append(project / "model/net.py", "MINE = 1")
    append(project / "README.md", "Mine.")
    (project / "model/losses.py").write_text("MINE = 1\n")
    (project / "experiments/wide").mkdir()
    (project / "experiments/wide/params.yaml").write_text("mine: 1\n")


def deleted(project: Path) -> None:
    (project / "requirements-dev.txt").unlink()
    (project / "data/README.md").unlink()


def same_name(project: Path) -> None:
    (project / "added_later.py").write_text("MINE = 1\n")


def ignored_name(project: Path) -> None:
    (project / ".git/info/exclude").write_text("machinery/added_later.py\n")
    (project / "machinery/added_later.py").write_text("MINE = 1\n")


def lost(project: Path) -> None:
    append(project / "publish.py", "MINE = 1")


EDITS = [same_lines, other_lines, own_rooms, deleted, same_name, ignored_name, lost]


def made_and_edited(
    combination: Combination, number: int, repository: Path, folder: Path
) -> Path:
    """Return a committed project of the first release, with some edits drawn by its number."""
    template = {"template": combination.template, **combination.answers}
    project = folder / f"{number}-{combination}" / "leaf"
    import copier

    copier.run_copy(
        str(repository), project, data=template, vcs_ref="v0.1.0", defaults=True, quiet=True
    )
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    for edit in random.Random(number).sample(EDITS, 4) if number else EDITS:
        edit(project)
    commit(project)
    return project


def what_an_update_does(project: Path) -> dict[str, set[str]]:
    """Update the project itself; return the paths that git and the files show, by kind."""
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


def preview_of(project: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, set]]:
    code = main(["preview", str(project), "--json"])
    told = json.loads(capsys.readouterr().out)
    kinds: dict[str, set[str]] = {}
    for each in told["files"]:
        kinds.setdefault(each["kind"], set()).add(each["path"])
    return code, kinds


# One project of each template at the gate; 30 in the deeper tier.
AT_THE_GATE = [*enumerate(each for each in checked_combinations if each.first_of_template)][:3]


@pytest.mark.parametrize(("number", "combination"), AT_THE_GATE, ids=str)
def test_a_preview_is_what_the_update_does(
    number: int,
    combination: Combination,
    repositories: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = made_and_edited(combination, number, *repositories)
    before = files_of(project)
    code, kinds = preview_of(project, capsys)
    assert files_of(project) == before
    assert git(project, "status", "--porcelain") == ""
    kept = kinds.pop("kept", set())
    done = what_an_update_does(project)
    assert {kind: kinds.get(kind, set()) for kind in done} == done
    assert code == (65 if done["conflict"] or done["overwritten"] or number == 0 else 0)
    if number == 0:
        assert {kind for kind, paths in done.items() if paths} == {*done}
        assert kept >= {"README.md", "model/net.py", "data/README.md"}
