"""A team's answers land in every project, and a misspelled one is noticed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import pytest
import yaml

from combinations import Combination, checked_combinations
from conftest import render, root

house = root / "docs" / "house.yml"
answers = yaml.safe_load(house.read_text(encoding="utf-8"))


def check_answers(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "tools" / "check_answers.py", *paths],
        capture_output=True,
        encoding="utf-8",
    )


def assert_in_its_place(project: Path) -> None:
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["authors"] == [{"name": answers["author"]}]
    assert metadata["license"] == answers["licence"]
    assert metadata["requires-python"] == answers["python_range"]
    assert f"Copyright (c) {answers['author']}\n" in (project / "LICENSE").read_text("utf-8")
    record = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert record["_src_path"] == answers["template_source"]
    for name in ("author", "licence", "python_range"):
        assert record[name] == answers[name]


@pytest.mark.parametrize(
    "combination", [c for c in checked_combinations if c.first_of_template and c.in_full], ids=str
)
@pytest.mark.parametrize("entry", ["folder", "root"])
def test_each_answer_of_a_data_file_lands(
    combination: Combination, entry: str, tmp_path: Path
) -> None:
    own = f"template={combination.template}"
    source = root if entry == "root" else root / "templates" / combination.template
    command = ["copy", "--defaults", "--quiet", "--data-file", house, "--data", own, source, "leaf"]
    subprocess.run([sys.executable, "-m", "copier", *command], cwd=tmp_path, check=True)
    assert_in_its_place(tmp_path / "leaf")


def test_each_answer_of_a_settings_file_lands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text(yaml.safe_dump({"defaults": answers}))
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    assert check_answers(settings).returncode == 0
    template = root / "templates" / "torch-research"
    copier.run_copy(str(template), tmp_path / "leaf", defaults=True, quiet=True)
    assert_in_its_place(tmp_path / "leaf")


def test_the_example_and_every_answers_file_pass(tmp_path: Path) -> None:
    project = render(root / "templates" / "keras-quickstart", tmp_path / "leaf", backend="jax")
    result = check_answers(house, project / ".copier-answers.yml")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("licens: MIT", ["licens", "did you mean licence?"]),
        ("holder: me", ["holder", "There are:", "author"]),
        ("licence: GPL", ["licence", "'GPL'", "BSD-3-Clause"]),
        ("project_name: Bad Name", ["project_name", "leaf-classifier"]),
        ('python_range: ">=3.9"', ["python_range", "expected a range from 3.11 on"]),
        ("author: 3", ["author", "3", "quotes"]),
        ("defaults: {lop: plain}", ["lop", "did you mean loop?"]),
        ("mit: .", ["mit"]),  # Computed, not asked.
        ("- author", ["expected `name: answer` lines"]),
        ("a: [", ["cannot be read"]),
    ],
)
def test_what_copier_would_ignore_is_said(text: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "house.yml"
    path.write_text(text)
    result = check_answers(path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    for part in [str(path), *expected]:
        assert part in result.stderr
