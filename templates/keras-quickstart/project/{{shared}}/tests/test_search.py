"""search_hyperparams.py: what it refuses, and that a search survives being stopped and killed."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import run_folder
import search_hyperparams
import utils
from build_dataset import read_dataset
from evaluate import choose_device
from parameters import Parameters

ROOT = Path(__file__).parent.parent
EPOCHS = 10
SPACE = """
  model.width: {choices: [2, 4]}
  model.stages: {low: 1, high: 2}
  training.learning_rate: {low: 0.001, high: 0.1, log: true}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    words = [sys.executable, "build_dataset.py", "--data", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search of four small trials."""
    sections = {"data": {"batch_size": 256}, "training": {"epochs": EPOCHS}}
    parameters = utils.format_parameters(Parameters.model_validate(sections))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "params.yaml").write_text(parameters)
    (tmp_path / "search").mkdir()
    write_settings(tmp_path / "search")
    return tmp_path / "search"


def write_settings(folder: Path, space: str = SPACE, objective: str = "val_accuracy") -> None:
    text = f"from: {folder.parent / 'base'}\ntrials: 4\nmaximize: {objective}\nspace:{space}"
    (folder / "search.yaml").write_text(text)


def start(folder: Path, data: Path, *words: str) -> subprocess.Popen[str]:
    """Start a search."""
    where = ("--search", str(folder), "--data", str(data), "--device", "cpu")
    return subprocess.Popen(
        [sys.executable, "search_hyperparams.py", *where, *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def search(folder: Path, data: Path, expected: int, *words: str) -> str:
    """Run a search to its end; return what it printed."""
    process = start(folder, data, *words)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == expected, output + errors
    return output + errors


def last_session(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["sessions"][-1]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def new_search(folder: Path, fingerprint: str = "some data") -> search_hyperparams.Search:
    """Return the search of a folder, in this process."""
    settings, base = search_hyperparams.load_settings(folder / "search.yaml")
    study = search_hyperparams.open_study(folder, settings, base, fingerprint)
    common = search_hyperparams.Common(base, None, Path("data"), "cpu")
    stop = utils.StopRequest.__new__(utils.StopRequest)  # without its signal handlers
    return search_hyperparams.Search(folder, settings, common, study, stop)


def test_everything_wrong_in_the_space_is_said_at_once(folder: Path, data: Path) -> None:
    write_settings(
        folder,
        """
  model.widht: {choices: [4]}
  model.dropout: {low: 0.0, high: 1.5}
  model.width: {choices: [4, wide]}
  model.stages: {low: 1, high: 3, step: 0.5}
  training.learning_rate: {low: 0, high: 0.1}
""",
    )
    message = search(folder, data, 2)
    assert str(folder / "search.yaml") in message
    assert "model.widht: unknown parameter (did you mean model.width?)" in message
    assert "model.dropout: high: got 1.5, expected less than 1" in message
    assert "model.width: choices: got 'wide'" in message
    assert "model.stages: step: got 0.5" in message
    assert "training.learning_rate: low: got 0" in message
    assert [path.name for path in folder.iterdir()] == ["search.yaml"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{low: 1}", "expected {low, high} or {choices: [...]}"),
        ("{low: 1, high: 2, choices: [1]}", "expected {low, high} or {choices: [...]}"),
        ("{low: 3, high: 2}", "expected low to be at most high"),
        ("{low: 0, high: 2, log: true}", "expected low above 0 and no step"),
        ("{lwo: 0, high: 2}", "unknown parameter"),
        ("{choices: []}", "at least 1 item"),
    ],
)
def test_malformed_entries_are_refused(folder: Path, entry: str, expected: str) -> None:
    write_settings(folder, f"\n  training.warmup_epochs: {entry}\n")
    with pytest.raises(utils.InputError) as error:
        search_hyperparams.load_settings(folder / "search.yaml")
    assert expected in str(error.value)
    assert "search.yaml:5: space.training.warmup_epochs" in str(error.value)


def test_other_bad_settings_are_refused(folder: Path, data: Path) -> None:
    path = folder / "search.yaml"
    path.write_text(path.read_text() + "\nminimize: val_loss\n")
    with pytest.raises(utils.InputError, match="either maximize or minimize"):
        search_hyperparams.load_settings(path)
    write_settings(folder)
    (folder.parent / "base").rename(folder.parent / "elsewhere")
    with pytest.raises(utils.InputError, match=r"search\.yaml: from: .*not found"):
        search_hyperparams.load_settings(path)
    assert "--workers: got 0" in search(folder, data, 2, "--workers", "0")
    assert "--max-minutes: got -1" in search(folder, data, 2, "--max-minutes", "-1")


def test_a_search_survives_a_stop_and_a_kill(folder: Path, data: Path) -> None:
    process = start(folder, data, "--workers", "2")
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    process.terminate()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 75, output + errors
    assert "Run the same command again" in errors
    assert last_session(folder / "trial_0000")["outcome"] == "stopped"

    process = start(folder, data, "--workers", "2")
    wait_for(folder / "trial_0002" / "metrics.jsonl")
    process.kill()  # The other worker finds out, saves and ends; the next search waits for that.
    os.kill(last_session(folder / "trial_0002")["process"], signal.SIGKILL)
    process.communicate(timeout=60)

    output = search(folder, data, 0)
    assert f"python evaluate.py --experiment {folder}" in output
    lines = (folder / "study.journal").read_text().splitlines()
    assert sum('"op_code":4' in line for line in lines) == 4  # 4: a trial was created.
    trials = new_search(folder, read_dataset(data).fingerprint).trials(
        "COMPLETE", "PRUNED", "RUNNING", "FAIL"
    )
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    for trial in trials:
        rows = run_folder.read_metrics(folder / f"trial_{trial.number:04}")
        assert [row["epoch"] for row in rows] == [*range(1, len(rows) + 1)]
        if trial.state.name == "COMPLETE":
            assert len(rows) == EPOCHS
            assert trial.value == max(row["val_accuracy"] for row in rows)

    assert "All 4 trials are done" in search(folder, data, 0)
    write_settings(folder, "\n  model.width: {choices: [2, 4, 8]}\n")
    message = search(folder, data, 2)
    assert "began with something else: space model.width" in message
    assert "--search" in message


def test_trials_that_fail_one_after_another_end_the_search(folder: Path, data: Path) -> None:
    write_settings(folder, "\n  training.learning_rate: {choices: [1.0e+30]}\n")
    message = search(folder, data, 3, "--workers", "1")
    assert "4 trials in a row failed" in message
    assert "the loss became" in message


def test_an_unknown_objective_is_refused(folder: Path, data: Path) -> None:
    write_settings(folder, objective="val_acuracy")
    assert "(did you mean val_accuracy?)" in search(folder, data, 2, "--workers", "1")


def test_pruned_trials_keep_what_an_evaluation_needs(folder: Path, data: Path) -> None:
    class Connection:
        """The search's end of a connection: it prunes after the second epoch."""

        rows = 0

        def poll(self) -> bool:
            return False

        def send(self, message: object) -> None:
            self.rows += 1

        def recv(self) -> str:
            return "prune" if self.rows == 2 else "continue"

    _, base = search_hyperparams.load_settings(folder / "search.yaml")
    common = search_hyperparams.Common(base, read_dataset(data), data, "cpu")
    trial = folder / "trial_0000"
    values = {"model.width": 2}
    connection, device = Connection(), choose_device("cpu")
    ended = search_hyperparams.train_trial(connection, trial, values, common, device)  # ty: ignore
    assert ended == ("pruned", "")
    assert [path.name for path in trial.glob("*.safetensors")] == ["best.safetensors"]
    assert len(run_folder.read_metrics(trial)) == 2
    assert '"outcome": "pruned"' in (trial / "run.json").read_text()
    outcome, message = search_hyperparams.train_trial(
        connection,  # ty: ignore[invalid-argument-type]
        trial,
        {"model.width": -1},
        common,
        device,
    )
    assert outcome == "failed"
    assert "greater than or equal to 1" in message


def test_a_trial_that_was_killed_too_often_has_failed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = new_search(folder).study
    study.ask().set_user_attr("starts", search_hyperparams.STARTS)
    study.ask().set_user_attr("starts", 1)
    del study  # and its lock
    (folder / "trial_0001").mkdir()
    with FileLock(folder / "trial_0001" / ".lock"):
        again = new_search(folder)
        assert again.next_trial() is None  # A worker is still there.
    output = capsys.readouterr().out
    assert "trial_0000 failed: its process was killed 3 times" in output
    assert "trial_0001 is in use" in output
    left = again.next_trial()
    assert left
    assert left.number == 1


def test_a_worker_that_dies_gives_its_trial_back(folder: Path) -> None:
    here = new_search(folder)
    process = multiprocessing.get_context("spawn").Process(target=time.monotonic)
    process.start()
    connection, _ = multiprocessing.Pipe()
    worker = search_hyperparams.Worker(process, connection, ready=True, trial=here.study.ask())
    here.workers.append(worker)
    here.on_death(worker)
    assert here.next_trial() is worker.trial
    unready = search_hyperparams.Worker(process, connection)
    here.workers.append(unready)
    with pytest.raises(RuntimeError, match="before it began"):
        here.on_death(unready)


def test_a_device_that_is_not_here_is_refused(folder: Path, data: Path) -> None:
    with contextlib.suppress(utils.InputError):
        choose_device("cuda")
        pytest.skip("needs a machine without a GPU")
    assert "--device: got cuda" in search(folder, data, 2, "--device", "cuda")


def test_the_best_trials_and_what_mattered_are_reported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "search.yaml"
    path.write_text(path.read_text().replace("maximize: val_accuracy", "minimize: val_loss"))
    here = new_search(folder)
    for _ in range(12):
        trial = here.study.ask()
        values = [
            search_hyperparams.suggest(trial, name, dimension)
            for name, dimension in here.settings.space.items()
        ]
        here.study.tell(trial, values[-1])
    here.report()
    output = capsys.readouterr().out
    best = min(here.trials("COMPLETE"), key=lambda trial: trial.value or 0)
    assert f"python evaluate.py --experiment {folder}/trial_{best.number:04}" in output
    assert "12 trials complete" in output
    assert "training.learning_rate" in output.partition("what made the difference: ")[2]


def test_a_journal_that_was_cut_short_is_mended_and_a_damaged_one_refused(folder: Path) -> None:
    study = new_search(folder).study
    study.ask()
    with pytest.raises(utils.InputError, match="another search is going on"):
        new_search(folder)
    del study
    path = folder / "study.journal"
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "wor')
    study = new_search(folder).study
    assert len(study.trials) == 1
    del study
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(utils.InputError, match=r"study\.journal is damaged"):
        new_search(folder)
    path.unlink()
    (folder / "trial_0000").mkdir()
    with pytest.raises(utils.InputError, match=r"holds trials, but no study\.journal"):
        new_search(folder)
