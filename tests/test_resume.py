"""A run that was stopped, killed or crashed ends in the same bits as one that was not."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from conftest import files_of
from fork_server import CRASHED, ForkServer
from projects import (
    answers,
    assert_same_results,
    experiment,
    format_yaml,
    frozen_layer,
    pace,
    snapshot,
    task,
    tiny,
)

# The weights leave what a number can be in the first steps.
WILD = {"training.learning_rate": 1e30, "training.warmup_epochs": 0, "training.clip_norm": 0}


@pytest.mark.in_brief
def test_resume_at_every_step(project: Path, server: ForkServer, reference: Path) -> None:
    """By the contract suite at some of them."""
    looks = 1 - pace(project).looks
    while True:
        looks += pace(project).looks
        folder = experiment(project, "stopped")
        stopped = server.run("train", "--experiment", folder, stop_at=looks)
        if stopped.code == 0:
            break
        assert stopped.code == 75, stopped.output
        assert "same command again" in stopped.output
        resumed = server.run("train", "--experiment", folder)
        assert resumed.code == 0, resumed.output
        assert "continuing at step" in resumed.output.splitlines()[0]
        assert_same_results(project / folder, reference)
    assert looks >= pace(project).stops  # Each step, or execution of steps, was stopped.


@pytest.mark.in_full
def test_resume_between_steps_of_several_parts(project: Path, server: ForkServer) -> None:
    """The parts of a step are not separated, and dropout goes on in each.

    At the gate the other ways have parts in the next test.
    """
    parts = tiny(project, {"training.accumulate": 3})
    whole = experiment(project, "whole-parts", parts)
    assert server.run("train", "--experiment", whole).code == 0
    folder = experiment(project, "stopped-parts", parts)
    for _ in range(2):
        stopped = server.run("train", "--experiment", folder, stop_at=pace(project).stops // 3)
        assert stopped.code == 75, stopped.output
    assert server.run("train", "--experiment", folder).code == 0
    assert_same_results(project / folder, project / whole)


@pytest.mark.every_way
def test_resume_with_an_average_of_the_weights(project: Path, server: ForkServer) -> None:
    """Both are continued. What is evaluated and kept as the best is the average."""
    in_brief = pace(project).kills == 1
    parameters = tiny(project, {"training.average": 0.9, "training.accumulate": 1 + 2 * in_brief})
    whole = experiment(project, "whole-average", parameters)
    assert server.run("train", "--experiment", whole).code == 0
    last = load_file(project / whole / "last.safetensors")
    averages = [name.removeprefix("average.") for name in last if name.startswith("average.")]
    assert averages
    assert any((last[f"average.{name}"] != last[f"model.{name}"]).any() for name in averages)
    for checkpoint in ("last", "best"):
        command = ("--experiment", whole, "--split", "val", "--checkpoint", checkpoint)
        assert server.run("evaluate", *command).code == 0
    rows = [json.loads(line) for line in (project / whole / "metrics.jsonl").open()]
    found = json.loads((project / whole / "metrics_val_last.json").read_text())
    assert found["loss"] == pytest.approx(rows[-1]["val_loss"], rel=1e-3)
    found = json.loads((project / whole / "metrics_val.json").read_text())
    assert any(found["loss"] == pytest.approx(row["val_loss"], rel=1e-3) for row in rows)
    early, late = pace(project).stops // 3, pace(project).late
    for looks in (late,) if in_brief else (early, late):
        folder = experiment(project, "stopped-average", parameters)
        assert server.run("train", "--experiment", folder, stop_at=looks).code == 75
        assert server.run("train", "--experiment", folder).code == 0
        assert_same_results(project / folder, project / whole)


@pytest.mark.in_full
def test_resume_in_float16(project: Path, server: ForkServer) -> None:
    """The scale of the loss, and when it grows next, are continued, too."""
    parameters = tiny(project, {"training.precision": "float16"})
    whole = experiment(project, "whole-float16", parameters)
    finished = server.run("train", "--experiment", whole)
    if answers(project).get("loop") == "lightning":
        assert finished.code == 2
        assert "Lightning computes in float16 on a GPU alone" in finished.output
        return
    assert finished.code == 0, finished.output
    assert "float16" in finished.output
    names = load_file(project / whole / "last.safetensors")
    assert [name for name in names if name.startswith("scaler.") and name.endswith("scale")]
    folder = experiment(project, "stopped-float16", parameters)
    assert server.run("train", "--experiment", folder, stop_at=pace(project).late).code == 75
    assert server.run("train", "--experiment", folder).code == 0
    assert_same_results(project / folder, project / whole)


@pytest.mark.in_full
def test_stop_at_every_look(project: Path, server: ForkServer, reference: Path) -> None:
    """Stopped again and again, a step or an execution at a time."""
    folder = experiment(project, "step-by-step")
    runs = 1
    while server.run("train", "--experiment", folder, stop_at=1).code == 75:
        runs += 1
    assert runs == pace(project).stops
    assert_same_results(project / folder, reference)


@pytest.mark.in_full
def test_crash_at_every_file_operation(project: Path, server: ForkServer, reference: Path) -> None:
    points = 1 - pace(project).stride
    while True:
        points += pace(project).stride
        folder = experiment(project, "crashed")
        crashed = server.run("train", "--experiment", folder, crash_at=points)
        if crashed.code == 0:
            break
        assert crashed.code == CRASHED, crashed.output
        resumed = server.run("train", "--experiment", folder)
        assert resumed.code == 0, resumed.output
        assert_same_results(project / folder, reference)
    assert points > 20


@pytest.mark.once
def test_crash_of_a_run_that_overwrites(project: Path, server: ForkServer, reference: Path) -> None:
    """While it deletes, and later. Each place: tests/machinery."""
    trained = experiment(project, "trained")
    assert server.run("train", "--experiment", trained).code == 0
    assert server.run("evaluate", "--experiment", trained).code == 0
    expected = {path.name for path in reference.glob("[!.]*")}
    folder = trained.with_name("crashed")
    for point in (3, 8, 13, 18, 30):
        shutil.rmtree(project / folder, ignore_errors=True)
        shutil.copytree(project / trained, project / folder)
        command = ("train", "--experiment", folder, "--overwrite")
        crashed = server.run(*command, crash_at=point)
        assert crashed.code == CRASHED, crashed.output
        resumed = server.run(*command)
        assert resumed.code == 0, resumed.output
        assert_same_results(project / folder, reference)
        assert {path.name for path in (project / folder).glob("[!.]*")} == expected, point


@pytest.mark.once
def test_crash_of_an_evaluation(project: Path, server: ForkServer) -> None:
    """It leaves each of its files whole or not at all, and can be given again."""
    folder = experiment(project, "evaluated")
    assert server.run("train", "--experiment", folder).code == 0
    trained = files_of(project / folder)
    assert server.run("evaluate", "--experiment", folder).code == 0
    expected = files_of(project / folder)
    point, code = -1, CRASHED
    while code == CRASHED:
        for name in expected.keys() - trained.keys():
            (project / folder / name).unlink()
        point += 2
        code = server.run("evaluate", "--experiment", folder, crash_at=point).code
        left = {n: text for n, text in files_of(project / folder).items() if n[0] != "."}
        assert left.items() <= expected.items()
        assert server.run("evaluate", "--experiment", folder).code == 0
        assert files_of(project / folder) == expected
    assert code == 0
    assert point > 15


@pytest.mark.every_way
def test_kills(project: Path, server: ForkServer) -> None:
    """Each comes at a random moment after the process has got further than the one before.

    The first one is of `python train.py` as it is typed.
    """
    kills = pace(project).kills
    long = tiny(project, {"training.epochs": 8 * kills + 4})
    whole = experiment(project, "whole", long)
    assert server.run("train", "--experiment", whole).code == 0
    folder = experiment(project, "killed", long)
    kill_a_typed_command(project, folder)
    moments = random.Random(0)
    for kill in range(1, kills):
        moment = moments.uniform(0, 0.1)
        killed = server.run("train", "--experiment", folder, kill_after=moment)
        assert killed.code == -signal.SIGKILL, f"finished before kill {kill}: {killed.output}"
    assert server.run("train", "--experiment", folder).code == 0
    assert_same_results(project / folder, project / whole)
    sessions = json.loads((project / folder / "run.json").read_text())["sessions"]
    starts = [session["from_step"] for session in sessions]
    assert len(sessions) == kills + 1
    assert starts == sorted(set(starts))  # Each kill left more behind than the one before.


def kill_a_typed_command(project: Path, folder: Path) -> None:
    """Kill `python train.py` once it has saved a checkpoint."""
    checkpoint = project / folder / "last.safetensors"
    command = [sys.executable, "train.py", "--experiment", folder]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL)
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    assert process.poll() is None, "finished before it was killed"
    process.kill()
    process.wait()


@pytest.mark.in_full
@pytest.mark.parametrize(
    "name",
    ["SIGTERM", "SIGINT", pytest.param("SIGUSR1", marks=pytest.mark.once)],  # As SIGTERM.
)
def test_signal_saves_and_stops(project: Path, name: str) -> None:
    endless = tiny(project, {"training.epochs": 10_000})
    folder = experiment(project, f"signal-{name}", endless)
    command = [sys.executable, "train.py", "--experiment", folder]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=600)
    assert process.returncode == (130 if name == "SIGINT" else 75)
    assert "saved in" in errors.decode()
    assert (project / folder / "last.safetensors").exists()


@pytest.mark.in_full
def test_signals_stay_with_the_run(project: Path, server: ForkServer) -> None:
    """No framework puts its own handlers there, be it under SLURM."""
    setup = """
import os, signal
from machinery.run import Run
os.environ.update(SLURM_JOB_ID='1', SLURM_NTASKS='1', SLURM_JOB_NAME='leaf')
save = Run.save
def report(*state):
    for name in ('SIGTERM', 'SIGUSR1', 'SIGINT'):
        print(name, signal.getsignal(getattr(signal, name)).__qualname__)
    save(*state)
Run.save = report
"""
    result = server.run("train", "--experiment", experiment(project, "signals"), setup=setup)
    assert result.code == 0, result.output
    for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
        assert result.output.count(f"{name} StopRequest._on_signal\n") == 2, result.output


@pytest.mark.in_full
def test_time_limit_saves_and_stops(project: Path, server: ForkServer, reference: Path) -> None:
    folder = experiment(project, "limit")
    assert server.run("train", "--experiment", folder, "--max-minutes", 0).code == 75
    assert server.run("train", "--experiment", folder).code == 0
    assert_same_results(project / folder, reference)


@pytest.mark.in_full
def test_damaged_checkpoint(project: Path, server: ForkServer, reference: Path) -> None:
    """Truncated, or with one bit changed anywhere: it is named, and the one before is used."""
    begun = experiment(project, "begun")
    assert server.run("train", "--experiment", begun, stop_at=pace(project).late).code == 75
    content = (project / begun / "last.safetensors").read_bytes()
    damaged = [content[: int(share * len(content))] for share in (0.5, 0, 0.001, 0.1, 0.9, 0.999)]
    for place in range(8):
        flipped = bytearray(content)
        flipped[len(content) * place // 8 + place] ^= 1 << place
        damaged.append(bytes(flipped))
    for each in damaged[:: pace(project).stride]:
        folder = begun.with_name("damaged")
        shutil.rmtree(project / folder, ignore_errors=True)
        shutil.copytree(project / begun, project / folder)
        (project / folder / "last.safetensors").write_bytes(each)
        resumed = server.run("train", "--experiment", folder)
        assert resumed.code == 0, resumed.output
        assert "last.safetensors" in resumed.output
        assert "previous.safetensors, the one before" in resumed.output
        assert_same_results(project / folder, reference)


@pytest.mark.once_a_template
@pytest.mark.in_full
def test_no_whole_checkpoint(project: Path, server: ForkServer) -> None:
    folder = experiment(project, "broken")
    assert server.run("train", "--experiment", folder, stop_at=pace(project).late).code == 75
    for name in ("last", "previous"):
        (project / folder / f"{name}.safetensors").write_bytes(b"broken")
    before = snapshot(project)
    refused = server.run("train", "--experiment", folder)
    assert refused.code == 2
    assert "--overwrite" in refused.output
    assert snapshot(project) == before
    assert server.run("train", "--experiment", folder, "--overwrite").code == 0


@pytest.mark.once_a_template
@pytest.mark.in_full
def test_malicious_pickle_is_not_executed(
    project: Path, server: ForkServer, tmp_path: Path
) -> None:
    proof = tmp_path / "executed"
    bomb = f"cposix\nsystem\n(S'touch {proof}'\ntR.".encode()
    folder = experiment(project, "malicious")
    for name in ("last", "previous", "best"):
        (project / folder / f"{name}.safetensors").write_bytes(bomb)
    assert server.run("train", "--experiment", folder).code == 2
    assert server.run("evaluate", "--experiment", folder).code == 2
    assert not proof.exists()


@pytest.mark.in_full
def test_same_results_with_any_number_of_workers(
    project: Path, server: ForkServer, reference: Path
) -> None:
    for workers in (1, 3):
        folder = experiment(project, f"workers-{workers}")
        (project / folder / "params.yaml").write_text(tiny(project, {"data.workers": workers}))
        assert server.run("train", "--experiment", folder).code == 0
        assert_same_results(project / folder, reference)


@pytest.mark.in_full
def test_diverged(project: Path, server: ForkServer) -> None:
    folder = experiment(project, "diverged", tiny(project, {**WILD, "training.epochs": 20}))
    for _ in range(2):  # The second time from what the first left.
        result = server.run("train", "--experiment", folder)
        assert result.code == 3, result.output
        assert "training.learning_rate" in result.output
        assert "Traceback" not in result.output
        for checkpoint in (project / folder).glob("*.safetensors"):
            for array in load_file(checkpoint).values():
                assert np.isfinite(array).all()


@pytest.mark.in_full
def test_diverged_in_the_last_step(project: Path, server: ForkServer) -> None:
    """Only the evaluation can see it."""
    one_step = {"training.learning_rate": 1e30, "training.epochs": 1, "data.batch_size": 100_000}
    folder = experiment(project, "diverged", tiny(project, {**WILD, **one_step}))
    assert server.run("train", "--experiment", folder).code == 3
    assert not list((project / folder).glob("*.safetensors"))


@pytest.mark.once_a_template
@pytest.mark.in_full
def test_changed_code_in_the_middle_of_a_run(project: Path, server: ForkServer) -> None:
    """It is taken, but not without a word, with what brings it back. A comment changes nothing."""
    folder = experiment(project, "changed")
    command = ("--experiment", folder)
    notice = f"{folder} was trained with other code than that of now: model/net.py"
    path = project / "model" / "net.py"
    text = path.read_text(encoding="utf-8")
    assert server.run("train", *command, stop_at=3).code == 75
    path.write_text(f"# A comment.\n{text}\nCHANGED = 1\n", encoding="utf-8")
    resumed = server.run("train", *command)
    assert resumed.code == 0
    assert notice in resumed.output
    way_back = re.search(r"git checkout [0-9a-f]{12} -- model/net\.py$", resumed.output, re.M)
    assert way_back, resumed.output
    assert notice not in server.run("evaluate", *command).output
    subprocess.run(way_back[0].split(), cwd=project, check=True, capture_output=True)
    assert path.read_text(encoding="utf-8") == text
    evaluated = server.run("evaluate", *command)
    assert evaluated.code == 0
    assert notice in evaluated.output

    assert server.run("train", *command, "--overwrite").code == 0
    path.write_text(f"# A comment.\n{text}", encoding="utf-8")
    evaluated = server.run("evaluate", *command)
    path.write_text(text, encoding="utf-8")
    assert notice not in evaluated.output


@pytest.mark.once_a_template
@pytest.mark.in_full
def test_files_of_the_persons_stay(project: Path, server: ForkServer) -> None:
    """In a run folder too: when the run goes on, is trained anew and is evaluated."""
    folder = experiment(project, "with-notes")
    assert server.run("train", "--experiment", folder, stop_at=pace(project).late).code == 75
    assert server.run("evaluate", "--experiment", folder).code == 0
    mine = ("metrics_paper.json", "predictions_ensemble.csv", "notes/curve.png")
    for name in mine:
        path = project / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    ours = [name.format(name="test") for name in task(project).evaluation_files]
    for command in ((), ("--overwrite",)):
        assert server.run("train", "--experiment", folder, *command).code == 0
        for name in mine:
            assert (project / folder / name).read_text() == "mine"
        for name in ("metrics_test.json", *ours):  # Out of date.
            assert not (project / folder / name).exists()
        assert server.run("evaluate", "--experiment", folder).code == 0
    for name in ours:
        assert (project / folder / name).exists()


@pytest.mark.in_full
def test_overwrite_continues_what_it_began(
    project: Path, server: ForkServer, reference: Path
) -> None:
    folder = experiment(project, "anew")
    assert server.run("train", "--experiment", folder).code == 0
    command = ("train", "--experiment", folder, "--overwrite")
    assert server.run(*command, stop_at=3).code == 75
    resumed = server.run(*command)
    assert resumed.code == 0
    assert "continuing at step" in resumed.output
    assert_same_results(project / folder, reference)
    assert "starting" in server.run(*command).output  # Finished, so anew.


@pytest.mark.once
def test_overwrite_leaves_nothing_of_a_run_begun_without_it(
    project: Path, server: ForkServer, reference: Path
) -> None:
    folder = experiment(project, "corrected")
    assert server.run("train", "--experiment", folder, stop_at=3).code == 75
    anew = server.run("train", "--experiment", folder, "--overwrite")
    assert anew.code == 0
    assert "starting, step 0" in anew.output
    assert_same_results(project / folder, reference)


@pytest.mark.once
def test_overwrite_of_a_folder_with_a_damaged_parameter_file(
    project: Path, server: ForkServer, reference: Path
) -> None:
    folder = experiment(project, "damaged-parameters")
    assert server.run("train", "--experiment", folder).code == 0
    (project / folder / "params.yaml").write_text("sead: 1\n")
    source = ("--from", reference.relative_to(project))
    result = server.run("train", "--experiment", folder, *source, "--overwrite")
    assert result.code == 0, result.output
    assert_same_results(project / folder, reference)


@pytest.mark.once
def test_checkpoints_that_are_gone(project: Path, server: ForkServer) -> None:
    """As in a clone: git keeps the metrics, not the checkpoints."""
    folder = experiment(project, "gone", tiny(project, {"training.epochs": 3}))
    third = 3 * pace(project).stops // 2 - 1
    assert server.run("train", "--experiment", folder, stop_at=third).code == 75
    for checkpoint in (project / folder).glob("*.safetensors"):
        checkpoint.unlink()
    before = snapshot(project)
    refused = server.run("train", "--experiment", folder)
    assert refused.code == 2
    assert "--overwrite" in refused.output
    assert snapshot(project) == before


@pytest.mark.in_full
def test_frozen_layer(project: Path, server: ForkServer) -> None:
    """A parameter without a gradient has no optimizer state to come back to."""
    setup = frozen_layer(project)
    folder = experiment(project, "frozen")
    assert server.run("train", "--experiment", folder, stop_at=3, setup=setup).code == 75
    resumed = server.run("train", "--experiment", folder, setup=setup)
    assert resumed.code == 0, resumed.output


@pytest.mark.once_a_template
@pytest.mark.in_full
def test_disk_full(project: Path, server: ForkServer, reference: Path) -> None:
    """A limit on the size of files stands in for the full disk."""
    folder = experiment(project, "full")
    assert server.run("train", "--experiment", folder, stop_at=pace(project).late).code == 75
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))"
    full = server.run("train", "--experiment", folder, setup=limit)
    assert full.code == 4, full.output
    assert str(folder) in full.output
    assert server.run("train", "--experiment", folder).code == 0
    assert_same_results(project / folder, reference)


@pytest.mark.in_full
def test_out_of_memory(project: Path, server: ForkServer) -> None:
    large = task(project).out_of_memory
    folder = experiment(project, "memory", format_yaml(large))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))"
    result = server.run("train", "--experiment", folder, setup=limit)
    assert result.code == 4, result.output
    assert "--training.accumulate 2 (the same examples" in result.output


@pytest.mark.once_a_template
@pytest.mark.in_full
def test_one_process_per_run(project: Path, server: ForkServer) -> None:
    folder = experiment(project, "busy", tiny(project, {"training.epochs": 10_000}))
    command = [sys.executable, "train.py", "--experiment", folder]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        refused = server.run("train", "--experiment", folder)
        assert refused.code == 2
        assert f"process {process.pid}" in refused.output
    finally:
        process.kill()
        process.communicate()
