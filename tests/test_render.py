"""What a rendered project consists of, by each way in."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import copier
import pytest
import yaml

from combinations import Combination, combinations
from conftest import files_of, overlay_files, render, root, tracked_files

Rendered = Callable[[Combination], Path]
every_combination = pytest.mark.parametrize("combination", combinations, ids=str)
answers_file = ".copier-answers.yml"


@every_combination
def test_tree_is_what_the_overlays_hold(combination: Combination, rendered: Rendered) -> None:
    assert sorted(files_of(rendered(combination))) == sorted(overlay_files(combination))


# test_house.py has each choice, and test_ray.py.
FOR_TEAMS = {"ci", "development_container", "coding_assistants", "ray", "tracker"}


def test_combinations_cover_every_choice() -> None:
    """A choice that is added to a question and forgotten in combinations.py fails here."""
    covered = [{"template": each.template, **each.answers} for each in combinations]
    found = set()
    for path in [root / "copier.yml", *root.glob("shared/*.yml"), *root.glob("templates/*/*.yml")]:
        text = re.sub("^!include .*", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for document in yaml.safe_load_all(text):
            for name, question in (document or {}).items():
                if isinstance(question, dict) and "choices" in question and name not in FOR_TEAMS:
                    found.add(name)
                    chosen = {each[name] for each in covered if name in each}
                    assert set(question["choices"].values()) == chosen
    assert found == {"template", "task", "loop", "backend", "licence"}


@every_combination
def test_files_without_jinja_are_copied_as_they_are(
    combination: Combination, rendered: Rendered
) -> None:
    files = files_of(rendered(combination))
    for target, source in overlay_files(combination).items():
        if source.suffix == ".jinja":
            text = re.sub(rb"\$\{\{.*?\}\}", b"", files[target])  # What GitHub puts in.
            assert not re.search(rb"\{\{|\}\}|\{%|%\}|\{#", text), target
        else:
            assert files[target] == source.read_bytes(), target


def test_python_holds_no_template_tags() -> None:
    sources = [path for path in tracked_files(root) if "project" in path.parts]
    assert not [path for path in sources if path.name.endswith(".py.jinja")]
    python = [path for path in sources if path.suffix == ".py"]
    assert python
    for path in python:
        assert not re.search(r"\{%|\{\{ *\w+ *\}\}", path.read_text(encoding="utf-8")), path


@every_combination
def test_names_work_on_every_system(combination: Combination, rendered: Rendered) -> None:
    project = rendered(combination)
    names = [path.relative_to(project).as_posix() for path in project.rglob("*")]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert not (project / name).is_symlink(), name
        for part in name.split("/"):
            assert re.fullmatch(r"[\w.\-]*[\w\-]", part, re.ASCII), name
            assert not re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", part, re.IGNORECASE), name


def test_licences_differ_in_their_text_alone(rendered: Rendered) -> None:
    titles = {
        "MIT": "MIT License",
        "BSD-3-Clause": "BSD 3-Clause License",
        "Apache-2.0": "Apache License",
        "none": None,
    }
    for combination in combinations:
        licence = rendered(combination) / "LICENSE"
        title = titles[combination.licence]
        assert licence.exists() == (title is not None)
        if title:
            text = licence.read_text(encoding="utf-8")
            assert text.strip().startswith(title)
            assert not re.search(r"Copyright.*\d{4}", text), "a year would change with the calendar"


def test_folder_root_and_url_give_the_same(tagged_repository: Path, tmp_path: Path) -> None:
    """Byte for byte; only a URL stays a URL in the record of where the project came from."""
    folder = files_of(render(tagged_repository / "templates/torch-research", tmp_path / "a/leaf"))
    root_path = files_of(render(tagged_repository, tmp_path / "b/leaf"))
    url = files_of(render(f"git+{tagged_repository.as_uri()}", tmp_path / "c/leaf"))
    assert folder == root_path
    record = yaml.safe_load(url[answers_file])
    assert record["_src_path"] == f"git+{tagged_repository.as_uri()}"
    assert record | {"_src_path": tagged_repository.as_posix()} == yaml.safe_load(
        folder[answers_file]
    )
    assert url | {answers_file: b""} == folder | {answers_file: b""}


def test_template_source_is_recorded_by_every_way_in(
    tagged_repository: Path, tmp_path: Path
) -> None:
    source = "https://example.org/trainyard.git"
    ways = [
        tagged_repository / "templates/torch-research",
        tagged_repository,
        f"git+{tagged_repository.as_uri()}",
    ]
    projects = [
        files_of(render(way, tmp_path / str(number) / "leaf", template_source=source))
        for number, way in enumerate(ways)
    ]
    assert yaml.safe_load(projects[0][answers_file])["_src_path"] == source
    assert projects[0] == projects[1] == projects[2]


def test_what_lies_in_a_template_folder_does_not_leak(
    scratch_repository: Path, tmp_path: Path
) -> None:
    template = scratch_repository / "templates" / "torch-research"
    before = files_of(render(template, tmp_path / "before" / "leaf"))
    for litter in [
        ".venv/pyvenv.cfg",
        "__pycache__/train.cpython-311.pyc",
        "{{shared}}/__pycache__/utils.cpython-311.pyc",
        "{{shared}}/data/arrays-1/train_ids.npy",
        "{{shared}}/experiments/baseline/last.safetensors",
        "{{shared}}/experiments/baseline/tensorboard/events",
        ".pytest_cache/README.md",
        ".ruff_cache/CACHEDIR.TAG",
        "leaf.egg-info/PKG-INFO",
        "{{shared}}/utils.py~",
    ]:
        path = template / "project" / litter
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("litter")
    after = render(template, tmp_path / "after" / "leaf")
    assert files_of(after) == before
    assert not [
        folder for folder in after.rglob("*") if folder.is_dir() and not any(folder.iterdir())
    ]


def test_closing_message_gives_the_next_commands(
    tagged_repository: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copier.run_copy(str(tagged_repository), tmp_path / "leaf", defaults=True)
    message = capfd.readouterr().err
    for command in [
        f'cd "{tmp_path / "leaf"}"',
        "python -m pip install -c constraints.txt -r requirements.txt",
        "python train.py",
        "python evaluate.py",
        "git init",
    ]:
        assert f"  {command}\n" in message
    assert "WARNING" not in message


def test_a_relative_root_is_warned_about(
    tagged_repository: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tagged_repository)
    copier.run_copy(".", tmp_path / "leaf", defaults=True)
    assert "records the template as ., a relative" in capfd.readouterr().err


def test_project_name_comes_from_the_folder_where_it_can(tmp_path: Path) -> None:
    template = root / "templates" / "torch-research"
    for folder, name in {
        "leaf-2": "leaf-2",
        "My Leaf": "my-project",
        "torch": "my-project",
    }.items():
        record = render(template, tmp_path / folder) / answers_file
        assert yaml.safe_load(record.read_text(encoding="utf-8"))["project_name"] == name


def test_overlay_folders_do_what_the_templates_rely_on(tmp_path: Path) -> None:
    """Copier does not document it: a folder rendered to "." vanishes, one rendered empty is left
    out with all that is in it, at any depth.
    """
    template = tmp_path / "template"
    hidden = {"on": ".", "off": ""}
    config: Mapping[str, object] = {"_subdirectory": "project"} | {
        name: {"type": "str", "default": value, "when": False} for name, value in hidden.items()
    }
    for name in [
        "{{on}}/a.txt",
        "{{off}}/b.txt",
        "{{on}}/{{on}}/deep/c.txt",
        "{{on}}/{{off}}/d.txt",
        "{{off}}/{{on}}/e.txt",
        "deep/{{on}}/f.txt",
    ]:
        path = template / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (template / "copier.yml").write_text(yaml.safe_dump(dict(config)))
    project = render(template, tmp_path / "out")
    assert sorted(files_of(project)) == ["a.txt", "deep/c.txt", "deep/f.txt"]
