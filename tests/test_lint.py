"""Formatting, linting and types: of this repository, and of every project as people get it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, checked_combinations, combinations
from conftest import root

checks = [
    pytest.param(["ruff", "check", "--no-cache"], id="lint"),
    pytest.param(["ruff", "format", "--check", "--no-cache"], id="format"),
    pytest.param(["ty", "check", "--python", sys.prefix, "--no-progress"], id="types"),
]


def check(command: list[str], folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("command", checks)
def test_repository(command: list[str]) -> None:
    check(command, root)


def test_types_of_the_tests_of_the_machinery() -> None:
    """Beside them lies a tiny project, whose modules have the names of any project's."""
    command = ["ty", "check", "--project", "tests/machinery", "--python", sys.prefix]
    check([*command, "--no-progress"], root)


@pytest.mark.parametrize("command", checks)
@pytest.mark.parametrize("combination", checked_combinations, ids=str)
def test_rendered_project(
    command: list[str], combination: Combination, rendered: Callable[[Combination], Path]
) -> None:
    check(command, rendered(combination))


@pytest.fixture
def hadolint() -> str:
    """The path of the linter of Dockerfiles."""
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if not found:
        pytest.skip("hadolint is not installed; requirements/test.txt names it")
    return found


def lint_dockerfile(hadolint: str, text: str) -> subprocess.CompletedProcess[str]:
    """Return what hadolint says of a Dockerfile."""
    command = [hadolint, "--no-color", "-"]
    return subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)


def test_hadolint_finds_nothing_in_the_dockerfile(
    hadolint: str, rendered: Callable[[Combination], Path]
) -> None:
    text = (rendered(combinations[0]) / "Dockerfile").read_text(encoding="utf-8")
    result = lint_dockerfile(hadolint, text)
    assert result.returncode == 0, result.stdout + result.stderr
    worse = lint_dockerfile(hadolint, text.replace(" --no-cache-dir", ""))
    assert worse.returncode == 1
    assert "DL3042" in worse.stdout
