"""The training loops of torch-research differ in how they are written, and in nothing else."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

from combinations import Combination, find_combination, tasks
from conftest import files_of
from fork_server import ForkServer
from projects import assert_same_results, experiment, run, sealed, snapshot, tiny

Rendered = Callable[[Combination], Path]
LOOPS = ("plain", "lightning")

# What tells Lightning of several processes, and what adds up over them in the plain loop.
LIGHTNING = {"framework/run_callback.py", "framework/launched.py", "tests/test_launched.py"}
PLAIN = {f"framework/{name}.py" for name in ("batch_parts", "sharding")}
PLAIN |= {f"tests/test_{name}.py" for name in ("batch_parts", "sharding")}


@pytest.mark.parametrize("task", tasks)
def test_the_difference_is_the_training_code(rendered: Rendered, task: str) -> None:
    files, others = (files_of(rendered(find_combination(loop, task))) for loop in LOOPS)
    assert others.keys() - files.keys() == LIGHTNING
    assert files.keys() - others.keys() == PLAIN
    different = {name for name in files.keys() & others.keys() if files[name] != others[name]}
    different -= {"README.md", "framework/__init__.py"}  # They name the files.
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


class Loop(NamedTuple):
    """A project of a loop, and what runs its commands."""

    project: Path
    server: ForkServer


@pytest.fixture(scope="module")
def loops(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Loop]]:
    """A project of each loop with the default data prepared."""
    root = tmp_path_factory.mktemp("loops")
    folders = [shutil.copytree(rendered(find_combination(each)), root / each) for each in LOOPS]
    assert run(folders[0], "build_dataset.py").returncode == 0
    shutil.rmtree(folders[1] / "data")
    shutil.copytree(folders[0] / "data", folders[1] / "data")
    with ForkServer(folders[0]) as plain, ForkServer(folders[1]) as lightning:
        yield [Loop(folders[0], plain), Loop(folders[1], lightning)]


@pytest.mark.parametrize(("clip_norm", "accumulate"), [(0, 1), (0.5, 3)])
def test_they_learn_the_same(loops: list[Loop], clip_norm: float, accumulate: int) -> None:
    """In float32, as far as that rounds in the same way; equal bits are not asked for."""
    results, losses = [], []
    for project, server in loops:
        changes = {
            **{"training.precision": "float32", "training.clip_norm": clip_norm},
            "training.accumulate": accumulate,
        }
        folder = experiment(project, "same", tiny(project, changes))
        result = server.run("train", "--experiment", folder)
        assert result.code == 0, result.output
        results.append(load_file(project / folder / "last.safetensors"))
        rows = [json.loads(line) for line in (project / folder / "metrics.jsonl").open()]
        losses.append([row[name] for row in rows for name in ("train_loss", "val_loss")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert results[1].keys() - results[0].keys() == {"trainer"}
    for name, array in results[0].items():
        np.testing.assert_allclose(array, results[1][name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_they_clip_the_same_gradients_in_bfloat16(loops: list[Loop]) -> None:
    """For a fused optimizer Lightning would refuse to clip in mixed precision."""
    changes = {"training.precision": "bfloat16", "training.clip_norm": 0.01, "training.epochs": 1}
    weights = []
    for project, server in loops:
        folder = experiment(project, "clipped", tiny(project, changes))
        result = server.run("train", "--experiment", folder)
        assert result.code == 0, result.output
        weights.append(load_file(project / folder / "last.safetensors"))
    for name, array in weights[0].items():
        if name.endswith(("exp_avg", ".weight")):
            np.testing.assert_allclose(array, weights[1][name], rtol=0.05, atol=1e-4, err_msg=name)


def begin(one: Loop, other: Loop) -> Path:
    """Begin a run with one loop, and return its folder in the project of the other.

    As after an update that switched the loop.
    """
    folder = experiment(one.project, "begun")
    assert one.server.run("train", "--experiment", folder, stop_at=7).code == 75
    shutil.rmtree(other.project / folder, ignore_errors=True)
    shutil.copytree(one.project / folder, other.project / folder)
    return folder


def test_the_plain_loop_continues_what_lightning_began(loops: list[Loop]) -> None:
    """And says that it is not the code that began."""
    plain, lightning = loops
    folder = begin(lightning, plain)
    result = plain.server.run("train", "--experiment", folder)
    assert result.code == 0, result.output
    assert "continuing at step" in result.output
    changed = "evaluate.py, framework/batch_parts.py, framework/launched.py, "
    changed += "framework/run_callback.py, framework/sharding.py, train.py"
    assert f"trained with other code than that of now: {changed}" in result.output


def test_lightning_refuses_what_the_plain_loop_began(loops: list[Loop]) -> None:
    """The Trainer's own state is not there; nothing is changed."""
    plain, lightning = loops
    folder = begin(plain, lightning)
    before = snapshot(lightning.project)
    result = lightning.server.run("train", "--experiment", folder)
    assert result.code == 2, result.output
    for words in ("train.py", "Trainer", "--from"):
        assert words in result.output
    assert snapshot(lightning.project) == before


@pytest.mark.parametrize("text", ["{}", "[1]", "[" * 5000, '{"loop": 3}', "\xff"])
def test_a_state_of_the_trainer_that_is_nonsense_is_refused(loops: list[Loop], text: str) -> None:
    """Though the SHA-256 of its checkpoint is right."""
    project, server = loops[1]
    folder = experiment(project, "nonsense")
    assert server.run("train", "--experiment", folder, stop_at=7).code == 75
    path = project / folder / "last.safetensors"
    arrays = load_file(path) | {"trainer": np.frombuffer(text.encode("latin-1"), np.uint8)}
    path.write_bytes(sealed(arrays, path.read_bytes()))
    before = snapshot(project)
    result = server.run("train", "--experiment", folder)
    assert result.code == 2, result.output
    assert "last.safetensors: the state of the Trainer cannot be used" in result.output
    assert snapshot(project) == before


# Python for `setup` of the fork server: a callback fails to load, after all else was loaded.
FORGETFUL = """
class Counter(Counter):
    def load_state_dict(self, state):
        self.batches = {0: 0}[state["batches"]]
"""


def test_what_lightning_cannot_load_changes_nothing(loops: list[Loop]) -> None:
    """A run that is trained anew then begins as a new one does."""
    project, server = loops[1]
    new, anew = (experiment(project, name) for name in ("new", "anew"))
    setup = CHANGED_TRAINER.format(arguments="callbacks=[*callbacks, Counter()]") + COUNTER
    assert server.run("train", "--experiment", new, setup=setup).code == 0
    command = ("train", "--experiment", anew, "--overwrite")
    assert server.run(*command, setup=setup, stop_at=7).code == 75
    result = server.run(*command, setup=setup + FORGETFUL)
    assert result.code == 0, result.output
    assert "starting, step 0" in result.output
    assert_same_results(project / new, project / anew)


# Python for `setup` of the fork server: the Trainer of train.py with other arguments.
CHANGED_TRAINER = """
import pytorch_lightning as pl

class StopAtStep(pl.Callback):
    def on_train_batch_end(self, trainer, *others):
        trainer.should_stop |= trainer.global_step == 7

class Trainer(pl.Trainer):
    def __init__(self, callbacks, **options):
        super().__init__({arguments}, **options)

pl.Trainer = Trainer
"""


COUNTER = """
class Counter(pl.Callback):
    batches = 0
    def on_train_batch_end(self, *others):
        self.batches += 1
    def state_dict(self):
        return {"batches": self.batches}
    def load_state_dict(self, state):
        self.batches = state["batches"]
    def on_fit_end(self, *others):
        print("counted", self.batches)
"""


def test_lightning_keeps_the_state_of_callbacks(loops: list[Loop]) -> None:
    """A run that was stopped has counted its ten batches once each at its end."""
    project, server = loops[1]
    folder = experiment(project, "counted")
    setup = CHANGED_TRAINER.format(arguments="callbacks=[*callbacks, Counter()]") + COUNTER
    assert server.run("train", "--experiment", folder, setup=setup, stop_at=7).code == 75
    resumed = server.run("train", "--experiment", folder, setup=setup)
    assert resumed.code == 0, resumed.output
    assert "counted 10" in resumed.output


def test_lightning_refuses_settings_that_break_up_the_epochs(loops: list[Loop]) -> None:
    """The message names each; nothing is changed."""
    project, server = loops[1]
    folder = experiment(project, "settings")
    before = snapshot(project)
    arguments = "callbacks=callbacks, min_epochs=2, max_time={'hours': 1}"
    setup = CHANGED_TRAINER.format(arguments=arguments)
    result = server.run("train", "--experiment", folder, setup=setup)
    assert result.code == 2, result.output
    for words in ("min_epochs=2", "max_time", "--max-minutes"):
        assert words in result.output
    assert snapshot(project) == before


# Python for `setup` of the fork server: the Trainer of train.py with another argument.
ACCUMULATING_TRAINER = """
import pytorch_lightning as pl
real = pl.Trainer
pl.Trainer = lambda **options: real(**{**options, "accumulate_grad_batches": 4})
"""


def test_lightning_resumes_where_its_own_flag_accumulates_whole_batches(loops: list[Loop]) -> None:
    """Two batches in two parts each make a step; the last of five has a step of its own."""
    project, server = loops[1]
    parameters = tiny(project, {"training.accumulate": 2})
    whole, folder = (experiment(project, name, parameters) for name in ("whole", "cut"))
    assert server.run("train", "--experiment", whole, setup=ACCUMULATING_TRAINER).code == 0
    command = ("train", "--experiment", folder)
    while (code := server.run(*command, stop_at=1, setup=ACCUMULATING_TRAINER).code) == 75:
        pass
    assert code == 0
    assert_same_results(project / folder, project / whole)
    sessions = json.loads((project / folder / "run.json").read_text())["sessions"]
    assert [session["from_step"] for session in sessions] == [0, 2, 4, 5, 7, 9]


def test_lightning_refuses_steps_that_end_within_a_batch(loops: list[Loop]) -> None:
    project, server = loops[1]
    folder = experiment(project, "uneven", tiny(project, {"training.accumulate": 3}))
    before = snapshot(project)
    result = server.run("train", "--experiment", folder, setup=ACCUMULATING_TRAINER)
    assert result.code == 2, result.output
    for words in ("accumulate_grad_batches=4, expected 3", "training.accumulate"):
        assert words in result.output
    assert snapshot(project) == before


def test_an_optimizer_without_a_state_goes_on(loops: list[Loop]) -> None:
    """As SGD is without momentum."""
    setup = "import torch; torch.optim.AdamW = lambda weights, **_: torch.optim.SGD(weights, 0.1)"
    for project, server in loops:
        folder = experiment(project, "sgd")
        stopped = server.run("train", "--experiment", folder, stop_at=7, setup=setup)
        assert stopped.code == 75, stopped.output
        resumed = server.run("train", "--experiment", folder, setup=setup)
        assert resumed.code == 0, resumed.output
        assert "continuing at step" in resumed.output


def test_lightning_says_nothing_of_what_else_the_machine_has(
    loops: list[Loop], tmp_path: Path
) -> None:
    """Where SLURM is installed, it would warn in each training that `srun` was not used."""
    project, server = loops[1]
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    setup = f"import os; os.environ['PATH'] = {str(tmp_path)!r} + ':' + os.environ['PATH']"
    result = server.run("train", "--experiment", experiment(project, "slurm"), setup=setup)
    assert result.code == 0, result.output
    for words in ("srun", "SLURM", "Warning"):
        assert words not in result.output


def test_lightning_keeps_no_row_of_an_unfinished_epoch(loops: list[Loop]) -> None:
    """Where a callback stops the training within the second of two epochs of five steps."""
    project, server = loops[1]
    folder = experiment(project, "stopped")
    setup = CHANGED_TRAINER.format(arguments="callbacks=[*callbacks, StopAtStep()]")
    result = server.run("train", "--experiment", folder, setup=setup)
    assert result.code == 2, result.output
    for words in ("train.py: epoch 2", "3 steps", "should_stop"):
        assert words in result.output
    assert len((project / folder / "metrics.jsonl").read_text().splitlines()) == 1
    record = json.loads((project / folder / "run.json").read_text())
    assert record["sessions"][-1]["outcome"] == "failed"
