"""Every bad source and damaged folder of data is refused, with exit code 2 and nothing changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fork_server import CRASHED, ForkServer
from projects import arrays_folder, experiment, run, snapshot, task
from tasks import Task
from test_bad_input import assert_refused


def change_json(**fields: object) -> Callable[[Path], object]:
    """Return what gives fields of dataset.json another value; None takes one out."""

    def change(data: Path) -> None:
        path = data / "dataset.json"
        content = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({k: value for k, value in content.items() if value is not None}))

    return change


def change_array(change: Callable[[Path, Any], object]) -> Callable[[Path], object]:
    """Return what does something to the first array of train: given its path and what it is."""

    def change_first(data: Path) -> None:
        name = next(iter(json.loads((data / "dataset.json").read_text())["arrays"]))
        path = arrays_folder(data) / f"train_{name}.npy"
        change(path, np.load(path, mmap_mode="r"))

    return change_first


def halve(path: Path, array: Any) -> None:
    """Cut a file in the middle."""
    del array
    os.truncate(path, path.stat().st_size // 2)


pytestmark = pytest.mark.contracts
pickled = np.array([{}])

# How it is damaged, and what the message must say.
data_faults: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no dataset.json": (lambda data: (data / "dataset.json").unlink(), ("dataset.json",)),
    "not JSON": (lambda data: (data / "dataset.json").write_text("{"), ("dataset.json",)),
    "unknown field": (change_json(colour=1), ("colour",)),
    "missing field": (change_json(fingerprint=None), ("fingerprint",)),
    "another folder": (change_json(arrays_folder="../arrays-1"), ("arrays_folder",)),
    "arrays gone": (lambda data: shutil.rmtree(arrays_folder(data)), ("train_",)),
    "no array": (change_array(lambda path, array: path.unlink()), ("train_", ".npy")),
    "empty array": (change_array(lambda path, array: path.write_bytes(b"")), ("train_", ".npy")),
    "truncated array": (change_array(halve), ("train_",)),
    "pickled array": (
        change_array(lambda path, array: np.save(path, pickled, allow_pickle=True)),
        ("train_",),
    ),
    "wrong dtype": (
        change_array(lambda path, array: np.save(path, np.zeros(array.shape, complex))),
        ("complex128", "expected"),
    ),
    "too few examples": (
        change_array(lambda path, array: np.save(path, np.array(array[:3]))),
        ("got (3", "expected ("),
    ),
}


def train_damaged(
    project: Path, server: ForkServer, damage: Callable[[Path], object], *expected: str
) -> None:
    shutil.rmtree(project / "damaged", ignore_errors=True)
    shutil.copytree(project / "data", project / "damaged")
    damage(project / "damaged")
    folder = experiment(project, "refused")
    before = snapshot(project)
    result = server.run("train", "--experiment", folder, "--data", "damaged")
    assert_refused(project, result.code, result.output, before, "build_dataset.py", *expected)


@pytest.mark.in_full
@pytest.mark.once_a_template
@pytest.mark.parametrize("case", data_faults)
def test_data_folder(project: Path, server: ForkServer, case: str) -> None:
    damage, expected = data_faults[case]
    train_damaged(project, server, damage, *expected)


@pytest.mark.once_a_task
def test_data_folder_of_a_task(
    project: Path, server: ForkServer, case_of_damage: tuple[Task, str]
) -> None:
    found, case = case_of_damage
    damage, expected = found.damage[case]
    train_damaged(project, server, damage, *expected)


@pytest.mark.once_a_task
def test_source(
    project: Path, server: ForkServer, case_of_bad_sources: tuple[Task, str], tmp_path: Path
) -> None:
    found, case = case_of_bad_sources
    bad = found.bad_sources[case]
    bad.make(tmp_path / "source")
    before = snapshot(project)
    source = tmp_path / "source"
    options = [word.replace("{source}", str(source)) for word in bad.options]
    result = server.run("build_dataset", "--source", source, "--data", "refused", *options)
    assert_refused(project, result.code, result.output, before, *bad.expected)


@pytest.mark.once_a_task
def test_dataset_is_kept(project: Path) -> None:
    before = snapshot(project)
    result = run(project, "build_dataset.py")
    assert_refused(project, result.returncode, result.stderr, before, "exists", "--overwrite")


@pytest.mark.once_a_task
def test_build_options(project: Path, server: ForkServer) -> None:
    before = snapshot(project)
    for option in ("--seed=-1", "--seed=x", "--sorce=x", *task(project).bad_build_options):
        result = server.run("build_dataset", "--data", "refused", option)
        name = option.partition("=")[0]
        assert_refused(project, result.code, result.output, before, name)


@pytest.mark.once
def test_a_crash_while_data_is_built(project: Path, server: ForkServer) -> None:
    """It leaves the old data or the new, and a run can begin. Each place: tests/machinery."""
    built, old = project / "built", project / "built-old"
    for data, seed in ((built, 1), (old, 0)):
        shutil.rmtree(data, ignore_errors=True)
        assert server.run("build_dataset", "--data", data.name, "--seed", seed).code == 0
    fingerprints = [fingerprint_of(data) for data in (old, built)]
    found = []
    # In the arrays, in dataset.json, before it gets its name, and while old arrays are deleted.
    for crash_at in (4, 17, 19, 24):
        shutil.rmtree(built)
        shutil.copytree(old, built)
        build = ("build_dataset", "--data", built.name, "--seed", 1, "--overwrite")
        assert server.run(*build, crash_at=crash_at).code == CRASHED
        found.append(fingerprint_of(built))
        folder = experiment(project, "on-built")
        begun = server.run("train", "--experiment", folder, "--data", built.name, stop_at=1)
        assert begun.code == 75, begun.output
    assert found == [fingerprints[0]] * 3 + [fingerprints[1]]
    assert server.run(*build).code == 0
    assert fingerprint_of(built) == fingerprints[1]
    assert len([*built.glob("arrays-*")]) == 1  # What the crashes left is gone.


@pytest.mark.once
def test_builds_at_the_same_time(project: Path, server: ForkServer) -> None:
    """Each waits for the others; what is there is not replaced unless that was asked for."""
    fingerprints = []
    for seed in range(3):
        assert server.run("build_dataset", "--data", f"alone-{seed}", "--seed", seed).code == 0
        fingerprints.append(fingerprint_of(project / f"alone-{seed}"))
    builders = [
        subprocess.Popen(
            [sys.executable, "build_dataset.py", "--data", "together", "--seed", str(seed), *words],
            cwd=project,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for seed, words in enumerate([[], ["--overwrite"], ["--overwrite"]])
    ]
    codes = [builder.wait(timeout=600) for builder in builders]
    assert codes in ([0, 0, 0], [2, 0, 0])
    assert fingerprint_of(project / "together") in fingerprints
    assert len([*(project / "together").glob("arrays-*")]) == 1
    folder = experiment(project, "on-together")
    begun = server.run("train", "--experiment", folder, "--data", "together", stop_at=1)
    assert begun.code == 75, begun.output


def fingerprint_of(data: Path) -> str:
    return json.loads((data / "dataset.json").read_text())["fingerprint"]
