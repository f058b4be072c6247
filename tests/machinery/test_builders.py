"""Building a data set: kills at any moment, and two builders at once."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset
from machinery import arrays, contents
from machinery.arrays import BaseDataset, Ragged
from machinery.errors import InputError


class Killed(BaseException):
    """What the process would not live to see."""


class Killer:
    """Raises Killed at one of the operations on the files of a folder."""

    events = ("open", "os.", "shutil.", "mmap.")

    def __init__(self) -> None:
        self.folder, self.left = "", -1
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.left < 0 or not event.startswith(self.events):
            return
        where = [str(a) for a in arguments if isinstance(a, (str, os.PathLike))]
        if event != "mmap.__new__" and not any(text.startswith(self.folder) for text in where):
            return
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    killer = Killer()  # An audit hook stays for good.
    yield killer
    killer.left = -1


class Words(BaseDataset):
    """A data set of few files."""

    inputs: tuple[str, ...] = ("tokens",)
    targets: tuple[str, ...] = ()


def write_words(folder: Path, first: int, overwrite: bool = True) -> None:
    tokens = Ragged.join([np.arange(first, first + length) for length in (1, 2, 3)])
    rows = np.arange(3)
    splits = {split: rows[i : i + 1] for i, split in enumerate(arrays.SPLITS)}
    ids = (rows + first).astype(str)
    arrays.write_dataset(
        folder, Words, {"tokens": tokens}, ids, splits, overwrite, task="words", source="here"
    )


def fail(folder: Path) -> None:
    pytest.fail(f"the default data would be prepared in {folder}")


def read_words(folder: Path) -> list[Any]:
    """Read a whole data set."""
    dataset = arrays.read_dataset(folder, Words)
    found: list[Any] = [dataset.fingerprint]
    for split in arrays.SPLITS:
        found.append(dataset.read_ids(folder, split).tolist())
        found.append(dataset.read_split(folder, split)["tokens"].take(np.array([0])).tolist())
    return found


def test_a_kill_leaves_the_old_data_set_or_the_new(
    tmp_path: Path, killer: Killer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # Takes long, and changes nothing here.
    monkeypatch.setattr(arrays, "DEFAULT_FOLDER", tmp_path / "killed")
    write_words(tmp_path / "old", 0)
    write_words(tmp_path / "new", 5)
    old, new = read_words(tmp_path / "old"), read_words(tmp_path / "new")
    seen, killed = [], True
    while killed:
        folder = tmp_path / "killed"
        shutil.copytree(tmp_path / "old", folder)
        killer.folder, killer.left = str(folder), len(seen)
        with suppress(Killed):
            write_words(folder, 5)
            killed = False
        killer.left = -1
        arrays.open_dataset(folder, Words, fail)  # No run prepares the default data there.
        seen.append(read_words(folder))
        assert seen[-1] in (old, new)
        write_words(folder, 5)
        assert read_words(folder) == new
        assert len([*folder.glob("arrays-*")]) == 1
        shutil.rmtree(folder)
    assert len(seen) > 50
    assert seen[0] == old
    assert seen[-2] == seen[-1] == new  # A kill while the old arrays are deleted, and none.


def test_what_a_killed_build_of_own_data_leaves_is_not_replaced(
    tmp_path: Path, killer: Killer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default data go into an empty folder alone."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    folder = tmp_path / "data"
    monkeypatch.setattr(arrays, "DEFAULT_FOLDER", folder)
    ended, points = {"prepared": 0, "refused": 0, "read": 0}, 0
    while ended["read"] < 3:
        folder.mkdir()
        killer.folder, killer.left = str(folder), points
        with suppress(Killed):
            write_words(folder, 5)
        killer.left, points = -1, points + 1
        begun = [*folder.glob("arrays-*/*")]
        prepare = partial(write_words, first=0)
        if begun and not (folder / "dataset.json").exists():
            with pytest.raises(InputError, match="was made from here by a build that did not"):
                arrays.open_dataset(folder, Words, prepare)
            ended["refused"] += 1
        else:
            arrays.open_dataset(folder, Words, prepare)
            assert read_words(folder)[1] == (["5"] if begun else ["0"])
            ended["read" if begun else "prepared"] += 1
        shutil.rmtree(folder)
    assert min(ended.values()) >= 3


def test_of_two_builders_one_wins(tmp_path: Path, start: Callable[..., Any], project: Path) -> None:
    folder = tmp_path / "data"
    words = ("build_dataset.py", "--data", folder)
    builders = [start(*words) for _ in range(2)]
    errors = [builder.communicate(timeout=600)[1] for builder in builders]
    assert sorted(builder.returncode for builder in builders) == [0, 2]
    assert sum("dataset.json exists" in text for text in errors) == 1
    read = Dataset.model_validate_json((folder / "dataset.json").read_bytes())
    read.read_split(folder, "train")

    code = "import build_dataset, pathlib; build_dataset.open_dataset(pathlib.Path('data'))"
    path = f"import sys; sys.path.insert(0, {str(project)!r})"
    (tmp_path / "fresh").mkdir()
    openers = [start("-c", f"{path}; {code}", cwd=tmp_path / "fresh") for _ in range(2)]
    for opener in openers:
        assert opener.wait(timeout=600) == 0, opener.stderr.read()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks builders")
def test_of_many_builders_each_leaves_one_whole_data_set(tmp_path: Path) -> None:
    """With and without overwriting, and as often as it takes to see them meet."""
    folder = tmp_path / "data"
    whole = []
    for first in range(3):
        write_words(tmp_path / f"{first}", first)
        whole.append(read_words(tmp_path / f"{first}"))
    for number in range(15):
        builders = [fork_builder(folder, first, first != number % 3) for first in range(3)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in builders]
        assert {*codes} <= {0, 2}
        assert 0 in codes
        assert read_words(folder) in whole
        assert len([*folder.glob("arrays-*")]) == 1
        if number % 2:  # The next ones begin in an empty folder.
            shutil.rmtree(folder)


def fork_builder(folder: Path, first: int, overwrite: bool) -> int:
    """Write a data set in a child process; return the child's number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            write_words(folder, first, overwrite)
            code = 0
        except contents.ExistsError:
            code = 2
        finally:
            os._exit(code)
    return child


def test_folders_that_only_look_like_ours_stay(tmp_path: Path) -> None:
    """Raw data may lie below data/, in folders of any name."""
    data = tmp_path / "data"
    for name in ("arrays-1", "records-2023"):
        (data / name).mkdir(parents=True)
        (data / name / "raw.npy").touch()
    write_words(data, 0)
    write_words(data, 5)
    (data / read_folder(data) / "notes.txt").touch()
    write_words(data, 0)
    names = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    assert {"arrays-1/raw.npy", "records-2023/raw.npy", "arrays-3/notes.txt"} <= names
    assert len([*data.glob(f"*/{contents.MARKER}")]) == 1


def read_folder(data: Path) -> str:
    return arrays.read_dataset(data, Words).arrays_folder
