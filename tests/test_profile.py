"""python profile_steps.py, with the profiler of each framework."""

import gzip
import json
import re
from pathlib import Path

import pytest

from projects import experiment, run, template

pytestmark = pytest.mark.every_way
# What the network of the first task spends its time with, whatever the framework calls it.
DEAR = re.compile("(?i)conv|fusion|reduce|transpose")


def assert_measured(project: Path) -> None:
    folder = experiment(project, "profiled")
    result = run(project, "profile_steps.py", "--experiment", folder, "--steps", 5)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert re.match(rf"steps \d+ to \d+ of {folder.as_posix()}, each operation's own", lines[0])
    assert len(lines) == 12, result.stdout
    assert any(DEAR.search(line) for line in lines[1:]), result.stdout
    trace = project / folder / "profile" / "trace.json.gz"
    assert len(json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]) > 100
    files = {path.name for path in (project / folder).iterdir()}
    assert files == {"params.yaml", "profile"}


@pytest.mark.once_a_template
def test_the_dearest_operations_are_named(project: Path) -> None:
    assert_measured(project)


@pytest.mark.deep
def test_each_way_has_a_profiler(project: Path) -> None:
    if template(project) != "tf-production":  # It has one way, which was tried above.
        assert_measured(project)
