"""Every bad command line and parameter file is refused, with exit code 2 and nothing changed.

The message helps, and there is no traceback.
"""

import sys
from pathlib import Path

import pytest

from fork_server import ForkServer
from projects import (
    experiment,
    format_yaml,
    other_network,
    other_optimizer,
    pace,
    run,
    snapshot,
    tiny,
)
from tasks import Task

pytestmark = pytest.mark.contracts


def assert_refused(project: Path, code: int, output: str, before: dict, *expected: str) -> None:
    assert code == 2, output
    assert "Traceback" not in output
    assert "error: " in output
    for words in expected:
        assert words in output
    assert snapshot(project) == before


# --- params.yaml: (content, what the message must say)
parameter_files: dict[str, tuple[str | bytes, list[str]]] = {
    "unknown name": ("training: {epcohs: 3}", ["params.yaml:1: training.epcohs", "g.epochs?"]),
    "unknown section": ("trainig: {epochs: 3}", ["trainig: unknown", "training?"]),
    "abbreviation": ("training:\n  lr: 0.1", ["params.yaml:2", "training.learning_rate?"]),
    "misplaced": ("epochs: 3", ["epochs: unknown", "training.epochs?"]),
    "word for a number": ("training: {epochs: many}", ["'many'", "integer"]),
    "quoted number": ('training: {learning_rate: "1e-3"}', ["'1e-3'", "number"]),
    "bool for a number": ("seed: true", ["'True'", "integer"]),
    "float for an integer": ("seed: 1.5", ["'1.5'", "integer"]),
    "negative": ("training: {weight_decay: -0.1}", ["'-0.1'", "greater than or equal to 0"]),
    "zero": ("data: {batch_size: 0}", ["'0'", "greater than or equal to 1"]),
    "not a number": ("training: {learning_rate: .nan}", ["finite"]),
    "infinite": ("training: {weight_decay: .inf}", ["finite"]),
    "unknown choice": ("training: {precision: float8}", ["'float8'", "'bfloat16'"]),
    "number for a section": ("model: 3", ["model: got '3'"]),
    "empty section": ("model:", ["model: got 'None'"]),
    "empty file": ("", ["nothing", "name: value"]),
    "list at the top": ("- seed: 1", ["list", "name: value"]),
    "twice the same name": ("seed: 1\nseed: 2", ["params.yaml:2", "duplicate"]),
    "tab": ("model:\n\twidth: 3", ["params.yaml:2", "not valid YAML"]),
    "not closed": ("model: {width: 3", ["not valid YAML"]),
    "not UTF-8": (b"seed: 1 # \xff", ["UTF-8"]),
    "Python object": ("seed: !!python/object/apply:os.system [ls]", ["not valid YAML"]),
    "far too many": ("\n".join(f"x{i}: 1" for i in range(20_000)), ["larger than 64 kB"]),
    "far too large": (
        f"training: {{epochs: {10**12}, learning_rate: 1e300}}\ndata: {{batch_size: {10**20}}}",
        ["3 parameters", f"'{10**12}'", "than or equal to 1000000", f"'{10**20}'", "'1e+300'"],
    ),
    "more than 64 bits": (f"seed: {2**70}", [f"'{2**70}'", f"less than {2**32}"]),
    "nested deeply": ("model: " + "[" * 1500, ["not valid YAML"]),
}


@pytest.mark.once_a_task
def test_every_number_has_bounds(project: Path) -> None:
    """The schema, and not the framework, refuses what no machine can do."""
    code = (
        "import annotated_types as a, parameters; from machinery.parameter_file import *;"
        "print([name for name, field in parameter_fields(parameters.Parameters)"
        " if field.annotation in (int, float) and not ("
        " any(isinstance(each, (a.Ge, a.Gt)) for each in field.metadata) and"
        " any(isinstance(each, (a.Le, a.Lt)) for each in field.metadata))])"
    )
    assert run(project, "-c", code).stdout == "[]\n"


@pytest.mark.in_full
@pytest.mark.once_a_template
@pytest.mark.parametrize("case", parameter_files)
def test_parameter_file(project: Path, server: ForkServer, case: str) -> None:
    content, expected = parameter_files[case]
    folder = experiment(project, "refused")
    data = content if isinstance(content, bytes) else content.encode()
    (project / folder / "params.yaml").write_bytes(data)
    before = snapshot(project)
    result = server.run("train", "--experiment", folder)
    assert_refused(project, result.code, result.output, before, str(folder), *expected)


def test_parameters_that_do_not_fit_the_data(
    project: Path, server: ForkServer, case_of_misfits: tuple[Task, str]
) -> None:
    found, case = case_of_misfits
    misfit = found.misfits[case]
    folder = experiment(project, "refused", format_yaml(misfit.parameters))
    before = snapshot(project)
    result = server.run("train", "--experiment", folder)
    assert_refused(project, result.code, result.output, before, *misfit.expected)


@pytest.mark.once_a_template
def test_every_parameter_error_at_once(project: Path) -> None:
    parameters = "seed: x\ntraining: {epcohs: 1, weight_decay: -1}\n"
    folder = experiment(project, "refused", parameters)
    before = snapshot(project)
    new = ("--experiment", "experiments/new", "--from", folder, "--training.patience", "no")
    result = run(project, "-X", "importtime", "train.py", *new)
    errors = "".join(line for line in result.stderr.splitlines(True) if "import time" not in line)
    expected = ["4 parameters", "seed", "training.epcohs", "weight_decay", "--training.patience"]
    assert_refused(project, result.returncode, errors, before, *expected)
    # Refusing is quick: neither the framework nor NumPy is imported for it.
    modules = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    slow = {"torch", "tensorflow", "jax", "keras", "numpy", "matplotlib", "sklearn", "optuna"}
    assert not modules & {*slow, "tensorboard", "pytorch_lightning"}


# --- command lines of train.py and evaluate.py
absent = "cuda" if sys.platform == "darwin" else "mps"
commands: dict[str, tuple[list[str], list[str]]] = {
    "unknown option": (["train", "--learning-rate", "3"], ["--learning-rate", "--training.le"]),
    "unknown word": (["train", "baseline"], ["baseline"]),
    "parameter without --from": (["train", "--seed", "3"], ["--from", "--seed"]),
    "misspelled without --from": (
        ["train", "--trainng.epochs", "3", "--seed", "4"],
        ["--trainng.epochs: unknown", "training.epochs?"],
    ),
    "misspelled and joined by =": (
        ["train", "--training.epcohs=3"],
        ["--training.epcohs", "training.epochs?"],
    ),
    "misspelled in both forms": (
        [
            *("train", "--from", "experiments/baseline", "--experiment", "experiments/new"),
            *("--training.epcohs=3", "--data.batchsize", "3", "--training.patience", "no"),
            *("--training.wamrup_epochs", "-3"),
        ],
        [
            *("4 parameters", "training.epochs?", "data.batch_size?", "training.warmup_epochs?"),
            *("--training.patience: got 'no'",),
        ],
    ),
    "several options misspelled": (
        ["train", "--exprimnt", "b", "--ovrwrite", "--devise=cpu"],
        ["--experiment?", "--overwrite?", "--device?"],
    ),
    "missing experiment": (["train", "--experiment", "experiments/x"], ["not found", "baseline"]),
    "missing source": (["train", "--from", "nowhere", "--experiment", "b"], ["nowhere"]),
    "not a value": (
        ["train", "--from", "experiments/baseline", "--experiment", "n", "--seed", "[1,"],
        ["--seed", "[1,"],
    ),
    "path of 300 characters": (["train", "--experiment", "x" * 300], ["xxx", "name too long"]),
    "data of 300 characters": (["train", "--data", "x" * 300], ["xxx", "name too long"]),
    "too many minutes": (["train", "--max-minutes", "1e300"], ["--max-minutes", "0 to 1000000"]),
    "unknown device": (["train", "--device", "tpu"], ["--device", "tpu"]),
    "device not here": (["train", "--device", absent], ["--device", absent, "cpu"]),
    "negative minutes": (["train", "--max-minutes", "-1"], ["--max-minutes", "-1"]),
    "missing data": (["train", "--data", "nowhere"], ["nowhere", "build_dataset.py"]),
    "not trained": (["evaluate"], ["best.safetensors", "not found", "train.py"]),
    "unknown split": (["evaluate", "--split", "tset"], ["tset", "test"]),
}


@pytest.mark.in_full
@pytest.mark.once_a_template
@pytest.mark.parametrize("case", commands)
def test_command(project: Path, server: ForkServer, case: str) -> None:
    (script, *arguments), expected = commands[case]
    before = snapshot(project)
    result = server.run(script, *arguments)
    assert_refused(project, result.code, result.output, before, *expected)


# --- a run folder and its checkpoints
@pytest.fixture
def unfinished(project: Path, server: ForkServer) -> Path:
    folder = experiment(project, "unfinished")
    assert server.run("train", "--experiment", folder, stop_at=pace(project).late).code == 75
    return folder


@pytest.mark.in_full
@pytest.mark.once_a_template
def test_changed_parameters(project: Path, server: ForkServer, unfinished: Path) -> None:
    (project / unfinished / "params.yaml").write_text(tiny(project, {"training.patience": 3}))
    before = snapshot(project)
    result = server.run("train", "--experiment", unfinished)
    expected = ["training.patience (0 -> 3)", "params.yaml", "--overwrite"]
    assert_refused(project, result.code, result.output, before, *expected)


@pytest.mark.in_full
@pytest.mark.once_a_template
def test_other_parameters_for_an_experiment_that_exists(
    project: Path, server: ForkServer, unfinished: Path
) -> None:
    before = snapshot(project)
    new = ("--experiment", unfinished, "--from", unfinished, "--training.weight_decay", "0.5")
    result = server.run("train", *new)
    assert_refused(project, result.code, result.output, before, "weight_decay (", "-> 0.5)")


@pytest.mark.in_full
def test_changed_data(project: Path, server: ForkServer, unfinished: Path) -> None:
    other = ("--data", "other")
    assert server.run("build_dataset", *other, "--seed", 1, "--overwrite").code == 0
    before = snapshot(project)
    for script in ("train", "evaluate"):
        result = server.run(script, "--experiment", unfinished, *other)
        assert_refused(project, result.code, result.output, before, "other data", "fingerprint")


def test_changed_network(project: Path, server: ForkServer, unfinished: Path) -> None:
    """The network of the code is another one than that of the checkpoint."""
    before = snapshot(project)
    for script in ("train", "evaluate"):
        result = server.run(script, "--experiment", unfinished, setup=other_network(project))
        expected = ["does not fit", "expected", "model/net.py"]
        assert_refused(project, result.code, result.output, before, *expected)


@pytest.mark.in_full
def test_changed_optimizer(project: Path, server: ForkServer, unfinished: Path) -> None:
    before = snapshot(project)
    setup = other_optimizer(project)
    result = server.run("train", "--experiment", unfinished, setup=setup)
    assert_refused(project, result.code, result.output, before, "AdamW", "train.py", "--from")


@pytest.mark.in_full
@pytest.mark.once_a_template
def test_a_finished_run_that_is_given_again(project: Path, server: ForkServer) -> None:
    """There is nothing to do, which is no error: loops and queues that start it again can end."""
    folder = experiment(project, "finished")
    assert server.run("train", "--experiment", folder).code == 0
    before = snapshot(project)
    result = server.run("train", "--experiment", folder)
    assert result.code == 0
    assert "is finished; nothing to do" in result.output
    assert "--overwrite" in result.output
    assert snapshot(project) == before

    (project / folder / "params.yaml").write_text(tiny(project, {"training.epochs": 1}))
    before = snapshot(project)
    result = server.run("train", "--experiment", folder)
    expected = ["is finished, with other parameters", "training.epochs (2 -> 1)", "--overwrite"]
    assert_refused(project, result.code, result.output, before, *expected)


@pytest.mark.in_full
def test_file_instead_of_a_run_folder(project: Path, server: ForkServer) -> None:
    (project / "file").write_text("")
    before = snapshot(project)
    result = server.run("train", "--experiment", "file")
    assert_refused(project, result.code, result.output, before, "file")
    new = ("--experiment", "file", "--from", "experiments/baseline")
    result = server.run("train", *new)
    assert_refused(project, result.code, result.output, before, "file")


@pytest.mark.once
def test_search_of_an_unknown_parameter(project: Path, server: ForkServer) -> None:
    """The rest of what a search refuses is tested with the machinery."""
    search = project / "experiments" / "refused-search"
    search.mkdir(exist_ok=True)
    text = "from: experiments/baseline\ntrials: 2\nspace:\n  training.epcohs: {choices: [1]}\n"
    (search / "search.yaml").write_text(text)
    before = snapshot(project)
    result = run(project, "search_hyperparams.py", "--search", search.relative_to(project))
    expected = ["search.yaml", "training.epcohs", "training.epochs?"]
    assert_refused(project, result.returncode, result.stderr, before, *expected)
