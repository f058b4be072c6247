"""Why Keras does not start is said in one line; so is a lack of memory."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import backend
import utils

ROOT = Path(__file__).parent.parent


def test_an_unknown_backend_ends_the_command(tmp_path: Path) -> None:
    new = ("--experiment", str(tmp_path / "new"), "--from", "experiments/baseline")
    result = subprocess.run(
        [sys.executable, "train.py", *new],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflwo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "did you mean tensorflow?" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"backend": ["jax"]}', '{"backend": 1}'])
def test_a_keras_json_without_a_backend(tmp_path: Path, content: str) -> None:
    shutil.copy(ROOT / "backend.py", tmp_path)
    (tmp_path / "keras.json").write_text(content)
    code = "import backend, utils\nwith utils.exit_codes(): backend.load()"
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: keras.json: got ")


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(utils.InputError, match=f"pip install {backend.name}"):
        backend.load()


def test_keras_imported_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "torch" if backend.name == "jax" else "jax"
    monkeypatch.setattr(backend, "name", other)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    with pytest.raises(utils.InputError, match=f"not {other}: `import backend` before keras"):
        backend.load()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MemoryError: Unable to allocate 9.0 GiB for an array"),
    ],
)
def test_out_of_memory(error: Exception) -> None:
    advice = "--from wide --data.batch_size 32"
    with pytest.raises(utils.ResourceError, match=advice), backend.out_of_memory(Path("wide"), 64):
        raise error


def test_other_errors_pass() -> None:
    for error in (RuntimeError("a bug"), utils.DivergedError("out of memory is not why")):
        with pytest.raises(type(error)), backend.out_of_memory(Path("wide"), 64):
            raise error
