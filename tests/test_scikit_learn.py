"""docs/scikit-learn.md: what it shows runs in a project as it comes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, find_combination
from conftest import root
from projects import run


@pytest.mark.deep
def test_the_grid_of_the_page_runs(
    rendered: Callable[[Combination], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With skorch in a folder of its own, as nothing else here needs it."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
    subprocess.run([*command, tmp_path / "packages", "skorch==1.4.0", "tabulate"], check=True)
    project = shutil.copytree(rendered(find_combination("plain", "tabular")), tmp_path / "leaf")
    page = (root / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (project / "grid.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path / "packages"))
    result = run(project, "grid.py")
    assert result.returncode == 0, result.stderr
    found = re.search(r"best: {.*'module__width': \d+.*}, accuracy (0\.\d+)", result.stdout)
    assert found, result.stdout
    assert float(found[1]) > 0.9
