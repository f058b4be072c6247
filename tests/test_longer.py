"""A run that is asked for more epochs goes on."""

import json
from pathlib import Path

import pytest

from fork_server import ForkServer
from projects import assert_same_results, experiment, pace, tiny

pytestmark = [pytest.mark.in_full, pytest.mark.once_a_template]


def test_more_epochs_at_a_constant_rate(project: Path, server: ForkServer) -> None:
    """It ends in the bits of a run that was begun with so many, be it finished or stopped."""
    constant = {"training.schedule": "constant", "training.warmup_epochs": 1}
    whole = experiment(project, "asked-at-first", tiny(project, {**constant, "training.epochs": 3}))
    assert server.run("train", "--experiment", whole).code == 0
    rates = [
        json.loads(line)["learning_rate"] for line in (project / whole / "metrics.jsonl").open()
    ]
    assert rates[0] < rates[1] == rates[2]
    folder = experiment(project, "longer", tiny(project, {**constant, "training.epochs": 2}))
    assert server.run("train", "--experiment", folder).code == 0
    command = ("train", "--experiment", folder, "--training.epochs", 3)
    longer = server.run(*command)
    assert longer.code == 0, longer.output
    notice = "training.epochs (2 -> 3): the run goes on as if this had been asked for at first"
    assert notice in longer.output
    assert_same_results(project / folder, project / whole)
    assert "epochs: 3 " in (project / folder / "params.yaml").read_text()
    assert "nothing to do" in server.run(*command).output

    folder = experiment(project, "stopped", tiny(project, {**constant, "training.epochs": 2}))
    stop_at = pace(project).stops // 4
    assert server.run("train", "--experiment", folder, stop_at=stop_at).code == 75
    parameters = tiny(project, {**constant, "training.epochs": 3})
    (project / folder / "params.yaml").write_text(parameters)
    assert server.run("train", "--experiment", folder).code == 0
    assert_same_results(project / folder, project / whole)


@pytest.mark.once
def test_more_epochs_with_a_cosine(project: Path, server: ForkServer) -> None:
    """The rate of the next step is that of the longer schedule; run.json says so."""
    rows = {}
    for name, epochs in (("cosine-asked-at-first", 3), ("cosine-longer", 2)):
        one_step = {"training.epochs": epochs, "data.batch_size": 100_000}
        folder = experiment(project, name, tiny(project, {**one_step, "training.warmup_epochs": 1}))
        assert server.run("train", "--experiment", folder).code == 0
        if epochs == 2:
            longer = server.run("train", "--experiment", folder, "--training.epochs", 3)
            assert longer.code == 0, longer.output
        rows[name] = [json.loads(line) for line in (project / folder / "metrics.jsonl").open()]
    expected, found = ([row["learning_rate"] for row in each] for each in rows.values())
    assert found[2] == pytest.approx(expected[2]) != found[1]
    session = json.loads((project / folder / "run.json").read_text())["sessions"][-1]
    assert "where the schedule of 3 epochs has it" in session["changed_epochs"]
    assert session["changed_epochs"] in longer.output
