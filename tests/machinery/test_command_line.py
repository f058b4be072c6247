"""The commands: options, exit codes, and that all is said at once."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from build_dataset import build
from machinery import command_line
from machinery.argument_parser import ArgumentParser
from machinery.errors import (
    CancelledError,
    DivergedError,
    ResourceError,
    StoppedError,
    exit_codes,
    out_of_memory,
)
from machinery.parameter_file import Section
from machinery.run import Run
from machinery.stopping import StopRequest, process_start
from parameters import Parameters


@pytest.fixture
def baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment that was not trained, in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("experiments/baseline")
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("training: {epochs: 2}\n")
    return folder


def parse(monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[Any, Any]:
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, words)])
    command = command_line.training("__main__", "Trains.", Parameters)
    return command.arguments, command.parameters


@pytest.fixture
def refuse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], baseline: Path
) -> Callable[..., str]:
    """Gives words to train.py that are refused; returns what it says."""

    def refuse(*words: object, expected: int = 2) -> str:
        with pytest.raises(SystemExit) as error:
            parse(monkeypatch, *words)
        assert error.value.code == expected
        output = capsys.readouterr()
        return output.out + output.err

    return refuse


@pytest.fixture(autouse=True)
def _signals_as_before():
    names = [name for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)]
    handlers = {name: signal.getsignal(getattr(signal, name)) for name in names}
    yield
    for name, handler in handlers.items():
        signal.signal(getattr(signal, name), handler)
    sys.excepthook = sys.__excepthook__


@pytest.mark.parametrize("folder", ["", ".", "data"])
def test_an_experiment_has_a_folder_of_its_own(
    refuse: Callable[..., str], data: Path, folder: str
) -> None:
    shutil.copytree(data, "data")
    Path("train.py").touch()
    words = ("--experiment", folder, "--from", "experiments/baseline")
    assert f"--experiment: got {folder or '.'!r}, which holds the project or" in refuse(*words)


def test_ctrl_c_in_an_import_leaves_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], baseline: Path
) -> None:
    parse(monkeypatch)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == ""
    sys.excepthook(ZeroDivisionError, ZeroDivisionError(), None)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_several_misspelled_options_are_named_at_once(refuse: Callable[..., str]) -> None:
    options = ("--model.widht", "3", "--training.epohcs=4", "--training.lr", "-1")
    message = refuse("--experiment", "experiments/new", "--from", "experiments/baseline", *options)
    assert "--model.widht: unknown parameter (did you mean model.width?)" in message
    assert "--training.epohcs: unknown parameter (did you mean training.epochs?)" in message
    assert "--training.lr: unknown parameter (did you mean training.learning_rate?)" in message
    assert not Path("experiments/new").exists()
    message = refuse(*options)  # Without --from, too, and before all else.
    assert message.count("unknown parameter") == 3
    message = refuse("--experimant", "x", "--sede=3", "--model.widht=3")
    assert "--experimant: unknown option (did you mean --experiment?)" in message
    assert "--sede: unknown option (did you mean --seed?)" in message
    assert "--model.widht: unknown option (did you mean --model.width?)" in message
    assert message.count("unknown option") == 3
    message = refuse("--training.lr", "-1", "-x", "--seeed")
    assert [name in message for name in ("--training.lr:", "-x:", "--seeed:", "-1:")] == [
        *(True, True, True, False)
    ]


@pytest.mark.parametrize(
    "words", [("--model.widht",), ("--model.widht", "--training.epohcs", "3"), ("--model.widht=",)]
)
def test_a_misspelled_option_without_a_value_is_named_too(
    refuse: Callable[..., str], words: tuple[str, ...]
) -> None:
    message = refuse("--experiment", "experiments/new", "--from", "experiments/baseline", *words)
    assert "model.widht: unknown parameter" in message
    assert ("training.epohcs: unknown parameter" in message) == (len(words) > 1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("stray",), "stray: expected no such word here"),
        (("--max-minutes", "-1"), "--max-minutes: got -1.0, expected 0 to 1000000"),
        (("--max-minutes", "1e300"), "--max-minutes: got 1e+300, expected 0 to 1000000"),
        (("--max-minutes", "inf"), "--max-minutes: got inf"),
        (("--experiment", "x" * 300), f"{'x' * 300}: cannot be used: File name too"),
        (
            ("--experiment", "x" * 300, "--from", "experiments/baseline"),
            f"{'x' * 300}: cannot be used: File name too long. Name another path.",
        ),
        (("--from", "x" * 300), f"{'x' * 300}/params.yaml: File name too long; expected a file"),
        (("--from", "experiments/baseline", "--experiment", "new", "--seed", "9" * 5000), "'999"),
        (("--max-minutes", "nan"), "--max-minutes: got nan"),
        (("--device", "tpu"), "invalid choice: 'tpu'"),
        (("--experiment", "nowhere"), "nowhere/params.yaml: not found"),
        (("--seed", "1"), "--seed: experiments/baseline/params.yaml is the record of"),
        (("--from", "nowhere"), "nowhere/params.yaml: not found"),
        (("--from", "experiments/baseline", "--seed", "1"), "with other parameters: seed (0 -> 1)"),
        (("--experiment", "file", "--from", "experiments/baseline"), "file: is a file"),
    ],
)
def test_bad_options_are_refused(
    refuse: Callable[..., str], words: tuple[str, ...], expected: str
) -> None:
    Path("file").touch()
    assert expected in refuse(*words)


class Choices(Section):
    """A parameter of each kind."""

    precision: Literal["auto", "float32"] = "auto"
    mirror: bool = False
    rate: float = 0.1
    epochs: int = 3


def test_the_help_shows_what_a_parameter_takes() -> None:
    parser = ArgumentParser(None)
    parser.add_parameters(Choices)
    shown = parser.format_help()
    for words in ("precision {auto,float32}", "mirror {true,false}", "rate FLOAT", "epochs INT"):
        assert f"  --{words}" in shown


def test_options_are_typed_and_data_are_those_of_the_source(
    baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = ("--experiment", "experiments/new", "--from", baseline)
    arguments, parameters = parse(monkeypatch, *new, "--seed", "3", "--model.scale=1e-3")
    assert (parameters.seed, parameters.model.scale) == (3, 1e-3)
    assert parameters.training.epochs == 2
    assert arguments.data == Path("data")
    for name in ("elsewhere", "here"):
        Path(name).mkdir()
        (Path(name) / "dataset.json").touch()
    record = '{"sessions": [{"outcome": "stopped", "data": "elsewhere"}]}'
    (baseline / "run.json").write_text(record)
    arguments, _ = parse(monkeypatch, *new)
    assert arguments.data == Path("elsewhere")
    arguments, _ = parse(monkeypatch, *new, "--data", "here")
    assert arguments.data == Path("here")


def test_missing_data_are_refused_at_once(refuse: Callable[..., str], baseline: Path) -> None:
    words = ("--experiment", "experiments/new", "--from", baseline)
    message = refuse(*words, "--data", "nowhere")
    assert f"{Path('nowhere') / 'dataset.json'}: not found." in message


def test_the_same_again_is_said(
    tmp_path: Path,
    train_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_run(tmp_path / "run")
    words = ("--experiment", tmp_path / "new", "--from", tmp_path / "run")
    for more, same in (((), True), (("--seed", "7"), False)):
        parse(monkeypatch, *words, *more)
        assert ("this trains the same again" in capsys.readouterr().out) == same


def test_what_is_finished_is_said(
    tmp_path: Path, train_run: Callable[..., Run], refuse: Callable[..., str]
) -> None:
    train_run(tmp_path / "run", {"training": {"epochs": 3}})
    words = ("--experiment", tmp_path / "run")
    assert "is finished; nothing to do" in refuse(*words, expected=0)
    again = ("--from", "experiments/baseline")
    assert "with other parameters: training.epochs (3 -> 2)" in refuse(*words, *again)
    path = tmp_path / "run" / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 3 ", "epochs: 2 "))
    assert "is finished, with other parameters: training.epochs (3 -> 2)" in refuse(*words)


def test_more_epochs_are_no_other_parameters(
    tmp_path: Path, train_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run(tmp_path / "run", {"training": {"epochs": 2}})
    words = ("--experiment", tmp_path / "run")
    _, parameters = parse(monkeypatch, *words, "--training.epochs", "3")
    assert parameters.training.epochs == 3
    path = tmp_path / "run" / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 2 ", "epochs: 4 "))
    _, parameters = parse(monkeypatch, *words)
    assert parameters.training.epochs == 4


def test_other_data_for_what_is_finished_are_refused(
    tmp_path: Path, train_run: Callable[..., Run], refuse: Callable[..., str], data: Path
) -> None:
    """As other parameters are; the same data may lie elsewhere, or be gone."""
    copy = shutil.copytree(data, tmp_path / "copy")
    train_run(tmp_path / "run", data=copy)
    words = ("--experiment", tmp_path / "run")
    assert "nothing to do" in refuse(*words, "--data", data, expected=0)
    build(tmp_path / "other", seed=1)
    message = f"is finished, with the data of {copy} (fingerprint "
    assert message in refuse(*words, "--data", tmp_path / "other")
    assert "nowhere (no dataset is there)" in refuse(*words, "--data", "nowhere")
    build(copy, overwrite=True, seed=1)
    assert message in refuse(*words)
    shutil.rmtree(copy)
    assert "nothing to do" in refuse(*words, expected=0)


def test_a_script_that_is_imported_does_nothing() -> None:
    command = command_line.training("__mp_main__", None, Parameters)
    command.run(lambda _: 1 / 0, lambda _: 1 / 0)
    command_line.evaluation("train", None, Parameters).run(lambda *_: 1 / 0)


def test_an_evaluation_wants_a_checkpoint(
    tmp_path: Path,
    train_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    baseline: Path,
    dataset: Any,
    data: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    with pytest.raises(SystemExit):
        command_line.evaluation("__main__", None, Parameters)
    assert "Train: python train.py --experiment experiments/baseline" in capsys.readouterr().err
    train_run(tmp_path / "run")
    words = ["--experiment", str(tmp_path / "run"), "--checkpoint", "last", "--split", "val"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
    used = []
    evaluation = command_line.evaluation("__main__", None, Parameters)
    evaluation.run(lambda arguments, parameters: used.append((arguments, parameters)))
    ((arguments, parameters),) = used
    assert parameters == Parameters()
    assert (arguments.split, arguments.data) == ("val", data)
    arrays, path, step = command_line.read_trained(arguments, dataset.fingerprint)
    assert (path.name, step) == ("last.safetensors", 16)
    assert "model.weights" in arrays


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DivergedError("NaN"), 3, "error: NaN"),
        (ResourceError("full"), 4, "error: full"),
        (StoppedError("Stopped."), 75, "Stopped."),
        (CancelledError("Ctrl-C"), 130, "Ctrl-C"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device", "file"), 4, "error: file: cannot be used: No"),
        (out_of_memory("run", 63, 2), 4, "with 32 examples at a time. Start"),
        (out_of_memory("run", 63, 2), 4, "--from run --training.accumulate 4 "),
        (out_of_memory("run", 5, 4), 4, "--from run, with a smaller network"),
        (OSError(errno.ENAMETOOLONG, "Too long", "x"), 2, "error: x: cannot be used: Too long"),
        (MemoryError(), 4, "error: out of memory."),
        (RuntimeError("CUDA out of memory. Tried to"), 4, "error: out of memory."),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 4, "error: out of memory."),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, exit_codes():
        raise error
    assert end.value.code == code
    assert message in capsys.readouterr().err


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(OSError, match="2"), exit_codes():
        raise OSError(2, "No such file")


def test_a_time_limit_asks_to_stop() -> None:
    assert StopRequest(0)
    stop = StopRequest(1000)
    assert stop.deadline == process_start + 60 * 1000
    assert not stop
    stop._on_signal(signal.SIGTERM, None)
    assert stop
    stop._on_signal(signal.SIGINT, None)  # Passed on at once, it is the same request.
    error = stop.stopped(Path("run"), 1234)
    assert str(error).startswith("Stopped by SIGTERM at step 1,234, saved in run.")


def test_a_second_signal_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first one after the time limit, nor one that comes twice."""
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    stop = StopRequest(0)
    assert stop
    for seconds in (0.0, 0.9, 1.1):
        monkeypatch.setattr(time, "monotonic", lambda seconds=seconds: 1e9 + seconds)
        assert not ended
        stop._on_signal(signal.SIGTERM, None)
    assert ended == [128 + signal.SIGTERM]
    assert str(stop.error) == "the time limit"


def test_a_process_that_waits_for_others_leaves_late_and_a_launched_one_with_its_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = StopRequest(1000)
    stop.refuse_to_wait()
    stop.error = StoppedError("SIGTERM")
    stop.refuse_to_wait()  # Others may be about to come.
    stop.noticed -= 31
    with pytest.raises(StoppedError, match="Stopped by SIGTERM before the training began"):
        stop.refuse_to_wait()
    stop.is_launched = True
    stop.refuse_to_wait()
    monkeypatch.setattr(stop, "parent", stop.parent + 1)
    with pytest.raises(StoppedError, match="before the training began"):
        stop.refuse_to_wait()
    launched = StopRequest(1000)
    launched.is_launched, launched.parent = True, launched.parent + 1
    assert launched
    assert str(launched.error) == "a lost launcher"


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_train_stops_on_a_signal_and_goes_on(
    tmp_path: Path,
    data: Path,
    start: Callable[..., subprocess.Popen[str]],
    run: Callable[..., str],
    number: str,
    code: int,
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "params.yaml").write_text("training: {epochs: 10000, pause: 0.01}")
    words = ("train.py", "--experiment", tmp_path / "base", "--data", data)
    process = start(*words)
    deadline = time.monotonic() + 600
    while not (tmp_path / "base" / "metrics.jsonl").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(getattr(signal, number))
    _, errors = process.communicate(timeout=600)
    assert process.returncode == code, errors
    assert "Run the same command again" in errors
    if number == "SIGTERM":
        assert "continuing at step" in run(*words, "--max-minutes", "0", expected=75)
