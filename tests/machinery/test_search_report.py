"""What a search reports: its pictures, its table of trials and what to do next."""

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from optuna.trial import TrialState

from build_dataset import Dataset
from helpers import new_study, words, write_settings
from machinery import search, search_pictures
from machinery.search_pictures import check_files, write_trials


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_matters_is_what_the_best_trials_have(
    folder: Path, dataset: Dataset, direction: str
) -> None:
    """The best are those of a high scale, and the worst those of a high momentum."""
    space = "\n  model.scale: {low: 0.1, high: 1}\n  training.momentum: {low: 0, high: 0.5}\n"
    write_settings(folder, space, f"{direction}: val_loss\nsampler: random", trials=60)
    study, sign = new_study(folder, dataset), 1 if direction == "maximize" else -1
    for _ in range(60):
        trial = study.optuna.ask()
        values = study.choose_parameters(trial)
        good, bad = values.model.scale > 0.8, values.training.momentum > 0.4
        study.optuna.tell(trial, sign * (good - bad))
    figure = Figure()
    search_pictures._plot_importances(figure, study)
    assert figure.axes[0].get_yticklabels()[-1].get_text() == "model.scale"


@pytest.mark.parametrize("host", ["elsewhere", platform.node()])
def test_a_trial_of_another_machine_is_said_to_lie_there(
    folder: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    study = new_study(folder, dataset)
    trial = study.optuna.ask()
    trial.set_user_attr("host", host)
    study.optuna.tell(trial, 0.5)
    search.report(study)
    output, away = capsys.readouterr().out, host == "elsewhere"
    assert (f"{folder}/trial_0000 (on elsewhere)  val_accuracy 0.5000" in output) == away
    assert ("evaluate.py" in output) != away


@pytest.mark.parametrize("name", ["trials.csv", "history.png"])
def test_a_table_of_the_person_is_not_replaced(
    name: str, folder: Path, data: Path, run: Callable[..., str]
) -> None:
    table = folder / name
    table.write_text("mine")
    message = run(*words(folder, data, "--workers", "1"), expected=2)
    assert f"{table}: is not of a search, which would replace it" in message
    assert sorted(path.name for path in folder.iterdir()) == sorted([name, "search.yaml"])
    assert table.read_text() == "mine"


def test_a_pruned_trial_is_compared_by_its_best_epoch(folder: Path, dataset: Dataset) -> None:
    study = new_study(folder, dataset)
    check_files(folder)
    trial = study.optuna.ask()
    trial.report(0.25, 1)
    trial.set_user_attr("best", {"val_accuracy": 0.75})
    study.optuna.tell(trial, state=TrialState.PRUNED)
    write_trials(study)
    check_files(folder)
    assert (folder / "trials.csv").read_text().splitlines()[1] == "trial_0000,pruned,0.75,,,"
