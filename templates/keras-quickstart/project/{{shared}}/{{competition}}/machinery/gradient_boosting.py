"""Models of scikit-learn on the folds of the competition: what a network should be better than.

For a table gradient boosted trees, with the defaults of scikit-learn; for texts logistic regression
on the frequencies of words. They learn from the raw files, in seconds, and write what any other
experiment writes, so that they are blended and sent like one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from machinery.competition_columns import is_missing
from machinery.competition_rules import Frame, Rules
from machinery.errors import InputError
from machinery.fold_predictions import inputs_of_test, named_rows, read_inputs
from machinery.learned_models import learn
from machinery.prediction_files import Predicted, refuse_existing, write_predicted

LARGEST_CATEGORIES = 255  # Levels of a category that the trees can tell apart.


def train_trees(folder: Path, rules: Rules, overwrite: bool = False) -> None:
    """Train on each fold, predict, score and write.

    Args:
        folder: of the experiment.
        rules: of the competition.
        overwrite: replace earlier predictions.

    Raises:
        InputError: the competition is of images.
    """
    schema, folds = rules.schema, rules.folds
    if schema.task == "image-classification":
        raise InputError("trees learn from tables and texts, and this competition is of images.")
    refuse_existing(folder, overwrite)
    ids = list(folds["id"])
    train, test = read_inputs(schema, schema.train, "").loc[ids], inputs_of_test(rules)
    if schema.task == "tabular":
        train, test = encode_columns(train, test, {*schema.drop, *schema.targets, schema.id})
        make = boosting(schema.kind)
    else:
        train, test = train[schema.text], test[schema.text]
        make = word_frequencies
    parts, of_test = [], []
    for fold, learned, tested in split_folds(folds["fold"].to_numpy(), schema.scheme):
        truth = rules.targets([ids[row] for row in learned])
        predict = learn(make, train.iloc[learned], truth, schema.kind, len(rules.columns))
        rows = train.iloc[tested]
        frame = named_rows(rows.index, rules.columns, predict(rows))
        frame.insert(1, "fold", fold)
        parts.append(frame)
        of_test.append(predict(test))
    by_mean = named_rows(test.index, rules.columns, np.mean(of_test, axis=0))
    write_predicted(folder, Predicted(pd.concat(parts), by_mean), rules)


def split_folds(fold: np.ndarray, scheme: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield each fold with the rows to learn from and those in it; of times, earlier ones alone.

    Args:
        fold: of each row, (N,); -1 where it is never tested.
        scheme: by which they were put into folds.
    """
    for number in range(fold.max() + 1):
        others = fold < number if scheme == "time" else fold != number
        yield number, np.flatnonzero(others), np.flatnonzero(fold == number)


def encode_columns(train: Frame, test: Frame, leave_out: set[str]) -> tuple[Frame, Frame]:
    """Return the columns that both tables have, as numbers and categories.

    A column is of numbers where all its cells are. Of a category with too many levels, those that
    are frequent in train are kept.
    """
    names = [name for name in train if name in test and name not in leave_out]
    both = pd.concat([train[names], test[names]])
    columns = {}
    for name in names:
        cells = both[name].mask(is_missing(both[name]) | (both[name].str.lower() == "none"))
        numbers = pd.to_numeric(cells, errors="coerce")
        if numbers.isna().equals(cells.isna()):
            columns[name] = numbers
        else:
            kept = cells[: len(train)].value_counts().index[:LARGEST_CATEGORIES]
            columns[name] = pd.Categorical(cells, kept)
    encoded = pd.DataFrame(columns, index=both.index)
    return encoded[: len(train)], encoded[len(train) :]


def boosting(kind: str) -> Callable[[], Any]:
    """Return what makes the trees for targets of a kind."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    is_number = kind == "regression"
    trees = HistGradientBoostingRegressor if is_number else HistGradientBoostingClassifier

    return lambda: trees(categorical_features="from_dtype", random_state=0)


def word_frequencies() -> Any:
    """Return a new classifier of texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
