"""Checkpoints: every bit, damage, and what does not fit."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from machinery import checkpoints
from machinery.checkpoints import DamagedError, Header, Progress
from machinery.errors import DivergedError, InputError
from machinery.files import write_atomically

ARRAYS = {"model.a": np.arange(6.0).reshape(2, 3).T, "optimizer.step": np.array(3, np.int64)}


def header(step: int = 3) -> Header:
    return Header(
        progress=Progress(step=step, best={"val_loss": 0.1}),
        parameters={"seed": 0, "model.width": 4},
        fingerprint="abc",
        optimizer="SGD",
        arrays=checkpoints.describe(ARRAYS),
    )


def test_a_checkpoint_keeps_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoints.write_checkpoint(path, ARRAYS, header())
    read, found = checkpoints.read_checkpoint(path)
    assert found == header()
    for name, array in ARRAYS.items():
        assert read[name].shape == array.shape
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)
    assert list(tmp_path.iterdir()) == [path]


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoints.write_checkpoint(path, ARRAYS, header())
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DamagedError):
            checkpoints.read_checkpoint(path)
        path.write_bytes(content[:position])
        with pytest.raises(DamagedError):
            checkpoints.read_checkpoint(path)
    with pytest.raises(DamagedError):
        checkpoints.read_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("state", [{}, {"progress": 1}, {"progress": {"step": -1}}])
def test_another_state_than_ours_is_damage(tmp_path: Path, state: object) -> None:
    from safetensors.numpy import save

    text, arrays = json.dumps(state), {"model.a": np.arange(6.0)}
    path = tmp_path / "last.safetensors"
    path.write_bytes(save(arrays, {"state": text, "sha256": checkpoints._digest(arrays, text)}))
    with pytest.raises(DamagedError, match="not a checkpoint"):
        checkpoints.read_checkpoint(path)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_diverged_is_not_written(tmp_path: Path, value: float) -> None:
    path = tmp_path / "last.safetensors"
    checkpoints.write_checkpoint(path, ARRAYS, header())
    with pytest.raises(DivergedError, match=r"model\.a holds NaN or infinity"):
        checkpoints.write_checkpoint(path, {"model.a": np.array([1, value])}, header())
    checkpoints.read_checkpoint(path)


def test_the_newest_whole_checkpoint_is_read(tmp_path: Path) -> None:
    last, previous = tmp_path / checkpoints.LAST, tmp_path / checkpoints.PREVIOUS
    assert checkpoints.read_newest(tmp_path) is None
    checkpoints.write_checkpoint(last, ARRAYS, header(1), previous)
    checkpoints.write_checkpoint(last, ARRAYS, header(2), previous)
    found = checkpoints.read_newest(tmp_path)
    assert found
    assert (found[1].progress.step, found[2], found[3]) == (2, last, "")
    last.write_bytes(last.read_bytes()[:-1])
    found = checkpoints.read_newest(tmp_path)
    assert found
    assert (found[1].progress.step, found[2]) == (1, previous)
    assert f"continuing from {previous}" in found[3]
    previous.write_bytes(b"")
    with pytest.raises(InputError, match="--overwrite"):
        checkpoints.read_newest(tmp_path)


def test_a_checkpoint_of_other_data_is_not_evaluated(tmp_path: Path) -> None:
    path = tmp_path / checkpoints.BEST
    checkpoints.write_checkpoint(path, ARRAYS, header())
    assert checkpoints.read_trained(path, "abc")[1].step == 3
    with pytest.raises(InputError, match="trained on other data"):
        checkpoints.read_trained(path, "other")
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="Try --checkpoint last"):
        checkpoints.read_trained(path, "abc")


def test_what_does_not_fit_is_named() -> None:
    arrays = checkpoints.select({"model.a": np.zeros(2), "optimizer.b": np.zeros(1)}, "model.")
    assert list(arrays) == ["a"]
    checkpoints.check_fit(arrays, {"a": [2]}, Path("x"))
    with pytest.raises(InputError) as error:
        checkpoints.check_fit(arrays, {"a": (3,), "c": ()}, Path("x"))
    assert "x does not fit" in str(error.value)
    assert "c is missing; a is (2,), expected (3,)" in str(error.value)
    with pytest.raises(InputError, match="a is unknown"):
        checkpoints.check_fit(arrays, {}, Path("x"))


def test_a_file_is_old_or_new_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    for number in range(5):
        write_atomically(path, b"old")
        calls = iter(range(5))

        def fail_at(original, calls=calls, number=number):
            def call(*arguments):
                if next(calls) == number:
                    raise KeyboardInterrupt
                return original(*arguments)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail_at(os.fsync))
            patch.setattr(os, "replace", fail_at(os.replace))
            try:
                write_atomically(path, b"new", tmp_path / "kept")
            except KeyboardInterrupt:
                kept = tmp_path / "kept"
                assert (path if path.exists() else kept).read_bytes() in (b"old", b"new")
            else:
                assert path.read_bytes() == b"new"
                assert (tmp_path / "kept").read_bytes() == b"old"
