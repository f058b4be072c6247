"""Predictions for a competition whose test rows come in batches, from Kaggle's inference server.

Such a competition has a package `kaggle_evaluation` among its files, with a module for its server:
https://www.kaggle.com/competitions, "evaluation API". While it scores, Kaggle runs a gateway that
calls `predict` with each batch; in a draft of the notebook, a local gateway does so, with the test
rows that everyone has.
"""

import contextlib
import importlib
import inspect
import io
import os
import runpy
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from machinery import kaggle_parts
from machinery.competition import CompetitionSchema
from machinery.competition_columns import read_frame
from machinery.errors import InputError
from machinery.kaggle_parts import Model, Part
from machinery.kaggle_session import WORKING, Budget, repeat_first, to_submission

PROJECT = Path(__file__).parent.parent


def serve(
    models: list[Model], schema: CompetitionSchema, raw: Path, budget: Budget, files: list[str]
) -> None:
    """Answer the gateway until it has all predictions.

    Args:
        models: that predict.
        schema: of the competition.
        raw: the folder of its files.
        budget: of the time.
        files: what the local gateway reads, by their paths in `raw`; none: it wants the folder.
    """
    sample = read_frame(raw / schema.sample_submission, as_text=True)
    predictor = Predictor(models, schema, raw, budget, sample)
    server = find_server(raw)(predictor.predict)
    with contextlib.chdir(WORKING):  # The gateway writes the submission where it runs.
        if os.environ.get("KAGGLE_IS_COMPETITION_RERUN"):
            server.serve()
        else:
            server.run_local_gateway(tuple(str(raw / name) for name in files or [""]))
    print(f"Answered {predictor.batches:,} batches.")


def find_server(raw: Path) -> Any:
    """Return the class of the competition's inference server.

    Raises:
        InputError: the competition has none.
    """
    sys.path.insert(0, str(raw))
    for path in sorted((raw / "kaggle_evaluation").rglob("*_inference_server.py")):
        name = ".".join(path.relative_to(raw).with_suffix("").parts)
        module = importlib.import_module(name)
        for _, found in inspect.getmembers(module, inspect.isclass):
            if found.__module__ == name and found.__name__.endswith("InferenceServer"):
                return found
    raise InputError(
        f"{raw}: no kaggle_evaluation/*_inference_server.py. This competition wants a file: make "
        "the notebook without --server."
    )


class Predictor:
    """Predicts batches of test rows in this process, so that the framework is imported once.

    Args:
        models: that predict.
        schema: of the competition.
        raw: the folder of its files.
        budget: of the time. When four fifths are used, one network predicts; when it is over, the
            values of sample_submission.csv stand.
        sample: sample_submission.csv, as text.
    """

    def __init__(
        self,
        models: list[Model],
        schema: CompetitionSchema,
        raw: Path,
        budget: Budget,
        sample: pd.DataFrame,
    ) -> None:
        self.models, self.schema, self.raw = models, schema, raw
        self.budget, self.sample = budget, sample
        self.seconds, self.batches = budget.left(), 0
        self.classes = kaggle_parts.read_classes(models[0])

    def predict(self, batch: Any, *others: Any) -> pd.DataFrame:
        """Return the answers to a batch, in the columns of sample_submission.csv.

        Args:
            batch: test rows, a frame of pandas or of Polars.
            others: what else the gateway hands over, such as the sample's rows of the batch.
        """
        self.batches += 1
        rows = to_texts(batch)
        ids = rows[self.schema.id]
        titles = {name for name in self.sample.columns if name != self.schema.id}
        given = [each for each in map(to_texts, others) if titles <= {*each} and len(each)]
        sample = repeat_first(given[0] if given else self.sample, ids, self.schema.id)
        try:
            with contextlib.chdir(PROJECT):  # For predict.py, and postprocess.py.
                made = to_submission(ids, self._mean(rows), self.schema, sample, self.classes)
        except Exception:  # One batch that fails must not take the others with it.
            print(f"A batch has the values of sample_submission.csv:\n{traceback.format_exc()}")
            made = sample
        for name in titles:
            with contextlib.suppress(ValueError):  # Labels stay texts.
                made[name] = pd.to_numeric(made[name])
        # The gateway compares the ids with its own, a number with a number.
        return made.assign(**{self.schema.id: list(batch[self.schema.id])})[[*self.sample.columns]]

    def _mean(self, rows: pd.DataFrame) -> pd.DataFrame | None:
        left = self.budget.left()
        if left <= 0 or rows.empty:
            return None
        models = self.models if left > self.seconds / 5 else self.models[:1]
        frames = [self._predict_with(model, rows) for model in models]
        return pd.concat(frames).groupby(level=0).mean().reindex(range(len(rows)))

    def _predict_with(self, model: Model, rows: pd.DataFrame) -> pd.DataFrame:
        """Run predict.py here, as its own process would; its messages are shown if it fails."""
        folder, messages = Path(tempfile.mkdtemp(prefix="batch-")), io.StringIO()
        try:
            source = kaggle_parts.write_part(Part(0, rows), self.raw, self.schema, folder)
            if source is None:
                raise InputError("none of the batch's images is there")
            words = kaggle_parts.predict_command(source, model, folder / "out.csv")[1:]
            with (
                patch.object(sys, "argv", words),
                contextlib.redirect_stdout(messages),
                contextlib.redirect_stderr(messages),
            ):
                runpy.run_path("predict.py", run_name="__main__")
            return kaggle_parts.read_predictions(folder / "out.csv", self.schema, 0)
        except SystemExit:
            raise InputError(messages.getvalue()) from None
        finally:
            shutil.rmtree(folder)


def to_texts(frame: Any) -> pd.DataFrame:
    """Return a frame of pandas or Polars with each cell as text, a missing one empty."""
    if not hasattr(frame, "columns"):
        return pd.DataFrame()
    columns = {str(name): list(frame[name]) for name in frame.columns}
    return pd.DataFrame(columns, dtype=object).astype(str).where(pd.DataFrame(columns).notna(), "")
