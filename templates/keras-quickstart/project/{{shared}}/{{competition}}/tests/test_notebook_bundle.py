"""The notebook: equal files give equal bytes, and what is in it can be unpacked and imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from machinery import kaggle_setup
from machinery.errors import InputError
from machinery.notebook_bundle import (
    bundle,
    find_code,
    make_cells,
    read_cells,
    read_settings,
    title_of,
    write_cells,
)

PROJECT = Path(__file__).parent.parent
SETTINGS = {"accelerator": "none", "weights": "0" * 64, "train": "", "packages": ["numpy"]}


def test_equal_files_give_equal_bytes() -> None:
    assert bundle(PROJECT) == bundle(PROJECT)


def test_tests_and_data_stay_here() -> None:
    found = {path.relative_to(PROJECT).parts[0] for path in find_code(PROJECT)}
    assert {"predict.py", "machinery", "model", "competition"} <= found
    assert not {"tests", "data"} & found


def test_the_notebook_unpacks_and_imports(tmp_path: Path) -> None:
    weights = tmp_path / "input" / "some-weights"
    weights.mkdir(parents=True)
    (weights / "weights.json").write_text("{}")
    settings = SETTINGS | {"weights": kaggle_setup.hashlib.sha256(b"{}").hexdigest()}
    path = tmp_path / "notebook.ipynb"
    path.write_bytes(write_cells(make_cells(settings, bundle(PROJECT))))
    cells = read_cells(path)
    assert json.loads(path.read_text())["nbformat"] == 4
    assert read_settings(cells) == settings
    imports = "import machinery.kaggle_session as found; print(found.__file__)"
    script = tmp_path / "cells.py"
    script.write_text("\n".join([*cells[:-1], imports]))
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"exec(open({str(script)!r}).read())"],
        env={"KAGGLE_INPUT_FOLDER": str(tmp_path / "input"), "PATH": "", "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "project-").name in done.stdout


def test_a_notebook_without_settings_is_refused() -> None:
    with pytest.raises(InputError, match="SETTINGS"):
        read_settings(["print(1)"])


@pytest.mark.parametrize(
    ("text", "title"),
    [("some-competition first", "some-competition-first"), ("A_b  C!", "a-b-c"), ("x", "x0000")],
)
def test_titles_are_as_kaggle_makes_them(text: str, title: str) -> None:
    assert title_of(text) == title


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kaggle_setup, "INPUT", tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        kaggle_setup.find_weights("0")
    (tmp_path / "datasets" / "ada").mkdir(parents=True)
    (tmp_path / "datasets" / "ada" / "weights.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="other versions"):
        kaggle_setup.find_weights("0")


def test_another_machine_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_SIMULATED", raising=False)
    monkeypatch.setattr(kaggle_setup, "list_gpus", lambda: ["Tesla T4"])
    kaggle_setup.check_hardware("NvidiaTeslaA100")
    with pytest.raises(RuntimeError, match="got 1 GPUs"):
        kaggle_setup.check_hardware("NvidiaTeslaT4")


def test_a_package_that_the_machine_lacks_is_named(tmp_path: Path) -> None:
    kaggle_setup.install_wheels(tmp_path, ["numpy"])
    with pytest.raises(RuntimeError, match=r"lacks no-such-package"):
        kaggle_setup.install_wheels(tmp_path, ["numpy", "no-such-package"])
