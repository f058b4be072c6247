"""A fit on all data: what is sent, once the folds have told how long to train."""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from machinery import records
from machinery.errors import InputError
from machinery.fold_runs import find_data
from machinery.several_runs import best_epochs


def fit_on_all(experiment: Path, options: Sequence[str] = ()) -> None:
    """Train experiments/NAME/all on the dataset `all` beside those of the folds.

    The process ends with the exit code of train.py.

    Args:
        experiment: with fold-0, fold-1, ...
        options: of train.py, beside those that name places and parameters.

    Raises:
        InputError: no fold is trained, or one not to its end, or there is no such dataset.
    """
    runs = sorted(experiment.glob("fold-*/params.yaml"))
    if not runs:
        raise InputError(
            f"{experiment}: holds no fold-0, fold-1, ... Train them: python train.py --experiment "
            f"{experiment} --folds all"
        )
    for path in runs:
        if not records.is_finished(path.parent):
            raise InputError(
                f"{path.parent}: is not trained to its end, so its best epoch is not known. Train "
                f"it: python train.py --experiment {experiment} --folds all"
            )
    data = find_data(experiment, None) / "all"
    if not (data / "dataset.json").exists():
        raise InputError(f"{data}: holds no dataset. Prepare it: python compete.py folds")
    epochs = [int(row["epoch"]) for row in best_epochs([path.parent for path in runs])]
    mean = max(1, round(statistics.fmean(epochs)))
    print(f"The folds were best after {', '.join(map(str, epochs))} epochs: training for {mean}.")
    print("The metrics of this run mean nothing: its val split is a part of what it trains on.")
    source = ["--from", runs[0].parent, "--data", data]
    # Of epochs that mean nothing, none ends the run early.
    values = ["--training.epochs", mean, "--training.patience", 0]
    words = ["--experiment", experiment / "all", *source, *values, *options]
    command = [sys.executable, "train.py", *map(str, words)]
    raise SystemExit(subprocess.run(command, check=False).returncode)
