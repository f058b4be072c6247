"""Data in shards in whole projects; the proofs on the tiny project are in tests/machinery."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from combinations import Combination, checked_combinations, find_combination
from conftest import root
from fork_server import ForkServer
from projects import assert_same_results, experiment, run, tiny

Rendered = Callable[[Combination], Path]
# One of each template, and one of each task: examples may differ in length.
TRAINED = [each for each in checked_combinations if each.first_of_template and each.in_full]
TRAINED += [each for each in checked_combinations if each.choice == "plain" and not each.in_full]
LAST = "dataset.json"  # The file that names the others.
SHARDS = ("build_shards.py", "--shard-examples", "100", "--overwrite")


def in_shards(rendered: Rendered, combination: Combination, folder: Path) -> Path:
    """Return a project whose data are in shards, too: three are shuffled together."""
    project = shutil.copytree(rendered(combination), folder / "leaf")
    for command in (["build_dataset.py"], [*SHARDS, "--window", "3"]):
        assert run(project, *command).returncode == 0
    return project


class Place(NamedTuple):
    """A project, and what runs its commands."""

    project: Path
    server: ForkServer

    def train(self, name: str, data: object, workers: int = 0, stop: int = 0) -> Path:
        """Train an experiment; with a stop, in two sessions. Return its whole path."""
        parameters = tiny(self.project, {"data.workers": workers})
        folder = experiment(self.project, name, parameters)
        words = ("train", "--experiment", folder, "--data", data)
        if stop:
            assert self.server.run(*words, stop_at=stop).code == 75
        result = self.server.run(*words)
        assert result.code == 0, result.output
        return self.project / folder


def test_a_run_on_shards_is_the_same_with_workers_a_stop_and_a_url(
    rendered: Rendered, tmp_path: Path
) -> None:
    project = in_shards(rendered, find_combination("plain"), tmp_path)
    with ForkServer(project) as server:
        place = Place(project, server)
        whole = place.train("whole", "data/shards")
        url = (project / "data" / "shards").as_uri()
        assert_same_results(place.train("cut", url, workers=2, stop=3), whole)


@pytest.mark.deep
@pytest.mark.parametrize("combination", TRAINED, ids=str)
def test_every_template_trains_on_shards(
    combination: Combination, rendered: Rendered, tmp_path: Path
) -> None:
    project = in_shards(rendered, combination, tmp_path)
    with ForkServer(project) as server:
        place = Place(project, server)
        whole = place.train("whole", "data/shards")
        url = (project / "data" / "shards").as_uri()
        assert_same_results(place.train("cut", url, workers=2, stop=2), whole)
        folder = whole.relative_to(project)
        assert server.run("evaluate", "--experiment", folder).code == 0
        result = run(project, "doctor.py", "--experiment", folder)
        assert result.returncode == 0, result.stdout
        all_at_a_time = (*SHARDS, "--window", "0", "--keep-order")
        assert run(project, *all_at_a_time).returncode == 0
        arrays = place.train("arrays", "data")
        assert_same_results(place.train("shards", "data/shards"), arrays)


@pytest.mark.deep
def test_processes_share_the_batches_of_shards(rendered: Rendered, tmp_path: Path) -> None:
    project = in_shards(rendered, find_combination("plain"), tmp_path)
    folders = []
    for processes in (1, 2):
        folder = experiment(project, f"of-{processes}", tiny(project, {"training.accumulate": 2}))
        words = ("train.py", "--experiment", folder, "--data", "data/shards")
        result = run(project, "launch.py", processes, *words)
        assert result.returncode == 0, result.stderr
        folders.append(project / folder)
    assert_same_results(*folders)


@pytest.mark.deep
def test_the_commands_of_the_page_run(rendered: Rendered, tmp_path: Path) -> None:
    """With a folder in place of the bucket, and the copy in place of its command."""
    project = shutil.copytree(rendered(find_combination("plain")), tmp_path / "leaf")
    page = (root / "docs" / "large-data.md").read_text(encoding="utf-8")
    block = re.search(r"(?:^    .+\n)+", page, re.MULTILINE)  # The first one holds the commands.
    assert block
    commands = [line.partition(" # ")[0] for line in block[0].splitlines()]
    assert len(commands) == 7
    bucket = tmp_path / "bucket"
    for command in commands:
        words = command.replace("s3://BUCKET/DATA", bucket.as_uri()).split()
        if words[:3] == ["aws", "s3", "sync"]:
            assert words[5:] == ["--exclude", '".*"', "--exclude", '"*/.*"', "--exclude", LAST]
            shutil.copytree(project / words[3], bucket, ignore=shutil.ignore_patterns(".*", LAST))
        elif words[0] == "aws":
            assert words[2:] == ["cp", f"data/shards/{LAST}", f"{bucket.as_uri()}/"]
            shutil.copy(project / words[3], bucket)
        elif words[0] == "pip":
            assert (project / words[-1]).exists()
        else:
            result = run(project, *words[1:])
            assert result.returncode == 0, result.stderr


def test_help_and_a_missing_store_are_answered(rendered: Rendered, tmp_path: Path) -> None:
    project = rendered(find_combination("plain"))
    command = [sys.executable, project / "build_shards.py", "--help"]
    assert "--shard-examples" in subprocess.run(command, capture_output=True, text=True).stdout
    where = {**os.environ, "SHARD_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py", "--data", "nowhere://bucket/data"]
    result = subprocess.run(command, cwd=project, env=where, capture_output=True, text=True)
    assert result.returncode == 2
    assert "error: nowhere://bucket/data/dataset.json: cannot be opened: " in result.stderr
    assert "requirements/remote.txt" in result.stderr
