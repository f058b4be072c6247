"""Blends: one prediction from those of several experiments, of whatever framework.

Only the files that prediction_files tells of are read and written, so a blend can be blended. The
weights for the rows of a fold are chosen on the other folds: the score of those predictions, the
nested score, is what may be expected of new rows. The naive score, of weights chosen on the very
rows that they are scored on, is too good the more there is to choose. Of times, the weights for a
fold are chosen on earlier folds, and all are equal for the first one.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from machinery.competition_rules import Rules
from machinery.errors import InputError
from machinery.learned_models import learn
from machinery.prediction_files import (
    Predicted,
    read_predicted,
    refuse_existing,
    write_predicted,
)

Method = Literal["mean", "rank", "hill-climbing", "stacking"]
SMALLEST_SHARE = 1 / 256  # of a member that hill climbing mixes in

Score = Callable[[np.ndarray], float]  # of predictions (N, columns); more is better
Blend = Callable[[np.ndarray], np.ndarray]  # (members, N, columns) to (N, columns)


class Fitted(NamedTuple):
    """A blend whose weights are chosen."""

    blend: Blend
    weights: Sequence[float] = ()  # of the members, where each has one


def blend(folders: Sequence[Path], method: Method, folder: Path, rules: Rules, over: bool) -> None:
    """Blend what experiments predict, and write it as an experiment of its own.

    Args:
        folders: of the experiments, of this or another project.
        method: how.
        folder: of the blend.
        rules: of the competition.
        over: replace an earlier blend.

    Raises:
        InputError: the experiments do not fit each other, or not the method.
    """
    if len({path.resolve() for path in folders}) < 2:
        raise InputError(f"got {len(folders)} experiment, expected two or more different ones.")
    if folder.resolve() in {path.resolve() for path in folders}:
        raise InputError(f"--name: {folder} is one of the experiments. Name another.")
    kind, answer = rules.schema.kind, rules.schema.answer
    if method == "rank" and (kind not in ("binary", "multilabel") or answer != "probabilities"):
        # Half of all ranks are above 0.5, whatever share has the label.
        raise InputError(
            f"--method: got rank, which is for probabilities of labels; {kind} is blended by mean, "
            f"hill-climbing or stacking where the answer is {answer}."
        )
    refuse_existing(folder, over)
    members = {path: read_predicted(path, rules) for path in folders}
    first = next(iter(members.values()))
    # A row that one member could not predict is without a prediction of the blend.
    known, test = (np.stack(each) for each in zip(*_arrays(members, rules.columns), strict=True))
    here, there = (np.isfinite(each).all(axis=(0, 2)) for each in (known, test))
    known, rows = known[:, here], first.out_of_fold[here]
    nested, everywhere = blend_folds(known, rows, method, rules)
    naive = rules.score([*rows["id"]], everywhere.blend(known))
    out_of_fold, of_test = first.out_of_fold.copy(), first.test.copy()
    out_of_fold[rules.columns] = of_test[rules.columns] = np.nan
    out_of_fold.loc[here, rules.columns] = nested
    of_test.loc[there, rules.columns] = everywhere.blend(test[:, there])
    for place, path in enumerate(folders):
        alone = rules.score([*rows["id"]], known[place])
        weight = f"  weight {everywhere.weights[place]:.3f}" if len(everywhere.weights) else ""
        print(f"  {path}: {alone:.5f}{weight}")
    write_predicted(
        folder,
        Predicted(out_of_fold, of_test),
        rules,
        method=method,
        members=[path.as_posix() for path in folders],
        weights=[*map(float, everywhere.weights)],
        naive_score=naive,
    )
    if method in ("hill-climbing", "stacking"):
        others = "earlier" if rules.schema.scheme == "time" else "other"
        print(
            f"That is nested, by weights chosen on {others} folds; by weights chosen on the very "
            f"rows they are scored on: {naive:.5f}."
        )


def _arrays(members: Mapping[Path, Predicted], columns: list[str]) -> list[Sequence[np.ndarray]]:
    """Return of each member the predictions of the rows in folds, and those of test."""
    return [[frame[columns].to_numpy(np.float64) for frame in each] for each in members.values()]


def blend_folds(
    known: np.ndarray, rows: pd.DataFrame, method: Method, rules: Rules
) -> tuple[np.ndarray, Fitted]:
    """Return the blend of each row by weights chosen on other folds, and that chosen on all rows.

    Of times, other folds are the earlier ones.

    Args:
        known: (members, N, columns), out of fold.
        rows: with id and fold, (N).
        method: how.
        rules: of the competition.

    Returns:
        (N, columns); the blend for other rows
    """
    if method == "rank":
        every = Fitted(lambda parts: np.mean([_ranks(part) for part in parts], axis=0))
        return every.blend(known), every

    def fit(chosen: np.ndarray) -> Fitted:
        ids = [*rows["id"][chosen]]
        if method == "mean" or not ids:
            return weighted(np.full(len(known), 1 / len(known)))
        if method == "stacking":
            return stack(known[:, chosen], rules.targets(ids), rules.schema.kind)
        sign, score = 1 if rules.metric.greater_is_better else -1, rules.scorer(ids)
        return climb(known[:, chosen], lambda values: sign * score(values))

    fold, nested = rows["fold"].to_numpy(), np.empty(known.shape[1:])
    for number in np.unique(fold):
        here = fold == number
        others = fold < number if rules.schema.scheme == "time" else ~here
        nested[here] = fit(others).blend(known[:, here])
    return nested, fit(np.ones(len(fold), bool))


def _ranks(predictions: np.ndarray) -> np.ndarray:
    """Return the place of each row in the order of each column, from above 0 to 1."""
    from scipy.stats import rankdata

    return rankdata(predictions, axis=0) / len(predictions)


def weighted(weights: np.ndarray) -> Fitted:
    """Return the mean of the members by weights, (members,), whose sum is 1."""
    return Fitted(lambda parts: np.tensordot(weights, parts, axes=1), weights.tolist())


def climb(known: np.ndarray, score: Score) -> Fitted:
    """Start from the best member; again and again, mix in a share of the one that helps most.

    When none helps, the share is halved. A greedy choice of members that may come again is due to
    R. Caruana and others, Ensemble Selection from Libraries of Models, 2004,
    https://doi.org/10.1145/1015330.1015432; there the shares are 1/2, 1/3, 1/4, ...

    Args:
        known: (members, N, columns)
        score: of a blend.
    """
    scores, share = [score(member) for member in known], 0.5
    best, chosen = max(scores), int(np.argmax(scores))
    weights, blended = np.eye(len(known))[chosen], known[chosen]
    while share > SMALLEST_SHARE:
        scores = [score((1 - share) * blended + share * member) for member in known]
        if max(scores) > best:
            best, chosen = max(scores), int(np.argmax(scores))
            weights = (1 - share) * weights + share * np.eye(len(known))[chosen]
            blended = (1 - share) * blended + share * known[chosen]
        else:
            share /= 2
    return weighted(weights)


def stack(known: np.ndarray, truth: np.ndarray, kind: str) -> Fitted:
    """Learn the target from what the members say: by ridge or by logistic regression.

    Args:
        known: (members, N, columns)
        truth: (N,) numbers or class numbers, or (N, columns) of 0 and 1.
        kind: as in schema.yaml.
    """
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    is_number = kind == "regression"

    def make() -> Any:
        last = RidgeCV(np.logspace(-3, 3, 13)) if is_number else LogisticRegression(max_iter=1000)
        return make_pipeline(StandardScaler(), last)

    def features(parts: np.ndarray) -> np.ndarray:
        """Return what the members say of each row side by side, probabilities as log odds."""
        if not is_number:
            odds = np.clip(parts, 1e-6, 1 - 1e-6)
            parts = np.log(odds) - np.log1p(-odds)
        return np.concatenate([*parts], axis=1)

    model = learn(make, features(known), truth, kind, known.shape[2])
    return Fitted(lambda parts: model(features(parts)))
