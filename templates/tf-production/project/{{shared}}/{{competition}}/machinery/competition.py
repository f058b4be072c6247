"""The competition that a project takes part in: its name, its files, and what its columns are.

competition/competition.yaml   yours: which competition
competition/schema.yaml        found out by `compete.py understand`, to be corrected by you
competition/folds.csv          the fold of each training row; frozen, its SHA-256 in folds.json
data/raw/                      the competition's files, as they were downloaded
data/fold-0, data/fold-1, ...  a dataset for each fold: its test split is the fold
data/all                       a dataset whose train split is all rows
"""

import os
import re
from pathlib import Path
from typing import Any, Literal, get_args

import pydantic

from machinery.errors import InputError
from machinery.parameter_file import read_yaml

FOLDER = Path("competition")
RAW = Path("data/raw")
ORIGIN = RAW / ".competition"  # Whose files they are, as `compete.py get` noted.
SCHEMA = FOLDER / "schema.yaml"
# What Kaggle mounts into a notebook; `compete.py simulate` may put another folder in its place.
KAGGLE_INPUT = Path(os.environ.get("KAGGLE_INPUT_FOLDER", "/kaggle/input"))

Task = Literal["tabular", "text-classification", "image-classification"]
Kind = Literal["binary", "multiclass", "multilabel", "regression"]
Scheme = Literal["random", "stratified", "group", "time"]
LEARNED: dict[str, tuple[str, ...]] = {  # Kinds, by task.
    "tabular": get_args(Kind),
    "text-classification": ("binary", "multiclass"),
    "image-classification": ("binary", "multiclass", "multilabel"),
}


class CompetitionSchema(pydantic.BaseModel):
    """What competition/schema.yaml holds: which column is what. Paths are relative to data/raw."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    task: Task
    kind: Kind
    train: str  # the table with the targets
    test: str  # the table without them
    sample_submission: str
    id: str  # column of sample_submission that names the examples; of train and test too
    targets: list[str]  # columns of train; several: labels of 0 and 1
    classes: list[str] = []  # of a multiclass target, in the order of the submission's columns
    answer: Literal["values", "probabilities", "labels"]  # what the submission wants of a target
    drop: list[str] = []  # columns of train that are not learned from
    text: str = ""  # the column of texts
    images: str = ""  # the folder of the training images; the column `id` names the files
    test_images: str = ""  # the folder of the test images
    scheme: Scheme = "random"  # how the rows are put into folds
    fold_column: str = ""  # by which column, for group and time


def read_slug() -> str:
    """Return the name of the competition, as its address has it.

    Raises:
        InputError: competition.yaml is missing or names none.
    """
    path = FOLDER / "competition.yaml"
    values = read_yaml(path)
    slug = values.get("slug") if isinstance(values, dict) else None
    if not isinstance(slug, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", slug):
        raise InputError(f"{path}: slug: got {slug!r}, expected the last part of its address.")
    return slug


def read_schema() -> CompetitionSchema:
    """Read schema.yaml.

    Raises:
        InputError: it is missing, or a value is not what was expected.
    """
    if not SCHEMA.exists():
        raise InputError(f"{SCHEMA}: not found. Write it: python compete.py understand")
    values: Any = read_yaml(SCHEMA)
    try:
        return CompetitionSchema.model_validate(values)
    except pydantic.ValidationError as error:
        problems = [
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}, got {each['input']!r}"
            for each in error.errors()
        ]
        raise InputError(f"{SCHEMA}: {'; '.join(problems)}.") from None


def check_kind(schema: CompetitionSchema) -> None:
    """Raise InputError where the kind is none that the task learns."""
    if schema.kind not in LEARNED[schema.task]:
        targets = ", ".join(schema.targets)
        raise InputError(
            f"{SCHEMA}: kind: {targets}: got {schema.kind}, but {schema.task} learns "
            f"{', '.join(LEARNED[schema.task])}. Correct `kind` or `targets`, if they are "
            "something else; if not, this project cannot learn them."
        )


def find_raw() -> Path:
    """Return the folder of the competition's files, on Kaggle or here.

    On Kaggle they are mounted at /kaggle/input/competitions/SLUG, before 2026 at
    /kaggle/input/SLUG.

    Raises:
        InputError: there are none, or those of another competition.
    """
    slug = read_slug()
    origin = ORIGIN.read_text(encoding="utf-8").strip() if ORIGIN.exists() else slug
    if origin != slug:
        raise InputError(
            f"{RAW}: holds the files of {origin}, and {FOLDER / 'competition.yaml'} names {slug}. "
            "Correct it, or make a project for each competition."
        )
    mounted = [KAGGLE_INPUT / "competitions" / slug, KAGGLE_INPUT / slug]
    for folder in [*mounted, RAW]:
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    advice = "Download them: python compete.py get"
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        advice = f"Add the competition {slug} as input of the notebook"
    raise InputError(f"{RAW}: no files of {slug} there. {advice}.")


def fold_folders() -> list[Path]:
    """Return the folders of the datasets of the folds, in the order of their numbers."""
    found = [path.parent for path in Path("data").glob("fold-*/dataset.json")]
    numbers = {path: path.name.removeprefix("fold-") for path in found}
    folds = [path for path in found if numbers[path].isdecimal()]  # A copy is fold-0-old.
    return sorted(folds, key=lambda path: int(numbers[path]))
