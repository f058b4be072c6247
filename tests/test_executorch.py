"""export.py --format executorch, with its package in an environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import root
from projects import template
from test_export import check

pytestmark = [pytest.mark.deep, pytest.mark.once_a_template]

PACKAGES = Path(pytest.__file__).parent.parent  # Where the projects' packages are.
TEMPLATE = root / "templates" / "torch-research" / "project"


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with ExecuTorch, and the packages that are here; skipped where it cannot be had."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(str(PACKAGES))  # pip takes what is there for installed.
    words = ["-c", TEMPLATE / "constraints.txt", "-r", TEMPLATE / "requirements" / "executorch.txt"]
    command = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"ExecuTorch cannot be installed here: {result.stderr.strip()[-200:]}")
    return folder / "bin" / "python"


def test_its_runtime_predicts_the_same_for_each_task(
    project: Path, request: pytest.FixtureRequest
) -> None:
    if template(project) != "torch-research":
        pytest.skip("only PyTorch writes it")
    python, reference = map(request.getfixturevalue, ("python", "reference"))  # Only now: slow.
    words = ("--experiment", reference.relative_to(project), "--format", "executorch")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [python, "export.py", *words],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "bare ExecuTorch gave the same predictions" in result.stdout
    version = project / result.stdout.partition(":")[0]
    check(project, version, examples=1)
    about = json.loads((version / "export.json").read_text("utf-8"))
    assert about["versions"].keys() >= {"executorch", "torch"}
    assert about["sha256"].keys() >= {"model.pte", "sbom.cdx.json"}
    assert all(array["shape"][0] == 1 for array in about["outputs"].values())
    card = (version / "MODEL_CARD.md").read_text("utf-8")
    name, array = next(iter(about["inputs"].items()))
    shape = ", ".join(map(str, array["shape"]))
    assert f"\n| {name} | {array['dtype']} | ({shape}) |\n" in card
