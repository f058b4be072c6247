"""What several tests of searches and runs need."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from build_dataset import Dataset
from machinery import search_settings
from machinery.metrics import Objective
from machinery.parameter_file import format_parameters
from machinery.run import Run
from machinery.search_settings import Search
from machinery.search_study import Study
from machinery.search_workers import Worker
from machinery.stopping import StopRequest
from parameters import Parameters
from train import train

EPOCHS = 8
SPACE = """
  model.width: {choices: [4, 8]}
  data.batch_size: {low: 16, high: 32, step: 8}
  training.learning_rate: {low: 0.001, high: 0.1, log: true}
"""


def files_of(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class NoStop(StopRequest):
    """Catches no signals: a test sets its error."""

    def __init__(self) -> None:
        self.error = None
        self.deadline = math.inf


def write_base(folder: Path, **training: float) -> None:
    parameters = Parameters.model_validate({"training": {"epochs": EPOCHS, **training}})
    (folder.parent / "base" / "params.yaml").write_text(format_parameters(parameters))


def write_settings(
    folder: Path, space: str = SPACE, objective: str = "maximize: val_accuracy", trials: int = 4
) -> None:
    text = f"from: {folder.parent / 'base'}\ntrials: {trials}\n{objective}\nspace:{space}"
    (folder / "search.yaml").write_text(text)


def words(folder: Path, data: Path, *more: str) -> tuple[object, ...]:
    """Return the command line of a search."""
    return "search_hyperparams.py", "--search", folder, "--data", data, *more


def new_study(folder: Path, dataset: Dataset, data: Path = Path("some data")) -> Study:
    """Return the study of a search, opened by this process."""
    settings, base = search_settings.load_settings(folder / "search.yaml", Parameters)
    objectives = settings.choose_objectives(Objective("val_accuracy", maximize=True))
    return Study(Search(folder, data, "cpu", settings, base, dataset, objectives))


def new_worker(study: Study, train: Callable[[Run], object] = train) -> Worker:
    return Worker(study, train, NoStop())


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.optuna.trials]


def last_session(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["sessions"][-1]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 600  # Of a busy machine.
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)
