"""The test rows of a competition in parts, each predicted by predict.py in a process of its own.

A test set is hidden until the notebook is scored: it may be empty, have one row or millions, and
hold what no training row had. What cannot be predicted is left out, and said.
"""

import hashlib
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from machinery.competition import KAGGLE_INPUT, CompetitionSchema
from machinery.competition_columns import read_frame
from machinery.competition_images import find_images, link_or_copy
from machinery.errors import InputError
from machinery.spreadsheets import as_text
from machinery.submission_file import class_values, prediction_columns

ROWS = 2_000  # of a test set that is predicted in one part; a larger one has up to
PARTS = 10


class Part(NamedTuple):
    """Some of the test rows."""

    number: int
    rows: pd.DataFrame  # texts, as the table has them; the index is the row's number from 0


class Model(NamedTuple):
    """A trained network."""

    folder: Path  # of its experiment
    checkpoint: str  # best or last


class FailedError(Exception):
    """predict.py ended with an error, or took too long. The message says it."""


def read_test(raw: Path, schema: CompetitionSchema) -> pd.DataFrame:
    """Read the table of the test rows, each cell as text.

    Args:
        raw: the folder of the competition's files.
        schema: of the competition.
    """
    return read_frame(raw / (schema.test or schema.sample_submission), as_text=True)


def split(test: pd.DataFrame) -> list[Part]:
    """Return the test rows in parts of about the same size; no rows, no parts."""
    count = min(PARTS, -(-len(test) // ROWS))
    bounds = [len(test) * number // max(count, 1) for number in range(count + 1)]
    pairs = enumerate(itertools.pairwise(bounds))
    return [Part(number, test.iloc[first:last]) for number, (first, last) in pairs]


def fingerprint(raw: Path, schema: CompetitionSchema) -> str:
    """Return a short digest of the test set: of its table, and of the images' names and sizes."""
    digest = hashlib.sha256((raw / (schema.test or schema.sample_submission)).read_bytes())
    if schema.test_images:
        for path in sorted((raw / schema.test_images).rglob("*")):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:12]


def write_part(part: Part, raw: Path, schema: CompetitionSchema, folder: Path) -> Path | None:
    """Write what predict.py reads of some rows: a table, or a folder of images.

    Each row is named by its number, so that it is found again.

    Args:
        part: the rows.
        raw: the folder of the competition's files.
        schema: of the competition.
        folder: to write into.

    Returns:
        the table or the folder; None where no image of the rows is there.
    """
    if schema.task != "image-classification":
        return write_table(part.rows, schema.id, folder)
    known = find_images(raw / schema.test_images)
    found = [(number, known.get(name)) for number, name in part.rows[schema.id].items()]
    return link_images({number: path for number, path in found if path}, folder)


def write_table(rows: pd.DataFrame, ids: str, folder: Path) -> Path:
    """Write rows, whose index is their number, as a table in a folder; return it."""
    path = folder / "part.csv"
    named = rows.assign(**{ids: rows.index}) if ids in rows.columns else rows
    named.to_csv(path, index=False)
    return path


def link_images(paths: Mapping[Any, Path], folder: Path) -> Path | None:
    """Put images into a folder of their own, named by their numbers; return it, None: no image."""
    place = folder / "images"
    for number, path in paths.items():
        link_or_copy(path, place / f"{number}{path.suffix}")
    return place if paths else None


def predict(source: Path, model: Model, output: Path, seconds: float) -> None:
    """Predict a table or a folder of images with predict.py.

    Args:
        source: what write_part wrote.
        model: the network.
        output: the CSV file to write.
        seconds: after which to give up.

    Raises:
        FailedError: it failed, or took longer.
    """
    try:
        done = subprocess.run(
            predict_command(source, model, output),
            capture_output=True,
            text=True,
            timeout=max(seconds, 0.001),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FailedError(f"{model.folder.name}: the time is over") from None
    if done.returncode:
        raise FailedError(
            f"{model.folder.name}: predict.py ended with exit code {done.returncode}: "
            f"{done.stderr.strip()[-2000:]}"
        )
    say_left_out(done.stdout)


def say_left_out(output: str) -> None:
    """Print how many rows predict.py left out, given what it printed."""
    notices = [line for line in output.splitlines() if line.startswith("left out")]
    if notices:
        print(f"Rows that could not be predicted: {len(notices):,}, such as: {notices[0]}")


def predict_command(source: Path, model: Model, output: Path) -> list[str]:
    """Return the command line that predicts a table or a folder of images."""
    return [
        *(sys.executable, "predict.py", str(source), "--experiment", str(model.folder)),
        *("--checkpoint", model.checkpoint, "--output", str(output)),
        *("--skip-bad", "--overwrite"),
    ]


def read_predictions(
    path: Path, schema: CompetitionSchema, first: int, classes: Sequence[str] = ()
) -> pd.DataFrame:
    """Read what predict.py wrote; the index is the number of the row.

    The last columns are the predictions; before them stand the id and, of classes, the predicted
    one. Columns of classes are found by their names, for every task orders them in its own way.

    Args:
        path: the CSV file.
        schema: of the competition.
        first: the number of the first row of the table.
        classes: where there are two, the positive one last; none: by their names.

    Returns:
        the target's value, or the probability of the positive class; or a column for each class, or
        for each target.

    Raises:
        InputError: the network was trained on other classes.
    """
    wanted = prediction_columns(schema)
    count = 2 if schema.kind == "binary" else len(wanted)
    found = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
    rows = found.iloc[1:]
    numbers = [row_number(name, first) for name in rows[0]]
    # A title like a formula stands there with a ' before it.
    names = [name[1:] if name == as_text(name[1:]) else name for name in found.iloc[0]]
    titles, names = names[-count:], wanted
    if schema.kind == "regression":
        titles = wanted
    elif schema.kind == "binary":
        names = [*(classes or class_values(schema, pd.DataFrame({wanted[0]: titles})))]
    if {*titles} != {*names} or len(found.columns) > count + 2:
        raise InputError(
            f"the network was trained on the classes {', '.join(titles)}, expected "
            f"{', '.join(names)}. Correct competition/schema.yaml, or train anew."
        )
    values = rows.iloc[:, -count:].astype("float64").set_axis(titles, axis=1)[names]
    # The second of two classes is the positive one.
    return values.iloc[:, -len(wanted) :].set_axis(wanted, axis=1).set_axis(numbers, axis=0)


def row_number(name: str, first: int) -> int:
    """Return the number of a row: its name, or from the name that predict.py gives the line."""
    if line := re.fullmatch(r"row-(\d+)", name):
        return first + int(line[1]) - 2  # The titles are line 1.
    return int(Path(name).stem)


def read_classes(model: Model) -> list[str]:
    """Return the names of the classes that a network was trained on; none for other targets."""
    path = model.folder / "dataset.json"
    return list(json.loads(path.read_text(encoding="utf-8")).get("classes") or [])


def link_models(weights: Path, experiment: str, models: list[str], checkpoint: str) -> list[Model]:
    """Make the folders that predict.py reads out of the files of the dataset of the weights.

    Kaggle may unpack or flatten folders in a dataset, so its files carry the folder in their name:
    fold-0.params.yaml.

    Raises:
        InputError: a file is missing.
    """
    made = []
    for name in models:
        folder = Path("experiments") / experiment / name
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(weights.glob(f"{name}.*"))
        if f"{name}.{checkpoint}.safetensors" not in [path.name for path in files]:
            raise InputError(f"{weights}: no weights of {name}. Push the dataset anew.")
        for path in files:
            link = folder / path.name.removeprefix(f"{name}.")
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
        made.append(Model(folder, checkpoint))
    return made


def find_inputs(name: str) -> list[Path]:
    """Return the folders of a name in the inputs: those of earlier versions of the notebook.

    Kaggle mounts the output of a notebook at /kaggle/input/NAME or
    /kaggle/input/notebooks/OWNER/NAME.
    """
    depths = ("*", "*/*", "*/*/*")
    return [path for depth in depths for path in sorted(KAGGLE_INPUT.glob(f"{depth}/{name}"))]
