"""Keras computes the same on each of its backends."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, find_combination
from fork_server import ForkServer
from projects import assert_same_results, experiment, run, task, tiny

BACKENDS = ("tensorflow", "jax", "torch")
# Of losses: float32 rounds in another order in each, and five steps of training carry it on.
TOLERANCE = 2e-3


@pytest.fixture
def make_project(rendered: Callable[[Combination], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Makes a project of a backend, with the default data prepared."""

    def make_project(backend: str) -> Path:
        project = shutil.copytree(rendered(find_combination(backend)), tmp_path / "leaf")
        assert run(project, "build_dataset.py").returncode == 0
        return project

    return make_project


def test_a_run_goes_on_and_is_evaluated_with_any_backend(
    make_project: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project("tensorflow")

    def succeed(server: ForkServer, script: str, folder: Path) -> None:
        result = server.run(script, "--experiment", folder)
        assert result.code == 0, result.output

    # Dropout draws other numbers on each backend, and JAX alone never takes bfloat16 on a
    # processor; all else has to agree.
    same = tiny(project, {**task(project).without_dropout, "training.precision": "float32"})
    start = experiment(project, "start", same)
    losses = {}
    for backend in BACKENDS:
        monkeypatch.setenv("KERAS_BACKEND", backend)
        folder = start.with_name(backend)
        with ForkServer(project) as server:
            if backend == "tensorflow":
                stopped = server.run("train", "--experiment", start, "--max-minutes", 0)
                assert stopped.code == 75, stopped.output
            shutil.copytree(project / start, project / folder)
            succeed(server, "train", folder)
            succeed(server, "evaluate", Path("experiments/tensorflow"))
        rows = (project / folder / "metrics.jsonl").read_text().splitlines()
        path = project / "experiments/tensorflow/metrics_test.json"
        losses[backend] = (json.loads(rows[-1])["val_loss"], json.loads(path.read_text())["loss"])
    for val_loss, test_loss in losses.values():
        assert val_loss == pytest.approx(losses["tensorflow"][0], rel=TOLERANCE)
        assert test_loss == pytest.approx(losses["tensorflow"][1], rel=1e-4)


def test_a_stop_after_ten_steps(make_project: Callable[[str], Path]) -> None:
    """As the project comes, where test_resume.py makes executions shorter than an epoch of five."""
    project = make_project("jax")
    long = tiny(project, {"data.batch_size": 50, "data.workers": 2})  # 26 steps an epoch.
    stopped, whole = (experiment(project, name, long) for name in ("stopped", "whole"))
    first = run(project, "train.py", "--experiment", stopped, "--max-minutes", 0)
    assert first.returncode == 75
    assert "at step 10, saved" in first.stderr
    for folder in (stopped, whole):
        assert run(project, "train.py", "--experiment", folder).returncode == 0
    assert_same_results(project / stopped, project / whole)
