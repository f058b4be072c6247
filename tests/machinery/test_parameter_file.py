"""params.yaml: errors, overrides, renamed parameters, writing and reading."""

import os
from pathlib import Path

import pydantic
import pytest
from pydantic import Field

from machinery.errors import InputError
from machinery.parameter_file import (
    Section,
    change,
    differences,
    flatten,
    format_parameters,
    format_values,
    load_parameters,
    nearest,
    parameter_fields,
    read_yaml,
)
from parameters import Parameters


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_parameter_error_is_said_at_once(tmp_path: Path) -> None:
    text = "seed: x\ntraining:\n  epohcs: 3\nmodel: {scale: 200}\n"
    path = write(tmp_path / "params.yaml", text)
    with pytest.raises(InputError) as error:
        load_parameters(Parameters, path, {"training.learning_rate": "-1"})
    message = str(error.value)
    assert message.startswith("4 parameters cannot be used.")
    assert f"{path}:1: seed: got 'x'" in message
    assert (
        f"{path}:3: training.epohcs: unknown parameter (did you mean training.epochs?)" in message
    )
    assert f"{path}:4: model.scale: got '200'" in message
    assert "--training.learning_rate: got '-1'" in message
    assert "train.py --help" in message
    with pytest.raises(InputError, match=r"--trainning\.epochs: .*mean training\.epochs\?"):
        load_parameters(Parameters, write(path, "seed: 0"), {"trainning.epochs": "3"})
    write(path, text)
    with pytest.raises(InputError, match=r"Ask somebody\. Nothing was started"):
        load_parameters(Parameters, path, advice="Ask somebody.")


OF_ANOTHER_TYPE = ["seed: true", "seed: '1'", "seed: 1.0", "data: {mirror: 1}", "model: {kind: 1}"]


@pytest.mark.parametrize("text", OF_ANOTHER_TYPE)
def test_no_value_is_taken_for_one_of_another_type(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"got .*, expected a valid"):
        load_parameters(Parameters, write(tmp_path / "params.yaml", text))


def test_of_many_errors_twenty_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "params.yaml", "\n".join(f"x{i}: 1" for i in range(30)))
    with pytest.raises(InputError) as error:
        load_parameters(Parameters, path)
    assert "30 parameters" in str(error.value)
    assert str(error.value).count("unknown parameter") == 20
    assert "and 10 more." in str(error.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "got nothing, expected `name: value` lines"),
        (b"[1, 2]", "got list"),
        (b"seed: 1\nseed: 2\n", ":2: not valid YAML"),
        (b"seed: {\n", "not valid YAML"),
        (b"seed: \xff\n", "not UTF-8 at byte 6"),
        (b"a: &a [*a]\nseed: !!python/object:os.system 1\n", "not valid YAML"),
        (b"[" * 500, "not valid YAML"),
        pytest.param(
            "\n".join(f"x{i}: 1" for i in range(20_000)).encode(), "than 64 kB", id="many names"
        ),
        pytest.param(b"seed: " + b"9" * 5000, "not valid YAML", id="long number"),
    ],
)
def test_what_is_no_parameter_file_is_said(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_yaml(path)
    assert expected in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(
            "0x" + "f" * 5000, "seed: got a number of thousands of figures, expected", id="long"
        ),
        ("[1, 2]", "seed: got a list, expected a valid integer"),
        ("{a: 1}", "seed: got a dict, expected a valid integer"),
        (str(2**70), f"seed: got '{2**70}', expected less than 4294967296"),
    ],
)
def test_values_of_any_size_are_refused(tmp_path: Path, value: str, shown: str) -> None:
    path = write(tmp_path / "params.yaml", f"seed: {value}\n")
    with pytest.raises(InputError) as error:
        load_parameters(Parameters, path)
    assert f"{path}:1: {shown}" in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "params.yaml")
    with pytest.raises(InputError, match="not a regular file"):
        read_yaml(tmp_path / "params.yaml")


def test_a_file_that_is_not_there_names_those_beside(tmp_path: Path) -> None:
    (tmp_path / "baseline").mkdir()
    write(tmp_path / "baseline" / "params.yaml", "seed: 0")
    with pytest.raises(InputError, match=r"not found\. Found: .*baseline"):
        read_yaml(tmp_path / "nowhere" / "params.yaml")
    with pytest.raises(InputError, match="expected a file"):
        read_yaml(tmp_path / "baseline")
    with pytest.raises(InputError, match="File name too long; expected a file"):
        read_yaml(tmp_path / ("x" * 300) / "params.yaml")


def test_parameters_survive_writing_and_reading(tmp_path: Path) -> None:
    overrides = {"training.pause": "1e-5", "seed": "7", "data.mirror": "true"}
    path = write(tmp_path / "a.yaml", "\ufeffseed: 1")
    parameters = load_parameters(Parameters, path, overrides)
    assert parameters.training.pause == 1e-5
    for kind in ("no", "null", "1e5", "a: b # c", "ü\n\u2028", "'", ""):
        changed = change(parameters, {"model.kind": kind})
        written = write(tmp_path / "b.yaml", format_parameters(changed))
        assert load_parameters(Parameters, written) == changed


def test_values_can_be_changed_by_dotted_name() -> None:
    base = Parameters()
    changed = change(base, {"model.width": 3, "seed": 4})
    assert differences(flatten(base), flatten(changed)) == "seed (0 -> 4), model.width (8 -> 3)"
    assert differences(flatten(base), flatten(base)) == ""
    with pytest.raises(pydantic.ValidationError):
        change(base, {"model.width": "wide"})
    assert format_values({"model.width": 3, "x": 0.00312}) == "model.width 3, x 0.00312"


class Renamed(Section):
    """A schema in which dropout was called drop_rate before."""

    class Model(Section):
        dropout: float = Field(0.2, json_schema_extra={"was": "drop_rate"})

    seed: int = Field(0, json_schema_extra={"was": "random_seed"})
    model: Model = Model()


def test_old_names_are_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "params.yaml", "random_seed: 3\nmodel: {drop_rate: 0.5}\n")
    today = Renamed.model_validate({"seed": 3, "model": {"dropout": 0.5}})
    assert load_parameters(Renamed, path) == today
    changed = load_parameters(Renamed, path, {"model.dropout": "0.1", "seed": "4"})
    assert flatten(changed) == {"seed": 4, "model.dropout": 0.1}
    write(path, "seed: 3\nrandom_seed: 4\n")  # Which one is meant?
    with pytest.raises(InputError, match="random_seed: unknown parameter"):
        load_parameters(Renamed, path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("training.lr", "training.learning_rate"), ("width", "model.width"), ("sead", "seed")],
)
def test_nearest(name: str, expected: str) -> None:
    known = [name for name, _ in parameter_fields(Parameters)]
    assert expected in nearest(name, known)


def test_sections_check_their_data() -> None:
    class Few:
        examples = {"train": 4}  # noqa: RUF012

    with pytest.raises(InputError, match=r"model\.width: 8 features"):
        Parameters().check_data(Few)
    change(Parameters(), {"model.width": 4}).check_data(Few)
