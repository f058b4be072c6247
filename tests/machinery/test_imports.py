"""The machinery imports no framework and nothing of a project."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import machinery

FOLDER = Path(machinery.__file__).parent
# What a project installs whatever its framework and its task are.
ALLOWED = {
    *("filelock", "matplotlib", "numpy", "optuna", "pydantic", "pydantic_core", "ruamel"),
    *("safetensors", "scipy", "tensorboard", "tqdm"),
    *("sqlalchemy", "optuna_integration"),  # With Optuna; where --storage or a sampler needs it.
    # With requirements/serve.txt, for serve.py.
    *("fastapi", "onnxruntime", "orjson", "prometheus_client", "starlette", "uvicorn"),
    "fsspec",  # With requirements/remote.txt, for data at a URL.
    "PIL",  # With matplotlib; makes the small copies of pictures.
    "machinery",
}


def imports(path: Path) -> Iterator[str]:
    """Yield the top-level package of each import, inside of functions too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_no_framework_and_nothing_of_the_project(path: Path) -> None:
    assert set(imports(path)) <= ALLOWED | set(sys.stdlib_module_names)
    assert len(path.read_text().splitlines()) <= 360


@pytest.mark.parametrize("script", ["train.py", "search_hyperparams.py", "synthesize_results.py"])
def test_help_imports_nothing_slow(project: Path, script: str) -> None:
    code = f"""
import runpy, sys
sys.argv = [{script!r}, "--help"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as error:
    assert error.code == 0
slow = {{"matplotlib", "numpy", "optuna", "scipy", "tensorboard"}} & set(sys.modules)
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", code], cwd=project, check=True, capture_output=True)
