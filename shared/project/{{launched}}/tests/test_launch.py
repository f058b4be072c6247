"""The launcher ends as the training does, whatever its processes compute."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from machinery.launcher import Launcher, decisive
from machinery.stopping import SIGNALS

PROJECT = Path(__file__).parent.parent
# A train.py, with blanks to fill in.
TRAIN = """
import os, pathlib, signal, sys, time
number, here = int(os.environ["RANK"]), pathlib.Path(FOLDER)
start = len([*here.glob(f"started-{number}-*")])
assert os.environ["LOCAL_RANK"] == os.environ["RANK"] and os.environ["MASTER_PORT"]
assert os.environ["WORLD_SIZE"] == os.environ["LOCAL_WORLD_SIZE"] == "COUNT"
def stop(received, frame):
    (here / f"got-{number}-{received}-{time.monotonic()}").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
(here / f"started-{number}-{start}").write_text(os.environ["TRAINYARD_STARTED"])
CODE
"""


def start(
    folder: Path, code: str, *words: str, processes: int = 2, grace_seconds: float = 15
) -> subprocess.Popen[str]:
    """Launch a train.py that knows its `number`, `start` (from 0) and `here`, its folder."""
    blanks = {"FOLDER": repr(str(folder)), "COUNT": str(processes), "CODE": code}
    text = TRAIN
    for blank, value in blanks.items():
        text = text.replace(blank, value)
    (folder / "train.py").write_text(text, encoding="utf-8")
    launch = f"""
import functools, machinery.launcher as module
module.Launcher = functools.partial(module.Launcher, grace_seconds={grace_seconds})
module.main(None)
"""
    command = [sys.executable, "-c", launch, str(processes), *words, folder / "train.py"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)  # ty: ignore


def launch(folder: Path, code: str, *words: str, **options: Any) -> tuple[int, str]:
    """Return the exit code, and what is printed."""
    process = start(folder, code, *words, **options)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output + errors


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 75, 130])
def test_the_exit_code_is_that_of_train(tmp_path: Path, code: int) -> None:
    ended, output = launch(tmp_path, f"print('said'); sys.exit({code})")
    assert ended == code
    assert output.count("said") == 1 or code == 1  # With a bug, all that may explain it.


def test_the_first_that_fails_ends_the_others_and_says_why(tmp_path: Path) -> None:
    code = "sys.exit(print('number', number) or 4) if number == 1 else time.sleep(60)"
    began = time.monotonic()
    ended, output = launch(tmp_path, code, processes=3, grace_seconds=0.5)
    assert ended == 4
    assert "Process 1:\nnumber 1" in output
    assert time.monotonic() - began < 30


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_what_a_process_said_before_it_crashed_is_shown(tmp_path: Path) -> None:
    code = "print('an assertion', flush=True); os.abort()"
    ended, output = launch(tmp_path, f"if number: {code}\nsys.exit(1)", "--restarts", "0")
    assert ended == 128 + signal.SIGABRT
    assert "Process 1:\nan assertion" in output


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_a_stop_is_passed_on_once(tmp_path: Path) -> None:
    process = start(tmp_path, "time.sleep(60)")
    while len([*tmp_path.glob("started-*")]) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert len([*tmp_path.glob("got-0-*")]) == len([*tmp_path.glob("got-1-*")]) == 1


@pytest.mark.skipif(os.name == "nt", reason="a process keeps its parent's number there")
def test_a_process_stops_where_its_launcher_is_killed(tmp_path: Path) -> None:
    """Also one that trains alone, which no other process would miss."""
    code = [
        "from machinery.stopping import StopRequest",
        "stop = StopRequest()",
        "(here / 'ready').touch()",
        "while not stop: time.sleep(0.01)",
        "(here / 'ended').write_text(str(stop.error))",
    ]
    process = start(tmp_path, "\n".join(code), processes=1)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)  # Its pipes are closed once the other process has ended, too.
    assert (tmp_path / "ended").read_text("utf-8") == "a lost launcher"


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_a_second_request_ends_what_hangs(tmp_path: Path) -> None:
    hang = "if number: signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    ready = "(here / f'ready-{number}').touch()"
    process = start(tmp_path, f"{hang}\n{ready}\ntime.sleep(60)")
    while len([*tmp_path.glob("ready-*")]) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(1.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75  # The leading process has saved.
    assert time.monotonic() - began < 30


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_a_stop_between_two_starts_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it comes before the process is known, nobody has told it."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    launcher = Launcher([sys.executable, "-c", "import time; time.sleep(60)"], 2)
    started = launcher._start

    def start_and_stop(*words: Any) -> Any:
        process = started(*words)
        os.kill(os.getpid(), signal.SIGINT)
        return process

    monkeypatch.setattr(launcher, "_start", start_and_stop)
    try:
        assert launcher.run(3) == 130
        assert len(launcher.processes) == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_where_one_is_killed_all_start_again(tmp_path: Path) -> None:
    code = "os.kill(os.getpid(), 9) if number == 1 and start == 0 else sys.exit(start == 0)"
    ended, output = launch(tmp_path, code)
    assert ended == 0
    assert "process 1 was ended by SIGKILL; all start again" in output
    starts = [path.read_text(encoding="utf-8") for path in tmp_path.glob("started-*")]
    assert len(starts) == 4
    assert len({*starts}) == 1  # The time limit counts from the launcher's start.


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_what_is_always_killed_is_not_started_forever(tmp_path: Path) -> None:
    ended, output = launch(tmp_path, "os.kill(os.getpid(), 9)", "--restarts", "1")
    assert ended == 128 + 9
    assert "That was tried 2 times" in output
    assert len([*tmp_path.glob("started-*-1")]) == 2


def test_what_several_processes_cannot_share_is_refused() -> None:
    for words, said in (
        (["2", "evaluate.py"], "expected train.py"),
        (["0", "train.py"], "processes: got 0"),
        (["2", "train.py", "--folds", "all"], "--folds: not for processes that share"),
        (["2", "train.py", "--debug"], "--debug: not for processes that share"),
    ):
        result = subprocess.run(
            [sys.executable, "launch.py", *words], cwd=PROJECT, capture_output=True, text=True
        )
        assert result.returncode == 2
        assert said in result.stderr


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({0: 0, 1: 0}, (0, 0)),
        ({1: 75, 0: 75}, (0, 75)),
        ({0: 75, 1: -6}, (0, 75)),  # All is saved, whatever crashes at its exit.
        ({0: 1, 1: -9}, (1, -9)),  # One that is killed makes the others fail,
        ({1: 1, 0: 4}, (0, 4)),  # and so does one that is short of memory,
        ({0: 4, 1: -6}, (0, 4)),  # even if another one crashes for it.
    ],
)
def test_which_process_decided(codes: dict[int, int], expected: tuple[int, int]) -> None:
    assert decisive(codes) == expected
