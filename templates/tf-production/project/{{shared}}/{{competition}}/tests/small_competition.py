"""A competition of a few rows in the current folder, for tests of what scores and blends."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from machinery.competition import CompetitionSchema
from machinery.competition_rules import Metric, Rules
from machinery.frozen_folds import learned_schema
from machinery.prediction_files import Predicted, write_predicted

ROWS, TEST_ROWS, FOLDS = 120, 40, 3


def write_competition(
    kind: str, answer: str, truth: Mapping[str, np.ndarray], columns: Mapping[str, object]
) -> None:
    """Write the raw files, schema.yaml and folds.csv.

    Args:
        kind: as in schema.yaml.
        answer: as in schema.yaml.
        truth: the targets, (ROWS,), by column; a word of two or more stands for a class.
        columns: of sample_submission, and what it says of each row.
    """
    raw, competition = Path("data/raw"), Path("competition")
    raw.mkdir(parents=True)
    competition.mkdir()
    for name in ("metric.py", "postprocess.py"):
        (competition / name).write_text("# Its content is hashed.\n", encoding="utf-8")
    ids = [f"{row:03}" for row in range(ROWS + TEST_ROWS)]
    frame = pd.DataFrame({"id": ids, "size": np.arange(len(ids))})
    frame[:ROWS].assign(**truth).to_csv(raw / "train.csv", index=False)
    frame[ROWS:].to_csv(raw / "test.csv", index=False)
    sample = frame[ROWS:][["id"]].assign(**columns)[::-1]  # In an order of its own.
    sample.to_csv(raw / "sample_submission.csv", index=False)
    classes = sorted({*truth["plan"]}) if "plan" in truth else []
    schema = {
        **{"task": "tabular", "kind": kind, "answer": answer, "classes": classes, "id": "id"},
        **{"train": "train.csv", "test": "test.csv", "targets": [*truth]},
        "sample_submission": "sample_submission.csv",
    }
    (competition / "competition.yaml").write_text("slug: small\n", encoding="utf-8")
    (competition / "schema.yaml").write_text(json.dumps(schema), encoding="utf-8")  # JSON is YAML.
    folds = pd.DataFrame({"id": ids[:ROWS], "fold": np.arange(ROWS) % FOLDS})
    folds.to_csv(competition / "folds.csv", index=False)
    described = {
        "sha256": hashlib.sha256((competition / "folds.csv").read_bytes()).hexdigest(),
        "schema": learned_schema(CompetitionSchema.model_validate(schema)),
    }
    (competition / "folds.json").write_text(json.dumps(described), encoding="utf-8")


def rules(score: Callable[[np.ndarray, np.ndarray], float], greater_is_better: bool) -> Rules:
    """Return the rules with a metric of truth and predictions, each (N, columns)."""

    def of_frames(solution: pd.DataFrame, submission: pd.DataFrame, ids: str) -> float:
        assert [*solution[ids]] == [*submission[ids]]
        truth, predicted = (frame.drop(columns=ids).to_numpy() for frame in (solution, submission))
        return score(truth, predicted)

    return Rules(Metric(of_frames, greater_is_better, "score", lambda submission, _: submission))


def write_member(name: str, of_rules: Rules, out_of_fold: np.ndarray, test: np.ndarray) -> Path:
    """Write predictions, (ROWS, columns) and (TEST_ROWS, columns), as an experiment; return it."""
    columns, folder = of_rules.columns, Path("experiments", name)
    known = pd.concat([of_rules.folds, pd.DataFrame(out_of_fold, columns=columns)], axis=1)
    ids = of_rules.sample[["id"]]
    predicted = Predicted(known, pd.concat([ids, pd.DataFrame(test, columns=columns)], axis=1))
    write_predicted(folder, predicted, of_rules)
    return folder
