"""The ledger competition/scores.csv: each file that was sent, with its CV and its public score.

The CV score is that of experiments/NAME/score.json, for the file submissions/NAME.csv.
"""

import contextlib
import csv
import io
import json
import statistics
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from machinery.competition import FOLDER
from machinery.errors import InputError
from machinery.pictures import draw
from machinery.spreadsheets import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEDGER = FOLDER / "scores.csv"
PICTURE = FOLDER / "scores.png"
COLUMNS = (
    *("time", "file", "sha256", "ref", "status", "cv", "cv_deviation", "better", "metric"),
    *("public_score", "commit", "note"),
)
SIGNS = 6  # Of the digest of metric.py, which tells one from another of the same name.
FEW = 3  # Points that no correlation is computed of.

Row = dict[str, str]


def read_ledger() -> list[Row]:
    """Return the lines of the ledger, the oldest first.

    Raises:
        InputError: a column is missing.
    """
    if not LEDGER.exists():
        return []
    reader = csv.DictReader(io.StringIO(LEDGER.read_text(encoding="utf-8-sig")))
    rows = [{name: value or "" for name, value in row.items() if name} for row in reader]
    if missing := {*COLUMNS} - {*(reader.fieldnames or [])}:
        raise InputError(f"{LEDGER}: no column {', '.join(sorted(missing))}. Bring it back.")
    return rows


@contextlib.contextmanager
def changing_ledger() -> Generator[list[Row]]:
    """Give the lines of the ledger to change, and write them at the end; other commands wait.

    Columns of the person's own stay.
    """
    with FileLock(FOLDER / ".scores.lock"):
        rows = read_ledger()
        yield rows
        titles = [*dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])]
        write_csv(LEDGER, titles, ([row.get(name, "") for name in titles] for row in rows))


def read_cv(experiment: Path) -> Row:
    """Return the cells of the ledger that tell an experiment's CV score; empty: it has none.

    Raises:
        InputError: its score.json cannot be read.
    """
    path = experiment / "score.json"
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        # None stands for a score that is no number, such as an AUC of a fold with one class.
        folds = [float(score) for score in found["fold_scores"] if score is not None]
        row = {"cv": "" if found["score"] is None else repr(float(found["score"]))}
        row["better"] = "greater" if found["greater_is_better"] else "smaller"
        row["metric"] = f"{found['metric']} {found['metric_sha256'][:SIGNS]}"
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: {type(error).__name__}: {error}. Write it anew: python compete.py predict"
        ) from None
    if len(folds) > 1:
        row["cv_deviation"] = repr(statistics.stdev(folds))
    return row


def number(row: Row, name: str) -> float | None:
    """Return a cell as a number; None: there is none."""
    try:
        return float(row[name])
    except ValueError:
        return None


def report(rows: Sequence[Row]) -> None:
    """Print the ledger as a table, draw CV against public score, and say what to think of it."""
    if not rows:
        print(f"{LEDGER}: no submission yet. Send one: python compete.py submit FILE")
        return
    table = [("time", "file", "status", "CV", "public", "commit"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    for row in rows:
        if row["note"]:
            print(f"{row['file']} ({row['ref']}): {row['note']}")
    if len(metrics := {*_metrics(rows)}) > 1:
        print(
            f"The CV scores are of several metrics ({', '.join(sorted(metrics))}), so they cannot "
            "be compared. Predict again with --overwrite, and blend again, to have all of one."
        )
    print(verdict(rows))
    draw_scores(rows)


def _metrics(rows: Sequence[Row]) -> list[str]:
    """Return which metrics the CV scores are of."""
    return [row["metric"] for row in rows if row["cv"] and row["metric"]]


def _cells(row: Row) -> tuple[str, ...]:
    cv, deviation = number(row, "cv"), number(row, "cv_deviation")
    shown = "" if cv is None else f"{cv:.5f}"
    if deviation is not None:
        shown += f" ± {deviation:.5f}"
    when = row["time"][:16].replace("T", " ")
    return when, row["file"], row["status"], shown, row["public_score"], row["commit"]


def verdict(rows: Sequence[Row]) -> str:
    """Return whether the newest public score is better than those before by more than noise.

    The noise is the standard deviation of the fold scores: so much does the score of one and the
    same method change from one part of the data to another. This is a rule of thumb, for the
    public part of the test rows may be larger or smaller than a fold.
    """
    scored = [row for row in rows if number(row, "public_score") is not None]
    if len(scored) < 2:
        return "There are not two public scores yet to compare."
    newest, better = scored[-1], [row["better"] for row in scored if row["better"]]
    if not better:
        return "No submission has a CV score, so nothing tells which public score is better."
    sign = 1 if better[-1] == "greater" else -1
    best = max(scored[:-1], key=lambda row: sign * float(row["public_score"]))
    gain = sign * (float(newest["public_score"]) - float(best["public_score"]))
    against = f"{best['file']} ({best['public_score']})"
    if gain <= 0:
        return f"{newest['file']}: no gain over the best public score before, {against}."
    said = f"{newest['file']}: a gain of {gain:.5f} over {against}"
    deviations = [number(row, "cv_deviation") for row in (newest, best)]
    noise = max((each for each in deviations if each is not None), default=None)
    if noise is None:
        return f"{said}; without fold scores nothing tells whether that is noise."
    if gain > noise:
        return f"{said}, more than the fold scores differ ({noise:.5f}): outside the noise."
    return (
        f"{said}, less than the fold scores differ ({noise:.5f}): inside the noise. "
        "Trust the CV score."
    )


def draw_scores(rows: Sequence[Row]) -> None:
    """Draw competition/scores.png: the CV score of each submission against its public score."""
    points = [
        (cv, public, number(row, "cv_deviation") or 0, Path(row["file"]).stem)
        for row in rows
        if (cv := number(row, "cv")) is not None
        and (public := number(row, "public_score")) is not None
    ]
    if not points:
        return
    crosses, publics, deviations, names = zip(*points, strict=True)

    def plot(figure: "Figure") -> None:
        import pandas as pd

        axes = figure.add_subplot()
        axes.errorbar(crosses, publics, xerr=deviations, fmt="o", color="tab:blue", alpha=0.6)
        axes.plot(crosses[-1:], publics[-1:], "o", c="tab:orange", zorder=3, label="the newest")
        for x, y, name in zip(crosses, publics, names, strict=True):
            axes.annotate(name, (x, y), (4, 4), textcoords="offset points", fontsize=8)
        axes.set_xlabel("CV score, with the standard deviation of the fold scores")
        axes.set_ylabel("public score")
        if len({*crosses}) > FEW and len({*publics}) > 1:
            correlation = pd.Series(crosses).rank().corr(pd.Series(publics).rank())  # Spearman's
            axes.set_title(f"rank correlation {correlation:.2f}")
        axes.grid(alpha=0.3)
        axes.legend()

    draw(PICTURE, plot, 7, 5)
    print(PICTURE)
