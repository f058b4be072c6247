"""What a person does with a project, command by command, as its README says."""

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from combinations import Combination, checked_combinations
from conftest import git
from fork_server import ForkServer
from projects import experiment, pace, run, task, tiny
from tasks import OwnData


def metrics_of(folder: Path, name: str = "test") -> dict[str, float]:
    """Return what an evaluation of an experiment measured."""
    return json.loads((folder / f"metrics_{name}.json").read_text())


def width_of_png(path: Path) -> int:
    """Return how wide a picture is."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[16:20])


@pytest.fixture(scope="module")
def baseline(project: Path, server: ForkServer) -> Path:
    """The experiment that the project comes with, trained and evaluated on data made for it."""
    data = project / "data"
    prepared = data.rename(project / "data-aside")
    trained = run(project, "train.py")
    assert trained.returncode == 0, trained.stderr
    assert task(project).prepared in trained.stdout
    assert not trained.stderr  # No warning that nobody can do anything about.
    shutil.rmtree(data)
    prepared.rename(data)
    folder = project / "experiments" / "baseline"
    evaluated = server.run("evaluate")
    assert evaluated.code == 0, evaluated.output
    return folder


@pytest.mark.once_a_template
@pytest.mark.contracts
def test_the_first_evening(project: Path, baseline: Path) -> None:
    """What ships with the project learns what it says."""
    found = task(project)
    metrics = metrics_of(baseline)
    assert tuple(metrics) == found.metrics
    assert found.reaches(metrics[found.metric], found.bar), metrics
    files = [name.format(name="test") for name in found.evaluation_files]
    for name in ("learning_curves.png", *files):
        path = baseline / name
        assert path.stat().st_size
        assert path.suffix != ".png" or width_of_png(path) > 400
    described = json.loads((baseline / "dataset.json").read_text())
    assert described == json.loads((project / "data" / "dataset.json").read_text())


@pytest.mark.once_a_template
@pytest.mark.contracts
def test_the_page_of_the_task_shows_what_train_prints(project: Path, baseline: Path) -> None:
    """Its counts are exact; of the rest, all but the numbers."""
    page = (project / "TASK.md").read_text(encoding="utf-8").splitlines()
    shown = [line[4:] for line in page if re.match(r"    (\S+: starting,|epoch|best epoch) ", line)]
    log = (baseline / "train.log").read_text(encoding="utf-8").splitlines()
    printed = [re.sub(r"^[\d-]+ [\d:,]+ ", "", line) for line in log]
    assert shown[0].partition("weights")[0] == printed[0].partition("weights")[0]
    for sample, line in zip(shown[-2:], printed[-2:], strict=True):
        assert re.sub(r"[\d.,]+", "0", sample) == re.sub(r"[\d.,]+", "0", line)


# The reader of what a command prints has gone, as that of `python train.py | head -1`.
NO_READER = """
import os
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1), os.dup2(writer, 2)
"""


@pytest.mark.in_full
def test_output_that_nobody_reads(project: Path, server: ForkServer) -> None:
    folder = experiment(project, "unread", tiny(project, {"training.epochs": 1}))
    for script in ("train", "evaluate"):
        assert server.run(script, "--experiment", folder, setup=NO_READER).code == 0
    assert "best epoch 1" in (project / folder / "train.log").read_text()
    assert metrics_of(project / folder)


@pytest.mark.once
def test_closed_output(project: Path) -> None:
    """Neither Python nor the framework has anywhere to print."""
    folder = experiment(project, "closed", tiny(project, {"training.epochs": 1}))
    command = f"exec {shlex.quote(sys.executable)} train.py --experiment {folder} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=project, check=False).returncode == 0
    assert "best epoch 1" in (project / folder / "train.log").read_text()


@pytest.mark.in_full
@pytest.mark.once_a_template
def test_search_and_table(project: Path, server: ForkServer, tmp_path: Path) -> None:
    """Two trials by two workers, one of them evaluated, and all in a table."""
    experiment(project, "start")
    search = project / "experiments" / "search"
    settings = yaml.safe_load((search / "search.yaml").read_text())  # As it comes, it is YAML.
    assert settings["from"] == "experiments/baseline"
    search = search.with_name("small-search")
    search.mkdir()
    text = f"from: experiments/start\ntrials: 2\nspace:\n{task(project).space}"
    (search / "search.yaml").write_text(text)
    where = ("--search", search.relative_to(project))
    searched = run(project, "search_hyperparams.py", *where, "--workers", 2)
    assert searched.returncode == 0, searched.stdout + searched.stderr
    trials = sorted(search.glob("trial_*"))
    assert len(trials) == 2
    for trial in trials:
        assert json.loads((trial / "run.json").read_text())["sessions"]
    some = server.run("evaluate", "--experiment", trials[0].relative_to(project))
    assert some.code == 0, some.output

    synthesized = run(project, "synthesize_results.py")
    assert synthesized.returncode == 0, synthesized.stderr
    table = (project / "experiments" / "results.md").read_text()
    assert "small-search/trial_0000" in table.replace("\\", "")
    assert task(project).metric in table.replace("\\", "")
    page = (project / "experiments" / "results.html").read_text()
    assert "<svg" in page
    assert not re.search(r"(src|href)=.https?:", page)  # Self-contained.
    found = [path for name in ("data", "experiments") for path in (project / name).rglob(".*lock")]
    locks = sorted(path.relative_to(project).as_posix() for path in found)
    assert len(locks) >= 4  # Of runs, the data, an evaluation and the results.
    repository = ("--git-dir", str(tmp_path / "git"), "--work-tree", ".")
    git(project, *repository[:2], "init", "--quiet")
    assert git(project, *repository, "check-ignore", *locks).split() == locks


@pytest.mark.contracts
@pytest.mark.once_a_template
def test_an_evaluation_notes_its_files_before_it_writes_them(
    project: Path, server: ForkServer
) -> None:
    """A kill in between leaves no file that more training would take for the person's."""
    folder = experiment(project, "noted")
    assert server.run("train", "--experiment", folder).code == 0
    setup = "from model.report import Evaluation; Evaluation.write = lambda *_: exit(9)"
    assert server.run("evaluate", "--experiment", folder, setup=setup).code == 9
    noted = json.loads((project / folder / "evaluations.json").read_text())["files"]
    files = [name.format(name="test") for name in task(project).evaluation_files]
    assert sorted(noted) == sorted(["metrics_test.json", "examples_test.npz", *files])


@pytest.mark.where_proven
@pytest.mark.once_a_template
def test_own_data(project: Path, server: ForkServer, tmp_path: Path) -> None:
    """Data of one's own, by the lines of the README; with a $ in names, which pictures draw."""
    folder = project / "experiments" / "$own_5$"
    train_on_own_data(project, server, task(project).make_own_data(tmp_path), folder)
    another = ("--experiment", "experiments/another", "--from", folder.relative_to(project))
    stopped = server.run("train", *another, "--seed", 1, "--max-minutes", 0)
    assert stopped.code == 75, stopped.output
    sessions = json.loads((project / "experiments/another/run.json").read_text())["sessions"]
    assert sessions[-1]["data"] == "data/own"


@pytest.mark.once_a_task
def test_own_data_of_other_kinds(project: Path, server: ForkServer, tmp_path: Path) -> None:
    for name, make in task(project).more_own_data.items():
        folder = project / "experiments" / name
        train_on_own_data(project, server, make(tmp_path / name), folder)


def train_on_own_data(project: Path, server: ForkServer, own: OwnData, folder: Path) -> None:
    """Prepare, train and evaluate; the metric has to be as good as can be expected."""
    found = task(project)
    shutil.rmtree(project / "data" / "own", ignore_errors=True)
    source = ("--source", own.source, "--data", "data/own")
    built = server.run("build_dataset", *source, *own.options)
    assert built.code == 0, built.output
    for words in own.printed:
        assert words in built.output
    where = ("--experiment", folder.relative_to(project), "--data", "data/own")
    changes = [word for item in own.parameters.items() for word in (f"--{item[0]}", item[1])]
    trained = server.run("train", *where, "--from", "experiments/baseline", *changes)
    assert trained.code == 0, trained.output
    evaluated = server.run("evaluate", *where[:2])  # On the data of the training.
    assert evaluated.code == 0, evaluated.output
    assert "could not be drawn" not in trained.output + evaluated.output
    value = metrics_of(folder)[found.metric]
    assert found.reaches(value, own.bar), metrics_of(folder)


@pytest.mark.once_a_task
def test_the_shipped_parameters_are_all_of_the_schema(project: Path) -> None:
    """Every parameter stands in params.yaml with its meaning, as a new experiment would have it."""
    code = (
        "from pathlib import Path; from machinery.parameter_file import *; import parameters;"
        "path = Path('experiments/baseline/params.yaml');"
        "print(format_parameters(load_parameters(parameters.Parameters, path)))"
    )
    written = run(project, "-c", code).stdout
    shipped = (project / "experiments" / "baseline" / "params.yaml").read_text()
    for_editors, _, rest = shipped.partition("\n")
    assert for_editors == "# yaml-language-server: $schema=../../schemas/params.json"
    assert rest.strip() == written.strip()


@pytest.mark.parametrize("combination", checked_combinations, ids=str)
def test_the_readme_or_the_page_of_the_task_names_every_file(
    combination: Combination, rendered: Callable[[Combination], Path]
) -> None:
    project = rendered(combination)
    pages = (project / "README.md").read_text() + (project / "TASK.md").read_text()
    files = [path.name for path in project.glob("*.py")]
    files += [path.name for path in (project / "model").glob("[a-z]*.py")]
    assert [name for name in (*files, "framework/", "machinery/") if name not in pages] == []


@pytest.mark.in_full
@pytest.mark.parametrize(
    "option",
    [("deterministic", True), ("precision", "float32"), ("patience", 1), ("clip_norm", 0)],
    ids=lambda option: option[0],
)
def test_training_options(project: Path, server: ForkServer, option: tuple[str, object]) -> None:
    parameters = tiny(project, {f"training.{option[0]}": option[1]})
    result = server.run("train", "--experiment", experiment(project, "option", parameters))
    assert result.code == 0, result.output


RATES = """
import backend
from parameters import TrainingParameters
training = TrainingParameters(epochs=4, warmup_epochs=2, learning_rate=1.0)
learning_rate = backend.make_schedule(training, 10)
print("rates", *(float(learning_rate(step)) for step in range(40)))
"""


@pytest.mark.in_full
@pytest.mark.once_a_template
def test_the_schedule(project: Path, server: ForkServer) -> None:
    """A linear rise in two epochs of ten steps, then half a cosine in two more."""
    printed = server.run("build_dataset", "--help", setup=RATES).output
    (line,) = [line for line in printed.splitlines() if line.startswith("rates")]
    rise = [(step + 1) / 21 for step in range(20)]
    fall = [(1 + math.cos(math.pi * step / 20)) / 2 for step in range(20)]
    assert [float(word) for word in line.split()[1:]] == pytest.approx(rise + fall, abs=1e-6)


@pytest.mark.in_full
def test_early_stopping(project: Path, server: ForkServer) -> None:
    still = {"epochs": 50, "patience": 2, "learning_rate": 1e-12, "weight_decay": 0}
    parameters = tiny(project, {f"training.{name}": value for name, value in still.items()})
    folder = experiment(project, "early", parameters)
    result = server.run("train", "--experiment", folder)
    assert result.code == 0, result.output
    rows = [json.loads(line) for line in (project / folder / "metrics.jsonl").open()]
    session = json.loads((project / folder / "run.json").read_text())["sessions"][0]
    metric, maximize = session["objective"].values()
    scores = [(row[metric] if maximize else -row[metric], -row["val_loss"]) for row in rows]
    assert scores.index(max(scores)) == len(rows) - 3 < 47


@pytest.mark.in_full
def test_checkpoints_between_epochs(project: Path, server: ForkServer) -> None:
    often = tiny(project, {"training.checkpoint_minutes": 1e-6})
    folder = experiment(project, "often", often)
    result = server.run(
        "train",
        "--experiment",
        folder,
        setup="from machinery.run import Run; import train; train.SECONDS_PER_CALL = 0\n"
        "save = Run.save\n"
        "Run.save = lambda self, arrays: (print('saved', self.progress.step), save(self, arrays))",
    )
    assert result.code == 0, result.output
    saved = [int(line.split()[1]) for line in result.output.splitlines() if line[:5] == "saved"]
    assert len(set(saved)) == len(saved) == pace(project).stops
    assert saved[-1] == 10


@pytest.mark.in_full
@pytest.mark.once_a_template
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_training(project: Path) -> None:
    parameters = tiny(project, {"training.epochs": 1, "training.compile": True})
    folder = experiment(project, "compiled", parameters)
    result = run(project, "train.py", "--experiment", folder)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU of CUDA here")
def test_training_on_a_gpu(project: Path) -> None:
    found = task(project)
    folder = experiment(project, "gpu", "training: {epochs: 5, deterministic: true}\n")
    where = ("--experiment", folder, "--device", "cuda")
    stopped = run(project, "train.py", *where, "--max-minutes", 0)
    if "--device: got cuda" in stopped.stderr:
        pytest.skip("the framework is installed without CUDA")
    assert stopped.returncode == 75, stopped.stderr
    trained = run(project, "train.py", *where)
    assert trained.returncode == 0, trained.stderr
    assert run(project, "evaluate.py", *where).returncode == 0
    assert found.metric in metrics_of(project / folder)


@pytest.mark.once
def test_seeds_and_a_baseline(project: Path) -> None:
    """One command for the seeds of an experiment; another compares it with them."""
    # Of its own weight decay, or its row would be shared with runs of other tests.
    one = {"training.epochs": 1, "training.weight_decay": 0.0123}
    folder = experiment(project, "three", tiny(project, one))
    words = ("--experiment", "experiments/more", "--from", folder, "--seeds", "4..5")
    trained = run(project, "train.py", *words, "--device", "cpu")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "Training 2 runs, " in trained.stdout
    assert "mean of 2 seeds ± standard deviation:" in trained.stdout
    assert trained.stdout.count("next: ") == 1
    again = run(project, "train.py", *words, "--device", "cpu")
    assert again.stdout.count("is finished; nothing to do") == 2
    evaluated = run(project, "evaluate.py", "--experiment", "experiments/more", "--split", "val")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "mean of 2 seeds ± standard deviation:  val loss " in evaluated.stdout
    assert (project / "experiments/more/seed-5/metrics_val.json").exists()
    compared = run(project, "synthesize_results.py", "--baseline", "more")
    assert compared.returncode == 0, compared.stderr
    table = (project / "experiments" / "results.md").read_text(encoding="utf-8")
    assert "more (2 seeds)" in table  # In the terminal 40 rows are shown.
