"""The training loops of torch-research differ in their code, and in nothing that they do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, trained_combinations
from conftest import files_of
from fork_server import ForkServer
from projects import assert_same_results, experiment, run, tiny

plain, lightning = (
    next(c for c in trained_combinations if (c.template, c.choice) == ("torch-research", loop))
    for loop in ("plain", "lightning")
)
Rendered = Callable[[Combination], Path]


def test_the_difference_is_the_training_code(rendered: Rendered) -> None:
    files, others = files_of(rendered(plain)), files_of(rendered(lightning))
    assert files.keys() == others.keys()
    different = {name for name in files if files[name] != others[name]}
    assert different == {"train.py", "requirements.txt", ".copier-answers.yml"}


def test_only_lightning_asks_for_lightning(rendered: Rendered) -> None:
    requirements, others = (
        [line for line in lines if not line.startswith("#")]
        for lines in (
            (rendered(each) / "requirements.txt").read_text().splitlines()
            for each in (plain, lightning)
        )
    )
    # 2.6.2 and 2.6.3 were malware.
    assert sorted({*requirements} ^ {*others}) == ["pytorch-lightning>=2.6.6,<3"]


@pytest.fixture(scope="module")
def projects(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A project of each loop with the digits prepared."""
    root = tmp_path_factory.mktemp("loops")
    folders = [shutil.copytree(rendered(each), root / each.choice) for each in (plain, lightning)]
    for folder in folders:
        assert run(folder, "build_dataset.py").returncode == 0
    return folders


@pytest.mark.parametrize(
    "options",
    [
        "precision: float32, clip_norm: 0",
        "precision: float32, clip_norm: 0.5, warmup_epochs: 1",
        "precision: bfloat16, clip_norm: 0.5",
    ],
)
def test_the_same_parameters_end_in_the_same_bits(projects: list[Path], options: str) -> None:
    results = []
    for project in projects:
        folder = experiment(project, "bits", tiny.replace("epochs: 2", f"epochs: 3, {options}"))
        with ForkServer(project) as server:
            result = server.run("train", "--experiment", folder)
        assert result.code == 0, result.output
        results.append(project / folder)
    assert_same_results(*results)


def test_either_loop_continues_what_the_other_began(projects: list[Path]) -> None:
    """As after an update that switched the loop."""
    results = []
    for one, other in (projects, reversed(projects)):
        folder = experiment(one, "begun")
        with ForkServer(one) as server:
            assert server.run("train", "--experiment", folder, stop_at=7).code == 75
        shutil.rmtree(other / "experiments" / "taken", ignore_errors=True)
        taken = shutil.copytree(one / folder, other / "experiments" / "taken")
        with ForkServer(other) as server:
            result = server.run("train", "--experiment", taken.relative_to(other))
        assert result.code == 0, result.output
        results.append(taken)
    assert_same_results(*results)
