"""The training loops of torch-research differ in how they are written, and in nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from combinations import Combination, find_combination, tasks
from conftest import files_of
from fork_server import ForkServer
from projects import experiment, run, snapshot, tiny

Rendered = Callable[[Combination], Path]
LOOPS = ("plain", "lightning")


@pytest.mark.parametrize("task", tasks)
def test_the_difference_is_the_training_code(rendered: Rendered, task: str) -> None:
    files, others = (files_of(rendered(find_combination(loop, task))) for loop in LOOPS)
    assert others.keys() - files.keys() == {"run_callback.py"}
    assert files.keys() <= others.keys()
    different = {name for name in files if files[name] != others[name]}
    different -= {"README.md"}  # It names the files.
    assert different == {"train.py", "requirements.txt", ".copier-answers.yml"}


def test_only_lightning_asks_for_lightning(rendered: Rendered) -> None:
    requirements, others = (
        [line for line in lines if not line.startswith("#")]
        for lines in (
            (rendered(find_combination(loop)) / "requirements.txt").read_text().splitlines()
            for loop in LOOPS
        )
    )
    # 2.6.2 and 2.6.3 were malware.
    assert sorted({*requirements} ^ {*others}) == ["pytorch-lightning>=2.6.6,<3"]


@pytest.fixture(scope="module")
def loops(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A project of each loop with the default data prepared."""
    root = tmp_path_factory.mktemp("loops")
    folders = [shutil.copytree(rendered(find_combination(each)), root / each) for each in LOOPS]
    assert run(folders[0], "build_dataset.py").returncode == 0
    shutil.rmtree(folders[1] / "data")
    shutil.copytree(folders[0] / "data", folders[1] / "data")
    return folders


@pytest.mark.parametrize("clip_norm", [0, 0.5])
def test_they_learn_the_same(loops: list[Path], clip_norm: float) -> None:
    """In float32, as far as that rounds in the same way; equal bits are not asked for."""
    results = []
    for project in loops:
        changes = {"training.precision": "float32", "training.clip_norm": clip_norm}
        folder = experiment(project, "same", tiny(project, changes))
        with ForkServer(project) as server:
            result = server.run("train", "--experiment", folder)
        assert result.code == 0, result.output
        results.append(load_file(project / folder / "last.safetensors"))
    assert results[1].keys() - results[0].keys() == {"trainer"}
    for name, array in results[0].items():
        np.testing.assert_allclose(array, results[1][name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("begins", [0, 1], ids=LOOPS)
def test_a_run_goes_on_with_the_loop_that_began_it(loops: list[Path], begins: int) -> None:
    """After an update that switched the loop, it is refused with a message and stays as it is."""
    one, other = loops[begins], loops[1 - begins]
    folder = experiment(one, "begun")
    with ForkServer(one) as server:
        assert server.run("train", "--experiment", folder, stop_at=7).code == 75
    shutil.rmtree(other / "experiments" / "taken", ignore_errors=True)
    taken = shutil.copytree(one / folder, other / "experiments" / "taken")
    before = snapshot(taken)
    with ForkServer(other) as server:
        result = server.run("train", "--experiment", taken.relative_to(other))
    assert result.code == 2, result.output
    assert "train.py" in result.output
    assert "--from" in result.output
    assert snapshot(taken) == before
