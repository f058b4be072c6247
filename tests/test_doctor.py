"""python doctor.py: it says nothing of a sound project, and where to look in one with a defect."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defects import DEFECTS
from fork_server import ForkServer, Result
from projects import arrays_folder, experiment, snapshot, template


def assert_found(result: Result, place: str) -> None:
    """Fail unless doctor.py names a file to look at in a line of its own and in the verdict."""
    assert result.code == 2, result.output
    lines = result.output.splitlines()
    assert any(line.startswith("WRONG") and f"Look at {place}" in line for line in lines), (
        result.output
    )
    assert lines[-1].startswith(f"Something is wrong. Look at {place}"), result.output
    assert "Traceback" not in result.output


@pytest.mark.contracts
@pytest.mark.once_a_template
def test_nothing_is_wrong_with_a_sound_project(project: Path, server: ForkServer) -> None:
    before = snapshot(project)
    result = server.run("doctor")
    assert result.code == 0, result.output
    assert "Nothing is wrong" in result.output.splitlines()[-1]
    assert snapshot(project) == before


@pytest.mark.in_full
@pytest.mark.once_a_template
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_named_with_the_file_to_look_at(
    project: Path, server: ForkServer, name: str
) -> None:
    defect = DEFECTS[name]
    if not (setup := defect.setup(template(project))):
        pytest.skip("tried in another template")
    if defect.place == "model/augmentation.py":
        folder = experiment(project, "doctored")  # It has some.
    else:
        folder = Path("experiments", "baseline")
    assert_found(server.run("doctor", "--experiment", folder, setup=setup), defect.place)


# --- defects of the data, in a copy


def read(data: Path, split: str, part: str) -> tuple[Path, np.ndarray]:
    """Return the first array of "inputs" or "targets" of a split, and its file."""
    (name, *_) = json.loads((data / "dataset.json").read_text())[part]
    path = arrays_folder(data) / f"{split}_{name}.npy"
    return path, np.load(path)


def edit(split: str, part: str, change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    """Return what changes an array of a split in a folder of data."""

    def spoil(data: Path) -> None:
        path, array = read(data, split, part)
        np.save(path, np.asarray(change(array), array.dtype))

    return spoil


def leak(data: Path) -> None:
    """Put examples of train into test."""
    for part in ("inputs", "targets"):
        train, (path, test) = read(data, "train", part)[1], read(data, "test", part)
        test[:20] = train[:20]
        np.save(path, test)


def repeat_ids(data: Path) -> None:
    """Call the second example of val like the first one."""
    path = arrays_folder(data) / "val_ids.npy"
    ids = np.load(path)
    ids[1] = ids[0]
    np.save(path, ids)


def scale_mean(data: Path) -> None:
    """Record another mean than that of the arrays."""
    facts = json.loads((data / "dataset.json").read_text())
    facts["mean"] = [2 * number + 1 for number in facts["mean"]]
    (data / "dataset.json").write_text(json.dumps(facts))


def give_away(data: Path) -> None:
    """Put the target into the first number of the inputs."""
    path, inputs = read(data, "train", "inputs")
    inputs.reshape(len(inputs), -1)[:, 0] = read(data, "train", "targets")[1]
    np.save(path, inputs)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "examples of train in test": (leak, "of test are in train, too"),
    "one value of the target": (edit("train", "targets", np.zeros_like), "nothing to learn"),
    "a value that only val has": (
        edit("train", "targets", lambda targets: np.minimum(targets, targets.max() - 1)),
        "",
    ),
    "inputs that are all the same": (edit("train", "inputs", np.ones_like), "is 1"),
    "an id twice": (repeat_ids, "ids are not unique"),
    "another mean": (scale_mean, "Expected the same"),
    "an array that is cut short": (edit("val", "inputs", lambda a: a[1:]), "dataset.json"),
    "a number that tells the target": (give_away, ""),
}


@pytest.mark.once
@pytest.mark.parametrize("name", SPOILED)
def test_a_defect_of_the_data_is_named(
    project: Path, server: ForkServer, tmp_path: Path, name: str
) -> None:
    spoil, words = SPOILED[name]
    data = shutil.copytree(project / "data", tmp_path / "data")
    spoil(data)
    result = server.run("doctor", "--data", data)
    assert_found(result, "build_dataset.py")
    assert words in result.output


@pytest.mark.once
def test_a_rate_that_is_too_high_or_too_low(project: Path, server: ForkServer) -> None:
    for rate, words in ((30.0, "It is too high"), (1e-7, "It is too low")):
        parameters = (project / "experiments" / "baseline" / "params.yaml").read_text()
        lines = [
            f"  learning_rate: {rate:.9f}" if line.startswith("  learning_rate:") else line
            for line in parameters.splitlines()
        ]
        result = server.run("doctor", "--experiment", experiment(project, "rate", "\n".join(lines)))
        assert_found(result, "params.yaml: training.learning_rate")
        assert words in result.output
