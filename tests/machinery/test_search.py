"""Searches: what they refuse, and that they survive being stopped and killed."""

import argparse
import contextlib
import gc
import json
import math
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from build_dataset import Dataset
from machinery import checkpoints, search, search_settings, search_workers
from machinery.errors import DivergedError, InputError, StoppedError
from machinery.metrics import Objective, read_metrics
from machinery.parameter_file import format_parameters
from machinery.run import Run
from machinery.search_settings import Search
from machinery.search_study import STARTS, MisfitError, Study
from machinery.search_workers import Worker, WorkerStop
from no_stop import NoStop
from parameters import Parameters
from train import train

EPOCHS = 8
SPACE = """
  model.width: {choices: [4, 8]}
  data.batch_size: {low: 16, high: 32, step: 8}
  training.learning_rate: {low: 0.001, high: 0.1, log: true}
"""
signals = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search of four small trials."""
    (tmp_path / "base").mkdir()
    (tmp_path / "search").mkdir()
    write_base(tmp_path / "search")
    write_settings(tmp_path / "search")
    return tmp_path / "search"


def write_base(folder: Path, **training: float) -> None:
    parameters = Parameters.model_validate({"training": {"epochs": EPOCHS, **training}})
    (folder.parent / "base" / "params.yaml").write_text(format_parameters(parameters))


def write_settings(
    folder: Path, space: str = SPACE, objective: str = "maximize: val_accuracy", trials: int = 4
) -> None:
    text = f"from: {folder.parent / 'base'}\ntrials: {trials}\n{objective}\nspace:{space}"
    (folder / "search.yaml").write_text(text)


def words(folder: Path, data: Path, *more: str) -> tuple[object, ...]:
    """Return the command line of a search."""
    return "search_hyperparams.py", "--search", folder, "--data", data, *more


def new_study(folder: Path, dataset: Dataset, data: Path = Path("some data")) -> Study:
    """Return the study of a search, opened by this process."""
    settings, base = search_settings.load_settings(folder / "search.yaml", Parameters)
    objective = settings.choose_objective(Objective("val_accuracy", maximize=True))
    return Study(Search(folder, data, "cpu", settings, base, dataset, objective))


def new_worker(study: Study, train: Callable[[Run], object] = train) -> Worker:
    return Worker(study, train, NoStop())


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.optuna.trials]


def last_session(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["sessions"][-1]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


# ---------------------------------------------------------------------------------------------
# search.yaml


def test_everything_wrong_in_the_space_is_said_at_once(
    folder: Path, data: Path, run: Callable[..., str]
) -> None:
    write_settings(
        folder,
        """
  model.widht: {choices: [4]}
  training.momentum: {low: 0.0, high: 1.5}
  model.width: {choices: [4, wide]}
  data.batch_size: {low: 1, high: 3, step: 0.5}
  training.learning_rate: {low: 0, high: 0.1}
""",
    )
    message = run(*words(folder, data), expected=2)
    assert str(folder / "search.yaml") in message
    assert "model.widht: unknown parameter (did you mean model.width?)" in message
    assert "training.momentum: high: got 1.5, expected less than 1" in message
    assert "model.width: choices: got 'wide'" in message
    assert "data.batch_size: step: got 0.5" in message
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
    with pytest.raises(InputError) as error:
        search_settings.load_settings(folder / "search.yaml", Parameters)
    assert expected in str(error.value)
    assert "search.yaml:5: space.training.warmup_epochs" in str(error.value)
    assert "search.yaml may hold: from" in str(error.value)


def test_other_bad_settings_are_refused(folder: Path, data: Path, run: Callable[..., str]) -> None:
    path = folder / "search.yaml"
    path.write_text(path.read_text() + "\nminimize: val_loss\n")
    with pytest.raises(InputError, match="expected maximize or minimize, not both"):
        search_settings.load_settings(path, Parameters)
    write_settings(folder, objective="maximise: val_loss")
    with pytest.raises(InputError, match=r"maximise: unknown parameter \(did you mean maximize"):
        search_settings.load_settings(path, Parameters)
    write_settings(folder)
    (folder.parent / "base").rename(folder.parent / "elsewhere")
    with pytest.raises(InputError, match=r"search\.yaml: from: .*not found"):
        search_settings.load_settings(path, Parameters)
    assert "--workers: got 0" in run(*words(folder, data, "--workers", "0"), expected=2)
    message = run(*words(folder, data, "--max-minutes", "-1"), expected=2)
    assert "--max-minutes: got -1" in message
    assert "--workers" in run("search_hyperparams.py", "--help")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Objective("val_auc", maximize=True)),
        ("minimize: val_loss", Objective("val_loss", maximize=False)),
        ("maximize: val_f1", Objective("val_f1", maximize=True)),
    ],
)
def test_trials_are_compared_by_the_file_or_by_the_task(
    folder: Path, line: str, expected: Objective
) -> None:
    write_settings(folder, objective=line)
    settings, _ = search_settings.load_settings(folder / "search.yaml", Parameters)
    assert settings.choose_objective(Objective("val_auc", maximize=True)) == expected


def test_what_does_not_fit_the_data_is_refused_before_the_first_trial(
    folder: Path, data: Path, run: Callable[..., str]
) -> None:
    write_settings(folder, "\n  model.width: {choices: [4, 100]}\n")
    message = run(*words(folder, data), expected=2)
    assert "search.yaml: space:\n  model.width: choices: got 100: model.width: 100" in message
    assert [path.name for path in folder.iterdir()] == ["search.yaml"]


# ---------------------------------------------------------------------------------------------
# Whole searches, with processes.


@signals
def test_a_search_survives_a_stop_and_a_kill(
    folder: Path, data: Path, dataset: Dataset, start: Callable[..., Any], run: Callable[..., str]
) -> None:
    write_base(folder, pause=0.01)
    process = start(*words(folder, data, "--workers", "2"))
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    process.terminate()
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 75, output + errors
    assert "Run the same command again" in errors
    assert last_session(folder / "trial_0000")["outcome"] == "stopped"
    assert "step 0 of" in (folder / "trial_0000" / "train.log").read_text()

    process = start(*words(folder, data, "--workers", "2"))
    wait_for(folder / "trial_0002" / "metrics.jsonl")
    process.kill()  # The other worker finds out, saves and ends; the next search waits for that.
    os.kill(last_session(folder / "trial_0002")["process"], signal.SIGKILL)
    process.communicate(timeout=300)

    output = run(*words(folder, data))
    command = shlex.split(output.partition("see it on test: ")[2])
    assert command[:3] == ["python", "evaluate.py", "--experiment"]
    assert command[4:] == ["--data", str(data)]
    lines = (folder / "study.journal").read_text().splitlines()
    assert sum('"op_code":4' in line for line in lines) == 4  # 4: a trial was created.
    trials = new_study(folder, dataset).optuna.trials
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    for trial in trials:
        rows = read_metrics(folder / f"trial_{trial.number:04}")
        assert [row["epoch"] for row in rows] == [*range(1, len(rows) + 1)]
        if trial.state.name == "COMPLETE":
            assert len(rows) == EPOCHS
            assert trial.value == max(row["val_accuracy"] for row in rows)


def test_a_search_that_is_done_says_so(
    folder: Path, data: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    write_base(folder, epochs=1)
    study = new_study(folder, dataset, data)
    new_worker(study).work()
    search.run_search(study.search, train, NoStop(), lambda: 1)
    assert "All 4 trials are done" in capsys.readouterr().out
    write_settings(folder, "\n  model.width: {choices: [4, 8, 16]}\n")
    with pytest.raises(InputError, match="began with something else: space model.width") as error:
        new_study(folder, dataset)
    assert "--search" in str(error.value)


@signals
def test_ctrl_c_ends_the_whole_group(folder: Path, data: Path, start: Callable[..., Any]) -> None:
    write_base(folder, pause=0.05)
    process = start(*words(folder, data, "--workers", "2"), start_new_session=True)
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 130, output + errors
    assert "Traceback" not in errors
    assert last_session(folder / "trial_0000")["outcome"] == "stopped"


@signals
def test_killed_workers_end_the_search(folder: Path, data: Path, start: Callable[..., Any]) -> None:
    write_base(folder, pause=0.05)
    process = start(*words(folder, data, "--workers", "1"))
    wait_for(folder / "trial_0000" / "metrics.jsonl")
    os.kill(last_session(folder / "trial_0000")["process"], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 4
    assert "out of memory?" in errors


def test_bad_input_ends_the_search_at_its_first_trial(
    folder: Path, data: Path, run: Callable[..., str]
) -> None:
    write_settings(folder, objective="maximize: val_acuracy")
    message = run(*words(folder, data, "--workers", "1"), expected=2)
    assert "(did you mean val_accuracy?)" in message
    assert "failed" not in message
    assert "--device: got cuda" in run(*words(folder, data, "--device", "cuda"), expected=2)


def test_damaged_data_and_bugs_are_no_failed_trials(
    folder: Path, data: Path, project: Path, run: Callable[..., str]
) -> None:
    damaged = folder.parent / "damaged"
    shutil.copytree(data, damaged)
    for path in damaged.rglob("train_*"):
        path.write_bytes(path.read_bytes()[:100])
    message = run(*words(folder, damaged, "--workers", "1"), expected=2)
    assert str(damaged) in message
    assert "failed" not in message
    shutil.rmtree(folder / "trial_0000", ignore_errors=True)
    (folder / "study.journal").unlink()

    code = folder.parent / "code"
    shutil.copytree(project, code)
    with open(code / "train.py", "a") as file:
        file.write("\n\ndef evaluate(*_):\n    raise KeyError('a bug')\n")
    message = run(*words(folder, data, "--workers", "1"), expected=1, cwd=code)
    assert "KeyError: 'a bug'" in message
    assert "failed" not in message


# ---------------------------------------------------------------------------------------------
# One worker, in this process.


def test_a_search_with_one_worker_is_reproducible(
    folder: Path, data: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    write_base(folder, epochs=2)
    values = []
    for name in ("search", "again"):
        other = folder.parent / name
        other.mkdir(exist_ok=True)
        write_settings(other, objective="", trials=3)
        study = new_study(other, dataset, data)
        new_worker(study).work()
        values.append([(trial.params, trial.value) for trial in study.optuna.trials])
    assert values[0] == values[1]
    assert len({str(params) for params, _ in values[0]}) == 3
    assert "[3/3] trial_0002 complete at epoch 2, val_accuracy" in capsys.readouterr().out


def test_trials_that_fail_one_after_another_end_the_search(
    folder: Path, data: Path, dataset: Dataset
) -> None:
    write_base(folder, momentum=0.99)
    write_settings(folder, "\n  training.learning_rate: {choices: [1.0e+308]}\n")
    study = new_study(folder, dataset, data)
    with pytest.raises(DivergedError, match="4 trials in a row failed") as error:
        new_worker(study).work()
    assert "the loss became" in str(error.value)
    assert states(study) == ["FAIL"] * 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_no_number_is_a_failure(
    folder: Path, dataset: Dataset, value: float
) -> None:
    def train(run: Run) -> None:
        assert run.on_epoch
        run.on_epoch({"epoch": 1, "val_accuracy": value})

    study = new_study(folder, dataset)
    with pytest.raises(DivergedError, match=r"4 trials in a row failed.*val_accuracy became"):
        new_worker(study, train).work()
    assert states(study) == ["FAIL"] * 4


def test_values_that_do_not_go_together_end_their_trial_alone(
    folder: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    class Together(Parameters):
        def check_data(self, dataset: Any) -> None:
            if self.model.width == 8 and self.data.batch_size == 32:
                raise InputError("model.width 8 needs batches of 16")

    write_settings(
        folder,
        "\n  model.width: {choices: [4, 8]}\n  data.batch_size: {choices: [16, 32]}\n",
        trials=12,
    )
    here = new_study(folder, dataset).search
    base = Together.model_validate(here.base.model_dump())
    here = Search(**{**vars(here), "base": base})
    search_settings.check_data(here)  # Each by itself does fit.
    study = Study(here)

    def train(run: Run) -> None:
        assert run.on_epoch
        run.folder.joinpath("metrics.jsonl").write_text('{"epoch": 1, "val_accuracy": 0.5}\n')

    new_worker(study, train).work()
    misfits = study.trials("PRUNED")
    assert 0 < len(misfits) < 6
    assert len(study.trials("COMPLETE")) == 12 - len(misfits)
    for trial in misfits:
        assert not study.folder_of(trial).exists()
        assert trial.params == {"model.width": 8, "data.batch_size": 32}
    assert "width 8, data.batch_size 32: cannot be trained together: model.width 8 needs" in (
        capsys.readouterr().out
    )


def test_data_that_fits_nothing_ends_the_search(folder: Path, dataset: Dataset) -> None:
    small = dataset.model_copy(update={"examples": {"train": 2, "val": 2, "test": 2}})
    study = new_study(folder, small)
    search_settings.check_data(study.search)  # Says nothing, as nothing fits.
    with pytest.raises(MisfitError, match=r"4 trials in a row failed.*search\.yaml: space: model"):
        new_worker(study).work()
    assert [path.name for path in folder.glob("trial_*")] == []


def test_pruned_trials_keep_what_an_evaluation_needs(folder: Path, dataset: Dataset) -> None:
    """Trial 5 is worse than the five before: the median pruner stops it once it may."""
    write_settings(folder, trials=6)
    outputs = (checkpoints.LAST, checkpoints.PREVIOUS, checkpoints.BEST)

    def train(run: Run) -> None:
        rows = []
        for name in outputs:
            (run.folder / name).touch()
        for epoch in range(1, EPOCHS + 1):
            rows.append({"epoch": epoch, "val_accuracy": -int(run.folder.name[-1]) / 10})
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (run.folder / "metrics.jsonl").write_text(lines)
            assert run.on_epoch
            run.on_epoch(rows[-1])

    study = new_study(folder, dataset)
    new_worker(study, train).work()
    assert states(study) == ["COMPLETE"] * 5 + ["PRUNED"]
    trial = folder / "trial_0005"
    assert [path.name for path in trial.glob("*.safetensors")] == ["best.safetensors"]
    assert len(read_metrics(trial)) == EPOCHS // 4


def test_a_pruned_run_says_so(folder: Path, data: Path, dataset: Dataset) -> None:
    def train_and_prune(run: Run) -> None:
        on_epoch = run.on_epoch

        def prune(row: dict[str, float]) -> None:
            assert on_epoch
            on_epoch(row)
            raise search_workers.PrunedError

        run.on_epoch = prune
        train(run)

    write_settings(folder, trials=1)
    study = new_study(folder, dataset, data)
    new_worker(study, train_and_prune).work()
    assert states(study) == ["PRUNED"]
    assert last_session(folder / "trial_0000")["outcome"] == "pruned"
    assert last_session(folder / "trial_0000")["objective"]["metric"] == "val_accuracy"


def test_a_trial_that_was_killed_too_often_has_failed(
    folder: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    study = new_study(folder, dataset)
    study.optuna.ask().set_user_attr("starts", STARTS)
    for _ in range(3):
        study.optuna.ask()
    left = study.claim()
    assert left
    assert left.number == 1
    assert "trial_0000 fail its process was killed 3 times" in capsys.readouterr().out
    (folder / "trial_0001").mkdir()
    with FileLock(folder / "trial_0001" / ".lock"):  # A worker is still there.
        left = study.claim()
    assert left
    assert left.number == 2


def test_no_trial_is_begun_too_many(folder: Path, dataset: Dataset) -> None:
    study = new_study(folder, dataset)
    with contextlib.ExitStack() as stack:
        for number in range(4):
            trial = study.claim()
            assert trial
            assert trial.number == number
            study.folder_of(trial).mkdir()
            stack.enter_context(FileLock(study.folder_of(trial) / ".lock"))
        assert not new_worker(study).train_next()


def test_bad_input_is_not_counted_as_a_kill(folder: Path, dataset: Dataset) -> None:
    def train(run: Run) -> None:
        raise InputError("damaged")

    study = new_study(folder, dataset)
    for _ in range(STARTS + 1):
        with pytest.raises(InputError, match="damaged"):
            new_worker(study, train).work()
    (trial,) = study.optuna.trials
    assert trial.state.name == "RUNNING"
    assert trial.user_attrs["starts"] == 0


def test_a_stop_ends_the_work_and_the_same_trial_goes_on(
    folder: Path, data: Path, dataset: Dataset
) -> None:
    study = new_study(folder, dataset, data)
    worker = new_worker(study)

    def stop(row: dict[str, float]) -> None:
        worker.stop.error = StoppedError("the test")

    def train_and_stop(run: Run) -> None:
        run.on_epoch = stop
        train(run)

    worker.train = train_and_stop
    worker.work()
    assert states(study) == ["RUNNING"]
    values = study.optuna.trials[0].params
    again = new_worker(study)
    assert again.train_next()
    assert states(study) == ["COMPLETE"]
    assert study.optuna.trials[0].params == values
    assert [row["epoch"] for row in read_metrics(folder / "trial_0000")] == [*range(1, EPOCHS + 1)]


def test_a_worker_stops_with_its_search(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = WorkerStop.__new__(WorkerStop)
    stop.error, stop.deadline = None, math.inf
    assert not stop
    gone = argparse.Namespace(is_alive=lambda: False)
    monkeypatch.setattr(search_workers.multiprocessing, "parent_process", lambda: gone)
    assert stop
    stop._on_signal(signal.SIGTERM, None)  # A second reason does not end the process.
    assert str(stop.error) == "the end of the search"


def test_the_best_trials_are_reported(
    folder: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(folder, objective="minimize: val_loss")
    study = new_study(folder, dataset)
    for value in (0.7, 0.5, 0.6, 0.9, 0.8, 1.0):
        trial = study.optuna.ask()
        study.choose_parameters(trial)
        study.optuna.tell(trial, value)
    search.report(study)
    output = capsys.readouterr().out
    assert f"python evaluate.py --experiment {folder}/trial_0001 --data 'some data'" in output
    assert "6 trials complete, 0 pruned, 0 failed" in output
    shown = [line.split()[2] for line in output.splitlines() if line.startswith("  ")]
    assert shown == ["0.5000", "0.6000", "0.7000", "0.8000", "0.9000"]


def test_a_journal_that_was_cut_short_is_mended_and_a_damaged_one_refused(
    folder: Path, dataset: Dataset
) -> None:
    new_study(folder, dataset).optuna.ask()
    path = folder / "study.journal"
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "wor')
    assert len(new_study(folder, dataset).optuna.trials) == 1
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(InputError, match=r"study\.journal is damaged"):
        new_study(folder, dataset)
    gc.collect()  # The error holds what was refused, and so the lock.
    path.unlink()
    (folder / "trial_0000").mkdir()
    with pytest.raises(InputError, match=r"holds trials, but no study\.journal"):
        new_study(folder, dataset)


def test_a_search_that_began_with_another_objective_or_data_is_refused(
    folder: Path, dataset: Dataset
) -> None:
    new_study(folder, dataset)
    write_settings(folder, objective="")  # The task names the same.
    new_study(folder, dataset)
    write_settings(folder, objective="minimize: val_loss")
    with pytest.raises(InputError, match=r"maximize \('val_accuracy' -> None\)"):
        new_study(folder, dataset)
    write_settings(folder)
    with pytest.raises(InputError, match="data "):
        new_study(folder, dataset.model_copy(update={"fingerprint": "other"}))
