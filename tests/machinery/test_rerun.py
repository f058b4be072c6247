"""train.py --rerun: the same metrics bit for bit, or what differs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build_dataset import build
from machinery import records

Run = Callable[..., str]
RERUN = ("train.py", "--rerun", "experiments/baseline")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """What a fresh clone has of a tiny project with a finished run; its data are prepared anew."""
    folder = tmp_path_factory.mktemp("rerun") / "project"
    shutil.copytree(project, folder)
    build(folder / "data")
    baseline = folder / "experiments" / "baseline"
    baseline.mkdir(parents=True)
    (baseline / "params.yaml").write_text("training: {epochs: 2}\nmodel: {width: 16}\n")
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, capture_output=True)
    for path in [*baseline.glob("*.safetensors"), baseline / "train.log"]:
        path.unlink()
    return folder


@pytest.fixture
def clone(tmp_path: Path, trained: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    return folder


def change_record(clone: Path, **facts: Any) -> None:
    """Change the record of the finished run."""
    path = clone / "experiments" / "baseline" / "run.json"
    content = json.loads(path.read_text())
    content["sessions"][-1].update(facts)
    path.write_text(json.dumps(content))


def test_the_same_metrics_again(clone: Path, run: Run) -> None:
    # The record counts, not what a person made of the file since.
    (clone / "experiments/baseline/params.yaml").write_text("training: {epochs: 3}\n")
    output = run(*RERUN, cwd=clone)
    assert "All recorded conditions of experiments/baseline are the same here." in output
    same = "experiments/baseline-rerun has the same metrics as experiments/baseline, bit for bit: 2"
    assert same in output
    again = clone / "experiments" / "baseline-rerun"
    assert (again / "metrics.jsonl").read_bytes() == (
        clone / "experiments/baseline/metrics.jsonl"
    ).read_bytes()
    session = records.read_sessions(again)[-1]
    assert session["parameters"]["model.width"] == 16
    assert session["rerun_of"] == "experiments/baseline"
    before = (again / "run.json").read_bytes()
    compared = run(*RERUN, cwd=clone)  # It is finished: the comparison alone.
    assert "was trained before; nothing is trained now" in compared
    assert same in compared
    assert (again / "run.json").read_bytes() == before
    assert same.replace("-rerun", "-2") in run(
        *RERUN, "--experiment", "experiments/baseline-2", cwd=clone
    )


def test_what_was_not_trained_again_is_never_called_the_same(clone: Path, run: Run) -> None:
    """Be it a copy, or the rerun of other code."""
    shutil.copytree(clone / "experiments/baseline", clone / "experiments/copy")
    said = run(*RERUN, "--experiment", "experiments/copy", expected=2, cwd=clone)
    assert "no rerun of experiments/baseline" in said
    run(*RERUN, cwd=clone)
    backend = clone / "backend.py"
    backend.write_text(backend.read_text() + "\n\nCHANGED = 1\n")
    said = run(*RERUN, expected=2, cwd=clone)
    assert "trained with other code" in said
    assert "--overwrite" in said
    assert "bit for bit" in run(*RERUN, "--overwrite", cwd=clone)


def test_what_differs_is_named_before_and_after(clone: Path, run: Run) -> None:
    backend = clone / "backend.py"
    backend.write_text(backend.read_text().replace("default_rng(0)", "default_rng(1)"))
    (clone / "machinery" / "errors.py").open("a").write("# An update.\n")
    change_record(clone, versions={"numpy": "1.0"}, cores=999, device="cpu, 3 threads")
    output = run(*RERUN, expected=65, cwd=clone)
    before, _, after = output.partition("epoch   1/2")
    for text in (before, after):
        assert "Recorded conditions of experiments/baseline that differ here: machinery (" in text
        assert "cores (999 -> " in text
        assert "device ('cpu, 3 threads' -> 'cpu')" in text
        assert "numpy ('1.0' -> None)" in text
        assert "trained with other code than that of now: backend.py" in text
    assert "experiments/baseline-rerun is not the same as experiments/baseline. " in after
    assert "The first epoch that differs is 1: train_loss (" in after


def test_a_number_of_epochs_that_differs_is_named(clone: Path, run: Run) -> None:
    metrics = clone / "experiments" / "baseline" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + metrics.read_bytes())
    assert "It has 2 epochs, expected 4." in run(*RERUN, expected=65, cwd=clone)


def test_what_was_changed_on_the_way_is_named(clone: Path, run: Run) -> None:
    """A run that went on elsewhere, to more epochs."""
    path = clone / "experiments" / "baseline" / "run.json"
    (session,) = json.loads(path.read_text())["sessions"]
    old = {**session, "cores": 7, "outcome": "stopped", "from_step": 0}
    new = {**session, "from_step": 5, "changed_epochs": "training.epochs (1 -> 2): so it goes."}
    path.write_text(json.dumps({"sessions": [{**old, "cores": 9}, old, new]}))
    output = run(*RERUN, cwd=clone)
    assert f"that differ here: cores (7 -> {session['cores']})." in output
    assert "training.epochs (1 -> 2): so it goes." in output


@pytest.mark.parametrize(
    ("facts", "words", "expected"),
    [
        ({}, ("--from", "experiments/baseline"), "it goes with none of --from, --folds"),
        ({}, ("--folds", "all"), "it goes with none of --from, --folds"),
        ({}, ("--seed", "1"), "--seed: --rerun takes the parameters of experiments/baseline."),
        ({}, ("--experiment", "experiments/../experiments/baseline"), "is the run itself"),
        ({"outcome": "stopped"}, (), "experiments/baseline: not finished, its last session is"),
        ({"fingerprint": "1"}, (), "experiments/baseline was trained on other data (fingerprint 1"),
        ({"data": "elsewhere"}, (), "elsewhere"),
        ({"parameters": {"model.depth": 3}}, (), "does not take the recorded model.depth"),
        ({"parameters": {"seed": -1}}, (), "does not take the recorded seed"),
    ],
)
def test_what_cannot_be_rerun_is_refused(
    clone: Path, run: Run, facts: dict[str, Any], words: tuple[str, ...], expected: str
) -> None:
    change_record(clone, **facts)
    before = sorted(clone.rglob("*"))
    assert expected in run(*RERUN, *words, expected=2, cwd=clone)
    assert [path for path in sorted(clone.rglob("*")) if path.suffix != ".pyc"] == before


def test_a_run_without_record_or_metrics_is_refused(clone: Path, run: Run) -> None:
    (clone / "experiments" / "baseline" / "metrics.jsonl").unlink()
    assert "metrics.jsonl: not found, so there is nothing" in run(*RERUN, expected=2, cwd=clone)
    (clone / "experiments" / "baseline" / "run.json").unlink()
    message = run(*RERUN, expected=2, cwd=clone)
    assert "experiments/baseline/run.json: not found, or damaged; --rerun takes" in message


def test_device_and_threads_are_those_of_the_record(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argparse import Namespace

    from machinery.rerun import choose_places

    monkeypatch.chdir(clone)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    change_record(clone, device="cpu, 3 threads")
    options = {"source": None, "folds": None, "seeds": None, "data": None, "device": "auto"}
    place = Path("experiments/baseline")
    arguments = Namespace(rerun=place, experiment=place, **options)
    choose_places(arguments, place)
    assert os.environ.pop("OMP_NUM_THREADS") == "3"
    assert arguments.device == "cpu"
    assert arguments.data == Path("data")
    change_record(clone, device="gpu, NVIDIA T4")
    arguments = Namespace(rerun=place, experiment=Path("elsewhere"), **options)
    choose_places(arguments, place)
    assert arguments.device == "cuda"
    assert arguments.experiment == Path("elsewhere")
