"""Whoever knows one template knows them all: the same options, files, columns, and one table."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, evening_combinations, tasks
from evenings import name_of, spend_evening
from fork_server import ForkServer
from projects import run

pytestmark = pytest.mark.xdist_group("across")  # They share a training of each combination.
COMMANDS = (
    *("train.py", "evaluate.py", "predict.py", "doctor.py"),
    *("search_hyperparams.py", "synthesize_results.py"),
)
Rendered = Callable[[Combination], Path]


@pytest.fixture(scope="module")
def experiments(
    rendered: Rendered, evenings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with an experiment of each combination, trained and evaluated.

    The tests of each project have left theirs there; here are made those that are missing, as where
    this file is run alone.
    """
    data: dict[str, Path] = {}  # Prepared once for each task: the code is the same.
    for combination in evening_combinations:
        if (evenings / name_of(combination)).exists():
            continue
        project = shutil.copytree(
            rendered(combination), tmp_path_factory.mktemp("project") / "leaf"
        )
        if combination.task not in data:
            assert run(project, "build_dataset.py").returncode == 0
            data[combination.task] = project / "data"
        else:
            shutil.rmtree(project / "data")
            shutil.copytree(data[combination.task], project / "data")
        with ForkServer(project) as server:
            spend_evening(project, server, evenings)
    # Of its own: the table over all is written into it.
    return shutil.copytree(evenings, tmp_path_factory.mktemp("experiments") / "together")


def of_task(experiments: Path, task: str) -> list[Path]:
    """Return the experiments with a task."""
    names = [name_of(each) for each in evening_combinations if each.task == task]
    return [experiments / name for name in names]


@pytest.mark.parametrize("task", tasks)
def test_every_experiment_has_the_same_files(experiments: Path, task: str) -> None:
    files = {
        folder.name: sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        for folder in of_task(experiments, task)
    }
    for name, found in files.items():  # Keras alone opens this one.
        if name.startswith("keras-quickstart"):
            found.remove("best.keras")
    expected = next(iter(files.values()))
    assert {"best.safetensors", "dataset.json", "learning_curves.png", "run.json"} < {*expected}
    assert files == dict.fromkeys(files, expected)


@pytest.mark.parametrize("task", tasks)
def test_every_record_has_the_same_keys(experiments: Path, task: str) -> None:
    keys = {}
    for folder in of_task(experiments, task):
        rows = (folder / "metrics.jsonl").read_text().splitlines()
        session = json.loads((folder / "run.json").read_text())["sessions"][0]
        metrics = json.loads((folder / "metrics_test.json").read_text())
        keys[folder.name] = [[*json.loads(row)] for row in rows], sorted(session), [*metrics]
    assert keys == dict.fromkeys(keys, next(iter(keys.values())))


@pytest.mark.parametrize("task", tasks)
def test_every_template_notes_the_same_learning_rates(experiments: Path, task: str) -> None:
    """Of the last step of each epoch."""
    rates = [
        [json.loads(row)["learning_rate"] for row in (folder / "metrics.jsonl").open()]
        for folder in of_task(experiments, task)
    ]
    for others in rates[1:]:
        assert others == pytest.approx(rates[0])


@pytest.mark.parametrize("task", tasks)
def test_every_template_reads_the_same_data_and_trains_as_many_weights(
    experiments: Path, task: str
) -> None:
    records = [
        json.loads((folder / "run.json").read_text())["sessions"][0]
        for folder in of_task(experiments, task)
    ]
    assert len({(record["fingerprint"], record["weights"]) for record in records}) == 1
    assert len({json.dumps(record["objective"]) for record in records}) == 1


def test_the_results_are_those_that_the_changelog_speaks_of(experiments: Path) -> None:
    """Whoever changes them writes the new ones into results.json, and **[results change]** into
    CHANGELOG.md; tools/release.py looks for it.
    """
    found = {}
    for folder in sorted(experiments.iterdir()):
        row = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        found[folder.name] = {name: round(row[name], 4) for name in ("train_loss", "val_loss")}
    expected = json.loads(Path(__file__).with_name("results.json").read_text())
    assert found.keys() == expected.keys(), json.dumps(found, indent=2)
    for name, losses in found.items():
        # Processors round in their own ways.
        assert losses == pytest.approx(expected[name], rel=5e-3), json.dumps(found, indent=2)


def test_one_table_over_all(rendered: Rendered, experiments: Path) -> None:
    """The synthesize_results.py of any project reads the experiments of all; it is one file."""
    result = run(rendered(evening_combinations[-1]), "synthesize_results.py", experiments)
    assert result.returncode == 0, result.stderr
    table = (experiments / "results.md").read_text().replace("\\", "")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    for each in evening_combinations:
        assert sum(name_of(each) in row for row in rows) == 1, table


@pytest.mark.parametrize("command", [*COMMANDS, "build_dataset.py"])
def test_every_template_has_the_same_options(rendered: Rendered, command: str) -> None:
    """And answers with them before it imports what is slow. A task changes no template's part."""
    projects = [rendered(each) for each in evening_combinations if each.task == tasks[0]]
    texts = {run(project, command, "--help").stdout for project in projects}
    assert len(texts) == 1
    assert "--" in texts.pop()
