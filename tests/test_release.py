"""tools/release.py in a scratch clone: it tags what the tree says, or changes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest
import yaml

import release as tool
from build_cookiecutter import house_rules, questions
from conftest import files_of, first_tag, git, root, version_recorded

OPTIONS = ("--trust-updates",)


def release(repository: Path, version: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Make a release; without the updates to it unless they are what is tested: they take long."""
    return subprocess.run(
        [sys.executable, repository / "tools/release.py", version, *(options or OPTIONS)],
        capture_output=True,
        encoding="utf-8",
    )


def announce(repository: Path, version: str) -> None:
    """Give the version its heading in the changelog, and commit."""
    path = repository / "CHANGELOG.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\n## [", f"\n## [{version}] - 2030-01-31\n\n## [", 1))
    git(repository, "commit", "--all", "--quiet", "--message", f"Announce {version}")


def state(repository: Path) -> tuple[str, str, dict[str, bytes]]:
    return git(repository, "rev-parse", "HEAD"), git(repository, "tag"), files_of(repository)


def test_tag_and_recorded_version_agree(scratch_repository: Path) -> None:
    announce(scratch_repository, "9.1.0")
    result = release(scratch_repository, "9.1.0")
    assert result.returncode == 0, result.stderr
    assert version_recorded(scratch_repository) == "v9.1.0"
    assert git(scratch_repository, "describe", "--tags", "--exact-match").strip() == "v9.1.0"
    assert git(scratch_repository, "status", "--porcelain") == ""
    copies = scratch_repository.glob("templates/*/_shared/version.yml")
    assert all('default: "v9.1.0"\n' in path.read_text() for path in copies)


def test_a_version_that_the_tree_has_already_is_tagged(scratch_repository: Path) -> None:
    """As with the first release: nothing to write, nothing to commit."""
    git(scratch_repository, "tag", "--delete", first_tag)
    head = git(scratch_repository, "rev-parse", "HEAD")
    assert release(scratch_repository, first_tag.removeprefix("v")).returncode == 0
    assert git(scratch_repository, "rev-parse", f"{first_tag}^{{commit}}") == head


def leave_a_change(repository: Path) -> None:
    announce(repository, "9.1.0")
    (repository / "README.md").write_text("changed\n")


def leave_an_outdated_copy(repository: Path) -> None:
    announce(repository, "9.1.0")
    with open(repository / "shared" / "questions.yml", "a") as file:
        file.write("# changed\n")
    git(repository, "commit", "--all", "--quiet", "--message", "Forget the copies")


def leave_the_tag(repository: Path) -> None:
    announce(repository, "9.1.0")
    git(repository, "tag", "v9.1.0")


def leave_a_refusing_hook(repository: Path) -> None:
    announce(repository, "9.1.0")
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)


def sign_without_a_key(repository: Path) -> None:
    """git makes the commit, and no tag."""
    announce(repository, "9.1.0")
    git(repository, "config", "tag.gpgSign", "true")
    git(repository, "config", "gpg.program", "false")


@pytest.mark.parametrize(
    ("prepare", "version", "message"),
    [
        (sign_without_a_key, "9.1.0", "git refused to tag the release"),
        (leave_a_change, "9.1.0", "working tree has changes"),
        (leave_an_outdated_copy, "9.1.0", "out of date"),
        (leave_the_tag, "9.1.0", "tag v9.1.0 exists"),
        (leave_a_refusing_hook, "9.1.0", "git refused to commit"),
        (lambda repository: None, "9.1.0", "expected a heading `## [9.1.0]"),
        (lambda repository: announce(repository, "0.0.1"), "0.0.1", "a higher one than v0.1.0"),
        (lambda repository: None, "v9.1", "expected three numbers"),
    ],
)
def test_refusals_change_nothing(
    scratch_repository: Path, prepare, version: str, message: str
) -> None:
    prepare(scratch_repository)
    before = state(scratch_repository)
    result = release(scratch_repository, version)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert state(scratch_repository) == before


def test_changed_results_want_their_mark(scratch_repository: Path) -> None:
    results = scratch_repository / "tests" / "results.json"
    results.write_text(results.read_text().replace("1", "2"))
    announce(scratch_repository, "9.1.0")
    refused = release(scratch_repository, "9.1.0")
    assert refused.returncode == 2
    assert "**[results change]**" in refused.stderr
    path = scratch_repository / "CHANGELOG.md"
    marked = "## [9.1.0] - 2030-01-31\n\n- **[results change]** Ones are twos now.\n"
    path.write_text(path.read_text().replace("## [9.1.0] - 2030-01-31\n", marked))
    git(scratch_repository, "commit", "--all", "--quiet", "--message", "Mark it")
    assert release(scratch_repository, "9.1.0").returncode == 0


# The check of updates, with the second project of one template.
ONE_TEMPLATE = """
import release
git = release.git
release.git = lambda *words, **options: (
    "torch-research" if words[:2] == ("ls-tree", "--name-only") else git(*words, **options)
)
varied = release.varied_answers
release.varied_answers = lambda *words: varied(*words)[1:2]
try:
    release.check_updates("9.1.0")
except release.Refused as refusal:
    print(f"refused: {refusal}")
"""


def change_utils(repository: Path, message: str) -> None:
    """Commit a change of a file that all templates share, and of one that is people's own."""
    for name in ("utils.py", "{{tabular}}/TASK.md"):
        with open(repository / "shared" / "project" / name, "a") as file:
            file.write(f"# {message}\n")
    subprocess.run([sys.executable, repository / "tools/sync_shared.py"], check=True)
    git(repository, "commit", "--all", "--quiet", "--message", message)


def test_a_file_that_updates_leave_behind_is_found(scratch_repository: Path) -> None:
    """Of each template, and by the command: the next test."""

    def refusal() -> str:
        command = [sys.executable, "-c", ONE_TEMPLATE]
        printed = subprocess.run(
            command, cwd=scratch_repository / "tools", check=True, capture_output=True, text=True
        ).stdout
        return printed.partition("refused: ")[2]

    # A project keeps its answers, also where another one becomes the usual one.
    questions = scratch_repository / "shared" / "questions.yml"
    questions.write_text(questions.read_text().replace("A deep-learning project", "Ours"))
    change_utils(scratch_repository, "changed")
    assert refusal() == ""
    settings = scratch_repository / "shared" / "settings.yml"
    kept = settings.read_text().replace("    /README.md\n", "    /README.md\n    /utils.py\n")
    settings.write_text(kept)
    change_utils(scratch_repository, "changed again")
    found = refusal()
    assert found.startswith("A torch-research project of v0.1.0 does not become one of v9.1.0")
    assert ": utils.py differ. Its answers: template=torch-research, " in found
    assert "loop=lightning" in found


def test_updates_are_checked_with_every_choice(scratch_repository: Path) -> None:
    """Of each loop, backend, task and host, in as many projects as there are tasks."""
    command = "import json, release, sys; "
    command += "print(json.dumps(release.varied_answers('v0.1.0', sys.argv[1])))"
    own = {"torch-research": "loop", "keras-quickstart": "backend", "tf-production": "task"}
    for template, question in own.items():
        printed = subprocess.run(
            [sys.executable, "-c", command, template],
            cwd=scratch_repository / "tools",
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        projects = json.loads(printed)
        asked = questions()
        assert len(projects) == len(asked["task"]["choices"])
        for name in (question, "task", "ci", "licence", "tracker"):
            expected = {**asked, **house_rules()}[name]["choices"].values()
            assert {each[name] for each in projects} == {*expected}, name
        assert {each["template"] for each in projects} == {template}


def test_what_a_release_takes_for_peoples_own_is_what_updates_keep() -> None:
    settings = yaml.safe_load((root / "shared" / "settings.yml").read_text(encoding="utf-8"))
    (rule,) = [each for each in settings["_exclude"] if "_copier_operation" in each]
    project = {"template": "a", "task": "b", "model_of": "a/b", "_copier_operation": "update"}
    kept = jinja2.Template(rule).render(project).split()
    assert sorted(kept) == sorted("/" + name.rstrip("/") for name in tool.yours)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{{ no_such_answer }}", "'no_such_answer' is undefined"), ("{% if %}", "Expected")],
)
def test_a_broken_template_is_named(scratch_repository: Path, text: str, message: str) -> None:
    path = scratch_repository / "shared" / "project" / "README.md.jinja"
    path.write_text(f"A line.\n{text}\n")
    subprocess.run([sys.executable, scratch_repository / "tools/sync_shared.py"], check=True)
    announce(scratch_repository, "9.1.0")
    before = state(scratch_repository)
    refused = release(scratch_repository, "9.1.0", "--")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert "/project/{{shared}}/README.md.jinja:2: cannot be rendered: " in refused.stderr
    assert message in refused.stderr
    assert state(scratch_repository) == before


@pytest.mark.deep
def test_projects_of_earlier_releases_come_to_the_new_one(scratch_repository: Path) -> None:
    """A file that the settings keep from updates would stay behind: so no release."""
    with open(scratch_repository / "shared" / "project" / "utils.py", "a") as file:
        file.write("# changed\n")
    subprocess.run([sys.executable, scratch_repository / "tools/sync_shared.py"], check=True)
    announce(scratch_repository, "9.1.0")
    result = release(scratch_repository, "9.1.0", "--")
    assert result.returncode == 0, result.stderr

    questions = scratch_repository / "shared" / "questions.yml"
    asked = questions.read_text()
    questions.write_text(asked.replace("Who holds the copyright?", "Whose is it?"))
    subprocess.run([sys.executable, scratch_repository / "tools/sync_shared.py"], check=True)
    announce(scratch_repository, "9.2.0")
    refused = release(scratch_repository, "9.2.0", "--")
    assert refused.returncode == 2
    assert "cookiecutter.json is out of date" in refused.stderr
    git(scratch_repository, "reset", "--quiet", "--hard", "v9.1.0")

    settings = scratch_repository / "shared" / "settings.yml"
    kept = settings.read_text().replace("    /README.md\n", "    /README.md\n    /utils.py\n")
    settings.write_text(kept)
    with open(scratch_repository / "shared" / "project" / "utils.py", "a") as file:
        file.write("# changed again\n")
    subprocess.run([sys.executable, scratch_repository / "tools/sync_shared.py"], check=True)
    announce(scratch_repository, "9.2.0")
    before = state(scratch_repository)
    refused = release(scratch_repository, "9.2.0", "--")
    assert refused.returncode == 2
    assert "utils.py differ" in refused.stderr
    assert state(scratch_repository) == before


def test_the_first_release_of_a_repository_without_tags(
    untagged_scratch_repository: Path,
) -> None:
    """With every check, so also: none of today's files lies where people's .gitignore matches."""
    origin = "https://example.org/trainyard.git"  # Nothing is read there.
    git(untagged_scratch_repository, "remote", "add", "origin", origin)
    announce(untagged_scratch_repository, "0.9.0")
    result = release(untagged_scratch_repository, "0.9.0", "--")
    assert result.returncode == 0, result.stderr
    assert version_recorded(untagged_scratch_repository) == "v0.9.0"
    templates = sorted(path.name for path in (untagged_scratch_repository / "templates").iterdir())
    branches = git(untagged_scratch_repository, "branch", "--list", "example/*").split()
    assert branches == [f"example/{template}" for template in templates]
    assert "git push origin 'refs/heads/example/*'" in result.stdout


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("shared/project/{{image_classification}}/debug.log", "*.log"),
        pytest.param("shared/project/.env", ".env", marks=pytest.mark.deep),
        (
            "templates/torch-research/project/{{lightning}}/lightning_logs/README.md",
            "lightning_logs/",
        ),
        pytest.param(
            "templates/tf-production/project/exports/README.md.jinja",
            "/exports/",
            marks=pytest.mark.deep,
        ),
        ("templates/keras-quickstart/project/{{jax}}/wandb/settings", "/wandb/"),
    ],
)
def test_a_new_file_that_people_ignore_is_refused(
    scratch_repository: Path, path: str, rule: str
) -> None:
    """In every overlay, by the project's own .gitignore and by what is common."""
    (scratch_repository / path).parent.mkdir(parents=True, exist_ok=True)
    (scratch_repository / path).write_text("new\n")
    subprocess.run([sys.executable, scratch_repository / "tools/sync_shared.py"], check=True)
    git(scratch_repository, "add", "--all", "--force")
    announce(scratch_repository, "9.1.0")
    before = state(scratch_repository)
    refused = release(scratch_repository, "9.1.0", "--")
    assert refused.returncode == 2
    name = path.rpartition("}}/")[2].rpartition("project/")[2].removesuffix(".jinja")
    assert f"{name} is new, and the rule {rule} in people's .gitignore" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert state(scratch_repository) == before


def test_a_file_that_an_earlier_release_had_is_not_new(scratch_repository: Path) -> None:
    """People have it from the template already, so nothing of theirs lies there."""
    (scratch_repository / "shared/project/debug.log").write_text("new\n")
    subprocess.run([sys.executable, scratch_repository / "tools/sync_shared.py"], check=True)
    git(scratch_repository, "add", "--all")
    announce(scratch_repository, "9.1.0")
    assert release(scratch_repository, "9.1.0").returncode == 0
    check = [sys.executable, "-c", "import release; release.check_ignored_paths()"]
    subprocess.run(check, cwd=scratch_repository / "tools", check=True)
