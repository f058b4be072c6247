"""The notebook: equal files give equal bytes, and what is in it can be unpacked and imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from machinery import kaggle_setup
from machinery.errors import InputError
from machinery.notebook_bundle import (
    Options,
    bundle,
    dataset_title,
    find_code,
    find_models,
    make_cells,
    title_of,
)
from machinery.notebook_file import read_cells, read_settings, write_cells

PROJECT = Path(__file__).parent.parent
SETTINGS = {"accelerator": "none", "weights": "0" * 64, "train": "", "packages": ["numpy"]}


def test_equal_files_give_equal_bytes() -> None:
    assert bundle(PROJECT) == bundle(PROJECT)


def test_tests_and_data_stay_here() -> None:
    found = {path.relative_to(PROJECT).parts[0] for path in find_code(PROJECT)}
    assert {"predict.py", "machinery", "model", "competition"} <= found
    assert not {"tests", "data"} & found


def test_no_token_goes_along(tmp_path: Path) -> None:
    for folder in ("", "model", "competition", "experiments/first", ".kaggle"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name in ("kaggle.json", "credentials.json", "access_token", "access_token.txt", ".env"):
            (tmp_path / folder / name).write_text("secret", encoding="utf-8")
    for name in ("train.py", "keras.json", "model/net.py", "experiments/first/params.yaml"):
        (tmp_path / name).write_text("", encoding="utf-8")
    found = {path.relative_to(tmp_path).as_posix() for path in find_code(tmp_path)}
    assert found == {"train.py", "keras.json", "model/net.py", "experiments/first/params.yaml"}


def test_the_notebook_unpacks_and_imports(tmp_path: Path) -> None:
    weights = tmp_path / "input" / "some-weights"
    weights.mkdir(parents=True)
    (weights / "weights.json").write_text("{}", encoding="utf-8")
    settings = SETTINGS | {"weights": kaggle_setup.hashlib.sha256(b"{}").hexdigest()}
    path = tmp_path / "notebook.ipynb"
    path.write_bytes(write_cells(make_cells(settings, bundle(PROJECT))))
    cells = read_cells(path)
    assert json.loads(path.read_text(encoding="utf-8"))["nbformat"] == 4
    assert read_settings(cells) == settings
    imports = "import machinery.kaggle_session as found; print(found.__file__)"
    script = tmp_path / "cells.py"
    script.write_text("\n".join([*cells[:-1], imports]), encoding="utf-8")
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


def test_titles_that_are_cut_differ() -> None:
    slug = "a-competition-with-a-name-of-fifty-characters-or-s"
    notebooks = [title_of(f"{slug} {name}") for name in ("first-wide", "second-wide", "first")]
    titles = [*notebooks, *map(dataset_title, notebooks)]
    assert len({*titles}) == len(titles)
    assert max(map(len, titles)) <= 50


@pytest.mark.parametrize(
    ("models", "advice"), [("folds", "train.py --experiment"), ("all", "compete.py fit-all")]
)
def test_a_run_that_is_not_finished_is_refused(models: str, advice: str, tmp_path: Path) -> None:
    for name in ("fold-0", "all"):
        run = tmp_path / name
        run.mkdir()
        for file in ("params.yaml", "best.safetensors", "last.safetensors"):
            (run / file).write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=f"not trained to its end.*{advice}"):
        find_models(Options(tmp_path, models))


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kaggle_setup, "INPUT", tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        kaggle_setup.find_weights("0")
    (tmp_path / "datasets" / "ada").mkdir(parents=True)
    (tmp_path / "datasets" / "ada" / "weights.json").write_text("{}", encoding="utf-8")
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
