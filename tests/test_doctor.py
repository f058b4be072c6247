"""python doctor.py: it says nothing of a sound project, and where to look in one with a defect."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defects import DEFECTS
from fork_server import ForkServer, Result
from projects import arrays_folder, experiment, snapshot, task, template, tiny


def assert_found(result: Result, place: str) -> None:
    """Fail unless doctor.py names a file to look at in a line of its own and in the verdict."""
    assert result.code == 2, result.output
    lines = result.output.splitlines()
    assert any(line.startswith("WRONG") and f"Look at {place}" in line for line in lines), (
        result.output
    )
    assert lines[-1].startswith(f"Something is wrong. Look at {place}"), result.output
    assert "Traceback" not in result.output


@pytest.mark.once_a_template
def test_nothing_is_wrong_with_a_sound_project(project: Path, server: ForkServer) -> None:
    """With the parameters as they are shipped, and with a small network."""
    before = snapshot(project)
    for folder in ("experiments/baseline", experiment(project, "doctored")):
        result = server.run("doctor", "--experiment", folder)
        assert result.code == 0, result.output
        assert "Nothing is wrong" in result.output.splitlines()[-1]
    shutil.rmtree(project / "experiments" / "doctored")
    assert snapshot(project) == before


@pytest.mark.once_a_template
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_named_with_the_file_to_look_at(
    project: Path, server: ForkServer, name: str
) -> None:
    defect = DEFECTS[name]
    if not (setup := defect.setup(template(project))):
        pytest.skip("tried in another template")
    if defect.place == "model/augmentation.py":
        folder = experiment(project, "doctored")  # It has some.
    else:
        folder = Path("experiments", "baseline")
    assert_found(server.run("doctor", "--experiment", folder, setup=setup), defect.place)
