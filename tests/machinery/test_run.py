"""A run and its epochs: what it leaves, stops, resumes, refusals, by the tiny trainer."""

import argparse
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save

from build_dataset import Dataset, build
from helpers import NoStop, files_of
from machinery import checkpoints, contents, records
from machinery.epoch import LOOK_STEPS, Epoch
from machinery.errors import DivergedError, InputError, StoppedError
from machinery.metrics import Objective, read_metrics
from machinery.run import Run
from machinery.share import Share
from parameters import Parameters
from train import train

TrainRun = Callable[..., Run]


def content(folder: Path) -> list[Any]:
    """Return what must not depend on where a run was cut."""
    found: list[Any] = [read_metrics(folder)]
    for name in (checkpoints.LAST, checkpoints.BEST):
        arrays, header = checkpoints.read_checkpoint(folder / name)
        found.append({name: array.tolist() for name, array in arrays.items()})
        found.append((header.progress.step, header.progress.best, header.parameters))
    return found


def stop_at(when: int) -> NoStop:
    """Return what asks to stop once that many steps were looked at."""
    looks = iter(range(1000))

    class Stop(NoStop):
        def __bool__(self) -> bool:
            if not self.error and next(looks) >= when:
                self.error = StoppedError("the test")
            return self.error is not None

    return Stop()


def stop_at_second_epoch(folder: Path, train_run: TrainRun) -> None:
    """Leave a run that has the checkpoints of two whole epochs."""

    def stop(run: Run) -> None:
        run.stop.error = StoppedError("the test") if run.progress.step == 8 else None

    with pytest.raises(StoppedError):
        train_run(folder, on_epoch=stop)


def test_a_run_leaves_what_it_promises(tmp_path: Path, train_run: TrainRun) -> None:
    folder = tmp_path / "run"
    train_run(folder)
    names = {path.name for path in folder.iterdir()} - {".lock"}
    # This dataset describes no features, of which there could be statistics.
    assert names == {*Run.outputs, "params.yaml", "tensorboard"} - {"statistics.json"}
    rows = read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["step"] == 16
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    (session,) = records.read_sessions(folder)
    assert session["outcome"] == "finished"
    assert session["objective"] == {"metric": "val_accuracy", "maximize": True}
    assert session["parameters"]["model.width"] == 8
    assert session["from_step"] == 0
    assert session["framework"] == "numpy"
    assert session["examples_per_second"] > 0
    lines = (folder / "train.log").read_text().splitlines()
    assert "starting, step 0 of 16; 4 steps an epoch; 16 weights" in lines[0]
    assert "epoch   4/4  train loss" in lines[-2]
    assert "next: python evaluate.py --experiment" in lines[-1]


@pytest.mark.parametrize("when", range(0, 16, 3))
def test_a_run_that_was_stopped_anywhere_ends_the_same(
    tmp_path: Path, train_run: TrainRun, when: int
) -> None:
    train_run(tmp_path / "whole")
    with pytest.raises(StoppedError, match="Run the same command again") as error:
        train_run(tmp_path / "cut", stop=stop_at(when))
    assert error.value.exit_code == 75
    (session,) = records.read_sessions(tmp_path / "cut")
    assert session["outcome"] == "stopped"
    step = checkpoints.read_checkpoint(tmp_path / "cut" / checkpoints.LAST)[1].progress.step
    assert 0 < step < 16
    train_run(tmp_path / "cut")
    assert records.read_sessions(tmp_path / "cut")[-1]["from_step"] == step
    assert content(tmp_path / "whole") == content(tmp_path / "cut")


def test_a_run_whose_newest_checkpoint_is_damaged_ends_the_same(
    tmp_path: Path, train_run: TrainRun
) -> None:
    train_run(tmp_path / "whole")
    folder = tmp_path / "cut"
    stop_at_second_epoch(folder, train_run)
    (folder / checkpoints.LAST).write_bytes(b"damaged")
    train_run(folder)
    assert "last.safetensors is cut short" in (folder / "train.log").read_text()
    assert content(tmp_path / "whole") == content(folder)


def test_a_finished_run_stays_as_it_is_and_overwrite_trains_anew(
    tmp_path: Path, train_run: TrainRun
) -> None:
    folder = tmp_path / "run"
    train_run(folder)
    (folder / "notes.txt").write_text("mine")
    before = content(folder)
    train_run(folder)
    assert content(folder) == before
    train_run(folder, {"seed": 1}, overwrite=True)
    assert content(folder) != before
    assert (folder / "notes.txt").read_text() == "mine"
    assert "seed: 1" in (folder / "params.yaml").read_text()
    (session,) = records.read_sessions(folder)
    assert session["overwrite"]


def test_a_run_that_overwrites_and_was_stopped_goes_on(tmp_path: Path, train_run: TrainRun) -> None:
    train_run(tmp_path / "run")
    for when in (2, 2):
        with pytest.raises(StoppedError):
            train_run(tmp_path / "run", overwrite=True, stop=stop_at(when))
    assert records.read_sessions(tmp_path / "run")[-1]["from_step"] > 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"seed": 5}, r"params\.yaml changed since .*: seed \(0 -> 5\)"),
        ({"model": {"width": 4}}, r"model\.width \(8 -> 4\)"),
    ],
)
def test_another_experiment_is_not_continued(
    tmp_path: Path, train_run: TrainRun, values: dict[str, Any], expected: str
) -> None:
    with pytest.raises(StoppedError):
        train_run(tmp_path / "run", stop=stop_at(5))
    before = files_of(tmp_path / "run")
    with pytest.raises(InputError, match=expected):
        train_run(tmp_path / "run", values)
    assert files_of(tmp_path / "run") == before


def epochs(count: int, **others: Any) -> dict[str, Any]:
    return {"training": {"epochs": count, **others}}


def test_only_a_run_that_begins_needs_pretrained_weights(
    tmp_path: Path, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them it begins nothing, and leaves nothing."""
    begun = tmp_path / "begun"
    stop_at_second_epoch(begun, train_run)

    def refuse(state: object) -> None:
        raise InputError("weights.h5: not found")

    monkeypatch.setattr("backend.State.start", refuse)
    train_run(begun)
    with pytest.raises(InputError, match="not found"):
        train_run(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_more_epochs_go_on(tmp_path: Path, train_run: TrainRun) -> None:
    """As if they had been asked for at first, where the rate does not depend on them."""
    train_run(tmp_path / "whole", epochs(5))
    train_run(tmp_path / "run", epochs(2))
    with pytest.raises(StoppedError):
        train_run(tmp_path / "run", epochs(4), stop=stop_at(3))
    train_run(tmp_path / "run", epochs(5))
    # All but the parameters of the best epoch, which was trained before there were so many.
    assert content(tmp_path / "run")[:4] == content(tmp_path / "whole")[:4]
    said = [session["changed_epochs"] for session in records.read_sessions(tmp_path / "run")]
    assert [words[:24] for words in said] == [
        *("", "training.epochs (2 -> 4)", "training.epochs (4 -> 5)")
    ]

    train_run(tmp_path / "cosine", epochs(2, schedule="cosine"))
    train_run(tmp_path / "cosine", epochs(3, schedule="cosine"))
    said = records.read_sessions(tmp_path / "cosine")[-1]["changed_epochs"]
    assert "where the schedule of 3 epochs has it" in said


def test_epochs_that_change_nothing_are_refused(tmp_path: Path, train_run: TrainRun) -> None:
    """Fewer than are done; or more, where the patience is over."""
    with pytest.raises(StoppedError):
        train_run(tmp_path / "run", epochs(4), stop=stop_at(5))
    before = files_of(tmp_path / "run")
    with pytest.raises(InputError, match=r"training.epochs \(4 -> 1\), expected more than the"):
        train_run(tmp_path / "run", epochs(1))
    assert files_of(tmp_path / "run") == before
    train_run(tmp_path / "run", epochs(3))  # Fewer, but not yet done.

    patient = {"patience": 1, "learning_rate": 1e-300}
    run = train_run(tmp_path / "patient", epochs(50, **patient))
    assert run.progress.step < run.total_steps
    with pytest.raises(InputError, match=r"training\.patience 1 ended the run after"):
        train_run(tmp_path / "patient", epochs(60, **patient))


def test_other_data_or_another_optimizer_are_refused(
    tmp_path: Path, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        train_run(folder, stop=stop_at(5))
    other = build(tmp_path / "data", seed=1)
    with pytest.raises(InputError, match="trained on other data"):
        train_run(folder, dataset=other)
    monkeypatch.setattr("backend.State.optimizer_name", "Adam")
    with pytest.raises(InputError, match=r"trained by SGD with momentum, and train\.py now has"):
        train_run(folder)
    monkeypatch.undo()
    for name in (checkpoints.LAST, checkpoints.PREVIOUS):
        (folder / name).write_bytes(b"")
    with pytest.raises(InputError, match="is cut short"):
        train_run(folder)


# What cannot be true, in a file whose SHA-256 is right: changes of its state, and the message.
NONSENSE: dict[str, tuple[dict[str, Any], str]] = {
    "negative": ({"step": -1}, "not a checkpoint"),
    "a fraction": ({"step": 8.5}, "not a checkpoint"),
    "text": ({"step": "8"}, "not a checkpoint"),
    "unknown": ({"steps": 8}, "not a checkpoint"),
    "nested deeply": ({"best": {"x": "DEEP"}}, "not a checkpoint"),
    "loss that is no number": ({"loss_sum": math.nan}, "not a checkpoint"),
    "beyond the end": ({"step": 10**30}, "step 1,000,000,.* of 16"),
    "at the end and not finished": ({"step": 16}, "not finished at step 16 of 16"),
    "finished within": ({"finished": True}, "finished at step 8 of 16"),
    "no such metric": ({"best": {"epoch": 1}}, "no val_accuracy of the best epoch"),
    "no best epoch": ({"best": {}}, "no val_accuracy of the best epoch"),
}


def forge(path: Path, progress: dict[str, Any], **fields: Any) -> None:
    """Change the state in a checkpoint, with the SHA-256 that belongs to it."""
    arrays, header = checkpoints.read_checkpoint(path)
    state = header.model_dump()
    state["progress"] |= progress
    text = json.dumps(state | fields).replace('"DEEP"', "[" * 1500 + "]" * 1500)
    path.write_bytes(save(arrays, {"state": text, "sha256": checkpoints._digest(arrays, text)}))


@pytest.mark.parametrize("case", NONSENSE)
def test_a_checkpoint_of_nonsense_is_refused(
    tmp_path: Path, train_run: TrainRun, case: str
) -> None:
    stop_at_second_epoch(tmp_path / "run", train_run)
    progress, expected = NONSENSE[case]
    (tmp_path / "run" / checkpoints.PREVIOUS).unlink()
    forge(tmp_path / "run" / checkpoints.LAST, progress)
    before = files_of(tmp_path / "run")
    with pytest.raises(InputError, match=rf"last\.safetensors.*{expected}"):
        train_run(tmp_path / "run")
    assert files_of(tmp_path / "run") == before


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer.velocity": None},
        {"model.weights": None},
        {"optimizer.more": np.zeros(3)},
        {"optimizer.velocity": np.zeros((8, 2), np.complex64)},
        {"optimizer.velocity": np.zeros((2, 8))},
    ],
    ids=["less", "no network", "more", "other numbers", "other shape"],
)
def test_a_whole_checkpoint_of_other_arrays_is_refused(
    tmp_path: Path, train_run: TrainRun, change: dict[str, Any]
) -> None:
    folder = tmp_path / "run"
    stop_at_second_epoch(folder, train_run)
    (folder / checkpoints.PREVIOUS).unlink()
    for name in (checkpoints.LAST, checkpoints.BEST):
        arrays, header = checkpoints.read_checkpoint(folder / name)
        arrays = {n: array for n, array in (arrays | change).items() if array is not None}
        checkpoints.write_checkpoint(folder / name, arrays, header)
    before = files_of(folder)
    with pytest.raises(InputError, match=r"last\.safetensors has not the arrays that were written"):
        train_run(folder)
    assert files_of(folder) == before
    if "model.weights" in change:
        with pytest.raises(InputError, match=r"best\.safetensors has not the arrays"):
            checkpoints.read_trained(folder / checkpoints.BEST, header.fingerprint)


def test_the_weights_alone_are_not_continued(tmp_path: Path, train_run: TrainRun) -> None:
    """Some optimizers have no state, so that there is none does not tell."""
    folder = tmp_path / "run"
    stop_at_second_epoch(folder, train_run)
    (folder / checkpoints.PREVIOUS).unlink()
    shutil.copy(folder / checkpoints.BEST, folder / checkpoints.LAST)
    with pytest.raises(InputError, match=r"last\.safetensors was trained by no optimizer: the wei"):
        train_run(folder)


@pytest.mark.parametrize(
    "fields", [{"parameters": []}, {"parameters": {"seed": "x"}}, {"optimizer": 1}, {"more": 1}]
)
def test_a_header_of_nonsense_is_refused(
    tmp_path: Path, train_run: TrainRun, fields: dict[str, Any]
) -> None:
    stop_at_second_epoch(tmp_path / "run", train_run)
    (tmp_path / "run" / checkpoints.PREVIOUS).unlink()
    forge(tmp_path / "run" / checkpoints.LAST, {}, **fields)
    with pytest.raises(InputError, match=r"last\.safetensors"):
        train_run(tmp_path / "run")


def test_more_metrics_than_there_are_may_be_asked_for(tmp_path: Path, train_run: TrainRun) -> None:
    """They are cut back to whole lines, however long the file is said to be."""
    stop_at_second_epoch(tmp_path / "run", train_run)
    forge(tmp_path / "run" / checkpoints.LAST, {"metrics_bytes": 10**18})
    train_run(tmp_path / "run")
    assert len(read_metrics(tmp_path / "run")) == 4


def test_arrays_that_were_changed_in_place_are_refused(
    tmp_path: Path, train_run: TrainRun, data: Path
) -> None:
    mine = shutil.copytree(data, tmp_path / "data")
    stop_at_second_epoch(tmp_path / "run", partial(train_run, data=mine))
    before = files_of(tmp_path / "run")
    for path in mine.rglob("train_*.npy"):
        content = path.read_bytes()
        np.save(path, np.load(path)[::-1])
        with pytest.raises(InputError, match=rf"arrays-1: the content of {path.name} is not what"):
            train_run(tmp_path / "run", data=mine)
        path.write_bytes(content)  # Brought back: other times, the same content.
    assert files_of(tmp_path / "run") == before
    train_run(tmp_path / "run", data=mine)
    assert records.is_finished(tmp_path / "run")


def test_a_copy_of_the_data_is_read_once_and_not_at_every_start(
    tmp_path: Path, train_run: TrainRun, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a large dataset takes long; its sizes and times tell whether it has to be read."""
    looked = []
    look = contents.changed_files
    monkeypatch.setattr(contents, "changed_files", lambda path: looked.append(path) or look(path))
    copy = shutil.copytree(data, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in copy.rglob("*.npy"):
        os.utime(path, (1, 1))
    for where in (data, data, copy, copy):
        with pytest.raises(StoppedError):
            train_run(tmp_path / "run", stop=stop_at(2), data=where)
    assert looked == [copy / "arrays-1"]


def test_what_was_trained_is_recorded(tmp_path: Path, train_run: TrainRun) -> None:
    train_run(tmp_path / "run")
    (session,) = records.read_sessions(tmp_path / "run")
    assert session["optimizer"] == "SGD with momentum"
    assert session["task"] == "points"


def test_metrics_without_a_checkpoint_are_not_overwritten(
    tmp_path: Path, train_run: TrainRun
) -> None:
    train_run(tmp_path / "run")
    for name in (checkpoints.LAST, checkpoints.PREVIOUS):
        (tmp_path / "run" / name).unlink()
    with pytest.raises(InputError, match="metrics of several epochs"):
        train_run(tmp_path / "run")
    assert len(read_metrics(tmp_path / "run")) == 4


def test_one_process_per_folder_and_nothing_stays_of_one_that_was_refused(
    tmp_path: Path, data: Path, dataset: Dataset
) -> None:
    def new_run(folder: Path) -> Run:
        return Run(folder, Parameters(), dataset, data, NoStop())

    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(InputError, match=r"is in use by process .*\. Wait, or stop it"),
    ):
        new_run(tmp_path / "run").__enter__()
    with pytest.raises(InputError, match="bad device"), new_run(tmp_path / "a" / "b"):
        raise InputError("bad device")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_is_locked_until_its_record_says_how_the_run_ended(
    tmp_path: Path, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is called running in a folder that is free counts as killed."""
    update, seen = records.Record.update, []

    def see_and_update(record: records.Record, **facts: Any) -> None:
        seen.append((facts.get("outcome"), records.is_running(tmp_path / "run")))
        update(record, **facts)

    monkeypatch.setattr(records.Record, "update", see_and_update)
    train_run(tmp_path / "run", {"training": {"epochs": 1}})
    assert seen == [(None, True), ("finished", True)]


def test_a_run_that_diverges_keeps_what_it_had(tmp_path: Path, train_run: TrainRun) -> None:
    values = {"training": {"learning_rate": 1e308, "momentum": 0.99}}
    with pytest.raises(DivergedError, match=r"the loss became .*lower training\.learning_rate"):
        train_run(tmp_path / "run", values)
    (session,) = records.read_sessions(tmp_path / "run")
    assert session["outcome"] == "diverged"
    assert read_metrics(tmp_path / "run") == []
    assert not [*(tmp_path / "run").glob("*.safetensors")]


def test_the_training_loss_is_the_mean_over_the_examples_of_an_epoch(
    tmp_path: Path, train_run: TrainRun
) -> None:
    """Weights that stay zero say nothing, so that the loss stays log 2."""
    train_run(tmp_path / "run", {"training": {"learning_rate": 1e-300}})
    losses = [row["train_loss"] for row in read_metrics(tmp_path / "run")]
    assert losses == pytest.approx([math.log(2)] * 4)


def test_files_that_no_run_wrote_are_not_replaced(tmp_path: Path, train_run: TrainRun) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("best.safetensors", "train.log", "notes.txt"):
        (folder / name).write_text("mine")
    before = files_of(folder)
    with pytest.raises(InputError, match=r"run holds best\.safetensors, train\.log and no params"):
        train_run(folder)
    assert files_of(folder) == before


def test_a_stop_is_logged(tmp_path: Path, train_run: TrainRun) -> None:
    stop_at_second_epoch(tmp_path / "run", train_run)
    assert "Stopped by" in (tmp_path / "run" / "train.log").read_text()


def test_a_checkpoint_is_due_after_some_minutes_and_on_request(
    tmp_path: Path, data: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = Parameters.model_validate({"training": {"checkpoint_minutes": 3.0}})
    run = Run(tmp_path / "run", parameters, dataset, data, NoStop())
    run.saved = 1000.0
    for seconds, due in ((179, False), (181, True)):
        monkeypatch.setattr("time.perf_counter", lambda seconds=seconds: 1000.0 + seconds)
        assert run.save_is_due() == due
    run.saved, run.stop.error = 2000.0, StoppedError("the test")
    assert run.save_is_due()


def test_what_is_overwritten_is_gone_from_the_start_the_record_first(
    tmp_path: Path, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill just then leaves no run that is called finished, and nothing to continue from."""

    class Kill(NoStop):
        def __bool__(self) -> bool:
            raise KeyboardInterrupt

    folder = tmp_path / "run"
    train_run(folder)
    unlink, deleted = Path.unlink, []

    def note_and_unlink(path: Path, **options: bool) -> None:
        deleted.append(path.name)
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", note_and_unlink)
    with pytest.raises(KeyboardInterrupt):
        train_run(folder, overwrite=True, stop=Kill())
    assert deleted.index("run.json") < deleted.index(checkpoints.LAST)
    assert not [*folder.glob("*.safetensors")]
    assert read_metrics(folder) == []


def test_patience_ends_a_run(tmp_path: Path, train_run: TrainRun) -> None:
    values = {"training": {"patience": 2, "epochs": 50, "learning_rate": 1e-300}}
    train_run(tmp_path / "run", values)
    assert len(read_metrics(tmp_path / "run")) == 3
    assert records.is_finished(tmp_path / "run")
    best = checkpoints.read_checkpoint(tmp_path / "run" / checkpoints.BEST)
    assert list(best[0]) == ["model.weights"]


def test_who_asks_is_told_of_each_epoch_once_all_is_saved(
    tmp_path: Path, data: Path, dataset: Dataset
) -> None:
    told = []

    def on_epoch(row: dict[str, float]) -> None:
        _, header = checkpoints.read_checkpoint(tmp_path / "run" / checkpoints.LAST)
        told.append((row["epoch"], header.progress.step))
        assert read_metrics(tmp_path / "run")[-1] == row

    with Run(tmp_path / "run", Parameters(), dataset, data, NoStop()) as run:
        run.on_epoch = on_epoch
        train(run)
    assert told == [(1, 4), (2, 8), (3, 12), (4, 16)]


# ---------------------------------------------------------------------------------------------
# An epoch by itself.


class FakeRun:
    """What an epoch asks of a run."""

    def __init__(self, steps: int, done: int = 0) -> None:
        self.progress = checkpoints.Progress(step=done, loss_sum=2.0 if done else 0.0)
        self.steps_per_epoch, self.examples = steps, 4 * steps
        self.folder, self.due, self.calls = Path("run"), False, []
        self.objective = Objective("val_loss", maximize=False)
        self.parameters = argparse.Namespace(data=argparse.Namespace(batch_size=4))
        self.share = Share()

    def save_is_due(self) -> bool:
        return self.due

    def save_within_epoch(self) -> None:
        self.calls.append(self.progress.step)

    def keep_epoch(self, row: dict[str, float], examples_per_second: float) -> None:
        self.calls.append(row)
        assert examples_per_second > 0


def new_epoch(run: FakeRun) -> Epoch:
    return Epoch(run)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]


def test_an_unfinished_epoch_and_a_metric_that_is_no_number_are_not_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = FakeRun(steps=2)
    epoch = new_epoch(run)
    epoch.advance(1)
    with pytest.raises(InputError, match="1 steps before its last"):
        epoch.end(0.5, {"loss": 0.25}, 0.1)
    epoch.advance(1)
    epoch.look(1.0)
    run.objective = Objective("val_gain", maximize=True)
    with pytest.raises(InputError, match="objective is 'val_gain'"):
        epoch.end(0.5, {"loss": 0.25, "gain": float("nan")}, 0.1)
    run.objective = Objective("val_loss", maximize=False)
    epoch.end(0.5, {"loss": 0.25, "gain": float("nan")}, 0.1)
    assert "val_gain became nan" in caplog.text
    assert run.calls[-1].keys() == {"epoch", "step", "train_loss", "val_loss", "learning_rate"}


def test_an_epoch_goes_through_its_steps_from_where_the_run_stands() -> None:
    run = FakeRun(steps=10, done=13)
    epoch = new_epoch(run)
    assert (epoch.number, epoch.first_step, epoch.last_step) == (1, 13, 20)
    assert epoch.loss_sum == 2.0
    assert [*epoch.steps()] == [*range(13, 20)]
    assert run.progress.step == 20
    assert [*epoch.steps()] == []
    epoch.end(0.5, {"loss": 0.25, "accuracy": 1.0}, 0.1)
    assert run.calls == [
        {
            **{"epoch": 2, "step": 20, "train_loss": 0.5},
            **{"val_loss": 0.25, "val_accuracy": 1.0, "learning_rate": 0.1},
        }
    ]


def test_hooks_count_the_steps_themselves() -> None:
    run = FakeRun(steps=10)
    epoch = new_epoch(run)
    epoch.advance(4)
    assert epoch.steps_left == 6
    epoch.advance(6)
    assert epoch.steps_left == 0
    assert epoch.look_is_due()


def test_the_loss_is_looked_at_now_and_then_at_the_end_and_before_a_save() -> None:
    run = FakeRun(steps=2 * LOOK_STEPS + 7)
    epoch = new_epoch(run)
    looked = []
    for step in epoch.steps():
        run.due = step == 20
        if epoch.look_is_due():
            looked.append(run.progress.step)
            epoch.look(1.0)
    assert looked == [21, LOOK_STEPS, 2 * LOOK_STEPS, 2 * LOOK_STEPS + 7]
    assert run.calls == [21]
    assert run.progress.loss_sum == 1.0


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(loss: float) -> None:
    epoch = new_epoch(FakeRun(steps=10))
    epoch.advance(3)
    with pytest.raises(DivergedError, match="before step 3"):
        epoch.look(loss)
    with pytest.raises(DivergedError):
        epoch.end(1.0, {"loss": loss}, 0.1)


def test_log_lines_are_kept_once_each(tmp_path: Path, train_run: TrainRun) -> None:
    handlers = [*logging.getLogger("run").handlers]
    train_run(tmp_path / "a", {"training": {"epochs": 1}})
    train_run(tmp_path / "b", {"training": {"epochs": 1}})
    assert len((tmp_path / "a" / "train.log").read_text().splitlines()) == 3
    assert logging.getLogger("run").handlers == handlers
    assert json.loads((tmp_path / "a" / "dataset.json").read_text())["classes"] == 2
    assert np.isfinite(read_metrics(tmp_path / "a")[0]["val_loss"])
