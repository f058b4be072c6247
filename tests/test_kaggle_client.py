"""What compete.py asks of Kaggle, with Kaggle's real client and a server of the tests.

The client takes more than a second to start, so few calls prove much.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from combinations import Combination, combinations
from kaggle_server import TOKEN, KaggleServer, Outcome, Refusal, running_server, zip_of

pytest.importorskip("kaggle")
in_competition = next(each for each in combinations if each.kaggle)
FILES = {
    "train.csv": "id,size,price\n1,2,0\n2,3,1\n",
    "test.csv.zip": zip_of({"test.csv": "id,size\n3,4\n4,5\n"}),
    "sample_submission.csv": "id,price\n3,0.5\n4,0.5\n",
}
SCHEMA = {
    **{"task": "tabular", "kind": "binary", "train": "train.csv", "test": "test.csv"},
    **{"sample_submission": "sample_submission.csv", "id": "id", "targets": ["price"]},
    "answer": "probabilities",
}


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    with running_server() as server:
        server.archive = zip_of(FILES)
        yield server


@pytest.fixture
def project(rendered: Callable[[Combination], Path], tmp_path: Path) -> Path:
    """A project that takes part in a competition, to write into."""
    return shutil.copytree(rendered(in_competition), tmp_path / "project")


class Competitor:
    """Runs compete.py as a person whose home has nothing of Kaggle."""

    def __init__(self, project: Path, server: KaggleServer) -> None:
        self.project = project
        home = project.parent / "home"
        home.mkdir()
        clean = {name: value for name, value in os.environ.items() if "KAGGLE" not in name}
        clean |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment = clean | server.environment(home)

    def run(self, *words: str, **changes: str) -> tuple[int, str]:
        """Return the exit code of compete.py, and what it prints."""
        return self.python("compete.py", *words, **changes)

    def python(self, *words: str, **changes: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.project,
            env=self.environment | changes,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        assert "Traceback" not in done.stdout, done.stdout
        return done.returncode, done.stdout

    def files(self) -> list[str]:
        """Return the names of the competition's files that are there."""
        return sorted(path.name for path in (self.project / "data" / "raw").glob("*"))


@pytest.fixture
def competitor(project: Path, server: KaggleServer) -> Competitor:
    return Competitor(project, server)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows has no process groups to kill")
def test_get_survives_a_kill_and_downloads_nothing_twice(
    competitor: Competitor, server: KaggleServer
) -> None:
    server.holds = True
    process = subprocess.Popen(
        [sys.executable, "compete.py", "get"],
        cwd=competitor.project,
        env=competitor.environment,
        start_new_session=True,
    )
    assert server.halfway.wait(60)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert competitor.files() == []
    server.holds = False
    code, printed = competitor.run("get", "https://www.kaggle.com/competitions/some-competition")
    assert code == 0, printed
    files = [".competition", "sample_submission.csv", "test.csv", "train.csv"]
    assert competitor.files() == files
    assert len(server.called("GET")) == 2
    code, printed = competitor.run("get")
    assert (code, len(server.called("GET"))) == (0, 2), printed
    assert "the files are there" in printed


def test_a_refused_download_says_what_to_do(competitor: Competitor, server: KaggleServer) -> None:
    must_accept = "You must accept this competition's rules before you can download files."
    nowhere = "http://127.0.0.1:9"
    for refusal, changes, advice in [
        (Refusal(403, must_accept), {}, "competitions/some-competition/rules"),
        (Refusal(404, "Not Found", as_json=False), {}, "some-competition is misspelled"),
        (Refusal(429, "Too Many Requests", as_json=False), {}, "Wait some minutes"),
        (None, {"KAGGLE_API_TOKEN": "another"}, "takes no token from KAGGLE_API_TOKEN"),
        (None, {"KAGGLE_API_TOKEN": ""}, "there is none in KAGGLE_API_TOKEN, "),
        (None, {"HTTP_PROXY": nowhere, "http_proxy": nowhere}, "cannot be reached"),
    ]:
        server.refusals = {"DownloadDataFiles": refusal} if refusal else {}
        code, printed = competitor.run("get", **changes)
        assert code == 2, printed
        assert advice in printed
        assert not {TOKEN, "another"} & {*printed.split()}
        assert competitor.files() == []
    code, printed = competitor.run("get", "https://www.kaggle.com/competitions/titanic")
    assert code == 2
    assert "titanic is not the competition of this project" in printed


def test_a_client_that_is_not_installed_is_named(competitor: Competitor, tmp_path: Path) -> None:
    """As the error of the import would be; a second one knows an option less."""
    package = tmp_path / "other" / "kaggle"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    client = package / "__main__.py"
    path = str(tmp_path / "other")
    client.write_text("raise ModuleNotFoundError(\"No module named 'six'\", name='six')\n")
    _, printed = competitor.run("get", PYTHONPATH=path)
    assert "needs six. Install both: pip install -r requirements/kaggle.txt" in printed
    client.write_text("import sys; sys.exit(\"invalid choice: 'quota'\")\n")
    code = "from machinery.kaggle_client import read_quota; print([read_quota()])"
    assert competitor.python("-c", code, PYTHONPATH=path) == (0, "['']\n")


def test_submissions_are_sent_followed_and_noted(
    competitor: Competitor, server: KaggleServer
) -> None:
    project = competitor.project
    (project / "competition" / "schema.yaml").write_text(json.dumps(SCHEMA))
    (project / "data" / "raw").mkdir()
    for name in ("train.csv", "sample_submission.csv"):
        (project / "data" / "raw" / name).write_text(str(FILES[name]))
    (project / "submissions").mkdir()
    for name, value in (("first", 0.1), ("second", 0.2), ("third", 0.3)):
        (project / "submissions" / f"{name}.csv").write_text(f"id,price\n3,{value}\n4,0.9\n")
    score = {
        **{"score": 0.72, "fold_scores": [0.70, 0.74], "greater_is_better": True},
        **{"metric": "AUC", "metric_sha256": "0123456789"},
    }
    (project / "experiments" / "first").mkdir()
    (project / "experiments" / "first" / "score.json").write_text(json.dumps(score))
    failed = Outcome("ERROR", error="Evaluation Exception: no ground truth", pending=0)
    server.outcomes = [Outcome(public_score="0.7"), failed]

    code, printed = competitor.run("submit", "submissions/first.csv", "--message", "bold")
    assert code == 0, printed
    assert server.uploads == [(project / "submissions" / "first.csv").read_bytes()]
    assert server.submissions[0]["description"].startswith("cv=0.72 sha256=")
    assert len(server.called("ListSubmissions")) == 2
    code, printed = competitor.run("submit", "submissions/first.csv")
    assert code == 2
    assert "as submissions/first.csv (0.7). Send it once more: --again" in printed

    code, printed = competitor.run("submit", "submissions/second.csv")
    assert code == 2
    assert "could not score it: Evaluation Exception: no ground truth." in printed

    server.refusals = {"PUT": Refusal(400, "no")}
    code, printed = competitor.run("submit", "submissions/third.csv")
    assert code == 2
    assert "Could not submit" in printed
    server.refusals, server.loses_answers = {}, True
    code, printed = competitor.run("submit", "submissions/third.csv")
    assert code == 0, printed
    assert "504 Server Error" in printed
    assert "Kaggle's list has it all the same." in printed
    server.allowed = 0
    code, printed = competitor.run("submit", "submissions/third.csv", "--again")
    assert code == 2
    assert "none of today's submissions is left" in printed

    code, printed = competitor.run("scores")
    assert code == 0, printed
    assert "0.72000 ± 0.02828" in printed
    with open(project / "competition" / "scores.csv", encoding="utf-8") as file:
        first, second, third = csv.DictReader(file)
    assert (first["ref"], first["status"], first["public_score"]) == ("101", "complete", "0.7")
    assert (second["ref"], second["status"], second["cv"]) == ("102", "error", "")
    assert (third["ref"], third["status"], third["public_score"]) == ("103", "complete", "0.75")
    assert (project / "competition" / "scores.png").exists()


def test_other_commands_of_the_client_go_through(
    competitor: Competitor, server: KaggleServer
) -> None:
    """A pushed notebook, a data set, the quota; and a push that Kaggle refuses with code 0."""
    folder = competitor.project / "out"
    folder.mkdir()
    name = "ada/some-notebook"
    kernel = {"id": name, "title": "some notebook", "code_file": "run.py", "language": "python"}
    kernel |= {"kernel_type": "script", "enable_internet": "false"}
    (folder / "kernel-metadata.json").write_text(json.dumps(kernel))
    (folder / "run.py").write_text("print(1)\n")
    dataset = {"id": "ada/some-data", "title": "some data", "licenses": [{"name": "CC0-1.0"}]}
    (folder / "dataset-metadata.json").write_text(json.dumps(dataset))
    code = """
from machinery.errors import InputError
from machinery.kaggle_client import call, read_quota
print(read_quota())
print(call("datasets", "create", "-p", "out"))
print(call("datasets", "status", "ada/some-data"), call("datasets", "status", "ada/some-data"))
for attempt in "ab":
    try:
        print(call("kernels", "push", "-p", "out"))
    except InputError as error:
        print("refused:", error)
"""
    server.push_errors = ["", "Maximum weekly GPU quota reached"]
    code, printed = competitor.python("-c", code)
    assert code == 0, printed
    assert "28.00h" in printed  # of 30, with 2 used
    assert "Dataset is being created" in printed
    assert "blobs_received ready" in printed
    assert "Kernel version 1 successfully pushed" in printed
    assert "refused: kaggle kernels push: Kernel push error: Maximum weekly GPU quota" in printed
    assert [body["enableInternet"] for body in server.called("SaveKernel")] == [False, False]
    assert b"print(1)\n" in server.uploads
