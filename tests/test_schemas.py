"""Editors find a schema of params.yaml, search.yaml and a file of answers, and it is current."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ruamel.yaml import YAML

from build_schemas import answers_schema
from combinations import Combination, find_combination
from conftest import render, root
from projects import format_yaml
from tasks import Task
from test_bad_input import parameter_files

# Refused by the commands, and not by the schema: why.
BEYOND_A_SCHEMA = {"not a number": "JSON has no such value, and no limit is beyond it"}
PLAIN = find_combination("plain")


def validator(path: Path) -> Any:
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def named_schema(path: Path) -> Path:
    """Return the schema that the first line of a file names."""
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    key, _, name = first.partition("=")
    assert key == "# yaml-language-server: $schema"
    return path.parent / name


def test_the_schema_of_answers_is_current() -> None:
    assert (root / "docs" / "answers.json").read_text(encoding="utf-8") == answers_schema()


@pytest.mark.deep
def test_the_schemas_are_current() -> None:
    """A project's own test says so of those of its task, at the gate."""
    command = [sys.executable, root / "tools" / "build_schemas.py", "--check"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_file_that_ships_names_its_schema_and_passes() -> None:
    overlays = {path.parts[-4] for path in root.glob("shared/project/*/experiments/*/params.yaml")}
    for overlay in overlays:
        task = overlay.strip("{}").replace("_", "-")
        shared = [*(root / "shared" / "project" / overlay).glob("experiments/*/*.yaml")]
        assert len(shared) == 2, task
        for path in shared:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
            validator(named_schema(path)).validate(found)
    assert len(overlays) == 5


@pytest.mark.parametrize("case", parameter_files)
def test_bad_parameters_are_refused(case: str, rendered: Callable[[Combination], Path]) -> None:
    content, _ = parameter_files[case]
    if len(content) > 1000:
        return  # The commands refuse its size or depth; an editor has bounds of its own.
    text = content if isinstance(content, str) else content.decode("latin-1")
    of_parameters = validator(rendered(PLAIN) / "schemas" / "params.json")
    try:
        found = YAML(typ="safe", pure=True).load(text)
    except Exception:  # An editor marks what is no YAML by itself.
        return
    if isinstance(content, bytes):
        return  # As it does with what is no UTF-8.
    assert of_parameters.is_valid(found) == (case in BEYOND_A_SCHEMA)


def test_what_depends_on_the_data_is_left_to_the_commands(
    case_of_misfits: tuple[Task, str],
) -> None:
    """A schema does not know the data; else these could be refused by it, too."""
    task, case = case_of_misfits
    overlay = root / "shared" / "project" / ("{{" + task.name.replace("-", "_") + "}}")
    found = yaml.safe_load(format_yaml(task.misfits[case].parameters))
    validator(overlay / "schemas" / "params.json").validate(found)


# --- files of answers


def test_a_file_of_answers(tmp_path: Path) -> None:
    house = root / "docs" / "house.yml"
    schema = validator(named_schema(house))
    answers = yaml.safe_load(house.read_text(encoding="utf-8"))
    schema.validate(answers)
    project = render(root / "templates" / "torch-research", tmp_path / "leaf", **answers)
    schema.validate(yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "autor: Leaf",
        "licence: GPL",
        "author: 3",
        "mit: .",
        "code_owners: leaf",
        "python_range: '>=2.7'",
        "project_name: My Leaf",
        "package_index: https://me:secret@packages.example.org/simple",
        "tracker: tensorboard",
        "- author",
    ],
)
def test_bad_answers_are_refused(text: str) -> None:
    assert not validator(root / "docs" / "answers.json").is_valid(yaml.safe_load(text))


def test_a_new_parameter_is_in_the_schema_by_one_command(tmp_path: Path) -> None:
    project = render(root / "templates" / "torch-research", tmp_path / "leaf")
    path = project / "parameters.py"
    old = "    compile: bool"
    new = '    leaf: int = Field(1, ge=1, le=9, description="leaves")\n'
    path.write_text(path.read_text("utf-8").replace(old, new + old), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, path], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout == "written: schemas/params.json\nwritten: schemas/search.json\n"
    of_parameters = validator(project / "schemas" / "params.json")
    assert of_parameters.is_valid({"training": {"leaf": 9}})
    assert not of_parameters.is_valid({"training": {"leaf": 10}})
    done = subprocess.run(
        [sys.executable, path, "--chek"], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 2
    assert "--chek: unknown option" in done.stderr
