"""export.py: what it writes, what it refuses, and how it numbers versions."""

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import task
import tensorflow as tf

import backend
import evaluate
import export
import train
from build_dataset import prepare_default, read_dataset
from machinery.checkpoints import read_checkpoint
from machinery.errors import InputError
from machinery.parameter_file import load_parameters
from machinery.run import Run
from machinery.stopping import StopRequest
from model.data_loader import load_split
from parameters import Parameters
from tfrecords import write_records

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and a small experiment trained on it."""
    folder = tmp_path_factory.mktemp("export")
    prepare_default(folder / "data")
    words = [word.removeprefix("--") for word in task.SMALL]
    values = {**dict(zip(words[::2], words[1::2], strict=True)), "training.epochs": "1"}
    path = ROOT / "experiments" / "baseline" / "params.yaml"
    parameters = load_parameters(Parameters, path, values)
    dataset = read_dataset(folder / "data")
    with Run(folder / "small", parameters, dataset, folder / "data", StopRequest(), "cpu") as run:
        train.train(run)
    return folder


def arguments(folder: Path, exports: Path, **others: Any) -> tuple[Namespace, Parameters]:
    """Return what the command line gives to export."""
    given = {"experiment": folder / "small", "data": folder / "data", "checkpoint": "best"}
    parameters = load_parameters(Parameters, folder / "small" / "params.yaml")
    return Namespace(exports=exports, **{**given, **others}), parameters


def test_an_export_gives_the_same_elsewhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = export.export(*arguments(folder, tmp_path))
    assert exported == tmp_path / "1"
    assert "gave the same predictions for" in capsys.readouterr().out
    facts = json.loads((exported / "assets.extra" / "export.json").read_text("utf-8"))
    assert facts["experiment"] == str(folder / "small")
    assert facts["step"] == facts["metrics"]["step"]
    assert facts["dataset"]["fingerprint"] == read_dataset(folder / "data").fingerprint

    dataset = read_dataset(folder / "data")
    split = load_split(folder / "data", dataset, "test")
    inputs, targets = split.take(np.arange(7))
    _, parameters = arguments(folder, tmp_path)
    model = backend.make_model(parameters, dataset, "float32")
    path = folder / "small" / "best.safetensors"
    backend.load_weights(model, read_checkpoint(path)[0], path)
    predictions, _ = evaluate.make_evaluation_step(model, split, dataset)(inputs, targets)
    default = tf.saved_model.load(str(exported)).signatures["serving_default"]
    outputs = default(**{name: tf.constant(array) for name, array in inputs.items()})
    for name, tensor in predictions.items():
        assert np.allclose(outputs[name], tensor, atol=1e-6)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the new process and the comparison in exports, which take seconds."""
    monkeypatch.setattr(export, "predict_elsewhere", lambda *_: {})
    monkeypatch.setattr(export, "compare", lambda *_: 0.0)


@pytest.mark.usefixtures("trusting")
def test_a_version_is_never_given_twice(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "4").mkdir()  # Of an earlier release, which kept no count.
    (tmp_path / ".unfinished-killed").mkdir()
    where = arguments(folder, tmp_path, checkpoint="last")
    assert export.export(*where) == tmp_path / "5"
    (tmp_path / "5").rename(tmp_path / "elsewhere")
    assert export.export(*where) == tmp_path / "6"
    visible = sorted(path.name for path in tmp_path.glob("[!.]*"))
    assert visible == ["4", "6", "elsewhere"]
    assert not [*tmp_path.glob(".unfinished-*")]


@pytest.mark.usefixtures("trusting")
def test_a_version_is_on_the_disk_before_it_has_its_number(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, too, a version that is there is whole."""
    synced, replace = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))

    def check(unchecked: Path, target: Path) -> None:
        inodes = {path.stat().st_ino for path in (unchecked, *unchecked.rglob("*"))}
        assert inodes <= {*synced}
        replace(unchecked, target)
        checked.append(target)

    checked = []
    monkeypatch.setattr(os, "replace", check)
    assert export.export(*arguments(folder, tmp_path)) in checked


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5"])
def test_a_damaged_count_of_versions_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / export.LAST_VERSION).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"\.last-version: got .*, expected the highest number"):
        export.next_version(tmp_path)


def test_another_prediction_elsewhere_is_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict_otherwise(*_: object) -> dict[str, np.ndarray]:
        return {name: tensor.numpy()[::-1] for name, tensor in seen.items()}

    write, seen = export.write_saved_model, {}

    def write_and_see(*given: Any) -> dict[str, tf.Tensor]:
        seen.update(write(*given))
        return seen

    monkeypatch.setattr(export, "write_saved_model", write_and_see)
    monkeypatch.setattr(export, "predict_elsewhere", predict_otherwise)
    with pytest.raises(RuntimeError, match="predicts other"):
        export.export(*arguments(folder, tmp_path))
    assert not [*tmp_path.glob("[!.]*")]
    assert not [*tmp_path.glob(".unfinished-*")]


def test_names_and_numbers_are_compared() -> None:
    expected = {"share": np.array([0.5, 0.1]), "name": np.array([b"a", b"b"], object)}
    found = {"share": np.array([0.5, 0.1 + 1e-7]), "name": np.array([b"a", b"b"])}
    assert 0 < export.compare(found, expected, Path()) <= 1e-6
    for name, other in (("name", [b"a", b"c"]), ("share", [0.5, 0.2]), ("share", [0.5, np.nan])):
        with pytest.raises(RuntimeError, match=f"predicts other {name}"):
            export.compare({**found, name: np.array(other)}, expected, Path())


def test_what_does_not_load_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LOAD_AND_PREDICT", "raise SystemExit('no such thing')")
    with pytest.raises(RuntimeError, match="no such thing"):
        export.predict_elsewhere(tmp_path, {"x": np.zeros(1)})


def test_a_damaged_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "small" / "best.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "best.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        export.export(*arguments(folder, tmp_path / "exports", experiment=tmp_path))
    assert not (tmp_path / "exports").exists()


def test_records_are_evaluated_to_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_records(folder / "data", read_dataset(folder / "data"), tmp_path / "records", shards=2)
    found = []
    for data in (folder / "data", tmp_path / "records"):
        given, parameters = arguments(folder, tmp_path, data=data, split="test", device="cpu")
        evaluate.main(given, parameters)
        names = json.loads((folder / "small" / "evaluations.json").read_text("utf-8"))["files"]
        found.append({name: (folder / "small" / name).read_bytes() for name in names})
    assert "metrics_test.json" in found[0]
    assert found[0] == found[1]
