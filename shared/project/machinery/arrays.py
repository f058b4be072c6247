"""The data on disk: memory-mappable arrays for each split, described by dataset.json.

    data/dataset.json                     the description; written last, in one piece
    data/arrays-1/train_images.npy        an array for each split and name
    data/arrays-1/train_ids.npy           where each example came from

contents.py makes and replaces the folder of the arrays.
"""

import contextlib
import functools
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic

from machinery import contents
from machinery.contents import ExistsError
from machinery.errors import InputError, first_problem
from machinery.features import Described
from machinery.files import write_atomically
from machinery.mapped import map_array
from machinery.places import DEFAULT_FOLDER
from machinery.ragged import Ragged
from machinery.shards import remote, shard_list
from machinery.shards.shard_cache import ShardCache
from machinery.shards.sharded import Sharded, Shards

SPLITS = ("train", "val", "test")
GROUPS = "groups"  # The array that says what each example belongs to, where the source does.
BLOCK = 1024  # Examples that are written at a time, at most,
BLOCK_BYTES = 2**24  # and their bytes, at most, unless a single example has more.


def _check_dtype(name: str) -> str:
    try:
        return str(np.dtype(name))
    except TypeError:
        raise ValueError(f"{name!r} is no dtype of NumPy") from None


class Array(pydantic.BaseModel):
    """One array in dataset.json: the dtype and the shape of ONE example."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    dtype: Annotated[str, pydantic.AfterValidator(_check_dtype)]
    shape: tuple[int | None, ...]  # None in front: the array is ragged, examples differ in length.
    longest: int = 0  # of a ragged array: the greatest length, to which a batch is padded
    fill: int = 0  # of a ragged array: the value of the padding

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of each example in a batch, where ragged ones are padded."""
        return tuple(self.longest if size is None else size for size in self.shape)


Examples = np.ndarray | Ragged | Sharded


class BaseDataset(Described, pydantic.BaseModel):
    """What dataset.json holds; a task's build_dataset.py adds what its network has to know."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    task: str
    source: str
    inputs: tuple[str, ...]  # The arrays that the network takes,
    targets: tuple[str, ...]  # and those that it learns to predict.
    examples: dict[str, int]  # by split
    arrays: dict[str, Array]  # by name
    arrays_folder: str = pydantic.Field(pattern=rf"^{contents.NAME}$")
    fingerprint: (
        str  # of every array but the groups: two datasets with one are the same to learn from
    )

    default_source: ClassVar[str] = ""  # the source of the data that come with the project

    @property
    def grouped(self) -> bool:
        """Whether the array GROUPS says what belongs together; else the task has learned of it."""
        return GROUPS in self.arrays and GROUPS not in (*self.inputs, *self.targets)

    @property
    def positions(self) -> int:
        """The places at which the network computes for one example: pixels, tokens, 1 for a row."""
        most = 1
        for name in self.inputs:
            array = self.arrays[name]
            sizes = [size if size is not None else array.longest for size in array.shape]
            # The last axis holds the channels or the columns of a place, unless it is ragged.
            most = max(most, math.prod(sizes if array.shape == (None,) else sizes[:-1]))
        return most

    def check(self, name: str, array: np.ndarray) -> str:
        """Return what is wrong with the content of an array, or an empty string."""
        del name, array
        return ""

    def read_split(
        self, folder: Path, split: str, names: Sequence[str] | None = None
    ) -> dict[str, Examples]:
        """Map the arrays of a split into memory.

        Args:
            folder: of dataset.json.
            split: train, val or test.
            names: of the arrays; None: inputs and targets.

        Raises:
            InputError: an array is missing or is not what dataset.json says.
        """
        names = (*self.inputs, *self.targets) if names is None else names
        place, count = folder / self.arrays_folder, self.examples[split]
        read = functools.partial(self._read, self._again(folder))
        if not shard_list.is_sharded(self.arrays_folder):
            return {name: read(name, place / f"{split}_{name}", count) for name in names}
        found = self._read_list(folder)
        shards = Shards(place, found, split, names, read)
        described = {name: self.arrays[name] for name in names}
        return {n: Sharded(shards, n, a.dtype, a.batch_shape) for n, a in described.items()}

    def read_ids(self, folder: Path, split: str) -> np.ndarray:
        """Return where each example of a split came from, (N,) str.

        Raises:
            InputError: the file is missing or does not fit dataset.json.
        """
        place, advice = folder / self.arrays_folder, self._again(folder)
        if not shard_list.is_sharded(self.arrays_folder):
            return read_array(place / f"{split}_ids.npy", (self.examples[split],), "str", advice)
        cache, parts = ShardCache.of(place), [np.zeros(0, np.str_)]
        for number, shard in enumerate(self._read_list(folder).shards[split]):
            stem = shard_list.stem(split, number)
            path = place / f"{stem}_ids.npy"
            read = functools.partial(read_array, path, (shard.examples,), "str", advice)
            alone = shard.model_copy(update={"sha256": {path.name: shard.sha256[path.name]}})
            parts.append(np.array(cache.open(stem, alone, read) if cache else read()))
        return np.concatenate(parts)

    def _read_list(self, folder: Path) -> shard_list.ShardList:
        place = folder / self.arrays_folder
        remote.refresh(folder, f"{place.name}/{shard_list.FILE}")
        return shard_list.read_list(place, self.fingerprint, self.examples)

    def _again(self, folder: Path) -> str:
        in_shards = shard_list.is_sharded(self.arrays_folder)
        return shard_list.write_again(folder) if in_shards else again(folder, self.source)

    def _read(self, advice: str, name: str, place: Path, count: int) -> np.ndarray | Ragged:
        """Map the array of so many examples at a place, which is its path without the suffix."""
        array, path = self.arrays[name], place.with_name(f"{place.name}.npy")
        if array.shape[:1] == (None,):
            offsets_path = path.with_name(f"{place.name}_offsets.npy")
            offsets = read_array(offsets_path, (count + 1,), "int64", advice)
            if offsets[0] or (offsets[1:] < offsets[:-1]).any():
                raise InputError(f"{offsets_path}: expected 0 and then no decrease. {advice}")
            shape = (int(offsets[-1]), *array.shape[1:])
            values = read_array(path, shape, array.dtype, advice)
            examples: np.ndarray | Ragged = Ragged(values, offsets, array.longest, array.fill)
        else:
            values = read_array(path, (count, *array.shape), array.dtype, advice)
            examples = values
        theirs = name == GROUPS and self.grouped
        if not theirs and (problem := self.check(name, values)):
            raise InputError(f"{path}: {problem}. {advice}")
        return examples


def read_dataset(folder: Path, schema: type[BaseDataset], advice: str = "") -> Any:
    """Read dataset.json.

    Args:
        folder: where it is.
        schema: of the task.
        advice: what to do where it is of no use; without it, to prepare the data again.

    Raises:
        InputError: it is missing or does not fit the schema.
    """
    path = folder / "dataset.json"
    remote.refresh(folder, path.name)
    try:
        return schema.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        if advice:
            raise InputError(f"{path}: not found. {advice}") from None
        raise contents.not_found(folder, schema.default_source) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}.") from None
    except pydantic.ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}. {advice or again(folder)}") from None


def open_dataset(folder: Path, schema: type[BaseDataset], prepare: Callable[[Path], object]) -> Any:
    """Read dataset.json; if the default folder is empty, prepare the default data there first."""
    if folder == DEFAULT_FOLDER and _is_empty(folder, schema.default_source):
        with contextlib.suppress(ExistsError):  # Another run that starts now was faster.
            prepare(folder)
    return read_dataset(folder, schema)


def _is_empty(folder: Path, default_source: str) -> bool:
    """Return whether a folder holds nothing but hidden files, a README and left-over default data.

    What is left of data of the person's own, whose build was killed, is not to be replaced.
    """
    if not folder.exists():
        return True
    builds = contents.made_by_builds(folder)
    left_over = [path for path in builds if contents.read_marker(path).source == default_source]
    return all(
        path in left_over or re.fullmatch(r"\..*|README\.md", path.name)
        for path in folder.iterdir()
    )


def again(folder: Path, source: str = "") -> str:
    """Return the advice for a dataset that cannot be used and was made from a source."""
    if url := remote.url_of(folder):
        return f"Write the data as shards (build_shards.py), and upload them to {url}."
    made = f" (it was made from {source})" if source else ""
    return (
        "Prepare the data again, with the options that made it: python build_dataset.py --data "
        f"{folder} --overwrite{made}"
    )


def read_array(path: Path, shape: tuple[int | None, ...], dtype: str, advice: str) -> np.ndarray:
    """Map an array into memory; raise InputError with advice if it has another shape or dtype."""
    try:
        array = map_array(path)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "not a NumPy array"
        raise InputError(f"{path}: {reason}. {advice}") from None
    expected = np.str_ if dtype == "str" else np.dtype(dtype)
    if array.shape != shape or not np.issubdtype(array.dtype, expected):
        raise InputError(
            f"{path}: got {array.shape} {array.dtype}, expected {shape} {dtype} as in "
            f"dataset.json. {advice}"
        )
    return array


def write_dataset(
    folder: Path,
    schema: type[BaseDataset],
    arrays: Mapping[str, Examples],
    ids: np.ndarray,
    splits: Mapping[str, np.ndarray],
    overwrite: bool = False,
    draw: Callable[[Path], object] | None = None,
    groups: np.ndarray | None = None,
    **fields: Any,
) -> Any:
    """Write the arrays of each split and, last, dataset.json; return what it holds.

    Args:
        folder: where to.
        schema: of dataset.json.
        arrays: of all examples, by name.
        ids: (N,) str, where each came from.
        splits: the row numbers of each split.
        overwrite: replace what is there.
        draw: draws pictures of the examples into the folder of the arrays.
        groups: (N,) such as patients, of which intervals draw all examples or none.
        fields: of the schema: task, source, and those that the task adds.

    Raises:
        ExistsError: there is a dataset already.
        InputError: an array has the name of the groups.
    """
    arrays = _with_groups(arrays, groups)
    with contents.new_contents(folder, "arrays", fields["source"], overwrite) as target:
        described = {name: _describe(array) for name, array in arrays.items()}
        sizes = {split: len(rows) for split, rows in splits.items()}
        learned = sorted(item for item in described.items() if item[0] != GROUPS)
        # A field with a default may be younger than a dataset: without it the fingerprint stays.
        named = [item for item in fields.items() if schema.model_fields[item[0]].is_required()]
        facts: list[Any] = [sorted(named), sorted(sizes.items())]
        facts += [(n, a.dtype, a.shape, a.longest, a.fill) for n, a in learned]
        digest = hashlib.sha256(repr(facts).encode())
        for split, rows in splits.items():
            for name, array in {**arrays, "ids": ids}.items():
                for block in _write(target / f"{split}_{name}.npy", array, rows):
                    if name != GROUPS:  # Nothing is learned of them.
                        digest.update(block)
        if draw:
            draw(target)
        contents.seal(target)
        dataset = schema(
            examples=sizes,
            arrays=described,
            arrays_folder=target.name,
            fingerprint=digest.hexdigest()[:16],
            **fields,
        )
        text = dataset.model_dump_json(indent=2)
        write_atomically(folder / "dataset.json", text.encode())
    return dataset


def _with_groups(
    arrays: Mapping[str, Examples], groups: np.ndarray | None
) -> Mapping[str, Examples]:
    if GROUPS in arrays:
        raise InputError(
            f"arrays: got {GROUPS!r} as a name, expected another one: it is that of what "
            "write_dataset takes as groups=, of which nothing is learned. Rename the array."
        )
    if groups is None:
        return arrays
    return {**arrays, GROUPS: np.unique(groups, return_inverse=True)[1]}


def _describe(array: Examples) -> Array:
    if isinstance(array, Ragged):
        shape = (None, *array.values.shape[1:])
        return Array(
            dtype=str(array.values.dtype), shape=shape, longest=array.longest, fill=array.fill
        )
    return Array(dtype=str(array.dtype), shape=array.shape[1:])


def _write(path: Path, array: Examples, rows: np.ndarray) -> Iterator[bytes | memoryview]:
    """Write rows of an array as .npy, and the offsets of a ragged one; yield the bytes written."""
    if isinstance(array, Ragged):
        lengths = (array.offsets[1:] - array.offsets[:-1])[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        yield from _write(
            path.with_name(f"{path.stem}_offsets.npy"), offsets, np.arange(len(offsets))
        )
        places = [np.arange(array.offsets[row], array.offsets[row + 1]) for row in rows]
        array, rows = array.values, np.concatenate([np.zeros(0, np.int64), *places])
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
    header["shape"] = (len(rows), *array.shape[1:])
    with open(path, "wb") as file:  # Not mapped into memory: a full disk would end the process.
        np.lib.format.write_array_header_1_0(file, header)
        example = array.dtype.itemsize * math.prod(array.shape[1:])
        size = max(1, min(BLOCK, BLOCK_BYTES // max(1, example)))
        for start in range(0, len(rows), size):
            block = np.ascontiguousarray(array.take(rows[start : start + size], axis=0)).tobytes()
            file.write(block)
            yield block
