"""What the models of an experiment's folds predict, each of the rows of its own fold and of test.

It is predict.py that predicts, with the rows in a table of their own.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from machinery import records
from machinery.competition import CompetitionSchema, find_raw
from machinery.competition_images import find_images
from machinery.competition_rules import Frame, Rules
from machinery.errors import InputError
from machinery.kaggle_parts import link_images, read_predictions, say_left_out, write_table
from machinery.prediction_files import Predicted, refuse_existing, write_predicted
from machinery.submission_file import read_cells
from machinery.terminal import quote


def predict_folds(
    folder: Path, rules: Rules, fit: str = "folds", device: str = "auto", overwrite: bool = False
) -> None:
    """Predict with the run of each fold, score it, and write all that prediction_files tells of.

    Args:
        folder: of the experiment, with fold-0, fold-1, ...
        rules: of the competition.
        fit: "all": test is predicted by the fit on all data; else "folds", the mean of theirs.
        device: to compute on.
        overwrite: replace earlier predictions.

    Raises:
        InputError: a run is missing, or was trained on other data.
    """
    refuse_existing(folder, overwrite)
    schema, folds = rules.schema, rules.folds
    runs = [folder / f"fold-{fold}" for fold in range(folds["fold"].max() + 1)]
    for fold, run in enumerate(runs):
        check_run(run, folds.loc[folds["fold"] == fold, "id"])
    if fit == "all":
        check_run(folder / "all")
    train, test = read_inputs(schema, schema.train, schema.images), inputs_of_test(rules)
    parts, of_test = [], []
    for fold, run in enumerate(runs):
        ids = folds.loc[folds["fold"] == fold, "id"]
        rows = train.loc[list(ids)]
        found = predict_rows(run, rules, pd.concat([rows, test], join="inner"), device)
        frame = named_rows(rows.index, rules.columns, found[: len(rows)])
        frame.insert(1, "fold", fold)
        parts.append(frame)
        of_test.append(found[len(rows) :])
        print(f"{run}: predicted {len(rows):,} rows of its fold, {len(test):,} of test.")
    mean = mean_of_known(of_test)
    if fit == "all":  # Its best epoch means nothing, for its val split was trained on.
        mean = predict_rows(folder / "all", rules, test, device, "last")
    predicted = Predicted(pd.concat(parts), named_rows(test.index, rules.columns, mean))
    write_predicted(folder, predicted, rules, test_by=fit)


def mean_of_known(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of predictions, each (N, columns), without those that are NaN."""
    return np.ma.masked_invalid(predictions).mean(axis=0).filled(np.nan)


def named_rows(ids: Iterable[str], columns: Sequence[str], values: np.ndarray) -> Frame:
    """Return predictions, (N, columns), as test_predictions.csv has them."""
    frame = pd.DataFrame(values, columns=list(columns))
    frame.insert(0, "id", list(ids))
    return frame


def check_run(run: Path, fold: Iterable[str] = ()) -> None:
    """Refuse a run that is not finished, whose data was replaced, or that has seen its fold.

    Args:
        run: the folder.
        fold: the ids of the rows that it may not have seen.

    Raises:
        InputError: saying which.
    """
    again = f"python train.py --experiment {run.parent} --folds all"
    if run.name == "all":
        again = f"python compete.py fit-all --experiment {run.parent} --"
    if not records.is_finished(run):
        raise InputError(f"{run}: is not trained to its end. Train it: {again.removesuffix(' --')}")
    session = records.read_sessions(run)[-1]
    data = Path(session["data"])
    if records.read_fingerprint(data) != session["fingerprint"]:
        raise InputError(
            f"{run}: was trained on {data} with the fingerprint {session['fingerprint']}, which is "
            f"not what is there now. Train anew: {again} --overwrite"
        )
    if seen := seen_ids(data) & {*fold}:
        raise InputError(
            f"{run}: was trained on {data}, which holds {len(seen)} rows of this fold, such as "
            f"{min(seen)!r}: what it says of them proves nothing. Train it on the data of "
            f"{run.name}: {again} --data data --overwrite"
        )


def seen_ids(data: Path) -> set[str]:
    """Return what the examples are called that a run on a dataset has learned or chosen from."""
    arrays_folder = json.loads((data / "dataset.json").read_text("utf-8"))["arrays_folder"]
    seen = set()
    for split in ("train", "val"):
        for name in np.load(data / arrays_folder / f"{split}_ids.npy").tolist():
            name = name.partition("\t")[0]  # Behind it stands how a text begins.
            seen |= {name, Path(name).with_suffix("").as_posix()}  # Images are called by file.
    return seen


def read_inputs(schema: CompetitionSchema, table: str, images: str) -> Frame:
    """Return what the rows of a table are predicted from, by their ids: cells, or image files.

    Args:
        schema: of the competition.
        table: the file.
        images: the folder of its images.
    """
    cells = read_cells(table).set_index(schema.id, drop=False)
    if not images:
        return cells
    folder = find_raw() / images
    files = find_images(folder)
    if missing := [name for name in cells.index if name not in files]:
        raise InputError(f"{folder}: no image there, or more than one, is named {missing[0]!r}.")
    return pd.DataFrame({"file": [files[name] for name in cells.index]}, index=cells.index)


def inputs_of_test(rules: Rules) -> Frame:
    """Return what the test rows are predicted from, in the order of sample_submission.csv."""
    schema = rules.schema
    test, ids = read_inputs(schema, schema.test, schema.test_images), rules.sample[schema.id]
    if missing := [name for name in ids if name not in test.index]:
        raise InputError(
            f"{schema.sample_submission}: names {len(missing)} rows that {schema.test} lacks, such "
            f"as {missing[0]!r}. Correct competition/schema.yaml."
        )
    return test.loc[list(ids)]


def predict_rows(
    run: Path, rules: Rules, rows: Frame, device: str, checkpoint: str = "best"
) -> np.ndarray:
    """Return what predict.py says of rows, (N, prediction columns); NaN where it cannot use them.

    Raises:
        InputError: the network was trained on other classes.
        SystemExit: with the exit code of predict.py, which has said why.
    """
    schema, numbered = rules.schema, rows.reset_index(drop=True)
    with tempfile.TemporaryDirectory() as temporary:
        # Rows are called by their numbers, whatever the ids are: train may use those of test.
        if schema.task == "image-classification":
            source = link_images(numbered["file"].to_dict(), Path(temporary))
        else:
            source = write_table(numbered, schema.id, Path(temporary))
        output = Path(temporary, "predictions.csv")
        words = [source, "--experiment", run, "--output", output, "--checkpoint", checkpoint]
        words += ["--device", device, "--skip-bad"]
        command = [sys.executable, "predict.py", *map(str, words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
        if done.returncode:
            print(f"{quote('python', 'predict.py', *words)} failed.", file=sys.stderr)
            raise SystemExit(done.returncode)
        say_left_out(done.stdout)
        try:
            found = read_predictions(output, schema, 0, rules.classes)
        except InputError as error:
            raise InputError(f"{run}: {error}") from None
    return found.reindex(range(len(rows))).to_numpy()
