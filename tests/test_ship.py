"""docs/ship.md, word for word: from a trained experiment to an answer, a swap and a rollback."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from combinations import Combination, combinations
from projects import answers, experiment, run, tiny

PAGE = Path(__file__).resolve().parent.parent / "docs" / "ship.md"
Rendered = Callable[[Combination], Path]
TEMPLATES = [each for each in combinations if each.first_of_template and not each.kaggle]
pytestmark = pytest.mark.deep


def commands(heading: str) -> list[list[str]]:
    """Return the words of the page's commands of Python under a heading, without the comments."""
    section = re.split(rf"^## {heading}$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    lines = re.findall(r"^    python (?!-m pip)(.*)", section.partition("\n## ")[0], re.MULTILINE)
    assert lines
    return [line.partition("#")[0].split() for line in lines]


@pytest.fixture(params=TEMPLATES, ids=str)
def project(
    request: pytest.FixtureRequest,
    rendered: Rendered,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A project with two trained experiments, of which the second is better."""
    project = shutil.copytree(rendered(request.param), tmp_path / "project")
    (project / "experiments" / "baseline" / "params.yaml").write_text(
        tiny(project, {"training.epochs": 1})
    )
    experiment(project, "wide", tiny(project, {"training.epochs": 4}))
    for name in ("baseline", "wide"):
        assert run(project, "train.py", "--experiment", f"experiments/{name}").returncode == 0
    if answers(project).get("backend") == "jax":  # As the page says: JAX writes no ONNX.
        monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return project


@pytest.fixture
def ask(project: Path) -> Iterator[Callable[[str], Any]]:
    """Return what the server says at a path; it is started by the first call, and ends in order."""
    (words,) = commands("Serve")
    started: list[tuple[subprocess.Popen[str], str]] = []

    def ask(path: str) -> Any:
        if not started:
            pipe = subprocess.PIPE
            command = [sys.executable, *words, "--port", "0"]
            process = subprocess.Popen(command, cwd=project, stdout=pipe, stderr=pipe, text=True)
            assert process.stdout
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, process.communicate()
            started.append((process, found[0]))
        with urllib.request.urlopen(started[0][1] + path) as response:
            return json.load(response)

    yield ask
    for process, _ in started:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors


def test_the_page_word_for_word(project: Path, ask: Callable[[str], Any]) -> None:
    for words in commands("Export"):
        assert run(project, *words).returncode == 0
    assert ask("/readyz")
    assert ask("/v2/models/model")["versions"] == ["1"]
    served = {"accept 1": "1", "accept 2": "2", "status": "2", "rollback": "1", "pin 1": "1"}
    for words in commands("A new version, and back"):
        done = run(project, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        if words[0] == "promote.py":
            expected, end = served.pop(" ".join(words[1:])), time.monotonic() + 30
            while ask("/v2/models/model")["versions"] != [expected]:
                assert time.monotonic() < end, words
                time.sleep(0.2)
    assert not served
