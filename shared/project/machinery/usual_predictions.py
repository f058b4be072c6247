"""Predictions of new examples beside usual ones: what check_data.py compares of them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from machinery.errors import InputError
from machinery.features import to_feature
from machinery.statistics_file import Names, Numbers, summarize
from machinery.terminal import quote

USUAL = "predictions_val.csv"  # What evaluate.py --split val writes.
CERTAINTY = ": probability"  # How it ends the name of a column.
Columns = dict[str, list[str]]  # Cells by title.


def compare_with(
    path: Path, expected: Path | None, folder: Path
) -> tuple[dict[str, Numbers | Names], dict[str, np.ndarray]]:
    """Return the statistics of usual predictions, and the features of new ones.

    Args:
        path: the new ones, as predict.py writes them, or a log of lines of JSON.
        expected: usual ones, in the same form; None: those that evaluate.py wrote for val.
        folder: of the experiment.

    Raises:
        InputError: a file is missing, or the two have nothing in common.
    """
    new = read_predictions(path)
    other = expected or folder / USUAL
    if not expected and not other.exists():
        write = quote("python", "evaluate.py", "--experiment", folder, "--split", "val")
        raise InputError(
            f"{other}: not found; it says which predictions are usual. Write it ({write}), or name "
            "what predict.py wrote for examples like those of the training: --expected FILE."
        )
    usual = read_predictions(other)
    if not (pairs := pair_columns(new, usual)):
        raise InputError(
            f"{path}: has the columns {', '.join(new)}; {other} has {', '.join(usual)}. Name what "
            "predict.py wrote for examples like those of the training: --expected FILE."
        )
    statistics, features = {}, {}
    for title, known in pairs.items():
        name = f"prediction: {title}"
        # evaluate.py rounds its numbers.
        form = "" if title == known else ".4f" if known.endswith(CERTAINTY) else ".6g"
        # Both are numbers, or both are names.
        both = _round(to_feature([*new[title], *usual[known]]), form)
        features[name] = both[: len(new[title])]
        statistics[name] = summarize(both[len(new[title]) :])
    return statistics, features


def _round(values: np.ndarray, form: str) -> np.ndarray:
    if not form or values.dtype.kind != "f":
        return values
    return np.array([float(format(value, form)) for value in values])


def pair_columns(new: Columns, usual: Columns) -> dict[str, str]:
    """Return which column of usual predictions each column of new ones is to be compared with."""
    titles = [title for title in new if title != "id"]
    if {*new} == {*usual}:
        return {title: title for title in titles}
    pairs = {each: f"{each}{CERTAINTY}" for each in titles if f"{each}{CERTAINTY}" in usual}
    if "predicted" in usual:
        # Of numbers, predict.py names the column after what is predicted.
        pairs |= {each: "predicted" for each in titles if each == "predicted" or len(titles) == 1}
    return pairs


def read_predictions(path: Path) -> Columns:
    """Return the cells of a file of predictions by title; of several rows of an id, the first.

    Raises:
        InputError: it cannot be read, or holds none.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                found = (json.loads(line) for line in file if line.strip())
                rows = [
                    {name: "" if v is None else str(v) for name, v in row.items()} for row in found
                ]
            else:
                rows = [*csv.DictReader(file)]
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {why}. Give what predict.py wrote.") from None
    if not rows:
        raise InputError(f"{path}: holds no predictions. Give what predict.py wrote.")
    first = [*_first_of_each(rows)]
    return {title: [row.get(title) or "" for row in first] for title in rows[0] if title}


def _first_of_each(rows: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    seen = set[str]()
    for number, row in enumerate(rows):
        name = row.get("id", str(number))
        if name not in seen:
            seen.add(name)
            yield row
