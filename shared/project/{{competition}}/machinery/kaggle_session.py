"""What a notebook does on Kaggle to predict the hidden test set and write submission.csv.

Where the machine, the packages, the weights and sample_submission.csv are there (if not, the draft
of the notebook fails, too, and costs no submission), there is a submission whatever happens: where
the time is short, of fewer networks; where not one has finished, of the rows that it got to; and
the rest has the values of sample_submission.csv. The log says which. Predictions are kept as they
are made, and the next version of the notebook takes them from the output of this one.
"""

import importlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import pandas as pd

from machinery import kaggle_parts
from machinery.competition import CompetitionSchema, find_raw, read_schema
from machinery.competition_columns import read_frame
from machinery.kaggle_parts import FailedError, Model, Part
from machinery.submission_file import (
    answer_columns,
    class_values,
    in_order_of_sample,
    make_submission,
    prediction_columns,
)

WORKING = Path(os.environ.get("KAGGLE_WORKING_FOLDER", "/kaggle/working"))
SUBMISSION = "submission.csv"
RESERVE = 0.05  # Share of the time that is kept to write the submission.


class Budget:
    """The time that a notebook may take.

    Args:
        minutes: for all of it.
        started: when it began, by time.monotonic().
    """

    def __init__(self, minutes: float, started: float) -> None:
        self.end = started + 60 * minutes * (1 - RESERVE)
        self.longest = 0.0  # seconds that a part took at most

    def left(self) -> float:
        """Return how many seconds are left."""
        return self.end - time.monotonic()

    def fits(self, parts: int) -> bool:
        """Return whether so many parts more can be predicted in time."""
        return self.left() > 0 and self.longest * parts <= self.left()


class Store:
    """Predictions of each network and part, kept in files that the next version finds.

    Args:
        name: of the folder, which says of which test set and weights they are.
    """

    def __init__(self, name: str) -> None:
        self.folder = WORKING / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.places = [self.folder, *kaggle_parts.find_inputs(name)]

    def read(self, model: Model, part: Part) -> pd.DataFrame | None:
        """Return the predictions of a part; None where they were not made yet."""
        for place in self.places:
            if (path := place / f"{model.folder.name}-{part.number}.csv").is_file():
                return pd.read_csv(path, index_col=0)
        return None

    def write(self, model: Model, part: Part, predictions: pd.DataFrame) -> None:
        """Keep the predictions of a part."""
        path = self.folder / f"{model.folder.name}-{part.number}.csv"
        predictions.to_csv(path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)


def run(settings: dict[str, Any], weights: Path, started: float) -> None:
    """Predict the test set, and write submission.csv; or serve predictions.

    Args:
        settings: as `compete.py notebook` wrote them.
        weights: the dataset of the weights.
        started: when the notebook began, by time.monotonic().
    """
    schema, raw = read_schema(), find_raw()
    budget = Budget(settings["minutes"], started)
    models = kaggle_parts.link_models(
        weights, settings["experiment"], settings["models"], settings["checkpoint"]
    )
    if settings["server"] is not None:
        from machinery.kaggle_server import serve

        return serve(models, schema, raw, budget, settings["server"])
    sample = read_frame(raw / schema.sample_submission, as_text=True)
    try:
        test = kaggle_parts.read_test(raw, schema)
        minutes = f"{budget.left() / 60:.1f} minutes left"
        print(f"{len(test):,} test rows, {len(models)} networks, {minutes}")
        fingerprint = kaggle_parts.fingerprint(raw, schema)
        store = Store(f"predictions-{fingerprint}-{settings['weights'][:12]}")
        predictions = predict_test(test, models, schema, raw, budget, store)
        submission = to_submission(
            test[schema.id], predictions, schema, sample, kaggle_parts.read_classes(models[0])
        )
    except Exception:  # A submission that scores a little is worth more than none.
        print("The values are those of sample_submission.csv, because of:")
        traceback.print_exc(file=sys.stdout)
        submission = sample
    submission.to_csv(WORKING / SUBMISSION, index=False)
    print(f"Wrote {WORKING / SUBMISSION}: {len(submission):,} rows")
    return None


def predict_test(
    test: pd.DataFrame,
    models: list[Model],
    schema: CompetitionSchema,
    raw: Path,
    budget: Budget,
    store: Store,
) -> pd.DataFrame | None:
    """Return the mean of the networks' predictions, a row for each test row; None: there are none.

    A row without a prediction has NaN. Only networks that predicted all parts count, if any did.
    """
    parts = kaggle_parts.split(test)
    done: list[list[pd.DataFrame]] = []
    for number, model in enumerate(models):
        whole = [each for each in done if len(each) == len(parts)]
        if whole and not budget.fits(len(parts)):
            print(f"The time is short: {number} of {len(models)} networks predict the submission.")
            break
        found = predict_parts(parts, model, schema, raw, budget, store)
        print(f"{model.folder.name}: {len(found)} of {len(parts)} parts")
        done.append(found)
    whole = [each for each in done if len(each) == len(parts)]
    frames = [frame for each in whole or done for frame in each]
    if not frames:
        return None
    return pd.concat(frames).groupby(level=0).mean().reindex(range(len(test)))


def predict_parts(
    parts: list[Part],
    model: Model,
    schema: CompetitionSchema,
    raw: Path,
    budget: Budget,
    store: Store,
) -> list[pd.DataFrame]:
    """Return the predictions of a network for the parts that it could predict in time."""
    found = []
    for part in parts:
        predictions = store.read(model, part)
        if predictions is None:
            if not budget.fits(1):
                print(f"{model.folder.name}: no time is left after {len(found)} parts.")
                break
            began = time.monotonic()
            try:
                predictions = predict_part(part, model, schema, raw, budget.left())
            except FailedError as error:
                print(error)
                continue
            seconds = time.monotonic() - began
            if not budget.longest:
                print(f"The first of {len(parts)} parts took {seconds:.1f} s.")
            budget.longest = max(budget.longest, seconds)
            store.write(model, part, predictions)
        found.append(predictions)
    return found


def predict_part(
    part: Part, model: Model, schema: CompetitionSchema, raw: Path, seconds: float
) -> pd.DataFrame:
    """Return the predictions of a network for some rows; see read_predictions.

    Raises:
        FailedError: it failed, or took longer than `seconds`.
    """
    folder = Path(tempfile.mkdtemp(prefix="part-"))
    try:
        source = kaggle_parts.write_part(part, raw, schema, folder)
        if source is None:
            raise FailedError(f"part {part.number}: none of its images is there")
        kaggle_parts.predict(source, model, folder / "out.csv", seconds)
        first = int(part.rows.index[0])
        return kaggle_parts.read_predictions(folder / "out.csv", schema, first)
    finally:
        shutil.rmtree(folder)


def to_submission(
    ids: pd.Series,
    predictions: pd.DataFrame | None,
    schema: CompetitionSchema,
    sample: pd.DataFrame,
    classes: list[str],
) -> pd.DataFrame:
    """Return the submission, in the columns and the order of the sample.

    Args:
        ids: of the test rows.
        predictions: a row for each test row, NaN where there is none; None: there are none at all.
        schema: of the competition.
        sample: sample_submission.csv, as text; its values stand where there is no prediction.
        classes: of the target, as the networks know them.
    """
    if {*sample[schema.id]} != {*ids}:
        print("sample_submission.csv names other rows than the test set, which counts.")
        sample = repeat_first(sample, ids, schema.id)
    if predictions is None:
        if len(ids):
            print("Nothing was predicted: the values are those of sample_submission.csv.")
        return sample
    known = predictions.notna().all(axis=1).to_numpy()
    made = make_submission(
        schema,
        answer_columns(schema, sample),
        [*class_values(schema, pd.DataFrame({schema.targets[0]: classes})).values()],
        ids[known].tolist(),
        predictions.loc[known, prediction_columns(schema)].to_numpy(),
    )
    made = importlib.import_module("competition.postprocess").postprocess(made, schema.id)
    if not known.all():
        print(f"{(~known).sum():,} rows have the values of sample_submission.csv.")
        rest = sample[~sample[schema.id].isin(made[schema.id])]
        made = pd.concat([made, rest])
    return in_order_of_sample(made, sample, schema.id)


def repeat_first(sample: pd.DataFrame, ids: pd.Series, column: str) -> pd.DataFrame:
    """Return the first row of a sample, or zeros where it has none, once for each example.

    Args:
        sample: sample_submission.csv, as text.
        ids: of the examples.
        column: of the sample that names them.
    """
    zeros = pd.DataFrame([dict.fromkeys(sample.columns, "0")])
    first = (sample if len(sample) else zeros).iloc[[0] * len(ids)]
    return first.assign(**{column: ids.to_numpy()}).reset_index(drop=True)
