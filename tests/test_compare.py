"""tools/compare.py: two versions are equal, or the first step that differs is named."""

import shutil
from pathlib import Path

import pytest

import compare
from conftest import root


def test_the_first_difference_is_named() -> None:
    old = [[1, {"sum": 0.5}], [2, {"sum": 1.5}], [2, {"val_loss": 0.1}]]
    assert compare.first_difference(old, old) == ""
    new = [old[0], [2, {"sum": 1.25}], old[2]]
    said = "step 2 is the first that differs: sum was 1.5, is 1.25"
    assert compare.first_difference(old, new) == said
    assert compare.first_difference(old, [*old[:2], [2, {}]]).endswith("val_loss was 0.1, is None")
    assert compare.first_difference(old, old[:2]) == "one ends after 2 of 3 values"
    said = "after step 1 one ends an epoch and the other does not"
    assert compare.first_difference(old, [old[0], [1, {}]]) == said


def test_a_change_is_found_at_its_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the learning rate: the first loss is that of the same weights."""
    changed = tmp_path / "clone"
    ignored = shutil.ignore_patterns("__pycache__", "{{competition}}")
    shutil.copytree(root / "templates", changed / "templates", ignore=ignored)
    (train,) = changed.glob("templates/torch-research/project/*plain*/train.py")
    text = train.read_text(encoding="utf-8")
    assert "* learning_rate(step)" in text
    train.write_text(text.replace("* learning_rate(step)", "* learning_rate(step) / 2"))
    assert compare.main([str(root), str(changed), "--steps", "4"]) == 1
    assert "step 2 is the first that differs: sum of the epoch's losses" in capsys.readouterr().out


@pytest.mark.deep
@pytest.mark.parametrize("template", ["torch-research", "tf-production", "keras-quickstart"])
def test_a_version_is_equal_to_itself(template: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Over the end of an epoch."""
    words = [str(root), str(root), "--template", template, "--steps", "22"]
    assert compare.main(words) == 0
    assert capsys.readouterr().out.endswith("are equal: 22 steps, bit for bit.\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["no-commit", "."], "no-commit: neither a commit nor the folder of a clone"),
        ([str(root), ".", "--template", "none"], "has no template none"),
        (["HEAD", ".", "-d", "loop"], "loop: expected name=value"),
        ([str(root), ".", "--old-python", "PYTHON"], "old could not be trained"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(SystemExit) as error:
        compare.main([word.replace("PYTHON", str(python)) for word in words])
    assert error.value.code == 2
    assert expected in capsys.readouterr().err
