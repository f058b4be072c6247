"""How the competition scores predictions: its metric, its folds and the truth of its rows."""

import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from machinery import submission_file
from machinery.competition import FOLDER, CompetitionSchema, read_schema
from machinery.errors import InputError
from machinery.frozen_folds import FOLDS, check_schema, read_description, read_folds
from machinery.submission_file import read_cells

METRIC, POSTPROCESS = FOLDER / "metric.py", FOLDER / "postprocess.py"

Frame = pd.DataFrame


class Metric(NamedTuple):
    """What competition/ says of the metric."""

    score: Callable[[Frame, Frame, str], float]
    greater_is_better: bool
    name: str
    postprocess: Callable[[Frame, str], Frame]

    @property
    def direction(self) -> str:
        """What is better, in words."""
        return f"{'greater' if self.greater_is_better else 'less'} is better"


class Rules:
    """What predictions of this competition are scored by, with all that it takes in memory.

    Args:
        metric: of the competition.

    Raises:
        InputError: the schema, the folds or the files of the competition cannot be used.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric, self.schema = metric, read_schema()
        check_schema(self.schema)
        self.folds, self.folds_sha256 = read_folds(), read_description()["sha256"]
        self.sample = read_cells(self.schema.sample_submission)
        self.columns = submission_file.prediction_columns(self.schema)
        self.answers = submission_file.answer_columns(self.schema, self.sample)
        truth = read_truth(self.schema, self.folds)
        found = submission_file.class_values(self.schema, truth)
        self.classes, self.values = [*found], [*found.values()]
        self.encoded = submission_file.encode_truth(self.schema, found, truth)
        self.rows = pd.Index(self.folds["id"])

    def answer(self, ids: Sequence[str], predictions: np.ndarray) -> Frame:
        """Return predictions, (N, prediction columns), as they are scored and sent."""
        frame = submission_file.make_submission(
            self.schema, self.answers, self.values, ids, predictions
        )
        return self.metric.postprocess(frame, self.schema.id)

    def targets(self, ids: Sequence[str]) -> np.ndarray:
        """Return the targets of training rows; see encode_truth."""
        return self.encoded[self.rows.get_indexer(list(ids))]

    def scorer(self, ids: Sequence[str]) -> Callable[[np.ndarray], float]:
        """Return what scores predictions, (N, prediction columns), of training rows."""
        solution = submission_file.make_solution(
            self.schema, self.answers, self.values, ids, self.targets(ids)
        )

        def score(predictions: np.ndarray) -> float:
            # Published metrics delete the column of ids from what they are given.
            answer = self.answer(ids, predictions)
            return float(self.metric.score(solution.copy(), answer, self.schema.id))

        return score

    def score(self, ids: Sequence[str], predictions: np.ndarray) -> float:
        """Return the score of predictions, (N, prediction columns), of training rows."""
        return self.scorer(ids)(predictions)


def read_metric() -> Metric:
    """Return what the modules in competition/ say.

    Raises:
        InputError: metric.py does not say which direction is better.
    """
    metric = importlib.import_module("competition.metric")
    postprocess = importlib.import_module("competition.postprocess")
    if not isinstance(getattr(metric, "greater_is_better", None), bool):
        raise InputError(
            f"{METRIC}: says nothing of greater_is_better. Add a line: greater_is_better = True, "
            "or = False where less is better."
        )
    name = str(getattr(metric, "name", "score"))  # One that was pasted has none.
    return Metric(metric.score, metric.greater_is_better, name, postprocess.postprocess)


def read_truth(schema: CompetitionSchema, folds: Frame) -> Frame:
    """Return the id and the targets of the rows of folds.csv, as text, in its order."""
    table = read_cells(schema.train)[[schema.id, *schema.targets]]
    by_id = table.set_index(schema.id, drop=False)
    if missing := [name for name in folds["id"] if name not in by_id.index]:
        raise InputError(
            f"{FOLDS}: names {len(missing)} rows that {schema.train} lacks, such as {missing[0]!r}."
        )
    return by_id.loc[folds["id"]].reset_index(drop=True)
