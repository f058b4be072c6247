"""statistics.json: what the training examples are like, feature by feature.

Training writes the file into the experiment's folder, so check_data.py needs that folder alone.
Each feature is kept by itself: no example can be put together from the file.
"""

import logging
from pathlib import Path

import numpy as np
import pydantic

from machinery import records
from machinery.arrays import BLOCK, BLOCK_BYTES, BaseDataset
from machinery.errors import InputError, first_problem
from machinery.features import concatenate_features
from machinery.files import write_atomically
from machinery.shards import remote

logger = logging.getLogger("run")
FILE = "statistics.json"
SAMPLE = 5_000  # Training examples that are described, at most,
SAMPLE_BYTES = 2**26  # and their bytes, at most, as each training begins with this,
LEAST = 200  # but so many in any case.
KEPT = 1_001  # Values of a feature that are kept: its quantiles, where there are more.


class Numbers(pydantic.BaseModel):
    """A feature of numbers."""

    count: int  # examples that have one
    missing: int  # and that have none
    values: list[float]  # sorted; of more than KEPT evenly spaced ones, the extremes among them

    @property
    def sorted(self) -> np.ndarray:
        """The values, (at most KEPT,) float32."""
        return np.array(self.values, np.float32)


class Names(pydantic.BaseModel):
    """A feature of names."""

    count: int  # examples that have one
    missing: int  # and that have none
    counts: dict[str, int]  # How often each name comes; 0: it is known from other examples alone.


class Statistics(pydantic.BaseModel):
    """What statistics.json holds."""

    fingerprint: str  # of the dataset
    features: dict[str, Numbers | Names]


def summarize(values: np.ndarray, known: tuple[str, ...] = ()) -> Numbers | Names:
    """Return the statistics of a feature.

    Args:
        values: (N,) of a feature; see Features.
        known: names that other examples have.
    """
    if values.dtype.kind == "f":
        there = np.sort(values[~np.isnan(values)]).astype(np.float32)
        if len(kept := there) > KEPT:
            kept = there[np.linspace(0, len(there) - 1, KEPT).round().astype(int)]
        # Written as short as float32 allows.
        shown = [float(str(value)) for value in kept]
        return Numbers(count=len(there), missing=len(values) - len(there), values=shown)
    names, counts = np.unique(values[values != ""], return_counts=True)
    found = dict.fromkeys(known, 0) | dict(zip(names.tolist(), counts.tolist(), strict=True))
    missing = int((values == "").sum())
    return Names(count=len(values) - missing, missing=missing, counts=found)


def collect(dataset: BaseDataset, data: Path) -> Statistics:
    """Return the statistics of the training examples, or of a sample of them.

    Args:
        dataset: describes them.
        data: its folder.
    """
    found = _describe(dataset, data, "train")
    if dataset.held_out:
        val = _describe(dataset, data, "val")
        found |= {name: val[name] for name in dataset.held_out if name in val}
    known = dataset.known_names()
    features = {name: summarize(each, known.get(name, ())) for name, each in found.items()}
    features |= dataset.recorded_statistics()
    return Statistics(fingerprint=dataset.fingerprint, features=features)


def _describe(dataset: BaseDataset, data: Path, split: str) -> dict[str, np.ndarray]:
    arrays, examples = dataset.read_split(data, split, dataset.inputs), dataset.examples[split]
    each = sum(array.nbytes for array in arrays.values()) / max(1, examples)
    size = min(examples, SAMPLE, max(LEAST, int(SAMPLE_BYTES / max(1, each))))
    generator = np.random.default_rng(int(dataset.fingerprint, 16))
    rows = np.sort(generator.choice(examples, size, replace=False))
    parts, block = [], max(1, min(BLOCK // 4, int(BLOCK_BYTES / max(1, each))))
    for first in range(0, len(rows), block):
        some = rows[first : first + block]
        parts.append(dataset.describe({name: each.take(some, 0) for name, each in arrays.items()}))
    return concatenate_features(parts)


def write_description(folder: Path, dataset: BaseDataset, data: Path) -> None:
    """Write dataset.json and statistics.json into the folder of an experiment that begins.

    Args:
        folder: of the experiment.
        dataset: that it is trained on.
        data: the folder of the dataset.
    """
    write_atomically(folder / "dataset.json", dataset.model_dump_json(indent=2).encode())
    for place in (folder, data):  # That of a run that goes on stays; records bring theirs along.
        try:
            if place == data:
                remote.refresh(data, FILE)
            found = read_file(place, dataset)
        except (FileNotFoundError, InputError):
            continue
        if place != folder:
            write_atomically(folder / FILE, found.model_dump_json().encode())
        return
    if remote.url_of(data):  # They have no features; and it would fetch shards from all over.
        return
    try:
        write_statistics(folder, dataset, data)
    except InputError as error:  # No reason not to train.
        logger.warning(f"{folder / FILE} is not written, and check_data.py will miss it: {error}")


def write_statistics(folder: Path, dataset: BaseDataset, data: Path) -> Statistics:
    """Write statistics.json into the folder of an experiment; without features, write nothing."""
    statistics = collect(dataset, data)
    if statistics.features:
        write_atomically(folder / FILE, statistics.model_dump_json().encode())
    return statistics


def read_statistics(folder: Path, dataset: BaseDataset) -> Statistics:
    """Return the statistics of an experiment. One without the file gets it from its dataset.

    Args:
        folder: of the experiment.
        dataset: that it was trained on.

    Raises:
        InputError: the file is of no use, or it and the dataset are missing.
    """
    try:
        return read_file(folder, dataset)
    except FileNotFoundError:
        data = records.data_of(folder)
        if records.read_fingerprint(data) == dataset.fingerprint:
            return write_statistics(folder, dataset, data)
        raise InputError(
            f"{folder / FILE}: not found, and {data} does not hold what {folder} was trained on. "
            "Prepare that dataset again (build_dataset.py), or train anew, which writes the file."
        ) from None


def read_file(folder: Path, dataset: BaseDataset) -> Statistics:
    """Read statistics.json; raise InputError where it is of no use for the dataset."""
    path = folder / FILE
    again = f"Delete it: while the dataset of {folder} is in place, check_data.py makes another."
    try:
        found = Statistics.model_validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}. {again}") from None
    if found.fingerprint != dataset.fingerprint:
        raise InputError(f"{path}: is of another dataset than dataset.json beside it. {again}")
    return found
