"""What an experiment predicts of every row, in files that any other project can blend.

experiments/NAME/out_of_fold.csv       id, fold, predictions of each row by a model that has
                                       not seen its fold
experiments/NAME/test_predictions.csv  id, predictions of each row of test
experiments/NAME/score.json            what the competition's metric says of out_of_fold.csv
submissions/NAME.csv                   the test predictions as the competition wants them
"""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from machinery import submission_file
from machinery.competition_rules import METRIC, POSTPROCESS, Frame, Rules
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.frozen_folds import FOLDS, digest_of
from machinery.submission_file import write_frame
from machinery.terminal import quote

OUT_OF_FOLD, TEST, SCORE = "out_of_fold.csv", "test_predictions.csv", "score.json"


class Predicted(NamedTuple):
    """What an experiment predicts, each id once."""

    out_of_fold: Frame  # id, fold, the prediction columns; NaN in a row that none could predict
    test: Frame  # id, the prediction columns; NaN likewise


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Raise InputError where predictions or a submission of this name are there already."""
    for path in (folder / SCORE, submission_path(folder)):
        if path.exists() and not overwrite:
            raise InputError(f"{path}: is there already. To replace it, add --overwrite.")


def submission_path(folder: Path) -> Path:
    """Return the submission of an experiment."""
    return submission_file.FOLDER / f"{folder.name}.csv"


def write_predicted(folder: Path, predicted: Predicted, rules: Rules, **facts: Any) -> None:
    """Score predictions, write them and the submission, and say so.

    Rows without a prediction do not count in the score, and in the submission they have the values
    of sample_submission.csv.

    Args:
        folder: of the experiment.
        predicted: of all rows.
        rules: of the competition.
        facts: to keep in score.json, too.
    """
    out_of_fold, test = predicted
    submission = make_submission(test, rules)
    known = out_of_fold[out_of_fold[rules.columns].notna().all(axis=1)]
    if missing := len(out_of_fold) - len(known):
        print(f"Training rows without a prediction, which do not count: {missing:,}")
    whole = rules.score([*known["id"]], known[rules.columns].to_numpy())
    parts = [
        rules.score([*part["id"]], part[rules.columns].to_numpy())
        for _, part in known.groupby("fold")
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_frame(folder / OUT_OF_FOLD, out_of_fold)
    write_frame(folder / TEST, test)
    write_frame(submission_path(folder), submission)
    scored = {
        "score": _finite(whole),
        "fold_scores": [_finite(part) for part in parts],
        "greater_is_better": rules.metric.greater_is_better,
        "columns": rules.columns,
        "folds_sha256": rules.folds_sha256,
        "metric": rules.metric.name,
        "metric_sha256": _digest(METRIC, POSTPROCESS),
        "sha256": {name: _digest(folder / name) for name in (OUT_OF_FOLD, TEST)},
        **facts,
    }
    write_atomically(folder / SCORE, json.dumps(scored, indent=2).encode())
    spread = f" ± {statistics.stdev(parts):.5f}" if len(parts) > 1 else ""
    print(
        f"{folder}: {rules.metric.name} {whole:.5f} ({rules.metric.direction}); of the folds "
        f"{', '.join(f'{part:.5f}' for part in parts)}, mean {statistics.fmean(parts):.5f}{spread}"
    )
    print(f"Wrote {OUT_OF_FOLD}, {TEST} and {SCORE} there, and {submission_path(folder)}.")
    print(f"Next: python compete.py submit {quote(submission_path(folder))}")


def make_submission(test: Frame, rules: Rules) -> Frame:
    """Return the submission; rows without a prediction have the values of the sample.

    Args:
        test: id, the prediction columns.
        rules: of the competition.
    """
    ids, sample = rules.schema.id, rules.sample
    known = test[test[rules.columns].notna().all(axis=1)]
    answer = rules.answer([*known["id"]], known[rules.columns].to_numpy())
    if missing := len(test) - len(known):
        print(f"Test rows without a prediction, which have the sample's values: {missing:,}")
        rest = sample[sample[ids].isin({*test["id"]} - {*known["id"]})]
        answer = pd.concat([answer.astype(object), rest])
    return submission_file.in_order_of_sample(answer, sample, ids)


def read_predicted(folder: Path, rules: Rules) -> Predicted:
    """Read what an experiment of this or another project predicts, and check that it fits.

    Raises:
        InputError: it was made with other folds, or is not of the same rows and columns, or is
            not what was scored.
    """
    try:
        scored = json.loads((folder / SCORE).read_text(encoding="utf-8"))
        digests = {name: str(scored["sha256"][name]) for name in (OUT_OF_FOLD, TEST)}
        folds_sha256 = scored["folds_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder / SCORE}: not found, or damaged. Predict first: python compete.py predict "
            f"--experiment {folder}"
        ) from None
    if folds_sha256 != rules.folds_sha256:
        raise InputError(
            f"{folder}: was predicted with other folds (SHA-256 {folds_sha256[:12]}) than those of "
            f"{FOLDS} ({rules.folds_sha256[:12]}). Use the same folds.csv in every project."
        )
    rows = rules.folds.loc[rules.folds["fold"] >= 0, "id"]
    frames = []
    for name, ids in ((OUT_OF_FOLD, rows), (TEST, rules.sample[rules.schema.id])):
        path = folder / name
        if not path.exists() or _digest(path) != digests[name]:
            raise InputError(
                f"{path}: is not what {SCORE} was written with. Predict again: python compete.py "
                f"predict --experiment {folder} --overwrite"
            )
        frame = pd.read_csv(
            path,
            dtype={"id": str},
            keep_default_na=False,
            na_values={name: [""] for name in rules.columns},  # "" is an id like another.
        )
        frames.append(_in_order(path, frame, ids, rules.columns))
    return Predicted(*frames)


def _in_order(path: Path, frame: Frame, ids: pd.Series, columns: Sequence[str]) -> Frame:
    """Return the rows of predictions in the order of ids; raise InputError where they differ."""
    if missing := {*columns} - {*frame.columns}:
        raise InputError(f"{path}: has no column {min(missing)!r}.")
    if frame["id"].duplicated().any() or {*frame["id"]} != {*ids}:
        odd = {*frame["id"]} ^ {*ids}
        said = f"{len(odd)} differ, such as {min(odd)!r}" if odd else "one is there twice"
        raise InputError(f"{path}: expected the {len(ids):,} ids of this competition: {said}.")
    if np.isinf(frame[list(columns)].to_numpy(np.float64)).any():
        raise InputError(f"{path}: holds predictions that are no finite numbers.")
    return frame.set_index("id", drop=False).loc[list(ids)].reset_index(drop=True)


def _digest(*paths: Path) -> str:
    return digest_of(b"".join(path.read_bytes() for path in paths))


def _finite(value: float) -> float | None:
    """Return a number as JSON can hold it."""
    return value if math.isfinite(value) else None
