"""What a person does with a project, command by command, as its README says."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fork_server import ForkServer
from projects import experiment, pace, run, tiny


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[ForkServer]:
    with ForkServer(project) as server:
        yield server


def test_the_first_evening(project: Path) -> None:
    """train, evaluate, search, synthesize: the four commands, in this order."""
    shutil.rmtree(project / "data")
    trained = run(project, "train.py")
    assert trained.returncode == 0, trained.stderr
    assert "preparing the handwritten digits" in trained.stdout
    assert not trained.stderr  # No warning that nobody can do anything about.
    baseline = project / "experiments" / "baseline"

    evaluated = run(project, "evaluate.py")
    assert evaluated.returncode == 0, evaluated.stderr
    metrics = json.loads((baseline / "metrics_test.json").read_text())
    assert metrics["accuracy"] >= 0.98
    for picture in ("learning_curves.png", "confusion_matrix_test.png"):
        assert Image.open(baseline / picture).size[0] > 400

    search = project / "experiments" / "search" / "search.yaml"
    text = re.sub(r"trials: \d+", "trials: 2", search.read_text())
    search.write_text(text.replace("choices: [16, 32, 64]", "choices: [4, 8]"))
    searched = run(project, "search_hyperparams.py", "--workers", 2)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    trials = sorted(search.parent.glob("trial_*"))
    assert len(trials) == 2
    for trial in trials:
        assert json.loads((trial / "run.json").read_text())["sessions"]
    some = run(project, "evaluate.py", "--experiment", trials[0].relative_to(project))
    assert some.returncode == 0, some.stderr

    synthesized = run(project, "synthesize_results.py")
    assert synthesized.returncode == 0, synthesized.stderr
    table = (project / "experiments" / "results.md").read_text()
    assert "baseline" in table
    assert "search/trial_0000" in table.replace("\\", "")
    page = (project / "experiments" / "results.html").read_text()
    assert "<svg" in page
    assert not re.search(r"(src|href)=.https?:", page)  # Self-contained.


@pytest.mark.once_a_template
def test_own_images(project: Path, tmp_path: Path) -> None:
    """A folder of one's own PNGs, by the lines of the README."""
    generator = np.random.default_rng(0)
    for name, channel in (("red things", 0), ("green", 1), ("blue", 2)):
        for number in range(40):
            height, width = generator.integers(30, 60, 2)
            pixels = generator.integers(0, 120, (height, width, 3), np.uint8)
            pixels[..., channel] += 100
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    built = run(project, "build_dataset.py", "--source", tmp_path / "photos", "--data", "data/own")
    assert built.returncode == 0, built.stderr
    assert "120 colour images of 3 classes" in built.stdout
    where = ("--experiment", "experiments/own", "--data", "data/own")
    changes = ("--model.stages", 3, "--model.width", 4, "--data.flip", "true", "--data.shift", 4)
    changes += ("--training.epochs", 8, "--data.batch_size", 16)
    trained = run(project, "train.py", *where, "--from", "experiments/baseline", *changes)
    assert trained.returncode == 0, trained.stderr
    assert run(project, "evaluate.py", *where[:2]).returncode == 0  # On the data of the training.
    metrics = json.loads((project / "experiments" / "own" / "metrics_test.json").read_text())
    assert metrics["accuracy"] >= 0.9
    another = ("--experiment", "experiments/another", "--from", "experiments/own")
    stopped = run(project, "train.py", *another, "--seed", 1, "--max-minutes", 0)
    assert stopped.returncode == 75, stopped.stderr
    sessions = json.loads((project / "experiments/another/run.json").read_text())["sessions"]
    assert sessions[-1]["data"] == "data/own"


@pytest.mark.once_a_template
def test_the_shipped_parameters_are_all_of_the_schema(project: Path) -> None:
    """params.yaml is what the schema's defaults are written as, to the letter."""
    code = "import utils, parameters; print(utils.format_parameters(parameters.Parameters()))"
    written = run(project, "-c", code).stdout
    shipped = (project / "experiments" / "baseline" / "params.yaml").read_text()
    assert shipped.strip() == written.strip()


def test_the_readme_names_every_file(project: Path) -> None:
    readme = (project / "README.md").read_text()
    files = [path.name for path in project.glob("*.py")]
    files += [f"model/{path.name}" for path in (project / "model").glob("[a-z]*.py")]
    assert [name for name in files if f"    {name} " not in readme] == []


@pytest.mark.parametrize("option", ["deterministic: true", "precision: float32", "patience: 1"])
def test_training_options(project: Path, server: ForkServer, option: str) -> None:
    parameters = tiny.replace("epochs: 2", f"epochs: 2, {option}")
    result = server.run("train", "--experiment", experiment(project, "option", parameters))
    assert result.code == 0, result.output


def test_early_stopping(project: Path, server: ForkServer) -> None:
    still = "training: {epochs: 50, patience: 2, learning_rate: 1.0e-12, weight_decay: 0}\n"
    folder = experiment(project, "early", tiny.partition("training")[0] + still)
    result = server.run("train", "--experiment", folder)
    assert result.code == 0, result.output
    rows = [json.loads(line) for line in (project / folder / "metrics.jsonl").open()]
    losses = [(row["val_accuracy"], -row["val_loss"]) for row in rows]
    assert losses.index(max(losses)) == len(rows) - 3 < 47


def test_checkpoints_between_epochs(project: Path, server: ForkServer) -> None:
    often = tiny.replace("epochs: 2", "epochs: 2, checkpoint_minutes: 1.0e-6")
    folder = experiment(project, "often", often)
    result = server.run(
        "train",
        "--experiment",
        folder,
        setup="import run_folder as r, train; train.SECONDS_PER_CALL = 0\n"
        "save = r.Run.save; r.Run.save = lambda s, a, p: (print('saved', p.step), save(s, a, p))",
    )
    assert result.code == 0, result.output
    saved = [int(line.split()[1]) for line in result.output.splitlines() if line[:5] == "saved"]
    assert len(set(saved)) == len(saved) == pace(project).stops
    assert saved[-1] == 10


@pytest.mark.once_a_template
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_training(project: Path) -> None:
    parameters = tiny.replace("epochs: 2", "epochs: 1, compile: true")
    folder = experiment(project, "compiled", parameters)
    result = run(project, "train.py", "--experiment", folder)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU of CUDA here")
def test_training_on_a_gpu(project: Path) -> None:
    folder = experiment(project, "gpu", "training: {epochs: 5, deterministic: true}\n")
    where = ("--experiment", folder, "--device", "cuda")
    stopped = run(project, "train.py", *where, "--max-minutes", 0)
    if "--device: got cuda" in stopped.stderr:
        pytest.skip("the framework is installed without CUDA")
    assert stopped.returncode == 75, stopped.stderr
    trained = run(project, "train.py", *where)
    assert trained.returncode == 0, trained.stderr
    assert run(project, "evaluate.py", *where).returncode == 0
    assert json.loads((project / folder / "metrics_test.json").read_text())["accuracy"] > 0.9
