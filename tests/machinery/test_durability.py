"""What a power cut leaves: no file takes its place before its content is on the disk.

`Disk` watches what the process asks of the system. A disk may write in any order what nobody asked
it to write, so only what was synced counts.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build_dataset import build
from machinery import checkpoints, records
from machinery.run import Run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows cannot sync a folder")
METRICS, RECORD = "metrics.jsonl", records.FILE


class Disk:
    """Knows which files and folders are synced, and in which order files took their places.

    Args:
        patch: puts it between the process and the system.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.synced: dict[int, int] = {}  # The size of each file when it was synced, by inode.
        self.moved: set[int] = set()  # Folders in which a file took a place since their last sync.
        self.events: list[str] = []  # Names: of files that took their places or grew, of folders.
        self._replace, self._fsync = os.replace, os.fsync
        patch.setattr(os, "replace", self.replace)
        patch.setattr(os, "fsync", self.fsync)

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        found = os.fstat(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if stat.S_ISDIR(found.st_mode):
            self.moved.discard(found.st_ino)
            self.events.append(f"{path.name}/")
            return
        assert path.parent.stat().st_ino not in self.moved, f"{path.parent} was not synced"
        self.synced[found.st_ino] = found.st_size
        if not path.name.startswith("."):  # It was written in its place.
            self.events.append(path.name)

    def replace(self, source: Path, target: Path) -> None:
        if source.is_file():
            assert self.is_synced(source), f"{target} takes its place before it was synced"
            self.moved.add(target.parent.stat().st_ino)
            self.events.append(target.name)
        self._replace(source, target)

    def is_synced(self, path: Path) -> bool:
        found = path.stat()
        return self.synced.get(found.st_ino) == found.st_size


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs Linux's /proc to name the file of a descriptor")
    return Disk(monkeypatch)


def test_a_run_syncs_each_file_before_it_takes_its_place(
    tmp_path: Path, train_run: Callable[..., Run], disk: Disk
) -> None:
    """And then the folder. The next file counts on the ones before: the record comes first, and of
    an epoch the metrics, then the best weights, then the checkpoint.
    """
    folder = tmp_path / "run"
    train_run(folder, {"training": {"epochs": 3}})
    with records.writing_evaluation(folder, ["metrics_test.json"], 4):
        pass
    assert not disk.moved
    names = ["params.yaml", RECORD, METRICS, records.EVALUATIONS_FILE, "dataset.json"]
    names += [checkpoints.LAST, checkpoints.PREVIOUS, checkpoints.BEST]
    for name in names:
        assert disk.is_synced(folder / name), name
    first = disk.events.index(METRICS)
    assert RECORD in disk.events[:first]
    events = disk.events[first : disk.events.index(RECORD, first)]
    files = [name for name in events if not name.endswith(("/", ".png"))]
    epochs = " ".join(files).split(METRICS)[1:]
    last = f"{checkpoints.PREVIOUS} {checkpoints.LAST}"
    assert len(epochs) == 3
    assert epochs[0].strip() == f"{checkpoints.BEST} {checkpoints.LAST}"
    assert {epoch.strip() for epoch in epochs[1:]} <= {last, f"{checkpoints.BEST} {last}"}


def test_a_data_set_is_named_once_all_of_it_is_synced(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace: Callable[[Any, Any], None] = os.replace
    checked = []

    def check(source: Path, target: Path) -> None:
        if target.name == "dataset.json":
            arrays = [*tmp_path.glob("arrays-*/*.npy")]
            checked.append(len(arrays))
            assert all(disk.is_synced(path) for path in arrays)
            assert disk.events[-1] == f"{arrays[0].parent.name}/"  # So their names are there, too.
        replace(source, target)

    monkeypatch.setattr(os, "replace", check)
    build(tmp_path)
    assert checked == [9]  # Points, labels and ids of three splits.
    assert not disk.moved
