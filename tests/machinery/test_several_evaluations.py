"""evaluate.py of an experiment with several runs: which are evaluated, and their mean."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from machinery.errors import InputError
from machinery.several_evaluations import split_runs, summarize


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """An experiment with eleven seeds and two folds, and a copy of a run that is none of them."""
    folder = tmp_path / "experiments/new"
    runs = [*(f"seed-{number}" for number in range(11)), "fold-0", "fold-1", "seed-0-old"]
    for number, name in enumerate(runs):
        (folder / name).mkdir(parents=True)
        (folder / name / "params.yaml").write_text(f"seed: {number}\n", encoding="utf-8")
        record(folder / name, "finished", {"seed": number, "training.epochs": 3})
    return folder


def record(folder: Path, outcome: str, parameters: Mapping[str, int]) -> None:
    """Write a run.json."""
    sessions = [{"outcome": outcome, "parameters": parameters}]
    (folder / "run.json").write_text(json.dumps({"sessions": sessions}), encoding="utf-8")


def arguments(experiment: Path, **others: object) -> argparse.Namespace:
    """Return what evaluate.py is asked for."""
    usual = {"data": None, "split": "test", "checkpoint": "best"}
    return argparse.Namespace(experiment=experiment, **{**usual, **others})


def test_each_seed_and_fold_is_a_run(experiment: Path) -> None:
    found = split_runs(arguments(experiment, data=Path("mine")))
    folds = [(experiment / f"fold-{number}", Path(f"mine/fold-{number}")) for number in range(2)]
    seeds = [(experiment / f"seed-{number}", Path("mine")) for number in range(11)]
    assert [(run.experiment, run.data) for run in found] == folds + seeds
    assert all(run.split == "test" for run in found)


def test_an_experiment_with_a_checkpoint_is_one_run(experiment: Path, tmp_path: Path) -> None:
    """And so is one that has no runs in it, whose message says what is missing."""
    (experiment / "best.safetensors").touch()
    assert split_runs(given := arguments(experiment)) == [given]
    assert len(split_runs(arguments(experiment, checkpoint="last"))) == 13
    assert split_runs(given := arguments(tmp_path)) == [given]


def test_what_is_not_trained_to_its_end_is_left_out(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(experiment / "seed-3", "diverged", {})
    record(experiment / "seed-4", "stopped", {})
    (experiment / "seed-5/run.json").unlink()
    found = split_runs(arguments(experiment))
    assert {"seed-2", "seed-6"} <= {run.experiment.name for run in found}
    assert len(found) == 10
    said = capsys.readouterr().err
    for number in (3, 4, 5):
        assert f"seed-{number} is not trained to its end: left out." in said
    for path in experiment.glob("*/run.json"):
        path.unlink()
    with pytest.raises(InputError, match="none of its runs is trained to its end"):
        split_runs(arguments(experiment))


def write_evaluations(experiment: Path, name: str) -> list[argparse.Namespace]:
    """Write what evaluate.py writes for seeds 0 to 2; return their runs."""
    for number, accuracy in enumerate((0.90, 0.94, 0.98)):
        folder = experiment / f"seed-{number}"
        found = {"loss": 0.5, "accuracy": accuracy, "auc": None if number else 0.7}
        (folder / f"metrics_{name}.json").write_text(json.dumps(found), encoding="utf-8")
    return [arguments(experiment / f"seed-{number}") for number in range(3)]


def test_the_mean_is_of_what_several_runs_have(experiment: Path) -> None:
    assert [*summarize(write_evaluations(experiment, "test"))] == [
        "mean of 3 seeds ± standard deviation:  test loss 0.5000 ± 0.0000  "
        "test accuracy 0.9400 ± 0.0400"
    ]
    runs = write_evaluations(experiment, "val_last")
    for run in runs:
        run.split, run.checkpoint = "val", "last"
    assert next(summarize(runs)).startswith("mean of 3 seeds ± standard deviation:  val loss 0.5")
    assert [*summarize(runs[:1])] == []


def test_runs_that_differ_by_more_have_no_mean(experiment: Path) -> None:
    runs = write_evaluations(experiment, "test")
    path = experiment / "seed-1/run.json"
    path.write_text(path.read_text("utf-8").replace('epochs": 3', 'epochs": 4'), "utf-8")
    said = ["No mean: the runs differ by more than their seeds, in training.epochs."]
    assert [*summarize(runs)] == said
