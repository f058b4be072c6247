"""Trials: how they are chosen, trained, pruned, left behind and reported, in this process."""

import argparse
import contextlib
import dataclasses
import gc
import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from optuna.trial import TrialState

from build_dataset import Dataset
from helpers import (
    EPOCHS,
    NoStop,
    last_session,
    new_study,
    new_worker,
    states,
    write_base,
    write_settings,
)
from machinery import checkpoints, records, search, search_settings, search_workers
from machinery.errors import DivergedError, InputError, ResourceError, StoppedError
from machinery.experiments import find_experiments
from machinery.metrics import read_metrics
from machinery.parameter_file import format_parameters
from machinery.results_table import group
from machinery.run import Run
from machinery.search_study import STARTS, MisfitError, Study
from machinery.search_workers import WorkerStop
from parameters import Parameters
from train import train


def test_a_search_that_is_done_says_so(
    folder: Path, data: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    write_base(folder, epochs=1)
    study = new_study(folder, dataset, data)
    new_worker(study).work()
    search.run_search(study.search, train, NoStop(), lambda: 1)
    assert "All 4 trials are done" in capsys.readouterr().out
    write_settings(folder, "\n  model.width: {choices: [4, 8, 16]}\n")
    with pytest.raises(InputError, match=r"something else: space model\.width") as error:
        new_study(folder, dataset)
    assert "--search" in str(error.value)


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


def test_a_trial_that_runs_out_of_memory_has_failed(folder: Path, dataset: Dataset) -> None:
    errors = [MemoryError()] * 4

    def train(run: Run) -> None:
        raise errors.pop()

    study = new_study(folder, dataset)
    with pytest.raises(ResourceError, match=r"4 trials in a row failed.*0003: out of memory with"):
        new_worker(study, train).work()
    assert states(study) == ["FAIL"] * 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_no_number_is_a_failure(
    folder: Path, dataset: Dataset, value: float
) -> None:
    def train(run: Run) -> None:
        assert run.on_epoch
        run.on_epoch({"epoch": 1, "val_accuracy": value})

    study = new_study(folder, dataset)
    with pytest.raises(DivergedError, match=r"4 trials in a row failed.*val_accuracy is no number"):
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
    here = dataclasses.replace(here, base=base)
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


def test_a_trial_is_locked_from_its_claim_to_its_end(
    folder: Path, data: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise another worker takes it for one whose process was killed."""
    write_base(folder, epochs=1)
    study = new_study(folder, dataset, data)
    enter, end, seen = Run.__enter__, Study.end, []

    def enter_and_see(run: Run) -> Run:
        seen.append(("claimed", study.lock.is_locked))
        return enter(run)

    def see_and_end(study: Study, trial: Any, *news: Any) -> None:
        seen.append(("ended", records.is_running(study.folder_of(trial))))
        end(study, trial, *news)

    monkeypatch.setattr(Run, "__enter__", enter_and_see)
    monkeypatch.setattr(Study, "end", see_and_end)
    assert new_worker(study).train_next()
    assert seen == [("claimed", True), ("ended", True)]


def test_a_trial_that_failed_is_still_missing(folder: Path, dataset: Dataset) -> None:
    study = new_study(folder, dataset)
    for state, missing in (("FAIL", 4), ("COMPLETE", 3), ("PRUNED", 2)):
        trial = study.optuna.ask()
        value = 0.5 if state == "COMPLETE" else None
        study.optuna.tell(trial, value, TrialState[state])
        assert study.missing() == missing


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


def test_a_trial_that_cannot_be_continued_says_how_the_search_can(
    folder: Path, data: Path, dataset: Dataset
) -> None:
    study = new_study(folder, dataset, data)
    worker = new_worker(study)

    def train_and_stop(run: Run) -> None:
        report = run.on_epoch
        assert report

        def stop(row: dict[str, float], report: Callable[..., None] = report) -> None:
            report(row)
            worker.stop.error = StoppedError("the test")

        run.on_epoch = stop
        train(run)

    worker.train = train_and_stop
    worker.work()
    trial, values = folder / "trial_0000", study.optuna.trials[0].params
    (trial / checkpoints.LAST).write_text("damaged")
    for _ in range(STARTS + 1):
        with pytest.raises(InputError, match=r"last\.safetensors") as error:
            new_worker(study).work()
        assert f"delete the folder {trial}, and run the same command again" in str(error.value)
    shutil.rmtree(trial)
    assert new_worker(study).train_next()
    assert states(study) == ["COMPLETE"]
    assert study.optuna.trials[0].params == values
    assert len(read_metrics(trial)) == EPOCHS


def test_a_trial_whose_metrics_are_gone_says_so(folder: Path, dataset: Dataset) -> None:
    study = new_study(folder, dataset)
    with pytest.raises(InputError, match=r"trial_0000.metrics\.jsonl: holds no val_accuracy"):
        new_worker(study, lambda run: None).work()


def test_the_search_and_the_table_name_the_same_best(
    folder: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of equal accuracy, the lower loss decides, also between the epochs of a trial."""
    losses = ([1.0, 0.9], [0.5, 1.5], [0.3, 0.2], [0.1, 0.1])

    def train(run: Run) -> None:
        number = int(run.folder.name[-1])
        rows = [
            {"epoch": i, "val_loss": loss, "val_accuracy": 0.5 if number < 3 else 0.4}
            for i, loss in enumerate(losses[number], start=1)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (run.folder / "metrics.jsonl").write_text(lines)
        (run.folder / "params.yaml").write_text(format_parameters(run.parameters))
        (run.folder / "run.json").write_text('{"sessions": [{"outcome": "finished"}]}')

    study = new_study(folder, dataset)
    new_worker(study, train).work()
    search.report(study)
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    rows = group(find_experiments(folder, Parameters), study.search.objective)
    names = [row.experiments[0].name for row in rows]
    assert names == [f"trial_{number:04}" for number in (2, 1, 0, 3)]
    assert [Path(path).name for path in shown] == names


def test_a_worker_stops_with_its_search(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    stop = WorkerStop.__new__(WorkerStop)
    stop.error, stop.deadline, stop.asked = None, math.inf, asked  # ty: ignore[invalid-assignment]
    assert not stop
    asked.set()
    assert stop
    asked.clear()
    stop.error = None
    gone = argparse.Namespace(is_alive=lambda: False)
    monkeypatch.setattr(search_workers.multiprocessing, "parent_process", lambda: gone)
    assert stop
    stop._on_signal(signal.SIGTERM, None)  # A second reason does not end the process.
    assert str(stop.error) == "the end of the search"


def test_workers_share_out_the_gpus(
    folder: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sees one, so that frameworks that take the first one take different ones."""
    seen = []

    class Process:
        sentinel, exitcode = 0, 0

        def __init__(self, target: object, args: object) -> None:
            pass

        def start(self) -> None:
            seen.append(os.environ["CUDA_VISIBLE_DEVICES"])

        def is_alive(self) -> bool:
            return False

        def join(self, timeout: float = 0) -> None:
            pass

        terminate = join

    here = dataclasses.replace(new_study(folder, dataset).search, device="auto")
    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(type(context), "Process", Process)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    for name in ("TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    search_workers.run_workers(2, NoStop(), here, train)
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in os.environ  # Each has its own.
    search_workers.run_workers(5, NoStop(), here, train)
    assert seen == ["4", "7", "4", "7", "4", "7", "4"]
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert os.environ.pop("XLA_PYTHON_CLIENT_PREALLOCATE") == "false"
    assert os.environ.pop("TF_FORCE_GPU_ALLOW_GROWTH")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"


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
    with pytest.raises(InputError, match=r"holds trials, but no .*study\.journal"):
        new_study(folder, dataset)


def test_half_a_line_in_the_journal_while_others_work(folder: Path, dataset: Dataset) -> None:
    """As a kill or a full disk leaves it: what others append begins a line of its own."""
    first, second = new_study(folder, dataset), new_study(folder, dataset)
    path = folder / "study.journal"
    for number in range(3):
        with open(path, "ab") as file:
            file.write(b'{"op_code":8,"worker_id":"a","trial_id":0,"user_attr":{"starts"')
        study = second if number % 2 else first
        study.optuna.tell(study.optuna.ask(), number / 10)
    for study in (first, second, new_study(folder, dataset)):
        assert [trial.value for trial in study.optuna.trials] == [0, 0.1, 0.2]
    for line in path.read_text().splitlines():
        json.loads(line)


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
