"""`copier update` across two real tags, for a project made by each way in.

Without tags: test_untagged.py.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import copier
import pytest
import yaml
from copier._cli import CopierApp
from plumbum import local

from combinations import combinations
from conftest import files_of, git, overlay_files, record_version, render, root
from test_release import announce, release

answers_file = ".copier-answers.yml"
awkward = 'It\'s {{ 7 * 7 }}: "a" \\ & <b> #1'


def replace_line(path: Path, start: str, line: str) -> None:
    """Put the line in the place of the one that begins so."""
    text = path.read_text(encoding="utf-8")
    text, count = re.subn(rf"^{start}.*$", line, text, flags=re.MULTILINE)
    assert count == 1, f"{path}: {count} lines begin with {start}"
    path.write_text(text, encoding="utf-8")


def prepend(path: Path, line: str) -> None:
    path.write_text(f"{line}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")


def append(path: Path, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def copier_command(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Copier's command, from inside the project, trusting nothing.

    In this process, which has compiled the templates already.
    """
    printed, errors = io.StringIO(), io.StringIO()
    redirected = contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors)
    with local.cwd(project), redirected[0], redirected[1]:
        _, code = CopierApp.run(["copier", *arguments], exit=False)
    return subprocess.CompletedProcess(arguments, code, printed.getvalue(), errors.getvalue())


def change_the_templates(repository: Path) -> None:
    """The template's side: changes in files of both owners, and a new file, committed."""
    project = repository / "templates/torch-research/project"
    prepend(repository / "shared/project/utils.py", "# changed by the template")
    append(repository / "shared/project/requirements/dev.txt", "codespell")
    replace_line(project / "{{plain}}/requirements.txt", "tqdm", "tqdm>=4.70,<6")
    (project / "added_later.py").write_text('"""New in the template."""\n')
    sources = overlay_files(combinations[0], repository)
    for name in ["README.md", "data/README.md", "model/net.py", "experiments/baseline/params.yaml"]:
        copy = sources[name].as_posix()
        source = Path(re.sub("templates/.*/{{shared}}", "shared/project", copy))
        append(source, "# changed by the template")
    subprocess.run([sys.executable, str(repository / "tools/sync_shared.py")], check=True)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Work towards the next version")


published: dict[str, Path] = {}  # Repositories with version 9.0.0, by the commit before.


def publish_next_version(repository: Path) -> None:
    """The same as a release, which is made once and then fetched."""
    head = git(repository, "rev-parse", "HEAD")
    if head in published:
        tag = "refs/tags/v9.0.0"
        git(repository, "pull", "--quiet", "--ff-only", str(published[head]), f"{tag}:{tag}")
        return
    change_the_templates(repository)
    announce(repository, "9.0.0")
    assert release(repository, "9.0.0").returncode == 0
    published[head] = repository


# The root makes what the folder makes, and a URL all but the record of it: test_render.py.
@pytest.fixture(params=["folder", pytest.param("url", marks=pytest.mark.deep)])
def project(request: pytest.FixtureRequest, scratch_repository: Path, tmp_path: Path) -> Path:
    """A committed project, made by one way in from the first version."""
    source = {
        "folder": scratch_repository / "templates/torch-research",
        "url": f"git+{scratch_repository.as_uri()}",
    }[request.param]
    answers = {"description": awkward, "licence": "BSD-3-Clause"}
    project = render(source, tmp_path / "leaf", **answers)
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    return project


def commit(project: Path) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "Mine")


def test_update_merges_what_is_the_templates_and_leaves_what_is_yours(
    project: Path, scratch_repository: Path
) -> None:
    assert copier_command(project, "check-update", "--quiet").returncode == 0
    publish_next_version(scratch_repository)
    assert copier_command(project, "check-update", "--quiet").returncode == 2
    assert copier_command(project, "check-update").returncode == 0

    append(project / "utils.py", "MINE = 1")
    append(project / "README.md", "Mine.")
    append(project / "model/net.py", "MINE = 1")
    append(project / "experiments/baseline/params.yaml", "# mine")
    (project / "experiments/wide").mkdir()
    (project / "experiments/wide/params.yaml").write_text("mine: 1\n")
    (project / "model/losses.py").write_text("MINE = 1\n")
    (project / "data/README.md").unlink()
    (project / "requirements/dev.txt").unlink()
    commit(project)
    yours = ["README.md", "model", "experiments", "data"]

    before = yaml.safe_load((project / answers_file).read_text(encoding="utf-8"))
    result = copier_command(project, "update", "--defaults")
    assert result.returncode == 0, result.stderr
    assert "is updated" in result.stderr

    utils = (project / "utils.py").read_text(encoding="utf-8")
    assert utils.startswith("# changed by the template\n")
    assert utils.endswith("MINE = 1\n")
    assert "tqdm>=4.70,<6" in (project / "requirements.txt").read_text(encoding="utf-8")
    assert (project / "added_later.py").is_file()
    assert git(project, "status", "--porcelain", "--", *yours) == ""
    assert not (project / "data/README.md").exists()
    assert not (project / "requirements/dev.txt").exists()
    assert "<<<<<<<" not in git(project, "diff")
    after = yaml.safe_load((project / answers_file).read_text(encoding="utf-8"))
    assert after == before | {"_commit": "v9.0.0"}
    assert after["description"] == awkward

    commit(project)
    assert copier_command(project, "check-update", "--quiet").returncode == 0


@pytest.mark.deep  # A conflict is seen before it is taken, below.
@pytest.mark.parametrize("project", ["folder"], indirect=True)
def test_an_overlapping_edit_shows_a_conflict(project: Path, scratch_repository: Path) -> None:
    publish_next_version(scratch_repository)
    replace_line(project / "requirements.txt", "tqdm", "tqdm==4.68")
    commit(project)
    copier.run_update(project, defaults=True, overwrite=True, quiet=True)
    text = (project / "requirements.txt").read_text(encoding="utf-8")
    assert "<<<<<<< before updating\ntqdm==4.68\n" in text
    assert "tqdm>=4.70,<6\n>>>>>>> after updating" in text
    assert "UU requirements.txt" in git(project, "status", "--porcelain")


@pytest.mark.parametrize("project", ["folder"], indirect=True)
def test_an_update_switches_the_loop(project: Path, scratch_repository: Path) -> None:
    publish_next_version(scratch_repository)
    append(project / "utils.py", "MINE = 1")
    append(project / "model/net.py", "MINE = 1")
    commit(project)
    result = copier_command(project, "update", "--defaults", "--data", "loop=lightning")
    assert result.returncode == 0, result.stderr
    assert "<<<<<<<" not in git(project, "diff")
    assert "LightningModule" in (project / "train.py").read_text(encoding="utf-8")
    assert "pytorch-lightning" in (project / "requirements.txt").read_text(encoding="utf-8")
    for name in ("utils.py", "model/net.py"):
        assert (project / name).read_text(encoding="utf-8").endswith("MINE = 1\n")
    commit(project)
    result = copier_command(project, "update", "--defaults", "--data", "loop=plain")
    assert result.returncode == 0, result.stderr
    assert "pytorch-lightning" not in (project / "requirements.txt").read_text(encoding="utf-8")
    assert "LightningModule" not in (project / "train.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"template": "torch-research"}, {"template": "tf-production"}),
        ({"template": "torch-research"}, {"template": "torch-research", "task": "tabular"}),
        pytest.param(
            {"template": "tf-production"},
            {"template": "keras-quickstart", "backend": "torch"},
            marks=pytest.mark.deep,
        ),
        pytest.param(
            {"template": "keras-quickstart", "backend": "jax"},
            {"template": "torch-research"},
            marks=pytest.mark.deep,
        ),
        pytest.param(
            {"template": "torch-research"},
            {"template": "torch-research", "loop": "lightning"},
            marks=pytest.mark.deep,
        ),
        pytest.param(
            {"template": "keras-quickstart", "backend": "jax"},
            {"template": "keras-quickstart", "backend": "tensorflow"},
            marks=pytest.mark.deep,
        ),
        pytest.param(
            {"template": "tf-production", "task": "tabular"},
            {"template": "tf-production", "task": "image-classification"},
            marks=pytest.mark.deep,
        ),
    ],
    ids=str,
)
def test_a_switch_gives_what_a_new_project_would_be(
    before: dict[str, str], after: dict[str, str], tmp_path: Path, scratch_repository: Path
) -> None:
    """But for README.md, which is yours; and model/ holds both frameworks or tasks, marked, to
    choose, as does what else belongs to the task.
    """
    project = render(scratch_repository, tmp_path / "leaf", **before)
    first = files_of(project)
    git(project, "init", "--quiet", "--initial-branch", "main")
    (project / "model/losses.py").write_text("MINE = 1\n")
    (project / "experiments/baseline/params.yaml").write_text("seed: 3\n")
    commit(project)
    publish_next_version(scratch_repository)
    expected = files_of(render(scratch_repository, tmp_path / "new" / "leaf", **after))
    data = [word for pair in after.items() for word in ("--data", "=".join(pair))]
    result = copier_command(project, "update", "--defaults", *data)
    assert result.returncode == 0, result.stderr
    conflicts = git(project, "diff", "--name-only", "--diff-filter=U").split()
    other_framework = before["template"] != after["template"]
    other_task = "task" in after
    if not other_task:
        both = [name for name in first if name[:6] == "model/" and name in expected]
        differ = [name for name in both if first[name] != expected[name]]
        assert conflicts == (differ if other_framework else [])
    else:
        assert "experiments/baseline/params.yaml" in conflicts
    git(project, "checkout", "--theirs", "--", *conflicts or ["model"])
    yours: dict[str, None] = {"README.md": None}
    files = files_of(project)
    assert files.pop("model/losses.py") == b"MINE = 1\n"
    # model/ is yours: what is there stays until you delete it.
    stale = {name for name in first if name[:6] == "model/" and name not in expected}
    assert stale <= files.keys()
    files = {name: content for name, content in files.items() if name not in stale}
    if not other_task:
        assert files["experiments/baseline/params.yaml"] == b"seed: 3\n"
        yours |= {"data/README.md": None, "experiments/baseline/params.yaml": None}
    if not other_framework and not other_task:
        yours |= {name: None for name in files if name.startswith("model/")}
    assert {**files, **yours} == {**expected, **yours}


@pytest.mark.parametrize(
    "requirement",
    [
        pytest.param("", id="merged", marks=pytest.mark.deep),
        pytest.param("tqdm==4.68", id="conflict"),
    ],
)
def test_an_update_can_be_seen_before_it_is_taken(
    requirement: str, scratch_repository: Path, tmp_path: Path
) -> None:
    """By the command that the project's README names."""
    project = render(scratch_repository, tmp_path / "leaf")
    git(project, "init", "--quiet", "--initial-branch", "main")
    append(project / "utils.py", "MINE = 1")
    if requirement:
        replace_line(project / "requirements.txt", "tqdm", requirement)
    commit(project)
    publish_next_version(scratch_repository)
    readme = (project / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"seen before you take it: `trainyard (\w+)`", readme)
    before = files_of(project)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "trainyard", command],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (65 if requirement else 0), done.stderr
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert ["automatic", "utils.py", "merged with your changes"] in rows
    assert ["conflict" if requirement else "automatic", "requirements.txt"] in rows
    assert any(row[:1] == ["new"] for row in rows)
    assert files_of(project) == before
    assert git(project, "status", "--porcelain") == ""


def test_a_file_that_git_ignores_is_safe_only_where_the_readme_says(
    scratch_repository: Path, tmp_path: Path
) -> None:
    project = render(scratch_repository, tmp_path / "leaf")
    git(project, "init", "--quiet")
    names = ["added_later.py", "data/README.md", "experiments/added_later.md"]
    (project / ".git/info/exclude").write_text("\n".join(names))
    for name in names:
        (project / name).write_text("mine\n")
    commit(project)
    added = scratch_repository / "shared/project/experiments/added_later.md"
    added.parent.mkdir()
    added.write_text("New in the template.\n")
    publish_next_version(scratch_repository)
    assert copier_command(project, "update", "--defaults").returncode == 0
    overwritten = [name for name in names if (project / name).read_text() != "mine\n"]
    assert overwritten == ["added_later.py"]
    text = " ".join((project / "README.md").read_text(encoding="utf-8").split())
    assert "the update overwrites yours, and git cannot bring it back" in text
    assert "keep such files in `data/` or `experiments/`" in text


def test_a_project_of_a_commit_after_a_release_waits_for_the_next(
    scratch_repository: Path, tmp_path: Path
) -> None:
    """Copier updates to the newest tag, and never to an older state."""
    append(scratch_repository / "templates/torch-research/questions.yml", "# changed")
    commit(scratch_repository)
    record_version(scratch_repository)
    project = render(scratch_repository / "templates/torch-research", tmp_path / "leaf")
    git(project, "init", "--quiet")
    commit(project)
    assert copier_command(project, "check-update", "--quiet").returncode == 0
    result = copier_command(project, "update", "--defaults")
    assert "Downgrades are not supported" in result.stderr
    assert git(project, "status", "--porcelain") == ""
    publish_next_version(scratch_repository)
    assert copier_command(project, "check-update", "--quiet").returncode == 2
    assert copier_command(project, "update", "--defaults").returncode == 0
    assert (project / "added_later.py").is_file()


def test_a_project_inside_the_clone_stays_out_of_it(scratch_repository: Path) -> None:
    """`copier copy templates/torch-research myproj`, word by word from the README."""
    result = copier_command(
        scratch_repository, "copy", "--defaults", "templates/torch-research", "myproj"
    )
    assert result.returncode == 0, result.stderr
    assert git(scratch_repository, "status", "--porcelain") == ""
    project = scratch_repository / "myproj"
    git(project, "init", "--quiet")
    commit(project)
    publish_next_version(scratch_repository)
    result = copier_command(project, "update", "--defaults")
    assert result.returncode == 0, result.stderr
    assert (project / "added_later.py").is_file()
    assert git(scratch_repository, "status", "--porcelain") == ""
