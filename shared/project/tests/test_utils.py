"""Parameters and checkpoints, without a network."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

import run_folder
import utils
from parameters import Parameters


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_parameter_error_is_said_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "params.yaml", "seed: x\ntraining:\n  epohcs: 3\nmodel: {dropout: 2}\n")
    with pytest.raises(utils.InputError) as error:
        utils.load_parameters(Parameters, path, {"training.learning_rate": "-1"})
    message = str(error.value)
    assert f"{path}:1: seed: got 'x'" in message
    assert (
        f"{path}:3: training.epohcs: unknown parameter (did you mean training.epochs?)" in message
    )
    assert f"{path}:4: model.dropout: got '2'" in message
    assert "--training.learning_rate: got '-1'" in message


def test_parameters_survive_writing_and_reading(tmp_path: Path) -> None:
    overrides = {"training.weight_decay": "1e-5", "seed": "7", "data.flip": "true"}
    path = write(tmp_path / "a.yaml", "seed: 1")
    parameters = utils.load_parameters(Parameters, path, overrides)
    assert parameters.training.weight_decay == 1e-5
    written = write(tmp_path / "b.yaml", utils.format_parameters(parameters))
    assert utils.load_parameters(Parameters, written) == parameters


class Renamed(utils.Section):
    """A schema in which dropout was called drop_rate before."""

    class Model(utils.Section):
        dropout: float = Field(0.2, json_schema_extra={"was": "drop_rate"})

    seed: int = Field(0, json_schema_extra={"was": "random_seed"})
    model: Model = Model()


def test_old_names_are_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "params.yaml", "random_seed: 3\nmodel: {drop_rate: 0.5}\n")
    today = Renamed.model_validate({"seed": 3, "model": {"dropout": 0.5}})
    assert utils.load_parameters(Renamed, path) == today
    changed = utils.load_parameters(Renamed, path, {"model.dropout": "0.1", "seed": "4"})
    assert utils.flatten(changed) == {"seed": 4, "model.dropout": 0.1}
    write(path, "seed: 3\nrandom_seed: 4\n")  # Which one is meant?
    with pytest.raises(utils.InputError, match="random_seed: unknown parameter"):
        utils.load_parameters(Renamed, path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("training.lr", "training.learning_rate"), ("width", "model.width"), ("sead", "seed")],
)
def test_nearest(name: str, expected: str) -> None:
    known = [name for name, _ in utils.parameter_fields(Parameters)]
    assert expected in utils.nearest(name, known)


def test_checkpoint_keeps_every_bit(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "step": np.array(3, np.int64)}
    run_folder.write_checkpoint(tmp_path / "last.safetensors", arrays, {"step": 3})
    read, state = run_folder.read_checkpoint(tmp_path / "last.safetensors")
    assert state == {"step": 3}
    for name, array in arrays.items():
        assert read[name].shape == array.shape
        assert np.array_equal(read[name], array)


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    run_folder.write_checkpoint(path, {"a": np.arange(100.0)}, {"step": 3})
    content = path.read_bytes()
    for position in range(0, len(content), 37):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(run_folder.DamagedError):
            run_folder.read_checkpoint(path)


def test_seeds_differ() -> None:
    seeds = {utils.fold_seed(seed, step) for seed in range(10) for step in range(1000)}
    assert len(seeds) == 10_000
    assert utils.fold_seed(0, 1) == utils.fold_seed(0, 1)
