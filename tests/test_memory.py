"""Batches in smaller parts once memory is short: training.on_out_of_memory split."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from combinations import Combination, find_combination
from fork_server import ForkServer, Result
from projects import assert_same_results, experiment, run, tiny

Rendered = Callable[[Combination], Path]
SPLIT = {
    **{"training.on_out_of_memory": "split", "training.average": 0.9},
    **{"model.dropout": 0.3, "data.mixup": 0.0},  # What is mixed depends on the part of the batch.
}

# The network has no memory for more than so many examples, there or back. A try that fails changes
# the statistics of batch norm first, as it does on a GPU. What it has computed must be gone by the
# next one. `number` is that of the part, and of the step as long as that has one.
SHORT = """
import os, torch, weakref, model.net as n, backend
forward, seed_step, number, failed, hooks = n.Net.forward, backend.seed_step, 0, [], []
def seed(seed, position, device):
    global number
    number = position
    seed_step(seed, position, device)
def out_of_memory(_=None):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
def short(self, inputs):
    assert not [each for each in failed if each() is not None], "still in memory"
    while hooks:
        hooks.pop().remove()
    outputs = forward(self, inputs)
    if self.training and ({condition}) and len(next(iter(inputs.values()))) > {most}:
        failed.append(weakref.ref(outputs))
        # The gradient of the first weight is the last one to be computed.
        hooks.append(next(self.parameters()).register_hook(out_of_memory))
        {in_backward} or out_of_memory()
    return outputs
n.Net.forward, backend.seed_step = short, seed
"""
LATE = "number >= 3"  # From the fourth step on.


class Place:
    """A project with the plain loop, and what runs its commands."""

    def __init__(self, project: Path, server: ForkServer) -> None:
        self.project, self.server = project, server

    def train(
        self,
        name: str,
        changes: dict[str, Any] | None,
        most: int = 1000,
        condition: str = "True",
        in_backward: bool = False,
        stop_at: int | None = None,
    ) -> Result:
        """Train an experiment, a new one if changes are given, where so many examples fit."""
        folder = Path("experiments", name)
        if changes is not None:
            folder = experiment(self.project, name, tiny(self.project, changes))
        setup = SHORT.format(most=most, condition=condition, in_backward=in_backward)
        return self.server.run("train", "--experiment", folder, stop_at=stop_at, setup=setup)

    def assert_same(self, name: str, reference: str) -> None:
        experiments = self.project / "experiments"
        assert_same_results(experiments / name, experiments / reference)

    def sessions(self, name: str) -> list[dict[str, Any]]:
        path = self.project / "experiments" / name / "run.json"
        return json.loads(path.read_text())["sessions"]


@pytest.fixture(scope="module")
def place(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    source = rendered(find_combination("plain"))
    project = shutil.copytree(source, tmp_path_factory.mktemp("memory") / "leaf")
    assert run(project, "build_dataset.py").returncode == 0
    with ForkServer(project) as server:
        yield Place(project, server)


@pytest.mark.parametrize("in_backward", [pytest.param(False, marks=pytest.mark.deep), True])
def test_a_split_run_is_that_of_smaller_parts(place: Place, in_backward: bool) -> None:
    """Cut in four at its first step, it says so once, and ends in the bits of accumulate 4."""
    parts = place.train("parts", {**SPLIT, "training.accumulate": 4})
    assert parts.code == 0, parts.output
    split = place.train("split", SPLIT, most=64, in_backward=in_backward)
    assert split.code == 0, split.output
    assert split.output.count("memory was short in step 1.") == 1
    assert "computed in 4 parts of at most 64 examples" in split.output
    place.assert_same("split", "parts")
    assert [session["pieces"] for session in place.sessions("split")] == [4]
    assert "pieces" not in place.sessions("parts")[0]


@pytest.mark.parametrize("end", [pytest.param("stopped", marks=pytest.mark.deep), "killed"])
def test_a_run_that_goes_on_knows_how_batches_were_split(place: Place, end: str) -> None:
    """Also where memory is not short any more; the step that found it is saved at once."""
    whole = place.train("whole", SPLIT, most=128, condition=LATE)
    assert "memory was short in step 4." in whole.output
    if end == "stopped":
        first = place.train("cut", SPLIT, most=128, condition=LATE, stop_at=7)
        assert first.code == 75, first.output
    else:  # In the fifth step, of the parts 8 and 9.
        condition = f"(number < 9 or os._exit(137)) and {LATE}"
        first = place.train("cut", SPLIT, most=128, condition=condition)
        assert first.code == 137, first.output
    again = place.train("cut", None)
    assert again.code == 0, again.output
    assert "memory was short" not in again.output
    place.assert_same("cut", "whole")
    assert [session["pieces"] for session in place.sessions("cut")] == [2, 2]


def test_a_batch_that_cannot_be_split_any_more_ends_the_run(place: Place) -> None:
    result = place.train("none", SPLIT, most=0)
    assert result.code == 4, result.output
    assert "out of memory with 2 examples at a time" in result.output
    assert "with a smaller network" in result.output
    assert not (place.project / "experiments" / "none" / "last.safetensors").exists()


@pytest.mark.deep
def test_what_one_process_is_short_of_splits_the_batches_of_all(place: Place) -> None:
    """With two processes and accumulate 4, the bits are those of one process that was short."""
    changes = {**SPLIT, "training.accumulate": 4}
    alone = place.train("alone", changes, most=32, condition="number >= 12")
    assert alone.code == 0, alone.output
    project = shutil.copytree(place.project, place.project.parent / "several")
    condition = "number >= 12 and os.environ['RANK'] == '1'"
    setup = SHORT.format(most=32, condition=condition, in_backward=False)
    with (project / "train.py").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace("command.run(", f"{setup}\ncommand.run("))
    folder = experiment(project, "several", tiny(project, changes))
    result = run(project, "launch.py", 2, "train.py", "--experiment", folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("memory was short in step 4.") == 1
    assert "computed in 8 parts" in result.stdout
    assert_same_results(project / folder, place.project / "experiments" / "alone")
