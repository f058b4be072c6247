"""Records give the same batches as arrays, and a kill leaves the old ones or the new."""

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import build_records
from build_dataset import open_dataset, prepare_default, read_dataset
from framework import tfrecords
from machinery import arrays
from machinery.arrays import BaseDataset, Ragged, write_dataset
from machinery.errors import InputError
from machinery.intervals import read_groups
from machinery.statistics_file import collect, read_file, write_description
from model.data_loader import evaluation_batches, load_split, training_batches
from parameters import Parameters


def write(data: Path, overwrite: bool = False) -> None:
    """Write records of the arrays in a folder, as build_records.py does."""
    tfrecords.write_records(data, read_dataset(data), data / "records", 3, overwrite)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The arrays that come with the project and, in records/, records of them."""
    folder = tmp_path_factory.mktemp("data")
    prepare_default(folder)
    write(folder)
    return folder


def assert_same(batch: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert batch.keys() == other.keys()
    for name in batch:
        assert batch[name].dtype == other[name].dtype
        assert np.array_equal(batch[name], other[name], equal_nan=batch[name].dtype.kind == "f")


def test_records_give_the_same_batches_as_arrays(data: Path) -> None:
    assert read_dataset(data / "records").fingerprint == read_dataset(data).fingerprint
    for name in ("train", "val", "test"):
        splits = [load_split(path, read_dataset(path), name) for path in (data, data / "records")]
        pairs = [zip(*[evaluation_batches(split) for split in splits], strict=True)]
        if name == "val":
            batches = [training_batches(split, Parameters(), 0, 4) for split in splits]
            pairs.append(
                [tf.nest.map_structure(np.asarray, pair) for pair in zip(*batches, strict=True)]
            )
        for found, expected in (pair for each in pairs for pair in each):
            for part in (0, 1):
                assert_same(found[part], expected[part])


def test_an_experiment_on_records_says_what_they_are_like(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of records that have no statistics beside them, it warns, and trains."""
    records, run = tmp_path / "records", tmp_path / "run"
    run.mkdir()
    words = ["build_records.py", "--data", str(data), "--records", str(records)]
    monkeypatch.setattr("sys.argv", words)
    build_records.main()
    dataset = read_dataset(records)
    write_description(run, dataset, records)
    assert read_file(run, dataset) == collect(read_dataset(data), data)
    (run / "statistics.json").unlink()
    (records / "statistics.json").unlink()
    write_description(run, dataset, records)
    assert "statistics.json is not written" in caplog.text


def test_records_are_what_tensorflow_reads(data: Path) -> None:
    dataset = read_dataset(data)
    examples = dataset.read_split(data, "val")
    paths = sorted(map(str, data.glob("records/records-1/val-*.tfrecord")))
    features = {name: tf.io.FixedLenFeature((), tf.string) for name in [*examples, "id"]}
    record = next(iter(tf.data.TFRecordDataset(paths)))
    parsed = tf.io.parse_single_example(record, features)
    assert parsed["id"].numpy().decode() == dataset.read_ids(data, "val")[0]
    for name, array in examples.items():
        assert parsed[name].numpy() == np.asarray(array[0]).tobytes()


class Texts(BaseDataset):
    """A dataset of sentences."""

    inputs: tuple[str, ...] = ("words", "points")
    targets: tuple[str, ...] = ("label",)


def test_ragged_arrays(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    words = Ragged.join([generator.integers(1, 9, n % 4) for n in range(12)], fill=-1)
    points = Ragged.join([generator.random((n % 3, 2), np.float32) for n in range(12)])
    label, ids = generator.random(12) < 0.5, np.arange(12).astype(str)
    splits = dict(zip(arrays.SPLITS, np.array_split(np.arange(12), 3), strict=True))
    examples = {"words": words, "points": points, "label": label}
    facts: dict[str, Any] = {"task": "t", "source": "s", "groups": np.arange(12) // 2}
    dataset = write_dataset(tmp_path, Texts, examples, ids, splits, **facts)
    tfrecords.write_records(tmp_path, dataset, tmp_path / "records", shards=2)
    stored: Any = arrays.read_dataset(tmp_path / "records", Texts)
    for split, rows in splits.items():
        inputs, targets = load_split(tmp_path / "records", stored, split).take(np.arange(4))
        expected = {name: array.take(rows, axis=0) for name, array in examples.items()}
        assert_same({**inputs, **targets}, expected)
        groups = read_groups(stored, tmp_path / "records", split)
        assert groups is not None
        assert groups.tolist() == (rows // 2).tolist()


def test_what_was_cut_short_is_refused(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    tfrecords.write_records(data, read_dataset(data), folder, shards=2)
    path = folder / "records-1" / "train-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"train-00001-of-00002\.tfrecord: got .* bytes"):
        load_split(folder, read_dataset(folder), "train")
    path.with_name("train_ids.npy").unlink()
    with pytest.raises(InputError, match=r"build_records\.py --data .* --overwrite"):
        load_split(folder, read_dataset(folder), "train")
    tfrecords.write_records(data, read_dataset(data), folder, shards=1, overwrite=True)
    assert sorted(path.name for path in folder.glob("records-*")) == ["records-2"]
    assert load_split(folder, read_dataset(folder), "train").examples > 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda index: index[:, 0].fill(2**40),
        lambda index: index[:, 0].fill(-1),
        lambda index: index[5:, 1].__isub__(1),
        lambda index: index[-1:, 2].fill(-5),
    ],
    ids=["too many shards", "negative shard", "another place", "negative length"],
)
def test_an_index_of_nonsense_is_refused(data: Path, tmp_path: Path, wrong: Any) -> None:
    folder = shutil.copytree(data / "records", tmp_path / "records")
    path = folder / "records-1" / "train_index.npy"
    index = np.load(path)
    wrong(index)
    np.save(path, index)
    with pytest.raises(InputError, match=r"train_index\.npy: does not say where each record lies"):
        load_split(folder, read_dataset(folder), "train")


@pytest.mark.parametrize("content", [b"\xff" * 9, tf.train.Example().SerializeToString()])
def test_records_of_nonsense_are_refused(data: Path, tmp_path: Path, content: bytes) -> None:
    """Though their checksums are right."""
    folder = shutil.copytree(data / "records", tmp_path / "records")
    arrays_folder, dataset = folder / "records-1", read_dataset(folder)
    count = dataset.examples["val"]
    for path in arrays_folder.glob("val-*"):
        path.unlink()
    with tf.io.TFRecordWriter(str(tfrecords.shard_path(arrays_folder, "val", 0, 1))) as writer:
        for _ in range(count):
            writer.write(content)
    size = tfrecords.HEADER + len(content) + tfrecords.FOOTER
    starts = np.arange(count) * size + tfrecords.HEADER
    index = np.stack([np.zeros_like(starts), starts, np.full_like(starts, len(content))], axis=1)
    np.save(arrays_folder / "val_index.npy", index)
    with pytest.raises(InputError, match=r"records-1: a record is not what dataset\.json says"):
        load_split(folder, dataset, "val")


def test_of_several_writers_each_leaves_whole_records(data: Path, tmp_path: Path) -> None:
    dataset, folder = read_dataset(data), tmp_path / "records"

    def write_shards(count: int) -> None:
        tfrecords.write_records(data, dataset, folder, count, overwrite=True)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write_shards, (1, 2, 3, 4, 5)))
    assert len([*folder.glob("records-*")]) == 1
    for name in arrays.SPLITS:
        splits = [load_split(path, read_dataset(path), name) for path in (data, folder)]
        found, expected = (split.take(np.arange(split.examples)) for split in splits)
        for part in (0, 1):
            assert_same(found[part], expected[part])


@pytest.mark.parametrize("there", [False, True])
def test_a_kill_leaves_the_old_records_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    prepare_default(tmp_path)
    folder = tmp_path / "records"
    if there:
        write(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tfrecords, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, overwrite=True)
    monkeypatch.undo()
    assert (folder / "dataset.json").exists() == there
    if there:
        assert load_split(folder, read_dataset(folder), "train").examples > 0
    write(tmp_path, overwrite=True)
    assert len([*folder.glob("records-*")]) == 1
    assert load_split(folder, read_dataset(folder), "train").examples > 0


def test_what_is_there_is_not_replaced_unasked(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: object) -> None:
        monkeypatch.setattr("sys.argv", ["build_records.py", "--data", *map(str, words)])
        build_records.main()

    before = sorted(data.rglob("*"))
    with pytest.raises(InputError, match="--overwrite"):
        run(data)
    with pytest.raises(InputError, match="holds a dataset"):
        run(data, "--records", data, "--overwrite")
    with pytest.raises(InputError, match="holds records"):
        run(data / "records", "--records", data / "more")
    with pytest.raises(SystemExit):
        run(data, "--shards", 0)
    assert "--shards: got 0" in capsys.readouterr().err
    assert sorted(data.rglob("*")) == before
    assert open_dataset(data).arrays_folder == "arrays-1"
