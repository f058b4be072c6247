"""train.py --folds: an experiment trained once for each fold, such as for cross-validation.

data/fold-0, data/fold-1, ...   a dataset for each fold, whose test split is the fold
experiments/NAME/fold-0, ...    a run on each
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from machinery import records
from machinery.errors import InputError
from machinery.part_runs import Part


def plan_folds(arguments: argparse.Namespace) -> list[Part]:
    """Return the runs on the folds that --folds names.

    Args:
        arguments: of train.py.

    Raises:
        InputError: there is no dataset for a fold.
    """
    experiment: Path = arguments.experiment
    source = arguments.source
    if source is None and (experiment / "params.yaml").exists():
        source = experiment
    data = arguments.data or find_data(experiment, source)
    parts = []
    for name in choose_folds(data, arguments.folds):
        # That of an experiment that was trained on the same folds lies in them.
        in_fold = source is not None and (source / name / "params.yaml").exists()
        parts.append(Part(experiment / name, data / name, source / name if in_fold else source))
    return parts


def find_data(experiment: Path, source: Path | None) -> Path:
    """Return the folder of the folds' datasets: as of the experiment, of --from, or usual."""
    before = sorted(experiment.glob("fold-*"))
    before += [source, *sorted(source.glob("fold-*"))] if source else []
    found = records.data_of(*before)
    return found.parent if found.name.startswith("fold-") else found


def choose_folds(data: Path, wanted: Sequence[str]) -> list[str]:
    """Return the names of the folds that --folds names.

    Args:
        data: the folder of their datasets.
        wanted: "all" or numbers.

    Raises:
        InputError: one is no fold, or has no dataset.
    """
    found = [path.parent.name.removeprefix("fold-") for path in data.glob("fold-*/dataset.json")]
    there = {int(number) for number in found if number.isdecimal()}
    advice = (
        "Prepare a dataset for each, with the fold as its test split (build_dataset.py --split; in "
        "a competition: python compete.py folds)."
    )
    if [*wanted] == ["all"]:
        if not there:
            raise InputError(f"{data}: holds no datasets fold-0, fold-1, ... {advice}")
        numbers = [*range(max(there) + 1)]
    else:
        if wrong := [word for word in wanted if not word.isdecimal()]:
            raise InputError(f"--folds: got {wrong[0]!r}, expected all, or numbers such as 0 2.")
        numbers = sorted({int(word) for word in wanted})
    if missing := [f"fold-{number}" for number in numbers if number not in there]:
        raise InputError(f"{data}: holds no dataset {', '.join(missing)}. {advice}")
    return [f"fold-{number}" for number in numbers]
