"""The folder of the arrays: whether what it holds is what the build wrote."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from build_dataset import build
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
