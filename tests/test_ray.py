"""ray_launch.py, which a project has where its maker asked for it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from conftest import render, root
from projects import assert_same_results, run
from test_lint import check, checks

TRAIN = ("--from", "experiments/baseline", "--training.epochs", "2", "--training.accumulate", "2")
PACKAGES = Path(pytest.__file__).parent.parent  # Where the projects' packages are.


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "leaf"
    return render(root / "templates" / "torch-research", folder, ray="with")


@pytest.mark.parametrize("command", checks)
def test_its_code_is_checked_like_that_of_any_project(command: list[str], project: Path) -> None:
    check(command, project)


def test_only_who_asks_has_it(project: Path, tmp_path: Path) -> None:
    names = ("ray_launch.py", "requirements/ray.txt")
    assert all((project / name).is_file() for name in names)
    assert "ray_launch.py" in (project / "README.md").read_text("utf-8")
    other = render(root / "templates" / "tf-production", tmp_path / "leaf", ray="with")
    assert not any((other / name).exists() for name in names)


def test_without_ray_it_says_so_in_a_line(project: Path) -> None:
    """And what processes cannot share is refused as launch.py refuses it."""
    hide = "import runpy, sys; sys.modules['ray'] = None; runpy.run_path({!r}, run_name='__main__')"
    result = run(project, "-c", hide.format("ray_launch.py"), 2, "train.py")
    assert result.returncode == 2
    assert "Install it on each machine: python -m pip install" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    result = run(project, "ray_launch.py", 2, "evaluate.py")
    assert result.returncode == 2
    assert "expected train.py" in result.stderr
    assert not [path for path in project.iterdir() if path.name.startswith(".ray-")]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with Ray, and the packages that are here; skipped where Ray cannot be had."""
    folder = tmp_path_factory.mktemp("environment")
    made = folder / "bin" / "python"
    requirements = "templates/torch-research/project/{{on_ray}}/requirements/ray.txt"
    for words in (
        ["venv", "--python", sys.executable, folder],
        ["pip", "install", "--python", made, "-r", root / requirements],
    ):
        result = subprocess.run(
            [sys.executable, "-m", "uv", *words, "--quiet"], capture_output=True, text=True
        )
        if result.returncode:
            pytest.skip(f"Ray cannot be installed here: {result.stderr.strip()[-200:]}")
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(str(PACKAGES))
    return made


@pytest.fixture(scope="module")
def prepared(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(project, tmp_path_factory.mktemp("trained") / "leaf")
    assert run(folder, "build_dataset.py").returncode == 0
    return folder


def ray_launch(
    python: Path, project: Path, *words: object, processes: int = 2, output: Any = subprocess.PIPE
) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    return subprocess.Popen(
        [python, "ray_launch.py", str(processes), "train.py", *map(str, words)],
        cwd=project,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.deep
@pytest.mark.skipif(os.name == "nt", reason="the environment has another form there")
def test_two_processes_of_ray_end_in_the_bits_of_launched_ones(
    python: Path, prepared: Path
) -> None:
    """Stopped in time, which is exit code 75, and continued."""
    whole, folder = (prepared / "experiments" / name for name in ("whole", "on-ray"))
    result = run(prepared, "launch.py", 2, "train.py", "--experiment", whole, *TRAIN)
    assert result.returncode == 0, result.stderr
    words = ("--experiment", folder, *TRAIN)
    process = ray_launch(python, prepared, *words, "--max-minutes", 0)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 75, output
    process = ray_launch(python, prepared, *words)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert "2 processes" in output
    assert_same_results(folder, whole)
    assert not [path for path in prepared.iterdir() if path.name.startswith(".ray-")]


@pytest.mark.deep
@pytest.mark.skipif(os.name == "nt", reason="the environment has another form there")
def test_a_killed_process_of_ray_goes_on_and_a_killed_launcher_leaves_none(
    python: Path, prepared: Path, tmp_path: Path
) -> None:
    """Whatever train.py loses, its parent or what started that: it frees the run's folder."""
    folder = prepared / "experiments" / "killed"
    options = ("--training.epochs", 100_000, "--training.checkpoint_minutes", 0.01)
    words = ("--experiment", folder, "--from", "experiments/baseline", *options)
    with open(tmp_path / "output", "w") as output:
        launcher = ray_launch(python, prepared, *words, processes=1, output=output)
        try:
            wait_until(
                lambda: len(sessions(folder)) == 1 and (folder / "last.safetensors").exists()
            )
            process = sessions(folder)[0]["process"]
            parent = subprocess.check_output(["ps", "-o", "ppid=", "-p", str(process)], text=True)
            os.kill(int(parent), signal.SIGKILL)
            wait_until(lambda: len(sessions(folder)) == 2)
            assert sessions(folder)[0]["outcome"] == "stopped"
            assert sessions(folder)[1]["from_step"] > 0
        finally:
            launcher.kill()
    FileLock(folder / ".lock", timeout=60).acquire().lock.release()


def sessions(folder: Path) -> list[dict[str, Any]]:
    path = folder / "run.json"
    return json.loads(path.read_text("utf-8"))["sessions"] if path.exists() else []


def wait_until(is_so: Callable[[], bool], seconds: float = 180) -> None:
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.1)
