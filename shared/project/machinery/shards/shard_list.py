"""shards.json: which shards there are, and what is in their files.

data/dataset.json                          the description, as of arrays in one piece
data/shards-1/shards.json                  the list of the shards of each split
data/shards-1/train-00000_NAME.npy         an array of the first shard
data/shards-1/train-00000_ids.npy          where each of its examples came from
"""

from pathlib import Path
from typing import Annotated

import pydantic

from machinery.errors import InputError, first_problem
from machinery.shards.remote import url_of

KIND = "shards"  # What the name of the folder of the arrays begins with.
FILE = "shards.json"
# No path: a list from elsewhere names no file outside its folder.
FileName = Annotated[str, pydantic.StringConstraints(pattern=r"^(train|val|test)-\d{5,}_\w+\.npy$")]


class Shard(pydantic.BaseModel):
    """Some examples of a split, whose arrays have files of their own."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    examples: int = pydantic.Field(ge=1)
    bytes: int = pydantic.Field(ge=1)  # of all its files
    sha256: dict[FileName, str]  # of each file


class ShardList(pydantic.BaseModel):
    """What shards.json holds."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    fingerprint: str  # that of dataset.json
    window: int = pydantic.Field(ge=0)  # shards that are shuffled together; 0: all of them
    shards: dict[str, tuple[Shard, ...]]  # by split

    def window_of(self, split: str) -> int:
        """Return how many shards of a split are read at a time: val and test have no window."""
        count = len(self.shards[split])
        if split != "train":
            return min(1, count)
        return min(self.window or count, count)


def is_sharded(arrays_folder: str) -> bool:
    """Return whether a folder of arrays, by its name in dataset.json, holds shards."""
    return arrays_folder.startswith(f"{KIND}-")


def write_again(folder: Path) -> str:
    """Return the advice for shards that cannot be used."""
    if url := url_of(folder):
        return f"Upload the data set to {url} again, all its files, dataset.json last."
    return (
        f"Write the shards again: python build_shards.py --data ARRAYS --output {folder} "
        "--overwrite, with the options that made them. Or bring the files back."
    )


def stem(split: str, number: int) -> str:
    """Return what the names of a shard's files begin with."""
    return f"{split}-{number:05}"


def read_list(contents: Path, fingerprint: str, examples: dict[str, int]) -> ShardList:
    """Read shards.json.

    Args:
        contents: the folder that holds it.
        fingerprint: of dataset.json.
        examples: of each split, as dataset.json says.

    Raises:
        InputError: it is missing, or does not fit dataset.json.
    """
    path, advice = contents / FILE, write_again(contents.parent)
    try:
        found = ShardList.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. {advice}") from None
    except pydantic.ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}. {advice}") from None
    counts = {split: sum(each.examples for each in found.shards[split]) for split in found.shards}
    for name, here, expected in (
        ("fingerprint", found.fingerprint, fingerprint),
        ("examples", counts, examples),
    ):
        if here != expected:
            raise InputError(
                f"{path}: got {name} {here}, expected {expected} as in dataset.json: they are of "
                f"two data sets. {advice}"
            )
    return found
