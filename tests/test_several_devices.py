"""Several devices of one process that share every batch: TensorFlow's own, and Keras on JAX.

The processor counts as two devices here, as both libraries let it.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from combinations import Combination, find_combination
from fork_server import ForkServer, Result
from projects import assert_same_results, experiment, run, tiny

Rendered = Callable[[Combination], Path]
TWO_DEVICES = {
    "-": "import tensorflow as tf; tf.config.set_logical_device_configuration("
    "tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)",
    "jax": "import jax; jax.config.update('jax_num_cpu_devices', 2)",
}


class Place(NamedTuple):
    """A project, and what runs its commands on one device or two."""

    project: Path
    server: ForkServer
    two_devices: str

    def begin(self, name: str, changes: dict[str, Any]) -> Path:
        return experiment(self.project, name, tiny(self.project, changes))

    def train(
        self, folder: Path, devices: int, stop_at: int | None = None, code: int = 0
    ) -> Result:
        setup = self.two_devices if devices == 2 else ""
        result = self.server.run("train", "--experiment", folder, stop_at=stop_at, setup=setup)
        assert result.code == code, result.output
        return result

    def rows(self, folder: Path) -> list[dict[str, float]]:
        path = self.project / folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module", params=["-", pytest.param("jax", marks=pytest.mark.deep)])
def place(
    request: pytest.FixtureRequest, rendered: Rendered, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    source = rendered(find_combination(request.param))
    project = shutil.copytree(source, tmp_path_factory.mktemp("devices") / "leaf")
    assert run(project, "build_dataset.py").returncode == 0
    with ForkServer(project) as server:
        yield Place(project, server, TWO_DEVICES[request.param])


def test_two_devices_share_a_run_that_goes_on_with_one(place: Place) -> None:
    """Which is said and recorded."""
    folder = place.begin("shared", {})
    output = place.train(folder, 2, stop_at=3, code=75).output
    assert "; 2 devices" in output
    output = place.train(folder, 1).output
    assert "was trained by 2 devices until here and goes on with 1" in output
    sessions = json.loads((place.project / folder / "run.json").read_text())["sessions"]
    assert [session.get("devices", 1) for session in sessions] == [2, 1]


@pytest.mark.deep
@pytest.mark.parametrize("accumulate", [1, 4])
def test_two_devices_end_as_they_would_without_a_stop(place: Place, accumulate: int) -> None:
    """With dropout, batch norm, an average of the weights and workers that load."""
    changes = {"training.accumulate": accumulate, "training.average": 0.9, "data.workers": 1}
    changes |= {"model.dropout": 0.3}
    whole, cut = place.begin("whole", changes), place.begin("cut", changes)
    place.train(whole, 2)
    place.train(cut, 2, stop_at=2, code=75)
    place.train(cut, 2, stop_at=3, code=75)
    place.train(cut, 2)
    assert_same_results(place.project / cut, place.project / whole)
    evaluate = ("--experiment", whole, "--split", "val", "--checkpoint", "last")
    assert place.server.run("evaluate", *evaluate).code == 0
    found = json.loads((place.project / whole / "metrics_val_last.json").read_text())
    row = place.rows(whole)[-1]
    for name in found.keys() & {name.removeprefix("val_") for name in row}:
        assert found[name] == pytest.approx(row[f"val_{name}"], rel=1e-5)


@pytest.mark.deep
@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
def test_two_devices_learn_what_one_does(place: Place, clip_norm: float) -> None:
    """Gradients are clipped once they are summed, as those of one device are."""
    changes = {
        **{"training.precision": "float32", "training.clip_norm": clip_norm},
        "model.dropout": 0.0,
    }
    one, two = place.begin("one", changes), place.begin("two", changes)
    place.train(one, 1)
    place.train(two, 2)
    for ours, theirs in zip(place.rows(one), place.rows(two), strict=True):
        assert theirs["train_loss"] == pytest.approx(ours["train_loss"], rel=0.1)
