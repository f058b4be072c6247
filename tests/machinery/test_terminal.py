"""Nothing that a command prints can end it: no reader, no stream, no such character."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import words as search_words
from helpers import write_settings
from machinery import terminal
from machinery.metrics import read_metrics
from machinery.run import Run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="closes streams as a POSIX shell does")
CLOSED = {"stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-"}


@pytest.fixture
def no_reader() -> Iterator[int]:
    """A pipe whose reader has gone, as that of `head -1` after a line."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def finished(tmp_path: Path, train_run: Callable[..., Run]) -> Path:
    """A folder with two finished runs of two seeds, whose table has a plus-minus sign."""
    for seed in (0, 1):
        train_run(tmp_path / "runs" / f"seed{seed}", {"seed": seed, "training": {"epochs": 1}})
    return tmp_path / "runs"


def new_run(tmp_path: Path, data: Path, text: str = "training: {epochs: 3}\n") -> list[str]:
    """Return the command line of a new experiment."""
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "params.yaml").write_text(text)
    return ["train.py", "--experiment", str(tmp_path / "run"), "--data", str(data)]


def call(project: Path, words: list[str], redirection: str = "", **options: Any) -> Any:
    """Run a command of the tiny project, with its streams redirected as in a shell."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, *words]
    return subprocess.run(command, cwd=project, check=False, timeout=600, **options)


def assert_trained(folder: Path) -> None:
    """The run came to its end, and all that was not shown is in train.log."""
    assert len(read_metrics(folder)) == 3
    assert "best epoch" in (folder / "train.log").read_text()


def test_a_training_goes_on_without_a_reader(
    project: Path, tmp_path: Path, data: Path, no_reader: int
) -> None:
    words = new_run(tmp_path, data)
    ended = call(project, words, stdout=no_reader, stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert_trained(tmp_path / "run")
    ended = call(project, [*words, "--overwrite"], stdout=no_reader, stderr=no_reader)
    assert ended.returncode == 0
    assert_trained(tmp_path / "run")


def test_other_commands_end_as_ever_without_a_reader(
    project: Path, folder: Path, data: Path, finished: Path, no_reader: int
) -> None:
    write_settings(folder, trials=1)
    for words, code in (
        (["synthesize_results.py", finished], 0),
        (["synthesize_results.py", folder / "nowhere"], 2),
        (["search_hyperparams.py", "--help"], 0),
        ([*search_words(folder, data, "--workers", "1")], 0),
    ):
        ended = call(project, [*map(str, words)], stdout=no_reader, stderr=subprocess.PIPE)
        assert ended.returncode == code, ended.stderr
        assert b"Traceback" not in ended.stderr
    assert (finished / "results.html").exists()
    assert "best epoch" in (folder / "trial_0000" / "train.log").read_text()


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams(project: Path, tmp_path: Path, data: Path, closed: str) -> None:
    """No file of the run takes the number of the closed stream, and with it what is printed."""
    words = new_run(tmp_path, data)
    ended = call(project, words, CLOSED[closed], capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == b""
    assert_trained(tmp_path / "run")
    again = call(project, [*words, "--seed", "x"], CLOSED[closed], capture_output=True)
    assert again.returncode == 2
    assert b"Traceback" not in again.stderr


def test_a_search_with_closed_streams(project: Path, folder: Path, data: Path) -> None:
    write_settings(folder, trials=1)
    words = [*map(str, search_words(folder, data, "--workers", "1"))]
    assert call(project, words, CLOSED["all"]).returncode == 0
    assert "best epoch" in (folder / "trial_0000" / "train.log").read_text()


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"\\xb1"),
        ({"PYTHONIOENCODING": "cp874"}, b"\\xb1"),
        ({"PYTHONIOENCODING": "cp1252"}, b"\xb1"),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, b"\\xb1"),
        ({"PYTHONUNBUFFERED": "1"}, "±".encode()),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_an_encoding_lacks_is_escaped(
    project: Path, finished: Path, setting: dict[str, str], shown: bytes
) -> None:
    words = ["synthesize_results.py", str(finished)]
    ended = call(project, words, capture_output=True, env={**os.environ, **setting})
    assert ended.returncode == 0, ended.stderr
    assert shown in ended.stdout
    assert "±" in (finished / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [b"K\xf6ln", "Köln".encode()])
def test_names_that_are_not_utf8_are_refused(
    project: Path, tmp_path: Path, data: Path, name: bytes
) -> None:
    """Those of another encoding, and where the locale is not UTF-8 all but ASCII."""
    words = [*map(os.fsencode, new_run(tmp_path, data)), b"--from", os.fsencode(tmp_path / "run")]
    words[2] = os.fsencode(tmp_path) + b"/" + name
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command: list[Any] = [sys.executable, *words]
    ended = subprocess.run(
        command, cwd=project, env={**os.environ, **posix}, capture_output=True, check=False
    )
    assert ended.returncode == 2
    assert b"K\\xf6ln: this name is not read as UTF-8." in ended.stderr
    assert b"PYTHONUTF8=1" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_output_to_a_full_disk(project: Path, finished: Path) -> None:
    words = ["synthesize_results.py", str(finished)]
    ended = call(project, words, "> /dev/full", stderr=subprocess.PIPE)
    assert ended.returncode == 4
    assert ended.stderr.startswith(b"error: standard output: cannot be used: No space left on dev")
    assert ended.stderr.count(b"\n") == 1


def test_lines_are_shown_at_once(project: Path) -> None:
    """Python would keep what goes into a pipe until there is a lot, or the process ends."""
    code = "from machinery import terminal; terminal.keep_output_usable(); print(1); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline() == b"1\n"
    process.communicate(b"\n", timeout=600)


@pytest.mark.parametrize(
    ("load", "device", "threads", "advised"),
    [
        (6.0, "cpu, 4 threads", None, True),
        (6.0, "cpu", None, True),
        (6.0, "cpu, 1 thread", None, False),
        (6.0, "cpu, 4 threads", "1", False),
        (6.0, "cuda:0, NVIDIA L4", None, False),
        (4.0, "cpu, 4 threads", None, False),
    ],
)
def test_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch, load: float, device: str, threads: str | None, advised: bool
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    advice = terminal.describe_load(device)
    assert ("load 6.0 on 4 cores" in advice) == ("OMP_NUM_THREADS=1" in advice) == advised


def test_a_run_on_a_busy_machine_says_so(
    tmp_path: Path, train_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (1e6, 0.0, 0.0), raising=False)
    train_run(tmp_path / "run", {"training": {"epochs": 1}})
    assert "OMP_NUM_THREADS=1" in (tmp_path / "run" / "train.log").read_text()
