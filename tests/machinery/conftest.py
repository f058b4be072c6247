"""The machinery where it lies, and a tiny project around it: NumPy alone, two classes of points.

That these tests run proves that the machinery needs no framework and knows no task.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared" / "project"
TINY = HERE / "tiny_project"
sys.path[:0] = [str(TINY), str(SHARED)]
sys.path.append(str(HERE))  # Last, since the harness has a conftest.py of its own.

from build_dataset import Dataset, build
from helpers import NoStop, write_base, write_settings
from machinery.run import Run
from parameters import Parameters
from train import train


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project with the machinery and its commands beside it, as in a real one."""
    folder = tmp_path_factory.mktemp("tiny") / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TINY, folder, ignore=ignored)
    shutil.copytree(SHARED / "machinery", folder / "machinery", ignore=ignored)
    for name in ("search_hyperparams.py", "synthesize_results.py", "publish.py"):
        shutil.copy(SHARED / name, folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prepared data set."""
    folder = tmp_path_factory.mktemp("points")
    build(folder)
    return folder


@pytest.fixture
def dataset(data: Path) -> Dataset:
    return Dataset.model_validate_json((data / "dataset.json").read_bytes())


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(project: Path) -> Start:
    """Starts a command of the tiny project."""

    def start(*words: object, cwd: Path = project, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start


@pytest.fixture
def run(start: Start) -> Callable[..., str]:
    """Runs a command of the tiny project to its end; returns what it printed."""

    def run(*words: object, expected: int = 0, **options: object) -> str:
        process = start(*words, **options)
        output, errors = process.communicate(timeout=600)
        assert process.returncode == expected, output + errors
        return output + errors

    return run


@pytest.fixture
def train_run(data: Path, dataset: Dataset) -> Callable[..., Run]:
    """Trains an experiment in this process; returns its run."""

    def train_run(
        folder: Path,
        values: Mapping[str, Any] | None = None,
        on_epoch: Callable[[Run], None] | None = None,
        **options: Any,
    ) -> Run:
        parameters = Parameters.model_validate(values or {})
        settings: dict[str, Any] = {"dataset": dataset, "data": data, "stop": NoStop(), **options}
        with Run(folder, parameters, **settings) as run:
            if on_epoch:
                run.on_epoch = lambda _row: on_epoch(run)
            train(run)
        return run

    return train_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search of four small trials."""
    (tmp_path / "base").mkdir()
    (tmp_path / "search").mkdir()
    write_base(tmp_path / "search")
    write_settings(tmp_path / "search")
    return tmp_path / "search"
