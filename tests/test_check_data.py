"""check_data.py: an experiment's folder says what new examples are to be like."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from combinations import Combination, find_combination
from conftest import root
from fork_server import ForkServer
from projects import arrays_folder, run, task
from test_predict import write_test_split


@pytest.mark.once_a_task
def test_new_examples_like_those_of_the_training_are_clean(
    project: Path, server: ForkServer, reference: Path, tmp_path: Path
) -> None:
    """So are predictions like the usual ones. And no data is needed."""
    source, predictions = write_test_split(project, tmp_path), tmp_path / "predictions.csv"
    predicted = server.run("predict", "--experiment", reference, source, "--output", predictions)
    assert predicted.code == 0, predicted.output
    usual = tmp_path / "usual.csv"
    usual.write_bytes(predictions.read_bytes())
    output = tmp_path / "check.json"
    words = ("--experiment", reference, "--predictions", predictions, "--expected", usual)
    data = (project / "data").rename(project / "data-aside")
    result = run(project, "check_data.py", source, *words, "--output", output)
    data.rename(project / "data")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Nothing has shifted." in result.stdout
    assert json.loads(output.read_text())["verdict"] == "clean"


def test_the_scheduled_jobs_of_the_page(
    rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """The line of cron and the last step of the workflow, as they stand there."""
    page = (root / "docs" / "check-data.md").read_text(encoding="utf-8")
    line = re.search(r"```cron\n(?:\S+ ){5}(.*)\n```", page)
    workflow = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert line
    assert workflow
    *_, step = yaml.safe_load(workflow[1])["jobs"]["check"]["steps"]
    folder = shutil.copytree(rendered(find_combination("plain")), tmp_path / "project")
    statistics = """
from pathlib import Path
from build_dataset import open_dataset
from machinery.statistics_file import write_description
write_description(Path("experiments/baseline"), open_dataset(Path("data")), Path("data"))
"""
    assert run(folder, "-c", statistics).returncode == 0
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, does in {"python": f'exec {sys.executable} "$@"', "mail": 'echo "$2"; cat'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(programs)
    dataset = json.loads((folder / "data" / "dataset.json").read_text())
    arrays = {
        name: np.load(arrays_folder(folder / "data") / f"test_{name}.npy")
        for name in dataset["inputs"]
    }
    source = tmp_path / task(folder).unlabelled_name
    repeated = {name: np.repeat(array[:1], len(array), axis=0) for name, array in arrays.items()}
    task(folder).write_unlabelled(source, repeated, dataset)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    for command, code in ((line[1], 0), (step["run"], 65)):
        words = command.replace("/srv/project", str(folder)).replace("new.csv", str(source))
        told = subprocess.run(
            ["sh", "-c", words], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert told.returncode == code, told.stdout + told.stderr
        assert "time to train anew" in told.stdout + told.stderr
        assert "next: " in told.stdout
