"""Cookiecutter's own command gives what Copier gives, or one line and nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from combinations import Combination, combinations, combinations_of_this_tier
from conftest import files_of, git, render, root
from test_update import awkward, commit, copier_command, publish_next_version

answers_file = ".copier-answers.yml"
program = shutil.which("cookiecutter", path=str(Path(sys.executable).parent)) or "cookiecutter"
questions = json.loads((root / "cookiecutter.json").read_text(encoding="utf-8"))
braces = "{{ cookiecutter.project_name }} {% raw %} {# [bold] \\u00e9"


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the commands run in; Cookiecutter's own folders lie beside it."""
    config = tmp_path / "cookiecutter.yml"
    folders = {name: str(tmp_path / name) for name in ("cookiecutters_dir", "replay_dir")}
    config.write_text(json.dumps(folders))
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(config))
    # A terminal of a known width, and no colours between the words.
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "où ça"
    folder.mkdir()
    return folder


def cookiecutter(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Cookiecutter as a person calls it, with nobody there to answer."""
    return subprocess.run(
        [program, *map(str, arguments)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def answers_of(combination: Combination) -> dict[str, str]:
    """Answers to every question of Cookiecutter's; those to other templates' are not the first."""
    own = {"template_name": combination.template, "project_name": "leaf", "description": awkward}
    own |= {"author": braces, **combination.answers}
    others = {name: each for name, each in questions.items() if name[0] != "_"}
    return {n: each[-1] if isinstance(each, list) else each for n, each in others.items()} | own


def words(answers: dict[str, str]) -> list[str]:
    return ["--no-input", *map("=".join, answers.items())]


def given_by_copier(source: Path | str, parent: Path, answers: dict[str, str]) -> dict[str, bytes]:
    """The files that Copier makes of the same answers."""
    names = {"template_name": "template"}
    data = {names.get(name, name): answer for name, answer in answers.items()}
    return files_of(render(source, parent / "leaf", **data))


# One of each template; in the deeper tier of each task, too.
ONE_OF_EACH = [each for each in combinations_of_this_tier() if each.first_of_template]


@pytest.mark.parametrize("combination", ONE_OF_EACH, ids=str)
def test_without_a_prompt_it_gives_what_copier_gives(
    combination: Combination, tagged_repository: Path, workplace: Path, tmp_path: Path
) -> None:
    answers = answers_of(combination)
    result = cookiecutter(workplace, tagged_repository, *words(answers))
    assert result.returncode == 0, result.stdout
    assert "leaf is ready" in result.stdout
    other_templates = {"loop", "backend"} - combination.answers.keys()
    other_templates |= {"ray"} if "loop" in other_templates else set()
    asked = {name: answer for name, answer in answers.items() if name not in other_templates}
    expected = given_by_copier(tagged_repository, tmp_path / "copier", asked)
    assert files_of(workplace / "leaf") == expected
    assert [path.name for path in workplace.iterdir()] == ["leaf"]


def test_defaults_are_those_of_copier(
    tagged_repository: Path, workplace: Path, tmp_path: Path
) -> None:
    assert cookiecutter(workplace, tagged_repository, "--no-input").returncode == 0
    expected = render(tagged_repository, tmp_path / "copier" / "my-project")
    assert files_of(workplace / "my-project") == files_of(expected)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals that pexpect knows.")
@pytest.mark.parametrize(
    "combination",
    [
        pytest.param(
            Combination("torch-research", "image-classification", "lightning", "none"),
            marks=pytest.mark.deep,
        ),
        pytest.param(
            Combination("tf-production", "image-classification", "-", "Apache-2.0"),
            marks=pytest.mark.deep,
        ),
        Combination("keras-quickstart", "image-classification", "jax", "BSD-3-Clause"),
    ],
    ids=str,
)
def test_at_the_prompt_it_asks_and_gives_what_copier_gives(
    combination: Combination, tagged_repository: Path, workplace: Path, tmp_path: Path
) -> None:
    answers = answers_of(combination)
    terminal = pexpect.spawn(
        program, [str(tagged_repository)], cwd=str(workplace), encoding="utf-8", timeout=600
    )
    terminal.setwinsize(60, 200)
    for number, (name, answer) in enumerate(answers.items(), start=1):
        prompt, choices = questions["__prompts__"][name], questions[name]
        text = prompt if isinstance(prompt, str) else prompt["__prompt__"]
        terminal.expect_exact(f"[{number}/{len(answers)}] {text}")
        if isinstance(choices, list):
            for value in choices:
                terminal.expect_exact(prompt[value])
            terminal.expect_exact("Choose from")
        terminal.sendline(str(choices.index(answer) + 1) if isinstance(choices, list) else answer)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0, terminal.before
    expected = given_by_copier(tagged_repository, tmp_path / "copier", answers)
    assert files_of(workplace / "leaf") == expected


@pytest.fixture
def beside(workplace: Path, tagged_repository: Path) -> Path:
    """The repository in the same folder, to be named by a relative path."""
    return shutil.copytree(tagged_repository, workplace / "trainyard")


# As a whole path it is given above.
@pytest.mark.parametrize(
    "given", [pytest.param("whole", marks=pytest.mark.deep), "relative", "point"]
)
def test_a_folder_is_recorded_by_its_whole_path(
    given: str, beside: Path, workplace: Path, tmp_path: Path
) -> None:
    source = {"whole": str(beside), "relative": "trainyard", "point": "."}[given]
    folder = beside if given == "point" else workplace
    result = cookiecutter(folder, source, "--output-dir", tmp_path / "here", "--no-input")
    assert result.returncode == 0, result.stdout
    expected = render(beside, tmp_path / "copier" / "my-project")
    assert files_of(tmp_path / "here" / "my-project") == files_of(expected)
    assert git(beside, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "form",
    [
        "git+file:///{}/trainyard",
        pytest.param("file:///{}/trainyard.git", marks=pytest.mark.deep),
    ],
)
def test_a_url_is_recorded_as_the_url(
    form: str, tagged_repository: Path, workplace: Path, tmp_path: Path
) -> None:
    name = form.rpartition("/")[2]
    git(tmp_path, "clone", "--quiet", "--bare", str(tagged_repository), name)
    url = form.format(tmp_path.as_posix().lstrip("/"))
    result = cookiecutter(workplace, url, *words({"project_name": "leaf"}))
    assert result.returncode == 0, result.stdout
    record = (workplace / "leaf" / answers_file).read_text(encoding="utf-8")
    assert f"_src_path: {url}\n" in record
    expected = given_by_copier(url, tmp_path / "copier", {})
    assert files_of(workplace / "leaf") == expected


def test_a_url_that_copier_would_not_take_is_recorded_as_one_that_it_takes(
    tagged_repository: Path, workplace: Path, tmp_path: Path
) -> None:
    """Cookiecutter guesses from the word git that there is a git repository."""
    repository = tmp_path / "git" / "trainyard"
    shutil.copytree(tagged_repository, repository)
    url = repository.as_uri()
    assert cookiecutter(workplace, url, *words({"project_name": "leaf"})).returncode == 0
    expected = given_by_copier(f"git+{url}", tmp_path / "copier", {})
    assert files_of(workplace / "leaf") == expected


@pytest.mark.parametrize("way", ["path", pytest.param("url", marks=pytest.mark.deep)])
def test_checkout_gives_that_release_and_copier_updates_it(
    way: str, scratch_repository: Path, workplace: Path, tmp_path: Path
) -> None:
    first = git(scratch_repository, "describe", "--tags").strip()
    publish_next_version(scratch_repository)
    source = {"path": str(scratch_repository), "url": f"git+{scratch_repository.as_uri()}"}[way]
    answers = {"project_name": "leaf", "description": awkward}
    result = cookiecutter(workplace, source, "--checkout", first, *words(answers))
    assert result.returncode == 0, result.stdout
    project = workplace / "leaf"
    assert f"_commit: {first}\n" in (project / answers_file).read_text(encoding="utf-8")
    assert not (project / "added_later.py").exists()
    git(project, "init", "--quiet")
    commit(project)
    assert copier_command(project, "check-update", "--quiet").returncode == 2
    result = copier_command(project, "update", "--defaults")
    assert result.returncode == 0, result.stderr
    updated = files_of(project)
    expected = given_by_copier(source, tmp_path / "copier", answers)
    yours = {"README.md", "data/README.md", "experiments/baseline/params.yaml", "model/net.py"}
    assert {name for name in expected if updated[name] != expected[name]} == yours
    assert updated.keys() == expected.keys()


def test_a_replay_gives_the_same(tagged_repository: Path, workplace: Path) -> None:
    answers = answers_of(combinations[0])
    assert cookiecutter(workplace, tagged_repository, *words(answers)).returncode == 0
    first = files_of(workplace / "leaf")
    shutil.rmtree(workplace / "leaf")
    result = cookiecutter(workplace, tagged_repository, "--replay")
    assert result.returncode == 0, result.stdout
    assert files_of(workplace / "leaf") == first


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"project_name": "Bad Name"}, "project_name: got 'Bad Name'; expected lower-case"),
        ({"project_name": "../leaf"}, "project_name: got '../leaf'; expected lower-case"),
        ({"project_name": ""}, "project_name: got ''; expected lower-case"),
        ({"project_name": "torch"}, "project_name: got 'torch'; torch is the name of"),
        ({"description": "two\nlines"}, r"description: got 'two\nlines'; expected one line"),
        ({"author": "x" * 101}, f"author: got '{'x' * 101}'; expected one line of 1 to 100"),
    ],
    ids=["blanks", "up", "empty", "reserved", "lines", "long"],
)
def test_a_bad_answer_is_one_line_and_nothing_is_made(
    answers: dict[str, str], expected: str, tagged_repository: Path, workplace: Path
) -> None:
    before = files_of(workplace.parent)
    result = cookiecutter(workplace, tagged_repository, *words(answers))
    assert result.returncode == 1
    assert result.stdout.startswith(expected)
    assert result.stdout.endswith("Run the command again with another answer. Nothing was made.\n")
    assert result.stdout.count("\n") == 1
    assert list(workplace.iterdir()) == []
    left = files_of(workplace.parent).keys() - before.keys()
    assert left == {f"replay_dir/{tagged_repository.name}.json"}


def test_a_choice_that_does_not_exist_is_refused_by_cookiecutter_itself(
    tagged_repository: Path, workplace: Path
) -> None:
    result = cookiecutter(workplace, tagged_repository, *words({"licence": "GPL"}))
    assert result.returncode == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith("ValueError: GPL provided for choice variable licence, but the choices")
    assert list(workplace.iterdir()) == []


def test_a_release_that_does_not_exist_is_one_line(
    tagged_repository: Path, workplace: Path
) -> None:
    result = cookiecutter(workplace, tagged_repository, "--no-input", "--checkout", "v0.0.1")
    assert result.returncode == 1
    assert "Unknown revision: 'v0.0.1'. Expected" in result.stdout
    assert result.stdout.count("\n") == 1
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("flags", [[], ["--overwrite-if-exists"]], ids=["plain", "overwrite"])
def test_what_exists_is_left_alone(
    flags: list[str], tagged_repository: Path, workplace: Path
) -> None:
    (workplace / "leaf").mkdir()
    (workplace / "leaf" / "train.py").write_text("MINE = 1\n")
    before = files_of(workplace)
    result = cookiecutter(workplace, tagged_repository, *flags, *words({"project_name": "leaf"}))
    assert result.returncode == 1
    assert result.stdout.startswith(f"{workplace / 'leaf'} exists, expected a new folder.")
    assert result.stdout.count("\n") == 1
    assert files_of(workplace) == before


def test_without_copier_it_says_so_before_the_first_question(
    tagged_repository: Path, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "copier.py").write_text('raise ImportError("No module named copier")\n')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    result = cookiecutter(workplace, tagged_repository)
    assert result.returncode == 1
    assert "has Cookiecutter and not Copier" in result.stdout
    assert "pipx inject cookiecutter copier" in result.stdout
    assert result.stdout.count("\n") == 1
    assert list(workplace.iterdir()) == []


def test_hooks_are_plain_python() -> None:
    for path in (root / "hooks").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        compile(text, path, "exec")
        assert not any(tag in text for tag in ("{{", "{%", "{#")), path
    # Cookiecutter would work in a copy that it deletes, and ask for nested templates.
    assert not list((root / "hooks").glob("pre_prompt*"))
    assert questions.keys().isdisjoint({"template", "templates"})


def build(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(repository / "tools/build_cookiecutter.py"), *arguments],
        capture_output=True,
        encoding="utf-8",
    )


def test_the_questions_are_those_of_copier() -> None:
    result = build(root, "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_changed_question_is_noticed_and_written(scratch_repository: Path) -> None:
    shared = scratch_repository / "shared" / "questions.yml"
    text = shared.read_text(encoding="utf-8")
    shared.write_text(text.replace("default: A deep-learning project", "default: Another project"))
    check = build(scratch_repository, "--check")
    assert check.returncode == 1
    assert check.stdout == "differs: cookiecutter.json\n"
    assert "build_cookiecutter.py" in check.stderr
    assert build(scratch_repository).returncode == 0
    written = json.loads((scratch_repository / "cookiecutter.json").read_text(encoding="utf-8"))
    assert written == questions | {"description": "Another project"}
    assert build(scratch_repository, "--check").returncode == 0
