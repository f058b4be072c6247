"""build_records.py and export.py as they are typed, and what the exported model answers."""

import io
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import export
import utils
from build_dataset import build_digits
from parameters import Parameters

ROOT = Path(__file__).parent.parent
SMALL = ("--model.width", "4", "--training.epochs", "1", "--data.batch_size", "256")


def run(*words: object, expected: int = 0) -> str:
    """Run a script of the project; return what it printed."""
    command = [sys.executable, *map(str, words)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == expected, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/, records/, a small experiment trained on them, and its export."""
    folder = tmp_path_factory.mktemp("export")
    build_digits(folder / "data")
    run("build_records.py", "--data", folder / "data", "--records", folder / "records")
    new = ("--experiment", folder / "small", "--from", "experiments/baseline", *SMALL)
    run("train.py", *new, "--data", folder / "records", "--device", "cpu")
    where = ("--experiment", folder / "small", "--data", folder / "data")
    run("export.py", *where, "--exports", folder / "exports")
    return folder


def test_the_export_says_where_it_came_from(folder: Path) -> None:
    facts = json.loads((folder / "exports/1/assets.extra/export.json").read_text())
    assert facts["experiment"] == str(folder / "small")
    assert facts["classes"] == [str(digit) for digit in range(10)]
    assert facts["step"] == 5


def test_both_signatures_agree(folder: Path) -> None:
    signatures = tf.saved_model.load(str(folder / "exports" / "1")).signatures
    images = np.load(folder / "data" / "test_images.npy")
    outputs = signatures["serving_default"](images=tf.constant(images))
    assert outputs["probabilities"].shape == (360, 10)
    assert np.allclose(outputs["probabilities"].numpy().sum(axis=1), 1)
    names = outputs["classes"].numpy().astype(str)
    assert names.tolist() == [str(k) for k in outputs["probabilities"].numpy().argmax(axis=1)]

    files = []
    for image in images[:20, ..., 0]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        files.append(file.getvalue())
    encoded = signatures["encoded"](image_bytes=tf.constant(files))
    assert np.allclose(encoded["probabilities"], outputs["probabilities"][:20], atol=1e-6)


def test_encoded_images_of_another_size_are_cropped_and_scaled(folder: Path) -> None:
    signatures = tf.saved_model.load(str(folder / "exports" / "1")).signatures
    square = np.load(folder / "data" / "test_images.npy")[0, ..., 0].repeat(4, 0).repeat(4, 1)
    wide = np.pad(square, ((0, 0), (10, 10)))  # Cropped away again.
    files = []
    for pixels in (square, wide):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        files.append(file.getvalue())
    first, second = signatures["encoded"](image_bytes=tf.constant(files))["probabilities"].numpy()
    assert np.allclose(first, second, atol=1e-6)


def test_every_kind_of_file_is_taken(folder: Path) -> None:
    """Grey, in colour and transparent, which is put on white, as build_dataset.py does."""
    digit = Image.fromarray(np.load(folder / "data" / "test_images.npy")[0, ..., 0])
    clear = Image.merge("LA", [Image.new("L", digit.size, 0), digit])
    on_white = Image.fromarray(255 - np.asarray(digit))
    kinds = [(digit, "png"), (digit, "bmp"), (digit, "gif"), (digit.convert("RGB"), "png")]
    kinds += [(digit.convert("RGB"), "bmp"), (digit, "jpeg"), (digit.convert("RGB"), "jpeg")]
    kinds += [(on_white, "png"), (clear, "png"), (clear.convert("RGBA"), "png")]
    files = []
    for image, kind in kinds:
        file = io.BytesIO()
        image.save(file, kind, quality=100)
        files.append(file.getvalue())
    signatures = tf.saved_model.load(str(folder / "exports" / "1")).signatures
    outputs = signatures["encoded"](image_bytes=tf.constant(files))["probabilities"].numpy()
    for row in outputs[1:5]:
        assert np.allclose(row, outputs[0], atol=1e-6)
    for row in outputs[5:7]:  # JPEG loses some.
        assert np.allclose(row, outputs[0], atol=0.01)
    for row in outputs[8:]:
        assert np.allclose(row, outputs[7], atol=1e-4)
    assert not np.allclose(outputs[7], outputs[0], atol=1e-3)


def test_versions_count_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exports, small = folder / "exports", folder / "small"
    parameters = utils.load_parameters(Parameters, small / "params.yaml")
    where = Namespace(experiment=small, data=folder / "data", exports=exports, checkpoint="last")
    assert export.export(where, parameters) == exports / "2"
    assert "same predictions for 256 examples" in capsys.readouterr().out
    assert sorted(path.name for path in exports.iterdir()) == ["1", "2"]


def test_another_prediction_elsewhere_is_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, exports = folder / "small", tmp_path / "exports"
    parameters = utils.load_parameters(Parameters, small / "params.yaml")
    where = Namespace(experiment=small, data=folder / "data", exports=exports, checkpoint="best")
    monkeypatch.setattr(export, "predict_elsewhere", lambda *_: np.full((256, 10), 0.1))
    with pytest.raises(RuntimeError, match="predicts otherwise"):
        export.export(where, parameters)
    assert [*exports.iterdir()] == []
    monkeypatch.undo()
    monkeypatch.setattr(export, "LOAD_AND_PREDICT", "raise SystemExit('no such thing')")
    with pytest.raises(RuntimeError, match="no such thing"):
        export.predict_elsewhere(exports, np.zeros((1, 8, 8, 1), np.uint8))


def test_what_cannot_be_exported_is_refused(folder: Path, tmp_path: Path) -> None:
    new = ("--experiment", tmp_path / "new", "--data", folder / "data")
    assert "params.yaml" in run("export.py", *new, expected=2)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "params.yaml").write_text((folder / "small/params.yaml").read_text())
    assert "best.safetensors: not found. Train" in run("export.py", *new, expected=2)
    content = bytearray((folder / "small" / "best.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "new" / "best.safetensors").write_bytes(content)
    exports = tmp_path / "exports"
    assert "SHA-256" in run("export.py", *new, "--exports", exports, expected=2)
    assert not exports.exists()


def test_records_are_not_replaced_unasked(folder: Path) -> None:
    records = ("--data", folder / "data", "--records", folder / "records")
    assert "--overwrite" in run("build_records.py", *records, expected=2)
    before = sorted((folder / "data").iterdir())
    onto = ("--data", folder / "data", "--records", folder / "data", "--overwrite")
    assert "holds a dataset" in run("build_records.py", *onto, expected=2)
    assert sorted((folder / "data").iterdir()) == before
    assert "--shards: got 0" in run("build_records.py", *records, "--shards", 0, expected=2)
