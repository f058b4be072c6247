"""A code competition: the notebook is made, run as Kaggle would, and sent; a winner's package."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from combinations import Combination, competition, licences
from competitions import COMPETITIONS
from conftest import git
from kaggle_server import KaggleServer, running_server
from kaggle_wheels import write_wheels
from projects import run

NOTEBOOK = Path("competition/notebook")
EXPERIMENT = ("--experiment", "experiments/first")
TINY = ("--from", "experiments/baseline", "--training.epochs", 1)
SCHEMA = """task: tabular
kind: binary
train: train.csv
test: test.csv
sample_submission: sample_submission.csv
id: row
targets: [bought]
answer: probabilities
"""
# The package that Kaggle puts among the files of some competitions, as far as it matters here.
SERVER = '''"""A fake of an inference server."""
from pathlib import Path

import pandas as pd


class SomeInferenceServer:
    def __init__(self, predict):
        self.predict = predict

    def run_local_gateway(self, data_paths):
        test, sample = (pd.read_csv(Path(data_paths[0]) / name)
                        for name in ("test.csv", "sample_submission.csv"))
        answers = [self.predict(test[at : at + 4].reset_index(drop=True), sample[at : at + 4])
                   for at in range(0, len(test), 4)]
        assert all(answer["row"].dtype == test["row"].dtype for answer in answers)
        assert all(answer["bought"].dtype == float for answer in answers)
        pd.concat(answers).to_csv("submission.csv", index=False)
'''


@pytest.fixture(scope="module")
def competing(
    rendered: Callable[[Combination], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project with a small competition and an experiment of two folds; look, do not write.

    The wheels that Kaggle lacks are in it.
    """
    combination = Combination("torch-research", "tabular", "plain", licences[0], competition)
    project = shutil.copytree(rendered(combination), tmp_path_factory.mktemp("code") / "project")
    write_wheels(project, project / "competition" / "wheels")
    write_competition(project / "data" / "raw")
    (project / "competition" / "schema.yaml").write_text(SCHEMA)
    built = compete(project, "folds", "--count", 2, "--seed", 3)
    assert built.returncode == 0, built.stderr
    trained = run(project, "train.py", *EXPERIMENT, *TINY, "--folds", "all")
    assert trained.returncode == 0, trained.stderr
    return project


@pytest.fixture
def project(competing: Path, tmp_path: Path) -> Path:
    """The project, to write into."""
    return shutil.copytree(competing, tmp_path / "project")


def write_competition(raw: Path) -> None:
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def rows(first: int, count: int) -> Iterator[list[object]]:
        for row in range(first, first + count):
            number, colour = generator.normal(), generator.choice(["red", "green", "blue"])
            yield [row, f"{number:.4f}", colour, int(number > 0)]

    def write(name: str, lines: Sequence[Sequence[object]]) -> None:
        text = "".join(",".join(map(str, cells)) + "\n" for cells in lines)
        (raw / name).write_text(text)

    titles = ["row", "number", "colour", "bought"]
    write("train.csv", [titles, *rows(0, 90)])
    write("test.csv", [line[:3] for line in [titles, *rows(900, 6)]])
    write("sample_submission.csv", [["row", "bought"], *([900 + each, 0.5] for each in range(6))])


def compete(project: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return run(project, "compete.py", *words)


def add_cell(project: Path, code: str) -> None:
    """Put code in the place of all cells but the first, which holds the settings."""
    path = project / NOTEBOOK / "notebook.ipynb"
    notebook = json.loads(path.read_text())
    first, second = notebook["cells"][:2]
    notebook["cells"] = [first, {**second, "source": code}]
    path.write_text(json.dumps(notebook))


def test_a_notebook_would_score_and_the_same_files_make_the_same(project: Path) -> None:
    made = compete(project, "notebook", *EXPERIMENT)
    assert made.returncode == 0, made.stderr
    notebook = (project / NOTEBOOK / "notebook.ipynb").read_bytes()
    compete(project, "notebook", *EXPERIMENT)
    assert (project / NOTEBOOK / "notebook.ipynb").read_bytes() == notebook
    metadata = json.loads((project / NOTEBOOK / "kernel-metadata.json").read_text())
    assert metadata["enable_internet"] is False
    assert metadata["competition_sources"] == [competition]
    result = compete(project, "simulate")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "fold-1: 1 of 1 parts" in result.stdout
    assert "would score: submission.csv fits, 18 rows" in result.stdout


def test_without_its_wheels_no_notebook_would_score(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are downloaded; where that fails, it is said, and neither run here nor sent."""
    shutil.rmtree(project / "competition" / "wheels")
    variables = write_wheels(project, tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    made = compete(project, "notebook", *EXPERIMENT)
    assert made.returncode == 0, made.stderr
    assert "-m pip download" in made.stdout
    for command in ("simulate", "push"):
        refused = compete(project, command)
        assert refused.returncode == 2
        assert "ruamel.yaml" in refused.stderr
    monkeypatch.setenv("PIP_FIND_LINKS", variables["PIP_FIND_LINKS"])
    made = compete(project, "notebook", *EXPERIMENT)
    assert "The wheels are in" in made.stdout
    assert [*(project / NOTEBOOK / "dataset").glob("*.whl")]
    (old,) = (project / "competition" / "wheels").glob("ruamel_yaml-*.whl")
    old = old.rename(old.with_name("ruamel_yaml-0.1-py3-none-any.whl"))
    assert "lacks ruamel.yaml" in compete(project, "simulate").stderr  # Another version is none.
    old.unlink()
    assert compete(project, "notebook", *EXPERIMENT).returncode == 0
    assert compete(project, "simulate").returncode == 0


@pytest.mark.deep
@pytest.mark.parametrize("name", ["multiclass"])
def test_a_notebook_of_another_kind_would_score(
    name: str, rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    task = COMPETITIONS[name].task
    combination = Combination("torch-research", task, "plain", licences[0], competition)
    project = shutil.copytree(rendered(combination), tmp_path / "project")
    COMPETITIONS[name].write(project / "data" / "raw")
    write_wheels(project, project / "competition" / "wheels")
    for words in (
        ("compete.py", "understand"),
        ("compete.py", "folds", "--count", 2),
        ("train.py", *EXPERIMENT, *TINY, "--folds", "all"),
        ("compete.py", "notebook", *EXPERIMENT),
        ("compete.py", "simulate"),
    ):
        result = run(project, *words)
        assert result.returncode == 0, result.stdout + result.stderr
    assert "would score: submission.csv fits" in result.stdout


def test_without_time_the_values_of_the_sample_are_sent(project: Path) -> None:
    compete(project, "notebook", *EXPERIMENT, "--minutes", 0)
    result = compete(project, "simulate")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the values are those of sample_submission.csv" in result.stdout


def test_an_inference_server_answers_batches(project: Path) -> None:
    package = project / "data" / "raw" / "kaggle_evaluation"
    package.mkdir()
    (package / "some_inference_server.py").write_text(SERVER)
    compete(project, "notebook", *EXPERIMENT, "--server")
    result = compete(project, "simulate")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "would score" in result.stdout
    assert "sample_submission.csv" not in result.stdout


CASES = {
    "over time": ("import time\ntime.sleep(600)", "took longer than 0.05 minutes"),
    "over memory": (
        "import time\nb'1' * 400_000_000; x = bytearray(b'1') * 400_000_000\ntime.sleep(600)",
        "GB of memory, more than 0.2",
    ),
    "network": (
        "import urllib.request\nurllib.request.urlopen('http://example.org')",
        "it wants the network, which is off",
    ),
    "inputs are read-only": (
        "import os\n"
        "folder = os.environ.get('KAGGLE_INPUT_FOLDER', '/kaggle/input')\n"
        f"open(f'{{folder}}/competitions/{competition}/test.csv', 'a')",
        "Read-only file system|Permission denied",  # Without namespaces, the latter.
    ),
    "no submission": ("print('done')", "wrote no /kaggle/working/submission.csv"),
    "another submission": (
        "open('/kaggle/working/submission.csv', 'w').write('row,bought\\n1,2')",
        "would not score",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces and /proc")
@pytest.mark.parametrize(("code", "reason"), CASES.values(), ids=CASES)
def test_what_would_not_score_is_said(project: Path, code: str, reason: str) -> None:
    compete(project, "notebook", *EXPERIMENT)
    add_cell(project, code)
    test = (project / "data" / "raw" / "test.csv").read_bytes()
    # A busy machine takes its time to come to the others.
    minutes = 0.05 if "minutes" in reason else 5
    result = compete(project, "simulate", "--minutes", minutes, "--memory", 0.2)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "would not score" in result.stderr
    assert re.search(reason, result.stderr)
    assert (project / "data" / "raw" / "test.csv").read_bytes() == test


def test_a_network_that_fails_is_said_though_there_is_a_submission(project: Path) -> None:
    (project / "predict.py").write_text("raise SystemExit(3)")
    compete(project, "notebook", *EXPERIMENT)
    result = compete(project, "simulate")
    assert result.returncode == 2, result.stdout
    assert "fold-0: predict.py ended with exit code 3" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are none anyway")
def test_without_namespaces_sockets_are_blocked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compete(project, "notebook", *EXPERIMENT)
    add_cell(project, CASES["network"][0])
    monkeypatch.setenv("PATH", "")
    result = compete(project, "simulate")
    assert result.returncode == 2, result.stdout
    assert "no namespaces here" in result.stdout
    assert CASES["network"][1] in result.stderr


def test_an_experiment_that_is_not_trained_is_refused(project: Path) -> None:
    result = compete(project, "notebook", "--experiment", "experiments/second")
    assert result.returncode == 2
    assert "Train it" in result.stderr
    assert not (project / NOTEBOOK).exists()


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KaggleServer]:
    """A server that Kaggle's client talks to."""
    (tmp_path / "home").mkdir()
    with running_server() as server:
        for name, value in server.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        yield server


def test_dataset_and_notebook_are_sent_and_the_output_fetched(
    project: Path, kaggle: KaggleServer
) -> None:
    compete(project, "notebook", *EXPERIMENT, "--accelerator", "NvidiaTeslaT4")
    kaggle.kernel_statuses = ["QUEUED", "RUNNING"]
    result = compete(project, "push")
    assert result.returncode == 0, result.stdout + result.stderr
    sent = kaggle.called("SaveKernel")[0]
    assert sent["enableInternet"] is False
    assert sent["machineShape"] == "NvidiaTeslaT4"
    assert sent["datasetDataSources"] == [f"ada/{competition}-first-weights"]
    assert len(kaggle.called("CreateDataset")) == 1
    assert "28.00h" in result.stdout  # of the quota
    assert (project / NOTEBOOK / "output" / "submission.csv").exists()
    submitted = compete(project, "submit", "--notebook")
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    (asked,) = kaggle.called("CreateCodeSubmission")
    assert asked["kernelOwner"] == "ada"
    assert asked["kernelSlug"] == f"{competition}-first"
    assert asked["kernelVersion"] == 1
    assert "version 1" in (project / "competition" / "scores.csv").read_text()
    assert "was sent at" in compete(project, "submit", "--notebook").stderr
    kaggle.kernel_statuses = ["ERROR"]
    result = compete(project, "push")
    assert result.returncode == 2
    assert "cell 3 failed" in result.stderr
    assert "has these weights already" in result.stdout


@pytest.mark.parametrize("train", ["", "--folds all"])
def test_what_was_trained_is_said_of_training_alone(
    train: str, project: Path, kaggle: KaggleServer
) -> None:
    """Though the output of an earlier version lies there."""
    compete(project, "notebook", *EXPERIMENT, *(["--train", train] if train else []))
    (project / NOTEBOOK / "output" / "experiments").mkdir(parents=True)
    result = compete(project, "push")
    assert result.returncode == 0, result.stdout + result.stderr
    assert ("What it trained is in" in result.stdout) == bool(train)
    assert ("Let Kaggle score it" in result.stdout) != bool(train)


def test_a_package_holds_what_predicts(project: Path, tmp_path: Path) -> None:
    """Its commands run as they stand, and replace what it holds."""
    score = Path("experiments/first/score.json")
    (project / score).write_text('{"score": 0}')
    (project / "submissions").mkdir()
    (project / "submissions" / "first.csv").write_text("row,bought\n")
    words = ("package", *EXPERIMENT, "--output", tmp_path / "package")
    refused = compete(project, *words)
    assert refused.returncode == 2
    assert "git init" in refused.stderr
    git(project, "init", "--quiet")
    refused = compete(project, *words)
    assert refused.returncode == 2
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "The winner")
    (project / "parameters.py").write_text("")
    refused = compete(project, *words)
    assert "not committed: parameters.py" in refused.stderr
    git(project, "checkout", "parameters.py")
    result = compete(project, *words)
    assert result.returncode == 0, result.stderr
    package = tmp_path / "package"
    for name in ("README.md", "SETTINGS.json", "directory_structure.txt", "entry_points.md"):
        assert (package / name).stat().st_size > 0
    lines = (package / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("torch==") for line in lines)
    assert not any("+" in line for line in lines)
    shutil.copytree(project / "data" / "raw", package / "data" / "raw")
    text = (package / "entry_points.md").read_text()
    for line in re.findall("^    python (.*)", text, re.MULTILINE):
        done = run(package, *shlex.split(line))
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert json.loads((package / score).read_text())["score"] > 0
    assert len((package / "submissions" / "first.csv").read_text().splitlines()) == 7
