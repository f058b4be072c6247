"""Your metric and your postprocessing on a few rows. Add cases whose score you know.

They read competition/schema.yaml, so they wait until `python compete.py understand` has run.
"""

import importlib

import numpy as np
import pandas as pd
import pytest

from machinery.competition import SCHEMA, CompetitionSchema, read_schema
from machinery.submission_file import make_solution, make_submission, prediction_columns

pytestmark = pytest.mark.skipif(not SCHEMA.exists(), reason="understand has not run yet")
IDS = [f"row-{row}" for row in range(60)]


@pytest.fixture
def schema() -> CompetitionSchema:
    return read_schema()


def some_truth(schema: CompetitionSchema) -> np.ndarray:
    """Return targets of the competition's kind."""
    generator = np.random.default_rng(0)
    if schema.kind == "regression":
        return generator.uniform(1, 100, len(IDS))
    if schema.kind == "multilabel":
        return generator.integers(2, size=(len(IDS), len(schema.targets)))
    return np.arange(len(IDS)) % max(len(schema.classes), 2)


def as_predictions(schema: CompetitionSchema, truth: np.ndarray) -> np.ndarray:
    """Return predictions that say the truth."""
    if schema.kind == "multiclass":
        return np.eye(len(schema.classes))[truth]
    return truth.reshape(len(IDS), -1).astype(float)


def score(schema: CompetitionSchema, truth: np.ndarray, predictions: np.ndarray) -> float:
    """Return what the metric says of predictions, once they are postprocessed."""
    metric = importlib.import_module("competition.metric")
    submission = postprocess(schema, predictions)
    values = schema.classes or [0, 1]
    solution = make_solution(schema, [*submission][1:], values, IDS, truth)
    return float(metric.score(solution, submission, schema.id))


def postprocess(schema: CompetitionSchema, predictions: np.ndarray) -> pd.DataFrame:
    one = schema.kind == "multiclass" and schema.answer == "labels"
    columns = schema.targets if one else prediction_columns(schema)
    submission = make_submission(schema, columns, schema.classes or [0, 1], IDS, predictions)
    return importlib.import_module("competition.postprocess").postprocess(submission, schema.id)


def test_the_truth_scores_better_than_that_of_other_rows(schema: CompetitionSchema) -> None:
    truth = some_truth(schema)
    right = as_predictions(schema, truth)
    greater = importlib.import_module("competition.metric").greater_is_better
    good, bad = score(schema, truth, right), score(schema, truth, np.roll(right, 1, axis=0))
    assert good > bad if greater else good < bad


def test_postprocessing_keeps_the_rows(schema: CompetitionSchema) -> None:
    sent = postprocess(schema, as_predictions(schema, some_truth(schema)))
    assert sent[schema.id].tolist() == IDS
    assert sent.notna().all(axis=None)
