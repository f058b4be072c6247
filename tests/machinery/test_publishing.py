"""publish.py: each part of a run is sent once, by a process that no run waits for."""

import json
import os
import shutil
import signal
import subprocess
import sys
import types
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import publish
from machinery import publishing
from machinery.errors import InputError
from machinery.publishing import PublishedRun
from machinery.run import Run

Train = Callable[..., Run]


class Notes:
    """A tracker that notes what it gets, and may be away."""

    place = "notes"

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, int, bool]] = []
        self.away = False

    def send(self, run: PublishedRun, first_row: int, rest: bool) -> None:
        if self.away:
            raise ConnectionError("connection refused\nand more")
        self.sent.append((run.status, first_row, len(run.rows), rest))


@pytest.fixture
def trained(tmp_path: Path, train_run: Train, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished and evaluated run in the current folder, of two epochs."""
    monkeypatch.chdir(tmp_path)
    folder = Path("experiments/baseline")
    train_run(folder, {"training": {"epochs": 2}})
    (folder / "metrics_test.json").write_text('{"loss": 0.25, "note": "no number"}')
    return folder


def test_only_what_is_new_is_sent(trained: Path) -> None:
    notes = Notes()
    assert publishing.publish([Path("experiments")], notes) == 1
    assert publishing.publish([Path("experiments")], notes) == 0
    assert notes.sent == [("finished", 0, 2, True)]
    other = Notes()
    other.place = "elsewhere"
    assert publishing.publish([trained], other) == 1
    (trained / "metrics_test.json").write_text('{"loss": 0.5}')
    assert publishing.publish([Path("experiments")], notes) == 1
    assert notes.sent[1:] == [("finished", 2, 2, True)]
    assert publishing.read_run(trained).evaluations == {"test_loss": 0.5}


def test_a_run_is_followed_while_it_trains(tmp_path: Path, train_run: Train) -> None:
    notes = Notes()

    def follow(run: Run) -> None:
        publishing.publish([tmp_path], notes)
        publishing.publish([tmp_path], notes)

    train_run(tmp_path / "run", {"training": {"epochs": 3}}, follow)
    publishing.publish([tmp_path], notes)
    assert notes.sent == [
        *(("running", 0, 1, True), ("running", 1, 2, False), ("running", 2, 3, False)),
        ("finished", 3, 3, True),
    ]


def test_a_run_that_is_trained_anew_is_another_one(trained: Path, train_run: Train) -> None:
    notes = Notes()
    publishing.publish([trained], notes)
    first = publishing.read_run(trained).identity
    path = trained / "run.json"
    record = json.loads(path.read_text())
    record["sessions"][0]["started"] = "2020-01-01T00:00:00+00:00"
    path.write_text(json.dumps(record))
    assert publishing.read_run(trained).identity != first
    publishing.publish([trained], notes)
    assert notes.sent[1] == ("finished", 0, 2, True)


def test_a_server_that_is_away_costs_a_message(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = Notes()
    notes.away = True
    message = "experiments/baseline could not be sent to notes: connection refused\nNothing is lost"
    with pytest.raises(InputError, match=message):
        publishing.publish([trained], notes)
    assert not (trained / "published.json").exists()
    broken = Path("experiments/broken")
    broken.mkdir()
    (broken / "run.json").write_text("{")
    notes.away = False
    assert publishing.publish([Path("experiments")], notes) == 1
    assert "experiments/broken is left out: " in capsys.readouterr().err
    with pytest.raises(InputError, match="elsewhere: no run is there"):
        publishing.publish([Path("elsewhere")], notes)


def test_one_that_is_refused_does_not_keep_back_the_others(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two in a row the server is taken to be away, and nobody waits for the rest."""
    for name in ("aaa", "more", "others"):
        shutil.copytree(trained, Path("experiments", name))
    notes, refused, asked = Notes(), ["aaa"], []

    def send(run: PublishedRun, first_row: int, rest: bool) -> None:
        asked.append(run.folder.name)
        if run.folder.name in refused:
            raise ConnectionError("refused")

    monkeypatch.setattr(notes, "send", send)
    with pytest.raises(InputError, match=r"experiments/aaa could not .*\n3 others were brought"):
        publishing.publish([Path("experiments")], notes)
    assert asked == ["aaa", "baseline", "more", "others"]
    for path in Path("experiments").glob("*/published.json"):
        path.unlink()
    asked.clear()
    refused.append("baseline")
    with pytest.raises(InputError, match="experiments/baseline could not"):
        publishing.publish([Path("experiments")], notes)
    assert asked == ["aaa", "baseline"]


@pytest.mark.parametrize("text", ["{", "[1]", '{"notes": 3}', "null"])
def test_a_damaged_note_of_what_was_sent_is_written_anew(
    trained: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "published.json").write_text(text)
    notes = Notes()
    assert publishing.publish([trained], notes) == 1
    assert "published.json: damaged, so all of the run is sent again." in capsys.readouterr().err
    assert publishing.publish([trained], notes) == 0


def test_a_run_is_the_same_however_its_folder_is_named(trained: Path) -> None:
    identities = {
        publishing.read_run(folder).identity
        for folder in (trained, trained.absolute(), Path("experiments/../experiments/baseline"))
    }
    assert len(identities) == 1


def test_a_killed_run_is_called_so(trained: Path) -> None:
    path = trained / "run.json"
    path.write_text(path.read_text().replace('"finished"', '"running"'))
    assert publishing.read_run(trained).status == "killed"


def test_watching_says_once_that_the_server_is_away(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    notes.away = True
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        notes.away = len(naps) < 2
        if len(naps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(publishing.time, "sleep", nap)
    with pytest.raises(KeyboardInterrupt):
        publishing.watch([trained], notes, 3.0)
    output = capsys.readouterr()
    assert output.err.count("connection refused") == 1
    assert output.out == "1 runs brought up to date at notes.\n"


# --- the command and its trackers


def test_tensorboard_gets_pictures_and_test_metrics(trained: Path) -> None:
    tracker = publish.TRACKERS["tensorboard"]("leaf")
    assert publishing.publish([trained], tracker) == 1
    assert publishing.publish([trained], tracker) == 0
    events = EventFileLoader(str(trained / "tensorboard" / "events.out.tfevents.1")).Load()
    values = {value.tag: value for event in events for value in event.summary.value}
    assert {*values} == {"test/loss", "learning_curves", "parameters"}
    assert values["parameters"].metadata.plugin_data.plugin_name == "text"


class Client:
    """MLflow's, in memory: it refuses what the real one refuses."""

    def __init__(self, store: dict[str, Any]) -> None:
        self.store = store

    def get_experiment_by_name(self, name: str) -> Any:
        known = name in self.store
        return types.SimpleNamespace(experiment_id=name) if known else None

    def create_experiment(self, name: str) -> str:
        self.store[name] = {}
        return name

    def search_runs(self, experiments: list[str], words: str) -> list[Any]:
        runs = self.store[experiments[0]].values()
        return [run for run in runs if words == f"tags.identity = '{run.tags['identity']}'"]

    def create_run(self, experiment: str, start: int, tags: Any, run_name: str) -> Any:
        info = types.SimpleNamespace(run_id=run_name)
        data = types.SimpleNamespace(params={})
        run = types.SimpleNamespace(info=info, tags=tags, metrics=set(), data=data, files=set())
        self.store[experiment][run_name] = run
        return run

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        assert len(metrics) <= 1000
        assert len(params) <= 100
        assert len(tags) <= 100
        (run,) = (runs[run_id] for runs in self.store.values())
        run.metrics |= {*metrics}  # As its table does, whose key is the whole row.
        run.data.params |= dict(params)
        run.tags |= dict(tags)

    def log_artifact(self, run_id: str, path: Path) -> None:
        next(iter(self.store.values()))[run_id].files.add(path.name)

    def update_run(self, run_id: str, status: str) -> None:
        next(iter(self.store.values()))[run_id].status = status


def test_mlflow_has_a_run_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: dict[str, Any] = {}
    pairs = {"Param": lambda *pair: pair, "RunTag": lambda *pair: pair}
    entities = types.SimpleNamespace(Metric=lambda *values: values, **pairs)
    module: Any = types.ModuleType("mlflow")
    module.MlflowClient, module.entities = lambda: Client(store), entities
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org/path")
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    for _ in range(2):
        tracker = publish.TRACKERS["mlflow"]("leaf")
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
        assert tracker.place == "https://example.org/path, leaf"
        assert publishing.publish([trained], tracker) == 1
        assert publishing.publish([trained], tracker) == 0
        (run,) = store["leaf"].values()
        names = [metric[0] for metric in run.metrics]
        assert names.count("val_loss") == 2
        assert names.count("test_loss") == 1
        assert run.data.params["training.epochs"] == "2"
        assert run.tags["device"] == "cpu"
        assert {"params.yaml", "learning_curves.png", "metrics_test.json"} <= run.files
        assert run.status == "FINISHED"
        (trained / "published.json").unlink()  # A kill may come before it is written.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI: not set"):
        publish.TRACKERS["mlflow"]("leaf")


def test_weights_and_biases_gets_steps_in_order(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    class Sent:
        summary: dict[str, Any] = {}  # noqa: RUF012

        def __enter__(self) -> "Sent":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def log(self, row: dict[str, float], step: int) -> None:
            sent.append((step, row["epoch"]))

        def save(self, path: str, base_path: str, policy: str) -> None:
            sent.append(Path(path).relative_to(base_path).as_posix())

    def init(**options: Any) -> Sent:
        assert options["config"]["training.epochs"] == 2
        assert options["resume"] == "allow"
        return Sent()

    module: Any = types.ModuleType("wandb")
    module.init, module.Settings = init, lambda **_named: None
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = publish.TRACKERS["wandb"]("leaf")
    assert tracker.place == "wandb, leaf, offline"
    publishing.publish([trained], tracker)
    steps = publishing.read_run(trained).rows
    assert sent[:2] == [(row["step"], row["epoch"]) for row in steps]
    assert "params.yaml" in sent
    assert Sent.summary == {"test_loss": 0.25, "status": "finished"}


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"--to wandb: .*requirements/trackers.txt"):
        publish.TRACKERS["wandb"]("leaf")


def test_the_command(trained: Path, project: Path, run: Callable[..., str]) -> None:
    command = (project / "publish.py", "--to", "tensorboard")
    here = {"cwd": trained.parent.parent}
    assert "1 runs brought up to date at tensorboard." in run(*command, **here)
    assert "0 runs brought up to date at tensorboard." in run(*command, trained, **here)
    message = "--watch: got 0.0, expected 0.1 to 86400"
    assert message in run(*command, "--watch", "0", expected=2, **here)
    assert "invalid choice: 'x'" in run(project / "publish.py", "--to", "x", expected=2, **here)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_the_command_watches_until_ctrl_c(
    trained: Path, project: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    words = (project / "publish.py", "--to", "tensorboard", "--watch", "0.1")
    process = start(*words, cwd=trained.parent.parent)
    assert process.stdout is not None
    assert process.stdout.readline() == (line := "1 runs brought up to date at tensorboard.\n")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=600)
    # Python repeats a line whose writing Ctrl-C interrupts.
    assert output in ("", line)
    assert not errors
    assert process.returncode == 130


@pytest.mark.deep
def test_the_real_trackers(trained: Path, project: Path, tmp_path: Path) -> None:
    """In an environment of their own, since they bring a hundred packages."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = str(programs / "python")
    requirements = (
        Path(publish.__file__).with_name("{{any_tracker}}") / "requirements" / "trackers.txt"
    )
    command = [python, "-m", "pip", "install", "-q", "-r", str(requirements), "mlflow", "filelock"]
    subprocess.run([*command, "ruamel.yaml", "pydantic", "tqdm"], check=True)
    environment = {**os.environ, "WANDB_MODE": "offline"}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}"

    def run(*words: object, code: int = 0, **changes: str) -> str:
        command = [python, str(project / "publish.py"), *map(str, words)]
        options: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
        result = subprocess.run(command, env=environment | changes, **options)
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout + result.stderr

    for tracker in ("mlflow", "wandb"):
        assert "1 runs brought up" in run("--to", tracker, "--project", "leaf")
        assert "0 runs brought up" in run("--to", tracker, "--project", "leaf")
    (trained / "published.json").unlink()
    assert "1 runs brought up" in run("--to", "mlflow", "--project", "leaf")
    count = "import mlflow; c = mlflow.MlflowClient(); (r,) = c.search_runs(['1']); "
    count += "print(len(c.get_metric_history(r.info.run_id, 'val_loss')), r.info.status)"
    result = subprocess.run(
        [python, "-c", count], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["2", "FINISHED"]
    (trained / "published.json").unlink()
    shutil.rmtree("wandb")
    away = {"MLFLOW_TRACKING_URI": "http://localhost:9"}
    message = "experiments/baseline could not be sent to http://localhost:9, leaf"
    assert message in run("--to", "mlflow", "--project", "leaf", code=2, **away)
    assert not Path("wandb").exists()
