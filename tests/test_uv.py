"""`uv sync`, as each README has it: it installs, locks, and what it installed trains."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import git, render, root

PROGRAM = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"


def uv(project: Path, *words: str) -> str:
    """Run uv as in a project whose person has set nothing; return what it printed."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UV_", "PIP_", "VIRTUAL_ENV", "PYTHON"))
    }
    done = subprocess.run(
        [PROGRAM, *words],
        cwd=project,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.deep  # It fetches some gigabytes: the newest packages, not the tested ones.
@pytest.mark.parametrize("template", ["torch-research", "tf-production", "keras-quickstart"])
def test_uv_sync_installs_what_trains(template: str, tmp_path: Path) -> None:
    project = render(root / "templates" / template, tmp_path / "leaf")
    git(project, "init", "--quiet")
    told = (project / "README.md").read_text("utf-8")
    assert "`uv sync`, and then\n`uv run python train.py`" in told
    uv(project, "sync", "--quiet")
    assert (project / "uv.lock").is_file()
    words = ["--experiment", "experiments/try", "--from", "experiments/baseline"]
    uv(project, "run", "python", "train.py", *words, "--training.epochs", "2")
    assert " loss " in uv(project, "run", "python", "evaluate.py", *words[:2])
    # The group dev comes with it.
    assert "passed" in uv(project, "run", "pytest", "-q", "tests/test_data_loader.py")
    # What is new there is the person's to commit; the environment is not.
    assert (
        git(project, "ls-files", "--others", "--exclude-standard", "uv.lock", ".venv")
        == "uv.lock\n"
    )
