"""The versions of a network that export.py wrote: exports/onnx/1, 2, ...; what they say."""

import hashlib
from pathlib import Path
from typing import Any

import pydantic

from machinery.errors import InputError, first_problem
from machinery.intervals import FILE as EXAMPLES_FILE

DEFAULT_EXPORTS = Path("exports/onnx")
FACTS_FILE = "export.json"


class Facts(pydantic.BaseModel):
    """What serve.py and promote.py read of export.json; it holds more."""

    model_config = pydantic.ConfigDict(frozen=True)

    file: str  # of the network
    experiment: str
    step: int
    dataset: dict[str, Any]  # all that dataset.json says
    test_metrics: dict[str, float] | None = None
    test_intervals: dict[str, tuple[float, float]] = {}  # of each metric that has one
    test_groups: int = 0  # that the intervals draw whole; 0: they draw examples
    sha256: dict[str, str]  # of each file of the version
    int8: dict[str, Any] | None = None  # how it was rounded to eight bits, where it was

    @property
    def test_examples(self) -> int:
        """How many examples the metrics are of; 0 where the dataset does not say."""
        return int(self.dataset.get("examples", {}).get("test", 0))


def find_versions(exports: Path) -> list[int]:
    """Return the numbers of the versions in a folder, the newest last."""
    names = (path.parent.name for path in exports.glob(f"*/{FACTS_FILE}"))
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def read_facts(exports: Path, number: int) -> Facts:
    """Read what a version says of itself.

    Raises:
        InputError: there is no such version, or its export.json is damaged.
    """
    path = exports / str(number) / FACTS_FILE
    try:
        return Facts.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise no_version(exports, number) from None
    except pydantic.ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}. Export the experiment again.") from None


def no_version(exports: Path, number: int | None = None) -> InputError:
    """Return the error for a version that is not there; it names those that are."""
    there = ", ".join(map(str, find_versions(exports)))
    if there:
        return InputError(f"{exports / str(number)}: no such version. There are: {there}.")
    name = "saved_model" if exports.name == "saved_model" else "onnx"  # For TensorFlow Serving.
    return InputError(f"{exports}: holds no version. Write one: python export.py --format {name}")


def check_content(exports: Path, number: int, facts: Facts) -> Path:
    """Return the path of the network of a version.

    What was evaluated on test need not be there: it may be large, or hold what only few may see,
    and answers do not depend on it.

    Raises:
        InputError: a file of the version is missing, or is not as it was written; or its answers
            depend on one another.
    """
    folder = exports / str(number)
    if facts.int8 and facts.int8.get("mode") == "dynamic":
        raise InputError(
            f"{folder}: rounded with --int8 dynamic, so an answer depends on what is computed "
            "together with it. Export it with --int8 static, or in float."
        )
    for name, digest in {facts.file: None, **facts.sha256}.items():
        path = folder / name
        if name == EXAMPLES_FILE and not path.exists():
            continue
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}. Export the experiment again.") from None
        if found != (digest or found):
            raise InputError(
                f"{path}: is not as it was written: its SHA-256 is {found[:12]}..., expected "
                f"{str(digest)[:12]}... as in {FACTS_FILE}. Export the experiment again."
            )
    return folder / facts.file
