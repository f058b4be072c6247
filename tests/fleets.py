"""Template repositories with releases, and projects of them, edited as people edit."""

import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import copier

import combinations
from combinations import Combination, find_combination
from conftest import first_tag, git
from test_update import append, commit, prepend, replace_line

# Enough of the templates for updates of every kind: Copier clones and renders the whole of them,
# five times for each preview with its update, which takes ten times as long.
SMALL = (
    *("copier.yml", "copier.yml.jinja", "questions.yml", "settings.yml", "version.yml"),
    *("{{_copier_conf.answers_file}}.jinja", ".gitignore.jinja", ".pre-commit-config.yaml"),
    *("train.py", "utils.py", "publish.py", "requirements.txt", "requirements/dev.txt"),
    *("constraints.txt", "README.md.jinja", "pyproject.toml.jinja", "net.py", "params.yaml"),
    *("data/README.md", "machinery/errors.py", "machinery/run.py", "machinery/arrays.py"),
    "CHANGELOG.md",
)
OTHER_TASKS = re.compile(r"\{\{(?!_copier|shared|images|plain|jax|image_classification)")
# One of each template.
WAYS = [find_combination(choice) for choice in ("plain", "-", "jax")]


def template_repository(tagged: Path, folder: Path) -> Path:
    """Return a repository of the templates at their first release: whole only with --deep."""
    repository = folder / "trainyard"
    if combinations.deep:
        return shutil.copytree(tagged, repository)
    for name in git(tagged, "ls-files", "-z").split("\0"):
        of_projects = name.startswith(("copier", "CHANGELOG", "shared/", "templates/"))
        if name.endswith(SMALL) and of_projects and not OTHER_TASKS.search(name):
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tagged / name, repository / name)
    shutil.rmtree(repository / "shared/project")  # The templates have copies.
    git(repository, "init", "--quiet", "--initial-branch", "main")
    publish(repository, first_tag)
    return repository


def publish(repository: Path, tag: str) -> None:
    """Commit what was changed, and give it a tag. tools/release.py has tests of its own."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", f"Release {tag}")
    git(repository, "tag", tag)


def copies(repository: Path, pattern: str) -> list[Path]:
    """Return a file of a project in the templates, each of its copies."""
    found = [*repository.glob(f"templates/*/project/**/{pattern}")]
    assert found, pattern
    return found


def second_release(repository: Path) -> None:
    """Each kind of change, in every template, as v0.2.0."""
    for name in ("utils.py", "machinery/errors.py"):
        for path in copies(repository, name):
            prepend(path, "# changed by the template")
    for name in ("train.py", "requirements/dev.txt", "data/README.md"):
        for path in copies(repository, name):
            append(path, "# changed by the template")
    for path in copies(repository, "constraints.txt"):
        replace_line(path, "tqdm==", "tqdm==4.99.0")
    for path in (*copies(repository, "publish.py"), *copies(repository, "machinery/arrays.py")):
        path.unlink()
    for project in repository.glob("templates/*/project/{{shared}}"):
        for name in ("added_later.py", "machinery/added_later.py"):
            (project / name).write_text('"""New in the template."""\n')
    publish(repository, "v0.2.0")


def third_release(repository: Path) -> None:
    """A change of one house rule, as v0.3.0."""
    for path in copies(repository, "pyproject.toml.jinja"):
        replace_line(path, "line-length = 100", "line-length = 90")
    publish(repository, "v0.3.0")


def make(
    repository: Path | str, combination: Combination, project: Path, version: str = first_tag
) -> Path:
    """Make a project of a version of the template, and commit it."""
    copier.run_copy(
        str(repository),
        project,
        data={"template": combination.template, **combination.answers},
        vcs_ref=version,
        defaults=True,
        quiet=True,
    )
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    return project


def edit_same_lines(project: Path) -> None:
    """Those that the second release changes, too: a conflict."""
    replace_line(project / "constraints.txt", "tqdm==", "tqdm==4.68.0")


def edit_other_lines(project: Path) -> None:
    append(project / "utils.py", "MINE = 1")
    append(project / "machinery/errors.py", "MINE = 1")


def edit_own_rooms(project: Path) -> None:
    append(project / "model/net.py", "MINE = 1")
    append(project / "README.md", "Mine.")
    (project / "model/losses.py").write_text("MINE = 1\n")
    (project / "experiments/wide").mkdir()
    (project / "experiments/wide/params.yaml").write_text("mine: 1\n")


def delete(project: Path) -> None:
    (project / "requirements/dev.txt").unlink()
    (project / "data/README.md").unlink()


def take_a_name(project: Path) -> None:
    """One that the second release has a file of."""
    (project / "added_later.py").write_text("MINE = 1\n")


def take_an_ignored_name(project: Path) -> None:
    (project / ".git/info/exclude").write_text("machinery/added_later.py\n")
    (project / "machinery/added_later.py").write_text("MINE = 1\n")


def edit_what_goes(project: Path) -> None:
    """A file that the second release removes."""
    append(project / "publish.py", "MINE = 1")


EDITS: Sequence[Callable[[Path], None]] = (
    *(edit_same_lines, edit_other_lines, edit_own_rooms, delete, take_a_name),
    *(take_an_ignored_name, edit_what_goes),
)


def edit(project: Path, number: int) -> None:
    """Make some of the edits, drawn by a number, and commit; all of them for number 0."""
    for change in random.Random(number).sample(EDITS, 4) if number else EDITS:
        change(project)
    commit(project)
