"""The data on disk: ragged and empty arrays, damage, and the default data."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset, build, open_dataset
from machinery import arrays, contents, intervals
from machinery.arrays import BaseDataset, Ragged
from machinery.contents import ExistsError
from machinery.errors import InputError


class Sequences(BaseDataset):
    """A data set of sequences, tables and numbers."""

    inputs: tuple[str, ...] = ("tokens", "table")
    targets: tuple[str, ...] = ("boxes", "number")


EXAMPLES = [np.arange(length, dtype=np.int32) for length in (2, 0, 3, 1, 5)]


def write(folder: Path, **changes: Any) -> Sequences:
    """Write five examples: three to train, one each for val and test."""
    boxes = [np.full((length, 4), length, np.float32) for length in (0, 1, 0, 2, 0)]
    content = {
        "tokens": Ragged.join(EXAMPLES),
        "boxes": Ragged.join(boxes, fill=-1),
        "table": np.arange(15, dtype=np.float32).reshape(5, 3),
        "number": np.arange(5),
    }
    splits = {"train": np.array([4, 0, 1]), "val": np.array([2]), "test": np.array([3])}
    settings: dict[str, Any] = {"splits": splits, "task": "sequences", "source": "here", **changes}
    content = {name: settings.pop(name, array) for name, array in content.items()}
    ids = np.array([f"example {row}" for row in range(5)])
    return arrays.write_dataset(folder, Sequences, content, ids, **settings)


# ---------------------------------------------------------------------------------------------
# Ragged arrays.


def test_ragged_examples_are_joined_and_taken_padded() -> None:
    ragged = Ragged.join(EXAMPLES, fill=-1)
    assert len(ragged) == 5
    assert ragged.nbytes == 11 * 4
    for row, example in enumerate(EXAMPLES):
        assert np.array_equal(ragged[row], example)
    taken = ragged.take(np.array([3, 1, 2]))
    assert taken.dtype == np.int32
    assert taken.tolist() == [[0, -1, -1, -1, -1], [-1] * 5, [0, 1, 2, -1, -1]]
    assert ragged.take(np.array([], np.int64)).shape == (0, 5)
    assert np.array_equal(ragged.take(np.array([4, 4])), [range(5)] * 2)


def test_ragged_examples_may_have_more_axes_or_be_empty() -> None:
    ragged = Ragged.join([np.ones((1, 2, 3)), np.zeros((2, 2, 3))])
    assert ragged.take(np.array([0, 1])).shape == (2, 2, 2, 3)
    assert ragged.take(np.array([0])).sum() == 6
    empty = Ragged.join([np.zeros((0, 4)), np.zeros((0, 4))])
    assert empty.take(np.array([1, 0])).shape == (2, 1, 4)  # No axis of a batch is empty.
    nothing = Ragged(np.zeros((0, 4)), np.zeros(1, np.int64), 1, 0)
    assert len(nothing) == 0
    assert nothing.take(np.array([], np.int64)).shape == (0, 1, 4)


# ---------------------------------------------------------------------------------------------
# Writing and reading.


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = write(tmp_path)
    dataset = arrays.read_dataset(tmp_path, Sequences)
    assert dataset == written
    assert dataset.examples == {"train": 3, "val": 1, "test": 1}
    assert dataset.arrays["tokens"].shape == (None,)
    assert dataset.arrays["tokens"].longest == 5
    assert dataset.arrays["boxes"].fill == -1
    assert dataset.arrays["boxes"].batch_shape == (2, 4)
    assert dataset.arrays["table"].batch_shape == (3,)
    assert dataset.positions == 5
    train = dataset.read_split(tmp_path, "train")
    assert list(train) == ["tokens", "table", "boxes", "number"]
    assert train["number"].tolist() == [4, 0, 1]
    assert train["table"][1].tolist() == [0, 1, 2]
    assert train["tokens"].take(np.array([2, 1])).tolist() == [[0] * 5, [0, 1, 0, 0, 0]]
    assert train["boxes"].take(np.array([0, 2]))[:, :, 0].tolist() == [[-1, -1], [1, -1]]
    assert dataset.read_split(tmp_path, "val")["boxes"].take(np.array([0])).tolist() == [
        [[-1] * 4] * 2
    ]
    assert dataset.read_ids(tmp_path, "train").tolist() == ["example 4", "example 0", "example 1"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == [
        *("arrays-1", "dataset.json")
    ]


def test_a_split_may_be_empty(tmp_path: Path) -> None:
    nothing = np.array([], np.int64)
    splits = {"train": np.arange(5), "val": nothing, "test": nothing}
    dataset = write(tmp_path, splits=splits)
    val = dataset.read_split(tmp_path, "val")
    assert {name: len(array) for name, array in val.items()} == dict.fromkeys(val, 0)
    assert val["tokens"].take(nothing).shape == (0, 5)
    assert dataset.read_ids(tmp_path, "val").tolist() == []


def test_groups_lie_beside_and_leave_the_fingerprint(tmp_path: Path) -> None:
    """Nothing is learned of them, so what was trained before they were written stays."""
    plain = write(tmp_path / "plain")
    assert intervals.read_groups(plain, tmp_path / "plain", "train") is None
    dataset = write(tmp_path / "grouped", groups=np.array(["b", "a", "b", "c", "a"]))
    assert dataset.fingerprint == plain.fingerprint
    assert [*dataset.read_split(tmp_path / "grouped", "train")] == [
        *("tokens", "table", "boxes", "number")
    ]
    found = intervals.read_groups(dataset, tmp_path / "grouped", "train")
    assert found is not None
    assert found.tolist() == [0, 1, 0]  # Of the examples 4, 0 and 1.


def test_an_array_of_ones_own_is_not_called_groups(tmp_path: Path) -> None:
    """It would leave the fingerprint, and nobody would check it."""
    numbers = np.arange(5)
    content = {"groups": numbers}
    for groups in (None, numbers):
        with pytest.raises(InputError, match="'groups' as a name, expected another"):
            arrays.write_dataset(
                *(tmp_path, Dataset, content, numbers.astype(str), {"train": numbers}),
                groups=groups,
                task="points",
                source="here",
                classes=2,
                inputs=("groups",),
            )
    assert not any(tmp_path.iterdir())
    # One of before is an array as any other.
    dataset = write(tmp_path)
    described = dataset.model_dump_json().replace('"number"', '"groups"')
    (tmp_path / "dataset.json").write_text(described)
    for path in (tmp_path / "arrays-1").glob("*_number.npy"):
        path.rename(path.with_name(path.name.replace("number", "groups")))

    class Strict(Sequences):
        def check(self, name: str, array: np.ndarray) -> str:
            return "is wrong" if name == "groups" else ""

    found = arrays.read_dataset(tmp_path, Strict)
    assert intervals.read_groups(found, tmp_path, "train") is None
    with pytest.raises(InputError, match=r"train_groups\.npy: is wrong"):
        found.read_split(tmp_path, "train")


def test_many_examples_are_written_in_blocks(tmp_path: Path) -> None:
    count = 2 * arrays.BLOCK + 3
    rows = np.random.default_rng(0).permutation(count)
    numbers = np.arange(count)
    dataset = arrays.write_dataset(
        tmp_path,
        Dataset,
        {"points": numbers[:, None], "labels": numbers % 2},
        numbers.astype(str),
        {"train": rows, "val": rows[:1], "test": rows[:0]},
        task="points",
        source="here",
        classes=2,
    )
    assert np.array_equal(dataset.read_split(tmp_path, "train")["points"][:, 0], rows)
    assert np.array_equal(dataset.read_ids(tmp_path, "train"), rows.astype(str))


@pytest.mark.parametrize(
    "changes",
    [
        {"number": np.arange(5) + 1},
        {"number": np.arange(5).astype(np.uint64)},
        {"table": np.arange(15, dtype=np.float32).reshape(5, 3, 1)},
        {"source": "there"},
        {"tokens": Ragged.join(EXAMPLES, fill=7)},
        {"splits": {"train": np.array([4, 0]), "val": np.array([1, 2]), "test": np.array([3])}},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_two_data_sets_have_two_fingerprints(tmp_path: Path, changes: dict[str, Any]) -> None:
    same = write(tmp_path / "a"), write(tmp_path / "b")
    assert same[0].fingerprint == same[1].fingerprint
    assert write(tmp_path / "c", **changes).fingerprint != same[0].fingerprint


def test_a_data_set_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path)
    before = (tmp_path / "dataset.json").read_bytes()
    with pytest.raises(ExistsError, match="--overwrite"):
        write(tmp_path)
    assert (tmp_path / "dataset.json").read_bytes() == before
    (tmp_path / "arrays-mine").mkdir()  # Not ours.
    dataset = write(tmp_path, source="again", overwrite=True)
    assert dataset.arrays_folder == "arrays-2"
    assert not (tmp_path / "arrays-1").exists()
    assert (tmp_path / "arrays-mine").exists()
    dataset.read_split(tmp_path, "test")


# ---------------------------------------------------------------------------------------------
# Damage.


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train_number.npy", None, "No such file"),
        ("train_number.npy", b"", "not a NumPy array"),
        ("train_number.npy", b"nonsense", "not a NumPy array"),
        ("train_tokens.npy", np.arange(3, dtype=np.int32), "got (3,) int32, expected (7,) int32"),
        ("train_tokens_offsets.npy", np.arange(3), "got (3,) int64, expected (4,) int64"),
        ("train_number.npy", np.arange(3.0), "got (3,) float64, expected (3,) int64"),
        ("train_number.npy", np.array([{}], object), "not a NumPy array"),
    ],
)
def test_damaged_arrays_are_named(tmp_path: Path, name: str, content: Any, expected: str) -> None:
    dataset = write(tmp_path)
    path = tmp_path / "arrays-1" / name
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(InputError) as error:
        dataset.read_split(tmp_path, "train")
    assert str(error.value).startswith(f"{path}: {expected}")
    assert f"python build_dataset.py --data {tmp_path} --overwrite" in str(error.value)


def test_an_array_that_was_cut_short_is_named(tmp_path: Path) -> None:
    dataset = write(tmp_path)
    path = tmp_path / "arrays-1" / "train_table.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"train_table\.npy"):
        dataset.read_split(tmp_path, "train")


def test_offsets_that_make_no_sense_are_named(tmp_path: Path) -> None:
    dataset = write(tmp_path)
    path = tmp_path / "arrays-1" / "train_tokens_offsets.npy"
    for wrong in ([0, 9, 2, 7], [-3, 1, 2, 7], [1, 2, 2, 7]):
        np.save(path, np.array(wrong))
        with pytest.raises(InputError, match="offsets"):
            dataset.read_split(tmp_path, "train")


def test_the_task_checks_the_content(data: Path, tmp_path: Path, dataset: Dataset) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    path = folder / "arrays-1" / "train_labels.npy"
    np.save(path, np.load(path) + 3)
    with pytest.raises(InputError, match=r"train_labels\.npy: labels up to 4, expected 2 classes"):
        dataset.read_split(folder, "train")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "not found. Prepare it: python build_dataset.py"),
        ("", "JSON"),
        ("{}", "task: Field required"),
        ('{"task": 3}', "task: Input should be a valid string"),
    ],
)
def test_a_bad_description_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "dataset.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as error:
        arrays.read_dataset(tmp_path, Sequences)
    assert str(path) in str(error.value)
    assert expected in str(error.value)


@pytest.mark.parametrize("name", ["../arrays-1", "/tmp/arrays-1", "arrays-1/..", "mine"])
def test_arrays_lie_beside_their_description(tmp_path: Path, name: str) -> None:
    content = write(tmp_path).model_dump_json().replace("arrays-1", name)
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match="arrays_folder"):
        arrays.read_dataset(tmp_path, Sequences)


# ---------------------------------------------------------------------------------------------
# The default data.


def test_the_default_data_are_prepared_in_an_empty_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not found"):
        open_dataset(Path("elsewhere"))
    assert not Path("elsewhere").exists()
    folder = arrays.DEFAULT_FOLDER
    left = folder / "arrays-7"  # By a build of them that was killed.
    left.mkdir(parents=True)
    marker = contents.Marker(source=Dataset.default_source)
    (left / contents.MARKER).write_text(marker.model_dump_json())
    for name in ("README.md", ".lock", ".gitignore"):
        (folder / name).touch()
    dataset = open_dataset(folder)
    assert dataset.arrays_folder == "arrays-8"
    assert open_dataset(folder) == dataset
    (folder / "dataset.json").unlink()
    (folder / "photo.png").touch()
    with pytest.raises(InputError, match="not found"):
        open_dataset(folder)
    build(Path("data/mine"))
    with pytest.raises(InputError, match=r"not found\. Found: data/mine"):
        open_dataset(folder)
