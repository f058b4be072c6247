"""If Keras cannot start, one line says why."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import backend
from framework import keras_backend

# isort: split
import keras

from machinery.errors import InputError

ROOT = Path(__file__).parent.parent


def run(*command: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with other environment variables."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("capability", "fastest"),
    [((6, 1), "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16")],
)
def test_the_fastest_precision_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], fastest: str
) -> None:
    monkeypatch.setattr(keras_backend, "find_capability", lambda: capability)
    assert backend.choose_precision("cuda", "auto") == fastest


def make_state(precision: str) -> backend.State:
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    plain = keras.optimizers.Adam()
    scaling = keras.optimizers.LossScaleOptimizer(plain) if precision == "float16" else plain
    model.compile(scaling, "mse")
    return backend.State(model)


@pytest.mark.parametrize("precisions", [("float16", "float32"), ("float32", "float16")])
def test_a_run_goes_on_in_another_precision(precisions: tuple[str, str]) -> None:
    """What scales the loss stays as it is where the checkpoint has none of it."""
    written, read = map(make_state, precisions)
    written.model.optimizer.iterations.assign(7)
    read.load(written.to_arrays(), Path("last.safetensors"))
    assert int(read.model.optimizer.iterations) == 7
    for state, precision in zip((written, read), precisions, strict=True):
        assert bool(state.owners["scaler."]) == (precision == "float16")


def test_an_unknown_backend_ends_the_command(tmp_path: Path) -> None:
    new = ("--experiment", str(tmp_path / "new"), "--from", "experiments/baseline")
    result = run("train.py", *new, KERAS_BACKEND="tensorflwo")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "did you mean tensorflow?" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"backend": ["jax"]}', '{"backend": 1}'])
def test_a_keras_json_without_a_backend(tmp_path: Path, content: str) -> None:
    shutil.copytree(ROOT / "framework", tmp_path / "framework")
    (tmp_path / "keras.json").write_text(content, "utf-8")
    code = "from framework import keras_backend\nfrom machinery.errors import exit_codes\n"
    code += "with exit_codes(): keras_backend.load()"
    result = run("-c", code, folder=tmp_path, PYTHONPATH=str(ROOT))
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: keras.json: got ")


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=f"pip install {keras_backend.name}"):
        keras_backend.load()


def test_keras_imported_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "torch" if keras_backend.name == "jax" else "jax"
    monkeypatch.setattr(keras_backend, "name", other)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    with pytest.raises(InputError, match=f"not {other}: `import backend` before keras"):
        keras_backend.load()
