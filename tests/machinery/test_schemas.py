"""The schemas for editors refuse what the commands refuse, but for what no JSON Schema can say."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import Field

from helpers import SPACE
from machinery import schemas
from machinery.parameter_file import Section, read_yaml
from parameters import Parameters
from test_parameter_file import OF_ANOTHER_TYPE
from test_search_settings import MALFORMED, WRONG

of_parameters = jsonschema.Draft7Validator(schemas.of_parameters(Parameters))
of_search = jsonschema.Draft7Validator(schemas.of_search(Parameters))
# What the commands refuse and the schemas cannot: why.
BEYOND_A_SCHEMA = {
    "seed: 1.0": "to JSON it is the whole number 1",
    "{low: 3, high: 2}": "two values are compared",
    "{low: 0, high: 2, step: 3}": "three values are compared",
    "minimize: val_accuracy": "two lists are compared",
}


def search(space: str, *lines: str) -> Any:
    text = "\n".join(["from: experiments/base", "trials: 4", "maximize: val_accuracy", *lines])
    return yaml.safe_load(f"{text}\nspace:{space}")


def test_the_schemas_are_right_themselves() -> None:
    for validator in (of_parameters, of_search):
        validator.check_schema(validator.schema)


@pytest.mark.parametrize("text", [*OF_ANOTHER_TYPE, "sed: 1", "training: {epochs: 0}", "model:"])
def test_bad_parameters_are_refused(text: str) -> None:
    assert of_parameters.is_valid(yaml.safe_load(text)) == (text in BEYOND_A_SCHEMA)


@pytest.mark.parametrize("entry", [entry for entry, _ in MALFORMED])
def test_malformed_entries_of_a_space_are_refused(entry: str) -> None:
    found = search(f"\n  training.warmup_epochs: {entry}")
    assert of_search.is_valid(found) == (entry in BEYOND_A_SCHEMA)


@pytest.mark.parametrize("line", WRONG)
def test_what_the_schema_of_the_parameters_refuses(line: str) -> None:
    assert not of_search.is_valid(search(f"\n  {line}"))


@pytest.mark.parametrize(
    "lines",
    [
        ("maximise: val_loss",),
        ("minimize: val_accuracy",),
        ("trials: 1000000000000",),
        ("trials: null",),
        ("sampler: anneal",),
        ("pruner: hyper",),
        ("seeds: 0",),
    ],
)
def test_other_bad_settings_are_refused(lines: tuple[str, ...]) -> None:
    assert of_search.is_valid(search(SPACE, *lines)) == (lines[0] in BEYOND_A_SCHEMA)


def test_a_grid_alone_has_an_end_without_trials() -> None:
    found = {"from": "a", "space": {"model.width": {"choices": [4, 8]}}}
    assert not of_search.is_valid(found)
    assert of_search.is_valid({**found, "sampler": "grid"})
    assert not of_search.is_valid({**found, "sampler": "grid", "space": {}})


def test_good_files_are_taken() -> None:
    assert of_parameters.is_valid({})
    assert of_parameters.is_valid(Parameters().model_dump())
    condition = "{low: 0.0, high: 4.0, when: {training.schedule: cosine, model.width: [4, 8]}}"
    assert of_search.is_valid(search(f"{SPACE}\n  training.warmup_epochs: {condition}"))


def test_a_renamed_parameter_is_known_by_both_names() -> None:
    class Renamed(Section):
        dropout: float = Field(0.2, ge=0, lt=1, json_schema_extra={"was": "drop_rate"})

    validator = jsonschema.Draft7Validator(schemas.of_parameters(Renamed))
    assert validator.is_valid({"drop_rate": 0.1})
    assert validator.is_valid({"dropout": 0.1})
    assert not validator.is_valid({"drop_rate": 2})


def test_a_new_experiment_names_its_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it lies in a project that has one, at any depth."""
    monkeypatch.setattr(schemas, "PROJECT", tmp_path / "leaf")
    path = tmp_path / "leaf" / "experiments" / "wide" / "seed-1" / "params.yaml"
    path.parent.mkdir(parents=True)
    assert schemas.first_line(path) == ""
    target = tmp_path / "leaf" / "schemas" / "params.json"
    target.parent.mkdir()
    target.write_text(schemas.texts(Parameters)["params.json"])
    schemas.write_parameters(path, Parameters(), anew=False)
    first, *_ = path.read_text().splitlines()
    assert first == "# yaml-language-server: $schema=../../../schemas/params.json"
    assert (path.parent / first.partition("=")[2]).samefile(target)
    of_parameters.validate(read_yaml(path))
    assert json.loads(target.read_text()) == of_parameters.schema
    assert schemas.first_line(tmp_path / "elsewhere" / "params.yaml") == ""


def test_what_a_person_wrote_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("seed: 0 # mine\n")
    schemas.write_parameters(path, Parameters(), anew=False)
    assert path.read_text() == "seed: 0 # mine\n"
    schemas.write_parameters(path, Parameters(seed=1), anew=False)
    assert read_yaml(path)["seed"] == 1
