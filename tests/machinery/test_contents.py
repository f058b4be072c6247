"""The folder of the arrays: whether what it holds is what the build wrote."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import machinery.arrays
from build_dataset import Dataset, build
from helpers import files_of
from machinery import contents


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A folder of arrays."""
    return tmp_path / build(tmp_path).arrays_folder


def test_every_file_has_its_digest(arrays: Path) -> None:
    marker = contents.read_marker(arrays)
    assert marker.source == "drawn"
    assert sorted(marker.sha256) == sorted(path.name for path in arrays.glob("*.npy"))
    assert contents.changed_files(arrays) == []


def test_a_change_in_place_is_found(arrays: Path) -> None:
    before = contents.stamp(arrays)
    path = arrays / "train_points.npy"
    array = np.load(path, mmap_mode="r+")
    array[3, 1] += 1
    array.flush()
    assert contents.stamp(arrays) != before
    assert contents.changed_files(arrays) == [path]


def test_a_copy_has_another_stamp_and_the_same_content(arrays: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(arrays, tmp_path / "arrays-9", copy_function=shutil.copyfile)
    os.utime(copy / "train_points.npy", (1, 1))
    assert contents.stamp(copy) != contents.stamp(arrays)
    assert contents.changed_files(copy) == []
    assert contents.stamp(arrays) == contents.stamp(arrays)


@pytest.mark.parametrize("text", ["", "{", '{"sha256": 3}', '{"source": []}', None])
def test_a_marker_that_says_nothing_accuses_nobody(arrays: Path, text: str | None) -> None:
    path = arrays / contents.MARKER
    path.unlink() if text is None else path.write_text(text)
    (arrays / "train_points.npy").write_bytes(b"other")
    assert contents.read_marker(arrays) == contents.Marker()
    assert contents.changed_files(arrays) == []


def test_only_what_builds_wrote_is_replaced(arrays: Path, tmp_path: Path) -> None:
    for name in ("embeddings.npy", "train_embeddings.npy", "notes.txt"):
        (arrays / name).write_text("mine")
    build(tmp_path, overwrite=True)
    mine = sorted(path.name for path in arrays.iterdir())
    assert mine == ["embeddings.npy", "notes.txt", "train_embeddings.npy"]


def test_a_build_that_fails_leaves_what_was_there(
    arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one for which the disk is too small."""
    before = files_of(tmp_path)

    def fail(folder: Path) -> None:
        assert list(folder.glob("*.npy"))
        raise OSError(28, "the disk is full")

    monkeypatch.setattr(contents, "seal", fail)
    with pytest.raises(OSError, match=r"the disk is full: .*arrays-2"):
        build(tmp_path, overwrite=True)
    assert files_of(tmp_path) == before


def test_a_build_that_fails_once_it_is_named_keeps_what_is_named(
    arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as by Ctrl-C before the old arrays are deleted."""
    write = machinery.arrays.write_atomically

    def interrupt(*words: Any) -> None:
        write(*words)
        raise KeyboardInterrupt

    monkeypatch.setattr(machinery.arrays, "write_atomically", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, overwrite=True)
    dataset = machinery.arrays.read_dataset(tmp_path, Dataset)
    assert dataset.arrays_folder == "arrays-2"
    assert dataset.read_split(tmp_path, "train")["points"].any()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is full")
def test_a_full_disk_is_an_error_and_no_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it would be for a file that is mapped into memory."""
    monkeypatch.setattr("mmap.mmap", lambda *_, **__: pytest.fail("a file was mapped"))
    build(tmp_path)
    array = np.ones((1000, 1000))
    with pytest.raises(OSError, match="No space left on device"):
        list(machinery.arrays._write(Path("/dev/full"), array, np.arange(1000)))
