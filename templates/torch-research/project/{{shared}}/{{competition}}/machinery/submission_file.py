"""Predictions and the truth in the form of sample_submission.csv: to be scored, and to be sent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from machinery.competition import CompetitionSchema, find_raw
from machinery.competition_columns import read_frame
from machinery.errors import InputError
from machinery.files import write_atomically

FOLDER = Path("submissions")
MARKS = {"0": 0, "1": 1, "false": 0, "true": 1}  # of labels, in lower case


def read_cells(name: str) -> pd.DataFrame:
    """Read a table of the competition, as text.

    Args:
        name: of the file below data/raw.
    """
    return read_frame(find_raw() / name, as_text=True).astype(str)


def prediction_columns(schema: CompetitionSchema) -> list[str]:
    """Return the columns of out_of_fold.csv and test_predictions.csv beside `id` and `fold`.

    A number has its name, so has the probability of a label or of the second of two classes; of
    more classes, each has a column.
    """
    return schema.classes if schema.kind == "multiclass" else schema.targets


def answer_columns(schema: CompetitionSchema, sample: pd.DataFrame) -> list[str]:
    """Return the columns of the submission that answer the prediction columns, in their order.

    Raises:
        InputError: sample_submission.csv has more or fewer columns than are predicted.
    """
    wanted = [name for name in sample.columns if name != schema.id]
    one = schema.kind == "multiclass" and schema.answer == "labels"
    predicted = schema.targets if one else prediction_columns(schema)
    if {*wanted} == {*predicted}:
        return predicted
    if len(wanted) != len(predicted):  # Else they are in one order, if under other names.
        raise InputError(
            f"{schema.sample_submission}: has the columns {', '.join(wanted)} beside {schema.id}, "
            f"but what is predicted is {', '.join(predicted)}. Correct competition/schema.yaml."
        )
    return wanted


def class_values(schema: CompetitionSchema, truth: pd.DataFrame) -> dict[str, object]:
    """Return what stands for each class, by the text of its cells: a number, a bool, or the text.

    Args:
        schema: of the competition.
        truth: the targets of rows, as text.
    """
    if schema.kind not in ("binary", "multiclass"):
        return {}
    cells = schema.classes or sorted(truth[schema.targets[0]].unique())
    if {*cells} <= {"True", "False"}:
        return {cell: cell == "True" for cell in cells}
    numbers = pd.to_numeric(pd.Series(cells), errors="coerce").tolist()
    if np.isnan(numbers).any():
        return {cell: cell for cell in cells}
    found: dict[str, object] = dict(zip(cells, numbers, strict=True))
    # Without a given order, that of build_dataset.py: the second of two classes is the positive.
    return found if schema.classes else dict(sorted(found.items(), key=lambda item: float(item[0])))


def make_submission(
    schema: CompetitionSchema,
    columns: Sequence[str],
    values: Sequence[object],
    ids: Sequence[str],
    predictions: np.ndarray,
) -> pd.DataFrame:
    """Return predictions as the competition wants them.

    Args:
        schema: of the competition.
        columns: of the answer.
        values: what stands for each class.
        ids: (N,) str
        predictions: (N, prediction columns)
    """
    answer: np.ndarray = predictions
    if schema.answer == "labels" and schema.kind == "multilabel":
        answer = (predictions > 0.5).astype(np.int64)
    elif schema.answer == "labels":
        two = schema.kind == "binary"
        places = (predictions[:, 0] > 0.5).astype(int) if two else predictions.argmax(axis=1)
        answer = np.array(values)[places][:, None]
    frame = pd.DataFrame(answer, columns=list(columns))
    frame.insert(0, schema.id, list(ids))
    return frame


def encode_truth(
    schema: CompetitionSchema, values: Mapping[str, object], truth: pd.DataFrame
) -> np.ndarray:
    """Return the targets as numbers, (N,), or as class numbers, (N,), or labels, (N, labels).

    Args:
        schema: of the competition.
        values: what stands for each class, by the text of its cells.
        truth: the targets of rows, as text.

    Raises:
        InputError: a cell holds what is no target of this kind.
    """
    if schema.kind == "multilabel":
        return np.stack([_marks(truth[name]) for name in schema.targets], axis=1)
    cells = truth[schema.targets[0]]
    if schema.kind == "regression":
        return cells.astype(np.float64).to_numpy()
    places = {name: place for place, name in enumerate(values)}
    if unknown := {*cells} - {*places}:
        raise InputError(
            f"{schema.train}: {cells.name}: got {min(unknown)!r}, expected one of "
            f"{', '.join(places)}. Correct `classes` in competition/schema.yaml."
        )
    return cells.map(places).to_numpy(np.int64)


def make_solution(
    schema: CompetitionSchema,
    columns: Sequence[str],
    values: Sequence[object],
    ids: Sequence[str],
    encoded: np.ndarray,
) -> pd.DataFrame:
    """Return the truth as the competition has it.

    Args:
        schema: of the competition.
        columns: of the answer.
        values: what stands for each class.
        ids: (N,) str
        encoded: the targets as encode_truth returns them.
    """
    answer = encoded
    if schema.kind in ("binary", "multiclass") and schema.answer == "labels":
        answer = np.array(values)[encoded]
    elif schema.kind == "multiclass":
        answer = np.eye(len(values), dtype=np.int64)[encoded]
    frame = pd.DataFrame(answer.reshape(len(ids), -1), columns=list(columns))
    frame.insert(0, schema.id, list(ids))
    return frame


def _marks(cells: pd.Series) -> np.ndarray:
    marks = cells.str.lower().map(MARKS)
    if marks.isna().any():
        raise InputError(f"{cells.name}: got {cells[marks.isna()].iloc[0]!r}, expected 0 or 1.")
    return marks.to_numpy(np.int64)


def in_order_of_sample(frame: pd.DataFrame, sample: pd.DataFrame, id_column: str) -> pd.DataFrame:
    """Return the rows and columns of a submission in the order of sample_submission.csv.

    Raises:
        InputError: the sample names an example that is not predicted.
    """
    by_id = frame.set_index(id_column)
    if missing := [name for name in sample[id_column] if name not in by_id.index]:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" * (len(missing) > 3))
        raise InputError(
            f"sample_submission: {len(missing)} examples have no prediction: {id_column} {shown}. "
            "Correct `test` or `test_images` in competition/schema.yaml."
        )
    return by_id.loc[sample[id_column]].reset_index()[list(sample.columns)]


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV with all digits, whole or not at all; its texts are what they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, frame.to_csv(index=False, lineterminator="\n").encode())
