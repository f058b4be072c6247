"""python train.py --debug in each framework: it sees numbers, and stops in the loader, too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from projects import experiment, snapshot, tiny

pytestmark = pytest.mark.every_way


def debug(project: Path, folder: Path, file: str, function: str, show: str) -> str:
    """Train with --debug until a function is called; return what its debugger shows there."""
    path = project / file
    text = path.read_text(encoding="utf-8")
    head, found, rest = text.partition(f"def {function}(")
    signature, end, body = rest.partition('    """')
    assert found
    assert end
    path.write_text(f"{head}{found}{signature}    breakpoint()\n{end}{body}", encoding="utf-8")
    command = [sys.executable, "train.py", "--experiment", str(folder), "--debug"]
    result = subprocess.run(
        command,
        cwd=project,
        input=f"next\nwhere\n{show}\nquit\n",
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    path.write_text(text, encoding="utf-8")
    return result.stdout + result.stderr


def assert_debugged(project: Path, tmp_path: Path) -> None:
    project = shutil.copytree(project, tmp_path / "leaf")
    parameters = tiny(project, {"data.workers": 2, "training.compile": True})
    folder = experiment(project, "debugged", parameters)
    before = snapshot(project / folder)
    number = "p 'number', float([*targets.values()][0][0])"
    output = debug(project, folder, "model/net.py", "losses", number)
    assert "('number', " in output, output
    assert "train.py(" in output, output
    output = debug(project, folder, "model/augmentation.py", "augment", "p 'names', [*inputs]")
    assert "('names', ['" in output, output
    assert snapshot(project / folder) == before


@pytest.mark.once
def test_a_debugger_sees_numbers(project: Path, tmp_path: Path) -> None:
    assert_debugged(project, tmp_path)


@pytest.mark.deep
def test_a_debugger_sees_numbers_in_each_way(project: Path, tmp_path: Path) -> None:
    assert_debugged(project, tmp_path)
