"""The text of a change request, and the smoke training whose metrics it has."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import git
from trainyard.change_request import read_news, write_request
from trainyard.errors import InputError
from trainyard.fleet import name_requests
from trainyard.fleet_list import read_list
from trainyard.members import Member, smoke
from trainyard.updates import LOST, Change

TRAIN = """
import pathlib, sys
assert sys.argv[1:] == ["--experiment", "experiments/smoke", "--from", "experiments/baseline",
                        "--training.epochs", "2"]
pathlib.Path("experiments/smoke").mkdir(parents=True)
"""
EVALUATE = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--experiment") + 1])
(folder / "metrics_test.json").write_text(json.dumps({"loss": 0.25, "accuracy": 0.875, "n": 8}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose training only says that it was called as it should be."""
    project = tmp_path / "leaf"
    project.mkdir()
    (project / "train.py").write_text(TRAIN)
    (project / "evaluate.py").write_text(EVALUATE)
    return project


def test_the_smoke_training_leaves_the_project_alone(project: Path, tmp_path: Path) -> None:
    assert smoke(project, tmp_path / "before", sys.executable) == {"loss": 0.25, "accuracy": 0.875}
    assert not (project / "experiments").exists()
    (project / "evaluate.py").write_text("raise SystemExit('error: no data')")
    said = smoke(project, tmp_path / "after", sys.executable)
    assert said == "evaluate.py ended with 1: error: no data"
    (project / "evaluate.py").write_text("")
    said = smoke(project, tmp_path / "nothing", sys.executable)
    assert said == "evaluate.py ended well and wrote no metrics_test.json that can be read"
    with pytest.raises(InputError, match=r"--python: .* cannot be run"):
        smoke(project, tmp_path / "again", str(tmp_path / "no-python"))


def test_the_smoke_training_takes_the_data_that_come_with_the_project(
    project: Path, tmp_path: Path
) -> None:
    """Those of the house may be large, or elsewhere."""
    (project / "pyproject.toml").write_text('[tool.trainyard]\ndata = "/data/leaf"\n')
    told = (project / "train.py").read_text().replace('"2"]', '"2", "--data", "data"]')
    (project / "train.py").write_text(told)
    assert smoke(project, tmp_path / "before", sys.executable) == {"loss": 0.25, "accuracy": 0.875}


def test_the_smoke_training_copies_no_data_from_elsewhere(project: Path, tmp_path: Path) -> None:
    (project / "same.py").symlink_to("train.py")
    (project / "gone").symlink_to("nowhere")
    assert smoke(project, tmp_path / "before", sys.executable) == {"loss": 0.25, "accuracy": 0.875}
    assert (tmp_path / "before/same.py").is_symlink()
    (project / "data").symlink_to(tmp_path)
    said = smoke(project, tmp_path / "after", sys.executable)
    assert said == "not trained: data is a link that leads out of the project"
    assert not (tmp_path / "after").exists()


MEMBER = Member(
    "leaf",
    "branch made",
    "https://example.org/templates.git",
    "v1.0.0",
    "v1.1.0",
    ("machinery/run.py",),
    (Change("removed", "publish.py", LOST), Change("new", "a.py"), Change("kept", "README.md")),
    "trainyard/update-v1.1.0",
    ({"loss": 0.5, "accuracy": 0.875}, {"loss": 0.25, "accuracy": 0.9}),
)


def test_the_text_says_what_to_look_at() -> None:
    text = write_request(MEMBER, "1 release", "### [1.1.0]\n\n- Shorter lines.")
    assert text.startswith("# Update from the template: v1.0.0 to v1.1.0, with conflicts\n")
    assert "move what you need\nfirst:\n\n- `publish.py`\n" in text
    assert "<<<<<<<" not in text
    assert "| `a.py` | new |" in text
    assert "README.md" not in text
    assert "still are:\n`machinery/run.py`." in text
    assert "\n| accuracy | 0.8750 | 0.9000 |\n" in text
    assert text.endswith("\n- Shorter lines.\n")


def test_conflicts_are_marked_in_the_files() -> None:
    member = MEMBER._replace(changes=(Change("conflict", "train.py"),))
    text = write_request(member, "1 release", "")
    assert "Look for `<<<<<<< before updating`" in text
    assert "Look first at:\n\n- `train.py`\n" in text
    assert "deletes" not in text


def test_each_repository_has_a_text_of_its_own() -> None:
    names = ["team-a/leaf", "https://host/team-b/Leaf.git", "../bark/", "git@host:moss.git"]
    expected = ["team-a-leaf", "https-host-team-b-Leaf", "bark", "moss"]
    assert name_requests(names) == expected
    names = name_requests(["x/leaf", "y/leaf", "x-leaf"])
    assert [name[:6] for name in names] == ["x-leaf", "y-leaf", "x-leaf"]
    assert len({*names}) == 3


def test_each_folder_of_a_repository_has_a_branch_of_its_own(tmp_path: Path) -> None:
    folders = ["models/leaf", "models-leaf", "models.leaf", "models leaf", "bark", "moss..lock"]
    listed = [{"repository": "mono", "folder": folder} for folder in folders]
    listed.append({"repository": "other", "folder": "models/leaf"})
    (tmp_path / "fleet.yml").write_text(json.dumps({"repositories": listed}))
    labels = [entry.label for entry in read_list(tmp_path / "fleet.yml")]
    assert labels[4:] == ["bark", "moss-lock", "models-leaf"]
    assert len({*labels[:6]}) == 6
    for label in labels:
        git(tmp_path, "check-ref-format", f"refs/heads/trainyard/update-v1.0.0-{label}")


def test_a_training_that_failed_is_said() -> None:
    failed = MEMBER._replace(metrics=({"loss": 0.5}, "train.py ended with 1: NameError: x"))
    text = write_request(failed, "1 release", "")
    assert "\nBefore: trained\n" in text
    assert "\nAfter: train.py ended with 1: NameError: x\n" in text


def test_news_are_those_of_the_releases_between(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    sections = [f"## [{name}]\n\n- News of {name}.\n" for name in ("1.2.0", "1.1.0", "1.0.0")]
    text = "\n".join(["# Changelog\n", "## [Unreleased]\n\n- Later.\n", *sections])
    (tmp_path / "CHANGELOG.md").write_text(text)
    git(tmp_path, "add", "--all")
    subprocess.run(["git", "commit", "--quiet", "-m", "x"], cwd=tmp_path, check=True)
    news = read_news(tmp_path, "v1.0.0", "HEAD")
    assert news == "### [1.2.0]\n\n- News of 1.2.0.\n\n### [1.1.0]\n\n- News of 1.1.0."
    assert read_news(tmp_path, "1a2b3c", "HEAD") == ""
