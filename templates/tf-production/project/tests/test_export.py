"""export.py: what it writes, and what it refuses."""

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import task
import tensorflow as tf
from saved_model_server import serve

import backend
import evaluate
import export
import train
from build_dataset import prepare_default, read_dataset
from framework.tfrecords import write_records
from machinery.checkpoints import read_checkpoint
from machinery.errors import InputError
from machinery.parameter_file import load_parameters
from machinery.run import Run
from machinery.server.in_service import Decisions
from machinery.stopping import StopRequest
from model.data_loader import load_split
from parameters import Parameters
from serving import messages

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
    given: dict[str, Any] = {"experiment": folder / "small", "data": folder / "data"}
    given |= {"checkpoint": "best", "int8": None, "margin": None}
    parameters = load_parameters(Parameters, folder / "small" / "params.yaml")
    return Namespace(exports=exports, **{"format": "saved_model", **given, **others}), parameters


@pytest.fixture(scope="module")
def versions(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two versions, which are the same."""
    exported = export.export(*arguments(folder, tmp_path_factory.mktemp("exports")))
    shutil.copytree(exported, exported.parent / "2")
    return exported.parent


def test_an_export_gives_the_same_elsewhere(folder: Path, versions: Path) -> None:
    exported = versions / "1"
    facts = json.loads((exported / "export.json").read_text("utf-8"))
    assert facts["experiment"] == str(folder / "small")
    assert facts["step"] == facts["metrics"]["step"]
    assert facts["dataset"]["fingerprint"] == read_dataset(folder / "data").fingerprint

    dataset = read_dataset(folder / "data")
    split = load_split(folder / "data", dataset, "test")
    inputs, targets = split.take(np.arange(7))
    _, parameters = arguments(folder, versions.parent)
    model = backend.make_model(parameters, dataset, "float32")
    path = folder / "small" / "best.safetensors"
    backend.load_weights(model, read_checkpoint(path)[0], path)
    predictions, _ = evaluate.make_evaluation_step(model, split, dataset)(inputs, targets)
    default = tf.saved_model.load(str(exported)).signatures["serving_default"]
    outputs = default(**{name: tf.constant(array) for name, array in inputs.items()})
    for name, tensor in predictions.items():
        assert np.allclose(outputs[name], tensor, atol=1e-6)


def test_both_ways_to_ask_give_what_the_version_does(folder: Path, versions: Path) -> None:
    split = load_split(folder / "data", read_dataset(folder / "data"), "test")
    inputs, _ = split.take(np.arange(3))
    signature = tf.saved_model.load(str(versions / "2")).signatures["serving_default"]
    tensors = signature(**{name: tf.constant(array) for name, array in inputs.items()})
    expected = {name: tensor.numpy() for name, tensor in tensors.items()}
    with serve(versions) as server:
        assert {"serving_default"} <= server.signatures().keys()
        for predict in (server.predict, server.predict_grpc):
            outputs = predict(inputs)
            assert outputs.keys() == expected.keys()
            for name, array in expected.items():
                if array.dtype == object:
                    texts = np.char.decode(array.astype(bytes), "utf-8")
                    assert outputs[name].tolist() == texts.tolist()
                else:
                    assert outputs[name].dtype == array.dtype
                    assert np.allclose(outputs[name], array, rtol=1e-6)
            with pytest.raises(InputError, match="not found"):
                predict(inputs, version=7)


def test_what_promote_decides_serves(versions: Path) -> None:
    with serve(versions) as server:
        assert server.versions() == {2: "AVAILABLE"}  # The newest, as nothing is accepted.
        for decide, expected in (
            (lambda decisions: decisions.accept(1, ""), 1),
            (lambda decisions: decisions.accept(2, ""), 2),
            (lambda decisions: decisions.roll_back(), 1),
            (lambda decisions: decisions.pin(2), 2),
        ):
            with Decisions(versions) as decisions:
                decide(decisions)
            assert server.versions() == {expected: "AVAILABLE"}


def test_a_version_warms_up_with_an_example(folder: Path, versions: Path) -> None:
    path = versions / "1" / "assets.extra" / "tf_serving_warmup_requests"
    (record,) = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    request = messages.MESSAGES["PredictionLog"].FromString(record).predict_log.request
    assert request.model_spec.name == "model"
    split = load_split(folder / "data", read_dataset(folder / "data"), "test")
    inputs, _ = split.take(np.arange(1))
    assert {each.key for each in request.inputs} == inputs.keys()
    for each in request.inputs:
        assert np.array_equal(messages.to_array(each.value), inputs[each.key], equal_nan=True)


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
