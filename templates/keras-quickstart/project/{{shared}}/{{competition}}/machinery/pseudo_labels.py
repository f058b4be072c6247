"""Pseudo-labels: test rows of which a model is certain, as more rows to train the next one on.

Source: D.-H. Lee, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep
Neural Networks, workshop of ICML 2013.

For a fold, its own model is the teacher: one that had seen the rows of the fold would hand on what
it knows of them, and the next model's score on them would be too good.

    data/pseudo/NAME/fold-0, ...   the dataset of each fold, and certain test rows in train
"""

from pathlib import Path

import numpy as np
import pandas as pd

from machinery.competition import find_raw
from machinery.competition_rules import Frame, Rules
from machinery.errors import InputError
from machinery.fold_assignment import choose_splits
from machinery.fold_datasets import TABLES, build
from machinery.fold_predictions import check_run, inputs_of_test, mean_of_known, predict_rows
from machinery.frozen_folds import read_description
from machinery.submission_file import read_cells

PREFIX = "pseudo-"  # of the ids of such rows: train may use the same numbers as test.


def label_test_rows(
    experiment: Path,
    rules: Rules,
    least: float,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Make a dataset for each fold, with the test rows of which its model is certain.

    Args:
        experiment: with fold-0, fold-1, ..., the teachers.
        rules: of the competition.
        least: the probability from which a class, or each label or its absence, is certain.
        device: to compute on.
        overwrite: replace datasets.

    Raises:
        InputError: a teacher has seen its fold; none is certain; or the targets are numbers.
    """
    schema, folds = rules.schema, rules.folds
    if schema.kind == "regression" or schema.task == "image-classification":
        raise InputError("pseudo-labels are for the classes and labels of tables and of texts.")
    if not 0.5 <= least < 1:
        raise InputError(f"--least: got {least}, expected a probability from 0.5 to below 1.")
    fold = folds["fold"].to_numpy()
    runs = [experiment / f"fold-{number}" for number in range(fold.max() + 1)]
    for number, run in enumerate(runs):
        check_run(run, folds["id"][fold == number])
    test, described = inputs_of_test(rules), read_description()
    train = read_cells(schema.train).set_index(schema.id, drop=False).loc[list(folds["id"])]
    train = train.reset_index(drop=True)
    said = [predict_rows(run, rules, test, device) for run in runs]
    said.append(mean_of_known(said))  # For a fit on all data, which is tested on nothing.
    names = [*(run.name for run in runs), "all"]
    found = {
        name: choose_certain(each, rules, least) for name, each in zip(names, said, strict=True)
    }
    if uncertain := [name for name, certain in found.items() if not certain]:
        raise InputError(
            f"{experiment}: {uncertain[0]} is certain of no test row. Name a smaller --least."
        )
    for number, (name, certain) in enumerate(found.items()):
        print(f"{experiment}: {name} is certain of {len(certain):,} of {len(test):,} test rows.")
        rows = label_rows(test, certain, rules).reindex(columns=train.columns, fill_value="")
        # As `compete.py folds` does, `all` takes its val from the last fold.
        splits = choose_splits(train, schema, fold, min(number, len(runs) - 1), described["seed"])
        splits = np.concatenate([splits, np.full(len(rows), "train", splits.dtype)])
        name = f"pseudo/{experiment.name}/{name}"
        (TABLES / name).parent.mkdir(parents=True, exist_ok=True)
        options = described["options"]
        build(find_raw(), pd.concat([train, rows]), splits, name, schema, overwrite, options)
    data = Path("data", "pseudo", experiment.name)
    print(
        f"Next: python train.py --experiment experiments/NEW --from {experiment} --data {data} "
        "--folds all"
    )


def choose_certain(
    predictions: np.ndarray, rules: Rules, least: float
) -> dict[int, tuple[str, ...]]:
    """Return the cells of the targets of each row that is certain, by its number.

    Args:
        predictions: (N, prediction columns)
        rules: of the competition.
        least: the probability from which it is.
    """
    schema = rules.schema
    if schema.kind == "multiclass":
        found, certainty = predictions.argmax(axis=1)[:, None], predictions.max(axis=1)
    else:
        found = (predictions > 0.5).astype(np.int64)
        certainty = np.maximum(predictions, 1 - predictions).min(axis=1)
    names = ["0", "1"] if schema.kind == "multilabel" else rules.classes
    certain = np.flatnonzero(certainty >= least).tolist()
    return {row: tuple(names[place] for place in found[row]) for row in certain}


def label_rows(test: Frame, certain: dict[int, tuple[str, ...]], rules: Rules) -> Frame:
    """Return the test rows that are certain, with their targets and names of their own."""
    rows = test.iloc[[*certain]].copy()
    rows[rules.schema.id] = PREFIX + rows[rules.schema.id]
    rows[rules.schema.targets] = [*certain.values()]
    return rows
