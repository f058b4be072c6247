"""The frozen folds of the training rows.

competition/folds.csv   id,fold: written once
competition/folds.json  its SHA-256, how it was made, the options of build_dataset.py, and the part
                        of schema.yaml that the datasets were made by
"""

import hashlib
import json
from typing import Any

import pandas as pd

from machinery.competition import FOLDER, SCHEMA, CompetitionSchema
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.fold_assignment import assign_folds

FOLDS = FOLDER / "folds.csv"
DESCRIPTION = FOLDER / "folds.json"
ADVICE = (
    "Results with other folds cannot be compared. Put it back as it was, or choose folds anew: "
    "python compete.py folds --overwrite, and train every experiment again."
)


def write_folds(frame: pd.DataFrame, schema: CompetitionSchema, wanted: dict[str, Any]) -> None:
    """Choose the folds, and write folds.csv and folds.json."""
    folds = assign_folds(frame, schema, wanted["count"], wanted["seed"])
    content = to_csv(pd.DataFrame({"id": frame[schema.id], "fold": folds}))
    write_atomically(FOLDS, content)
    write_description({"sha256": digest_of(content), **wanted})


def read_folds() -> pd.DataFrame:
    """Return the columns id (str) and fold (int64) of folds.csv.

    Raises:
        InputError: it is missing, or was changed.
    """
    if not FOLDS.exists():
        raise InputError(f"{FOLDS}: not found. Write it: python compete.py folds")
    if digest_of(FOLDS.read_bytes()) != read_description().get("sha256"):
        raise InputError(f"{FOLDS}: was changed after it was written. {ADVICE}")
    return pd.read_csv(FOLDS, dtype={"id": str, "fold": "int64"}, keep_default_na=False)


def check_folds(wanted: dict[str, Any]) -> None:
    """Raise InputError where folds.csv was changed, or is of other rows or another scheme."""
    read_folds()
    described = read_description()
    for name, value in wanted.items():
        if described.get(name) != value:
            what = (
                "the training table has changed"
                if name == "train_sha256"
                else (f"{name}: got {value!r}, expected {described.get(name)!r}")
            )
            raise InputError(f"{FOLDS}: the folds are there already, and {what}. {ADVICE}")


def write_description(described: dict[str, Any]) -> None:
    """Write folds.json."""
    write_atomically(DESCRIPTION, (json.dumps(described, indent=2) + "\n").encode())


def read_description() -> dict[str, Any]:
    """Return what folds.json holds: "sha256", "scheme", "column", "count", "seed", "options", ...

    Raises:
        InputError: it is missing, or no JSON.
    """
    try:
        return {"options": [], **json.loads(DESCRIPTION.read_text("utf-8"))}
    except (OSError, ValueError, TypeError):
        raise InputError(
            f"{DESCRIPTION}: cannot be read. Choose folds anew: python compete.py folds --overwrite"
        ) from None


def learned_schema(schema: CompetitionSchema) -> dict[str, Any]:
    """Return the part of a schema that the datasets of the folds are made by."""
    return schema.model_dump(exclude={"test", "sample_submission", "answer", "test_images"})


def check_schema(schema: CompetitionSchema) -> None:
    """Raise InputError where schema.yaml was corrected after the datasets were made."""
    made_by, now = read_description().get("schema"), learned_schema(schema)
    if made_by is None:
        raise InputError(
            f"{DESCRIPTION}: not all datasets are made. Go on: python compete.py folds"
        )
    if changed := [name for name, value in now.items() if made_by.get(name) != value]:
        raise InputError(
            f"{SCHEMA}: {changed[0]}: got {now[changed[0]]!r}, but the datasets were made by "
            f"{made_by.get(changed[0])!r}. Make them anew, with the same folds: python compete.py "
            "folds. Then train again."
        )


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV, the same bytes on every system."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a content."""
    return hashlib.sha256(content).hexdigest()
