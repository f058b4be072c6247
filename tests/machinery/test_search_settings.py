"""search.yaml: what it may hold, and what is refused before anything starts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import words, write_settings
from machinery import search_settings
from machinery.errors import InputError
from machinery.metrics import Objective
from parameters import Parameters

# Entries of a space that the schema of the parameters refuses, each by itself.
WRONG = [
    "model.widht: {choices: [4]}",
    "training.momentum: {low: 0.0, high: 1.5}",
    "model.width: {choices: [4, wide]}",
    "data.batch_size: {low: 1, high: 3, step: 0.5}",
    "training.learning_rate: {low: 0, high: 0.1}",
]


def test_everything_wrong_in_the_space_is_said_at_once(
    folder: Path, data: Path, run: Callable[..., str]
) -> None:
    write_settings(folder, "\n" + "\n".join(f"  {line}" for line in WRONG) + "\n")
    message = run(*words(folder, data), expected=2)
    assert str(folder / "search.yaml") in message
    assert "model.widht: got 'model.widht', expected a parameter" in message
    assert "(did you mean model.width?)" in message
    assert "training.momentum.high: got '1.5', expected less than 1" in message
    assert "model.width.choices: got 'wide'" in message
    assert "data.batch_size.step: got '0.5'" in message
    assert "training.learning_rate.low: got '0'" in message
    assert "model/parameters.py. Nothing was started." in message
    assert "train.py" not in message
    assert [path.name for path in folder.iterdir()] == ["search.yaml"]


MALFORMED = [
    ("{low: 1}", "expected {low, high} or {choices: [...]}"),
    ("{low: 1, high: 2, choices: [1]}", "expected {low, high} or {choices: [...]}"),
    ("{low: 3, high: 2}", "expected low to be at most high"),
    ("{low: 0, high: 2, log: true}", "expected low above 0 and no step"),
    ("{lwo: 0, high: 2}", "unknown parameter"),
    ("{choices: []}", "at least 1 item"),
    ("{low: 0, high: 2, step: 3}", "expected step to be at most high - low"),
]


@pytest.mark.parametrize(("entry", "expected"), MALFORMED)
def test_malformed_entries_are_refused(folder: Path, entry: str, expected: str) -> None:
    write_settings(folder, f"\n  training.warmup_epochs: {entry}\n")
    with pytest.raises(InputError) as error:
        search_settings.load_settings(folder / "search.yaml", Parameters)
    assert expected in str(error.value)
    assert "search.yaml:5: space.training.warmup_epochs" in str(error.value)
    assert "search.yaml may hold: from" in str(error.value)
    assert "train.py" not in str(error.value)


def test_other_bad_settings_are_refused(folder: Path, data: Path, run: Callable[..., str]) -> None:
    path = folder / "search.yaml"
    path.write_text(path.read_text() + "\nminimize: val_accuracy\n")
    with pytest.raises(InputError, match="expected no column twice in maximize and minimize"):
        search_settings.load_settings(path, Parameters)
    write_settings(folder, objective="maximise: val_loss")
    with pytest.raises(InputError, match=r"maximise: unknown parameter \(did you mean maximize"):
        search_settings.load_settings(path, Parameters)
    path.write_text(path.read_text().replace("trials: 4", "trails: 4"))
    with pytest.raises(InputError, match=r"search\.yaml: trials: not found, expected a value\."):
        search_settings.load_settings(path, Parameters)
    write_settings(folder)
    (folder.parent / "base").rename(folder.parent / "elsewhere")
    with pytest.raises(InputError, match=r"search\.yaml:1: from: .*not found"):
        search_settings.load_settings(path, Parameters)
    for workers in ("0", str(10**20)):
        message = run(*words(folder, data, "--workers", workers), expected=2)
        assert f"--workers: got {workers}, expected 1 to 1024" in message
    write_settings(folder, trials=10**12)
    with pytest.raises(InputError, match="less than or equal to 100000"):
        search_settings.load_settings(path, Parameters)
    message = run(*words(folder, data, "--max-minutes", "-1"), expected=2)
    assert "--max-minutes: got -1" in message
    assert "--workers" in run("search_hyperparams.py", "--help")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Objective("val_auc", maximize=True)),
        ("minimize: val_loss", Objective("val_loss", maximize=False)),
        ("maximize: val_f1", Objective("val_f1", maximize=True)),
    ],
)
def test_trials_are_compared_by_the_file_or_by_the_task(
    folder: Path, line: str, expected: Objective
) -> None:
    write_settings(folder, objective=line)
    settings, _ = search_settings.load_settings(folder / "search.yaml", Parameters)
    assert settings.choose_objectives(Objective("val_auc", maximize=True)) == [expected]


def test_what_does_not_fit_the_data_is_refused_before_the_first_trial(
    folder: Path, data: Path, run: Callable[..., str]
) -> None:
    write_settings(folder, "\n  model.width: {choices: [4, 100]}\n")
    message = run(*words(folder, data), expected=2)
    assert "search.yaml: space:\n  model.width: choices: got 100: model.width: 100" in message
    assert [path.name for path in folder.iterdir()] == ["search.yaml"]
