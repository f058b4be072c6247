"""train.py --seeds: the same experiment with several seeds, each in a process of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build_dataset import build
from helpers import files_of
from machinery import devices, records, several_runs
from machinery.devices import share_cores, some_cores
from machinery.errors import InputError
from machinery.run_processes import RunProcesses
from machinery.seed_runs import choose_seeds

Start = Callable[..., subprocess.Popen[str]]
NEW = ("train.py", "--experiment", "experiments/new", "--from", "experiments/baseline")


@pytest.fixture
def tiny(tmp_path: Path, project: Path) -> Path:
    """A copy of the tiny project with data and an experiment to start from."""
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    build(folder / "data")
    (folder / "experiments/baseline").mkdir(parents=True)
    (folder / "experiments/baseline/params.yaml").write_text("seed: 9\ntraining: {epochs: 1}\n")
    return folder


def test_seeds_are_runs_that_differ_in_their_seed(start: Start, tiny: Path) -> None:
    """And the same command goes on, one more seed joins, and the table has one row of all."""
    output, errors = start(*NEW, "--seeds", "2", cwd=tiny).communicate()
    assert not errors
    assert [line.split()[0] for line in output.splitlines()[-5:]] == [
        *("seed-0", "seed-1", "mean", "best", "next:")
    ]
    assert output.splitlines()[0].startswith("Training 2 runs, ")
    before = files_of(tiny / "experiments/new")
    for i in range(2):
        (session,) = records.read_sessions(tiny / f"experiments/new/seed-{i}")
        assert session["parameters"]["seed"] == i
    process = start("train.py", "--experiment", "experiments/new", "--seeds", "0,1,7", cwd=tiny)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "mean of 3 seeds" in output
    assert before.items() <= files_of(tiny / "experiments/new").items()
    (session,) = records.read_sessions(tiny / "experiments/new/seed-7")
    assert session["parameters"]["training.epochs"] == 1
    path = tiny / "experiments/new/seed-7/run.json"
    path.write_text(path.read_text().replace('"training.epochs": 1', '"training.epochs": 2'))
    folders = sorted((tiny / "experiments/new").glob("seed-?"))
    said = [*several_runs.summarize(folders, "seeds")]
    assert said[-1] == "No mean: the runs differ by more than their seeds, in training.epochs."
    path.write_text(path.read_text().replace('"training.epochs": 2', '"training.epochs": 1'))
    table, _ = start("synthesize_results.py", cwd=tiny).communicate()
    assert "new (3 seeds)" in table or "new/seed-0" in table


def test_one_that_diverges_does_not_keep_the_others_from_training(start: Start, tiny: Path) -> None:
    train = (tiny / "train.py").read_text()
    fail = '\n    if run.parameters.seed == 0:\n        raise DivergedError("of bad luck")\n'
    train = train.replace("    run.finish()", f"{fail}    run.finish()")
    imports = "from machinery.errors import DivergedError\nfrom machinery.epoch"
    (tiny / "train.py").write_text(train.replace("from machinery.epoch", imports, 1))
    process = start(*NEW, "--seeds", "3", "--device", "cpu", cwd=tiny)
    output, errors = process.communicate()
    assert process.returncode == 3
    assert "seed-0 diverged; the others are trained." in errors
    assert "mean of 2 seeds" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "2", "--seed", "1"), "--seed: --seeds sets it."),
        (("--seeds", "2", "--folds", "all"), "--folds and --seeds: got both"),
        (("--seeds", "2", "--model.widht", "9"), "did you mean model.width?"),
        (("--seeds", "two"), "--seeds: got 'two', expected how many"),
    ],
)
def test_bad_input_is_refused_before_the_first_run(
    words: tuple[str, ...], message: str, start: Start, tiny: Path
) -> None:
    process = start(*NEW, *words, cwd=tiny)
    output, errors = process.communicate()
    assert process.returncode == 2
    assert message in errors
    assert not output
    assert not (tiny / "experiments/new").exists()


def test_a_new_experiment_says_where_it_begins(start: Start, tiny: Path) -> None:
    _, errors = start(*NEW[:3], "--seeds", "5", cwd=tiny).communicate()
    assert "--from experiments/baseline --seeds 5" in errors


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", [0, 1, 2]), ("0,3,7", [0, 3, 7]), ("7,3,3", [3, 7]), ("4,", [4]), ("3..5", [3, 4, 5])],
)
def test_seeds_are_a_number_or_a_list(text: str, seeds: list[int]) -> None:
    assert choose_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "0,,3", "5..3", "1001", "4294967296,"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected how many"):
        choose_seeds(text)


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once; a process that starts there has no others."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(10, 18)}, raising=False)
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices, "OTHERS", ("/nowhere",))
    assert share_cores(3, "auto") == [{10, 11}, {12, 13, 14}, {15, 16, 17}]
    assert share_cores(20, "cpu") == [{core} for core in range(10, 18)]
    monkeypatch.setattr(devices, "OTHERS", (__file__,))
    assert share_cores(3, "auto") == []
    assert len(share_cores(3, "cpu")) == 3
    assert share_cores(3, "cuda") == []  # Though no nvidia-smi lists a GPU.
    monkeypatch.setattr(devices, "list_gpus", list)
    commands: dict[Path, Any] = {Path(str(i)): [] for i in range(4)}
    assert "4 at a time, each on 2 of 8 cores" in RunProcesses(commands, "cpu").describe()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="nobody can choose cores here")
def test_a_process_has_its_cores_alone() -> None:
    before = os.sched_getaffinity(0)
    say = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    with some_cores({max(before)}):
        assert eval(subprocess.check_output(say)) == {max(before)}
    assert os.sched_getaffinity(0) == before
