"""profile_steps.py: which steps are measured, and how operations are added up."""

import argparse
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from build_dataset import open_dataset
from machinery import profiling
from machinery.errors import StoppedError
from machinery.profiling import Event, Operation, add_up, to_lines, write_trace
from machinery.run import Run
from parameters import Parameters
from train import train


class Notes:
    """A profiler that notes when it is asked."""

    calls: list[str] = []  # noqa: RUF012

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls.clear()

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> list[Operation]:
        self.calls.append("stop")
        return [Operation("add", 20, 3000.0), Operation("multiply", 10, 1000.0)]


def measure(
    folder: Path, data: Path, steps: int, batch_size: int, train: Callable[[Run], object] = train
) -> None:
    """Measure steps of an experiment in a folder."""
    folder.mkdir(exist_ok=True)
    parameters = Parameters.model_validate({"data": {"batch_size": batch_size}})
    words = argparse.Namespace(experiment=folder, data=data, device="auto", steps=steps)
    profiling.measure(words, parameters, train, open_dataset, Notes)


def test_the_steps_after_the_first_are_measured(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(tmp_path / "run", data, steps=10, batch_size=8)
    lines = capsys.readouterr().out.splitlines()
    assert Notes.calls == ["start", "stop"]
    assert f"steps 21 to 30 of {tmp_path / 'run'}, " in lines[0]
    assert lines[1].split() == ["0.300", "75.0%", "2.0", "calls", "add"]
    assert lines[2].split() == ["0.100", "25.0%", "1.0", "calls", "multiply"]
    # Nothing else is left in the experiment.
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["profile"]


def test_an_epoch_of_one_step_is_measured_too(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(tmp_path / "run", data, steps=30, batch_size=10_000)
    assert "steps 41 to 70 of" in capsys.readouterr().out


def test_a_stop_ends_it(tmp_path: Path, data: Path) -> None:
    def stopped(run: Run) -> None:
        run.stop.error = StoppedError("SIGTERM")
        train(run)

    with pytest.raises(StoppedError, match="Stopped before the end"):
        measure(tmp_path / "run", data, 1, 8, stopped)


def test_the_time_of_an_operation_is_its_own() -> None:
    events = [
        *(Event("a", "inner", 2, 3), Event("a", "outer", 0, 10), Event("a", "inner", 5, 1)),
        *(Event("b", "outer", 1, 4), Event("a", "outer", 10, 2)),
    ]
    found = {each.name: (each.calls, each.microseconds) for each in add_up(events)}
    assert found == {"outer": (3, 12.0), "inner": (2, 4.0)}


def test_ten_operations_are_shown_and_names_from_their_ends() -> None:
    operations = [Operation(f"{i}{'x' * 100}end", 1, i) for i in range(20)]
    lines = to_lines(operations, 1)
    assert len(lines) == 10
    assert lines[0].split()[0] == "0.019"
    assert all(line.endswith("xend") and len(line) < 100 for line in lines)
    assert to_lines([], 1) == []


def test_the_trace_is_in_the_format_of_chrome(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace.json.gz", [Event("a", "add", 1.5, 2), Event("b", "add", 2, 1)])
    events = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    assert [each["args"]["name"] for each in events[:2]] == ["a", "b"]
    assert events[2] == {"ph": "X", "name": "add", "pid": 1, "tid": 0, "ts": 1.5, "dur": 2}


def test_bad_options_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["profile_steps.py", "--steps", "0"])
    with pytest.raises(SystemExit) as error:
        profiling.command_line("__main__", "Measures.", Parameters)
    assert error.value.code == 2
    assert "--steps: got 0, expected 1 to 1000" in capsys.readouterr().err
    profiling.command_line("profile_steps", "Measures.", Parameters).run(train, open_dataset, Notes)
