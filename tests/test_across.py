"""Whoever knows one template knows them all: the same options, files, columns, and one table."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, trained_combinations
from fork_server import ForkServer
from projects import experiment, run, tiny

# In float32, which every processor has.
parameters = tiny.replace("epochs: 2", "epochs: 2, precision: float32")
pytestmark = pytest.mark.xdist_group("across")  # They share six trainings.
COMMANDS = ("train.py", "evaluate.py", "search_hyperparams.py", "synthesize_results.py")
Rendered = Callable[[Combination], Path]


def name_of(combination: Combination) -> str:
    """Return the name of a combination's experiment."""
    return f"{combination.template}-{combination.choice}".rstrip("-")


@pytest.fixture(scope="module")
def experiments(rendered: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment of each template, loop and backend, trained and evaluated."""
    together = tmp_path_factory.mktemp("experiments")
    for combination in trained_combinations:
        project = shutil.copytree(
            rendered(combination), tmp_path_factory.mktemp("project") / "digits"
        )
        assert run(project, "build_dataset.py").returncode == 0
        folder = experiment(project, name_of(combination), parameters)
        with ForkServer(project) as server:
            for script in ("train", "evaluate"):
                result = server.run(script, "--experiment", folder)
                assert result.code == 0, result.output
        shutil.copytree(project / folder, together / folder.name)
    return together


def test_every_experiment_has_the_same_files(experiments: Path) -> None:
    files = {
        folder.name: sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        for folder in experiments.iterdir()
    }
    expected = next(iter(files.values()))
    assert {"best.safetensors", "confusion_matrix_test.png", "learning_curves.png"} < {*expected}
    assert files == dict.fromkeys(files, expected)


def test_every_record_has_the_same_keys(experiments: Path) -> None:
    keys = {}
    for folder in experiments.iterdir():
        rows = (folder / "metrics.jsonl").read_text().splitlines()
        session = json.loads((folder / "run.json").read_text())["sessions"][0]
        metrics = json.loads((folder / "metrics_test.json").read_text())
        keys[folder.name] = [[*json.loads(row)] for row in rows], sorted(session), [*metrics]
    assert keys == dict.fromkeys(keys, next(iter(keys.values())))


def test_every_template_reads_the_same_data_and_trains_as_many_weights(experiments: Path) -> None:
    logs = [(folder / "train.log").read_text() for folder in experiments.iterdir()]
    assert {log.split(" weights")[0].rpartition("; ")[2] for log in logs} == {"246"}
    records = [json.loads((folder / "run.json").read_text()) for folder in experiments.iterdir()]
    assert len({record["sessions"][0]["fingerprint"] for record in records}) == 1


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


@pytest.mark.parametrize("combination", trained_combinations, ids=str)
def test_one_table_over_all(
    combination: Combination, rendered: Rendered, experiments: Path, tmp_path: Path
) -> None:
    """Any template's synthesize_results.py reads the experiments of all."""
    folder = shutil.copytree(experiments, tmp_path / "experiments")
    result = run(rendered(combination), "synthesize_results.py", folder)
    assert result.returncode == 0, result.stderr
    table = (folder / "results.md").read_text().replace("\\", "")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(trained_combinations)
    for each in trained_combinations:
        assert sum(name_of(each) in row for row in rows) == 1


@pytest.mark.parametrize("command", [*COMMANDS, "build_dataset.py"])
def test_every_template_has_the_same_options(rendered: Rendered, command: str) -> None:
    texts = {run(rendered(each), command, "--help").stdout for each in trained_combinations}
    assert len(texts) == 1
    assert "--" in texts.pop()
