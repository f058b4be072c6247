"""Data at a URL: what is fetched, when, how much of it stays, and what is said of what is wrong."""

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from build_dataset import Dataset
from machinery import arrays, records
from machinery.errors import InputError, ResourceError, StoppedError
from machinery.run import Run
from machinery.shards import remote
from machinery.shards.shard_cache import GIGABYTES, Ahead
from test_run import content, stop_at
from test_shards import shard

LARGEST = 864  # Bytes of a shard of ten points: three headers, points, labels, ids.


@pytest.fixture
def shards(tmp_path: Path, data: Path, dataset: Dataset) -> Path:
    """Points in seven shards, of which two are shuffled together."""
    shard(data, tmp_path / "shards", dataset)
    found = json.loads((tmp_path / "shards" / "shards-1" / "shards.json").read_text())
    assert max(each["bytes"] for each in found["shards"]["train"]) == LARGEST
    return tmp_path / "shards"


@pytest.fixture
def place(tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Returns the folder that stands for a URL, in a cache with room for six of the shards."""
    monkeypatch.setenv("SHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(GIGABYTES, str(6 * LARGEST / 1e9))
    monkeypatch.setattr(remote, "PAUSES", (0, 0))
    # No thread fetches beside the test.
    monkeypatch.setattr(Ahead, "want", lambda *_: None)
    return lambda url: remote.data_place(url)


def read(folder: Path, split: str = "train") -> tuple[Dataset, Any]:
    dataset: Dataset = arrays.read_dataset(folder, Dataset)
    return dataset, dataset.read_split(folder, split)["points"]


def cached(folder: Path) -> int:
    """Return the bytes of the shards that are here."""
    return sum(path.stat().st_size for path in folder.glob("shards-*/t*.npy"))


def upload(shards: Path, url: str) -> None:
    """Copy a folder, as `aws s3 sync` does."""
    for path in shards.rglob("[!.]*"):
        if path.is_file():
            with fsspec.open(f"{url}/{path.relative_to(shards).as_posix()}", "wb") as file:
                file.write(path.read_bytes())


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, shards: Path, tmp_path: Path) -> str:
    if request.param == "file":
        return shards.as_uri()
    upload(shards, found := f"memory://{tmp_path.name}/points")
    return found


def test_shards_are_fetched_when_they_are_read_and_few_stay(
    shards: Path, place: Callable[[str], Path], url: str
) -> None:
    folder = place(url)
    assert remote.shown(folder) == url
    dataset, points = read(folder)
    assert cached(folder) == 0
    _, expected = read(shards)
    for row in (0, 15, 25, 35, 45, 55, 63, 0):
        assert points.take(np.array([row])).tolist() == expected.take(np.array([row])).tolist()
        assert 0 < cached(folder) <= 6 * LARGEST
        points.shards.opened.clear()
    assert len([*folder.glob("shards-1/train-*_points.npy")]) == 6
    assert (folder / "shards-1" / "train-00000_points.npy").exists()
    assert not (folder / "shards-1" / "train-00001_points.npy").exists()  # Read longest ago.
    assert not [*folder.glob("shards-1/*.room")]
    assert dataset.read_ids(folder, "val").tolist() == dataset.read_ids(shards, "val").tolist()


def test_a_run_from_a_url_is_that_from_a_folder(
    tmp_path: Path, shards: Path, place: Callable[[str], Path], train_run: Callable[..., Run]
) -> None:
    upload(shards, url := f"memory://{tmp_path.name}/points")
    folder = place(url)
    dataset, _ = read(folder)
    train_run(tmp_path / "whole", data=shards, dataset=dataset)
    train = partial(train_run, tmp_path / "cut", dataset=dataset)
    with pytest.raises(StoppedError):
        train(data=folder, stop=stop_at(6))
    shutil.rmtree(folder)
    assert records.data_of(tmp_path / "cut") == folder
    read(folder)
    train(data=folder)
    assert content(tmp_path / "whole") == content(tmp_path / "cut")


def test_the_next_window_is_fetched_ahead(
    shards: Path, place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[set[str]] = []
    monkeypatch.setattr(Ahead, "want", lambda _, found: wanted.append({*found}))
    folder = place(shards.as_uri())
    _, points = read(folder)
    order = points.shards.order
    rows = order.take(0, 0, 0, 16)
    points.take(rows)
    following = {f"train-{number:05}" for number in order.windows[1]}
    assert wanted[0] == following
    assert wanted[-1] == following
    read(folder, "val")[1].take(np.arange(2))
    assert wanted[-1] == {"val-00001"}  # Evaluation goes from the first to the last.


def test_a_thread_fetches_what_is_wanted_last() -> None:
    found, begun, go = [], threading.Event(), threading.Event()

    def fetch(place: str, _: Any) -> None:
        found.append(place)
        begun.set()
        go.wait()
        raise OSError("no reason to end")

    ahead = Ahead(fetch)
    some: Any = object()
    ahead.want({"a": some, "b": some})
    begun.wait()
    ahead.want({"c": some, "d": some})
    go.set()
    assert ahead.thread
    ahead.thread.join()
    assert found == ["a", "c", "d"]


def test_what_a_kill_leaves_is_replaced(shards: Path, place: Callable[[str], Path]) -> None:
    folder = place(shards.as_uri())
    _, points = read(folder)
    contents = folder / "shards-1"
    (contents / ".train-00000_points.npy.tmp").write_bytes(b"half")
    for number in range(3):  # Other fetches that were killed, too; they hold half of the cache.
        with open(contents / f"train-0000{number}.room", "wb") as file:
            file.truncate(LARGEST)
    for row in range(64):
        points.take(np.array([row]))
        points.shards.opened.clear()
        found = [path.stat().st_size for path in contents.glob("train*") if path.is_file()]
        assert sum(found) <= 6 * LARGEST
    assert not [*contents.glob(".*.tmp")]


def test_another_data_set_at_the_same_url_is_fetched(
    tmp_path: Path, shards: Path, place: Callable[[str], Path], data: Path, dataset: Dataset
) -> None:
    folder = place(shards.as_uri())
    _, old = read(folder)
    before = old.take(np.arange(40))
    shutil.rmtree(shards)
    moved = shutil.copytree(data, tmp_path / "moved")
    path = moved / dataset.arrays_folder / "train_points.npy"
    np.save(path, np.load(path) + 1)
    shard(moved, shards, dataset)
    _, new = read(folder)
    np.testing.assert_array_equal(np.sort(new.take(np.arange(40)), 0), np.sort(before + 1, 0))


@pytest.mark.parametrize("name", ["../../evil.py", "/evil.npy", "train-00000_../x.npy", "x.npy"])
def test_a_list_names_no_file_outside_its_folder(
    shards: Path, place: Callable[[str], Path], name: str
) -> None:
    path = shards / "shards-1" / "shards.json"
    found = json.loads(path.read_text())
    found["shards"]["train"][0]["sha256"][name] = "0" * 64
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match=r"shards.json: shards\.train\.0\.sha256"):
        read(place(shards.as_uri()))


def test_files_of_a_person_are_no_cache(
    tmp_path: Path, shards: Path, place: Callable[[str], Path]
) -> None:
    mine = tmp_path / "cache" / "mine" / "shards-1"
    shutil.copytree(shards / "shards-1", mine)
    _, points = read(place(shards.as_uri()))
    points.take(np.arange(40))
    assert {path.name for path in mine.iterdir()} == {
        path.name for path in (shards / "shards-1").iterdir()
    }


@pytest.mark.parametrize("text", ["https://mina:secret@host/data", "https://host/data?key=secret"])
def test_a_url_holds_no_credentials(text: str, place: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match="expected none") as raised:
        place(text)
    assert "secret" not in str(raised.value)


def damage(path: Path) -> None:
    array = np.load(path)
    np.save(path, array[::-1])


def test_a_damaged_shard_is_fetched_once_more(
    shards: Path, place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = place(shards.as_uri()), shards / "shards-1" / "train-00000_points.npy"
    _, points = read(folder)
    good, reads = path.read_bytes(), []
    damage(path)

    def read_better(url: str, place: int) -> Any:
        reads.append(url)
        if len(reads) == 2:
            path.write_bytes(good)
        return _read(url, place)

    _read = remote._read
    monkeypatch.setattr(remote, "_read", read_better)
    assert len(points.take(np.arange(1))) == 1
    assert len(reads) == 4  # Two other files of the shard.


def test_what_is_wrong_with_data_at_a_url_is_said(
    shards: Path, place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = shards.as_uri()
    folder, path = place(url), shards / "shards-1" / "train-00000_points.npy"
    _, points = read(folder)
    damage(path)
    message = rf"{url}/shards-1/{path.name}: got SHA-256 \w+..., expected \w+... .* Upload the file"
    with pytest.raises(InputError, match=message):
        points.take(np.arange(1))
    path.unlink()
    with pytest.raises(InputError, match=rf"{path.name}: not found. .* Upload it, or name another"):
        points.take(np.arange(1))
    assert not [*folder.glob("shards-1/*.npy"), *folder.glob("shards-1/*.room")]
    with pytest.raises(InputError, match=r"nothing/dataset.json: not found"):
        read(place((shards / "nothing").as_uri()))
    with pytest.raises(InputError, match=r"wrong://there/dataset.json: cannot be opened: .*wrong"):
        read(place("wrong://there"))
    for text in ("much", "0", "inf"):
        monkeypatch.setenv(GIGABYTES, text)
        with pytest.raises(InputError, match=rf"SHARD_CACHE_GB: got '{text}', expected a number"):
            read(folder)
    monkeypatch.setenv(GIGABYTES, str(3 * LARGEST / 1e9))
    with pytest.raises(
        InputError, match=r"got 2\.592e-06, expected at least .* two windows of 2 shards"
    ):
        read(folder)


def test_a_network_that_fails_is_asked_again_and_then_said(
    shards: Path, place: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, places = place(shards.as_uri()), []
    _read = remote._read

    def fail_after_some(url: str, place: int) -> Any:
        places.append(place)
        whole = b"".join(_read(url, place))
        yield whole[:7]
        if len(places) < failures:
            raise ConnectionError("it rains")
        yield whole[7:]

    monkeypatch.setattr(remote, "_read", fail_after_some)
    failures = 3
    arrays.read_dataset(folder, Dataset)
    assert places == [0, 7, 14]
    failures = 99
    with pytest.raises(ResourceError, match=r"dataset.json: cannot be read: it rains. .*again"):
        arrays.read_dataset(folder, Dataset)


def read_all(folder: Path, seed: int, expected: list, results: Any) -> None:
    _, points = read(folder)
    rows = np.random.default_rng(seed).permutation(64)
    same = []
    for row in rows:
        same.append(points.take(np.array([row])).tolist() == [expected[row]])
        points.shards.opened.clear()
    results.put(all(same))


def test_several_processes_share_a_cache_that_is_too_small_for_all(
    shards: Path, place: Callable[[str], Path]
) -> None:
    folder = place(shards.as_uri())
    expected = read(shards)[1].take(np.arange(64)).tolist()
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()
    processes = [
        context.Process(target=read_all, args=(folder, seed, expected, results))
        for seed in range(3)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [True] * 3
    for process in processes:
        process.join()
    assert cached(folder) <= 6 * LARGEST
