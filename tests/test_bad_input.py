"""Every bad input is refused: a message that helps, exit code 2, no traceback, nothing changed."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fork_server import ForkServer
from projects import experiment, pace, run, snapshot, template


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[ForkServer]:
    with ForkServer(project) as server:
        yield server


def assert_refused(project: Path, code: int, output: str, before: dict, *expected: str) -> None:
    assert code == 2, output
    assert "Traceback" not in output
    assert "error: " in output
    for words in expected:
        assert words in output
    assert snapshot(project) == before


# --- params.yaml: (content, what the message must say)
parameter_files: dict[str, tuple[str | bytes, list[str]]] = {
    "unknown name": ("model: {widht: 3}", ["params.yaml:1: model.widht", "model.width?"]),
    "unknown section": ("modle: {width: 3}", ["modle: unknown", "model?"]),
    "abbreviation": ("training:\n  lr: 0.1", ["params.yaml:2", "training.learning_rate?"]),
    "misplaced": ("epochs: 3", ["epochs: unknown", "training.epochs?"]),
    "word for a number": ("training: {epochs: many}", ["'many'", "integer"]),
    "quoted number": ('training: {learning_rate: "1e-3"}', ["'1e-3'", "number"]),
    "bool for a number": ("seed: true", ["'True'", "integer"]),
    "float for an integer": ("seed: 1.5", ["'1.5'", "integer"]),
    "negative": ("model: {dropout: -0.1}", ["'-0.1'", "greater than or equal to 0"]),
    "too large": ("model: {dropout: 1.0}", ["'1.0'", "less than 1"]),
    "zero": ("data: {batch_size: 0}", ["'0'", "greater than or equal to 1"]),
    "not a number": ("training: {learning_rate: .nan}", ["finite"]),
    "infinite": ("training: {weight_decay: .inf}", ["finite"]),
    "unknown choice": ("training: {precision: float16}", ["'float16'", "'bfloat16'"]),
    "number for a section": ("model: 3", ["model: got '3'"]),
    "empty section": ("model:", ["model: got 'None'"]),
    "empty file": ("", ["nothing", "name: value"]),
    "list at the top": ("- seed: 1", ["list", "name: value"]),
    "twice the same name": ("seed: 1\nseed: 2", ["params.yaml:2", "duplicate"]),
    "tab": ("model:\n\twidth: 3", ["params.yaml:2", "not valid YAML"]),
    "not closed": ("model: {width: 3", ["not valid YAML"]),
    "not UTF-8": (b"seed: 1 # \xff", ["UTF-8"]),
    "Python object": ("seed: !!python/object/apply:os.system [ls]", ["not valid YAML"]),
    "larger than 1 MB": ("# " + "x" * 1_000_001, ["1 MB"]),
    "nested deeply": ("model: " + "[" * 5000, ["not valid YAML"]),
}


@pytest.mark.parametrize("case", parameter_files)
def test_parameter_file(project: Path, server: ForkServer, case: str) -> None:
    content, expected = parameter_files[case]
    folder = experiment(project, "refused")
    data = content if isinstance(content, bytes) else content.encode()
    (project / folder / "params.yaml").write_bytes(data)
    before = snapshot(project)
    result = server.run("train", "--experiment", folder)
    assert_refused(project, result.code, result.output, before, str(folder), *expected)


def test_a_network_that_the_images_are_too_small_for(project: Path, server: ForkServer) -> None:
    folder = experiment(project, "refused", "model: {stages: 8}\n")
    before = snapshot(project)
    result = server.run("train", "--experiment", folder)
    expected = ["model.stages: got 8", "at most 4", "8 pixels"]
    assert_refused(project, result.code, result.output, before, *expected)


def test_every_parameter_error_at_once(project: Path) -> None:
    folder = experiment(project, "refused", "seed: x\nmodel: {widht: 1, dropout: 2.0}\n")
    before = snapshot(project)
    new = ("--experiment", "experiments/new", "--from", folder, "--training.epochs", "no")
    result = run(project, "-X", "importtime", "train.py", *new)
    errors = "".join(line for line in result.stderr.splitlines(True) if "import time" not in line)
    expected = ["4 parameters", "seed", "model.widht", "model.dropout", "--training.epochs"]
    assert_refused(project, result.returncode, errors, before, *expected)
    # Refusing is quick: neither the framework nor NumPy is imported for it.
    modules = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    slow = {"torch", "tensorflow", "jax", "keras", "numpy", "matplotlib", "sklearn", "optuna"}
    assert not modules & {*slow, "tensorboard"}


# --- command lines of train.py and evaluate.py
absent = "cuda" if sys.platform == "darwin" else "mps"
commands: dict[str, tuple[list[str], list[str]]] = {
    "unknown option": (["train", "--learning-rate", "3"], ["--learning-rate", "--training.le"]),
    "parameter without --from": (["train", "--model.width", "3"], ["--from", "--model.width"]),
    "misspelled without --from": (
        ["train", "--trainng.epochs", "3", "--seed", "4"],
        ["trainng: unknown", "training?"],
    ),
    "missing experiment": (["train", "--experiment", "experiments/x"], ["not found", "baseline"]),
    "missing source": (["train", "--from", "nowhere", "--experiment", "b"], ["nowhere"]),
    "not a value": (
        ["train", "--from", "experiments/baseline", "--experiment", "n", "--seed", "[1,"],
        ["--seed", "[1,"],
    ),
    "unknown device": (["train", "--device", "tpu"], ["--device", "tpu"]),
    "device not here": (["train", "--device", absent], ["--device", absent, "cpu"]),
    "negative minutes": (["train", "--max-minutes", "-1"], ["--max-minutes", "-1"]),
    "missing data": (["train", "--data", "nowhere"], ["nowhere", "build_dataset.py"]),
    "not trained": (["evaluate"], ["best.safetensors", "not found", "train.py"]),
    "unknown split": (["evaluate", "--split", "tset"], ["tset", "test"]),
}


@pytest.mark.parametrize("case", commands)
def test_command(project: Path, server: ForkServer, case: str) -> None:
    (script, *arguments), expected = commands[case]
    before = snapshot(project)
    result = server.run(script, *arguments)
    assert_refused(project, result.code, result.output, before, *expected)


# --- the data folder: (how it is damaged, what the message must say)
def _rewrite(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


data_faults: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no dataset.json": (lambda data: (data / "dataset.json").unlink(), ["dataset.json"]),
    "not JSON": (lambda data: (data / "dataset.json").write_text("{"), ["dataset.json"]),
    "unknown field": (
        lambda data: _rewrite(data / "dataset.json", lambda d: d.update(colour=1)),
        ["colour"],
    ),
    "missing field": (
        lambda data: _rewrite(data / "dataset.json", lambda d: d.pop("classes")),
        ["classes"],
    ),
    "no images": (lambda data: (data / "train_images.npy").unlink(), ["train_images.npy"]),
    "empty array": (lambda data: (data / "val_labels.npy").write_bytes(b""), ["val_labels.npy"]),
    "truncated array": (lambda data: os.truncate(data / "train_images.npy", 5000), ["train_im"]),
    "pickled array": (
        lambda data: np.save(data / "train_labels.npy", np.array([{}]), allow_pickle=True),
        ["train_labels.npy"],
    ),
    "wrong dtype": (
        lambda data: np.save(data / "train_images.npy", np.zeros((1257, 8, 8, 1), np.float32)),
        ["float32", "uint8"],
    ),
    "too few images": (
        lambda data: np.save(data / "train_images.npy", np.zeros((3, 8, 8, 1), np.uint8)),
        ["(3, 8, 8, 1)", "(1257, 8, 8, 1)"],
    ),
    "label out of range": (
        lambda data: np.save(data / "train_labels.npy", np.full(1257, 10)),
        ["10", "0 to 9"],
    ),
}


@pytest.mark.parametrize("case", data_faults)
def test_data_folder(project: Path, server: ForkServer, case: str) -> None:
    damage, expected = data_faults[case]
    shutil.rmtree(project / "damaged", ignore_errors=True)
    shutil.copytree(project / "data", project / "damaged")
    damage(project / "damaged")
    folder = experiment(project, "refused")
    before = snapshot(project)
    result = server.run("train", "--experiment", folder, "--data", "damaged")
    assert result.code == 2, result.output
    assert_refused(project, result.code, result.output, before, "build_dataset.py", *expected)


# --- a run folder and its checkpoints
@pytest.fixture
def unfinished(project: Path, server: ForkServer) -> Path:
    folder = experiment(project, "unfinished")
    assert server.run("train", "--experiment", folder, stop_at=pace(project).late).code == 75
    return folder


def test_changed_parameters(project: Path, server: ForkServer, unfinished: Path) -> None:
    path = project / unfinished / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 3"))
    before = snapshot(project)
    result = server.run("train", "--experiment", unfinished)
    expected = ["training.epochs (2 -> 3)", "params.yaml", "--overwrite"]
    assert_refused(project, result.code, result.output, before, *expected)


def test_other_parameters_for_an_experiment_that_exists(
    project: Path, server: ForkServer, unfinished: Path
) -> None:
    before = snapshot(project)
    new = ("--experiment", unfinished, "--from", "experiments/baseline", "--model.width", "8")
    result = server.run("train", *new)
    assert_refused(project, result.code, result.output, before, "model.width (4 -> 8)")


def test_changed_data(project: Path, server: ForkServer, unfinished: Path) -> None:
    shutil.rmtree(project / "other", ignore_errors=True)
    assert run(project, "build_dataset.py", "--data", "other", "--seed", 1).returncode == 0
    before = snapshot(project)
    for script in ("train", "evaluate"):
        result = server.run(script, "--experiment", unfinished, "--data", "other")
        assert_refused(project, result.code, result.output, before, "other data", "fingerprint")


def test_changed_network(project: Path, server: ForkServer, unfinished: Path) -> None:
    before = snapshot(project)
    # The network of the code is another one than that of the checkpoint.
    change = "from model.parameters import ModelParameters as M; import evaluate, train\n"
    change += "import model.net as n\n"
    if template(project) == "keras-quickstart":
        change += "real = n.build_model\n"
        change += (
            "n.build_model = lambda p, *a, **k: real(p.model_copy(update={'width': 8}), *a, **k)"
        )
    else:
        change += "real = n.Net.__init__\n"
        change += "def init(self, p, d): real(self, p.model_copy(update={'width': 8}), d)\n"
        change += "n.Net.__init__ = init"
    for script in ("train", "evaluate"):
        result = server.run(script, "--experiment", unfinished, setup=change)
        expected = ["does not fit", "expected", "model/net.py"]
        assert_refused(project, result.code, result.output, before, *expected)


def test_finished_run_is_kept(project: Path, server: ForkServer) -> None:
    folder = experiment(project, "finished")
    assert server.run("train", "--experiment", folder).code == 0
    before = snapshot(project)
    result = server.run("train", "--experiment", folder)
    assert_refused(project, result.code, result.output, before, "is finished", "--overwrite")


def test_file_instead_of_a_run_folder(project: Path, server: ForkServer) -> None:
    (project / "file").write_text("")
    before = snapshot(project)
    result = server.run("train", "--experiment", "file")
    assert_refused(project, result.code, result.output, before, "file")
    new = ("--experiment", "file", "--from", "experiments/baseline")
    result = server.run("train", *new)
    assert_refused(project, result.code, result.output, before, "file")


# --- folders of images
def _image(path: Path, value: int = 0, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def _images(folder: Path, *classes: str, count: int = 4) -> None:
    for number, name in enumerate(classes):
        for i in range(count):
            _image(folder / name / f"{i}.png", value=100 * number + i)


image_faults: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing folder": (lambda source: None, ["not a folder"]),
    "empty folder": (lambda source: source.mkdir(), ["none", "two or more"]),
    "one class": (lambda source: _images(source, "cat"), ["cat", "two or more"]),
    "not an image": (
        lambda source: (_images(source, "cat", "dog"), (source / "cat/x.png").write_text("x")),
        ["cat/x.png", "--skip-bad"],
    ),
    "cut short": (
        lambda source: (_images(source, "cat", "dog"), os.truncate(source / "dog/1.png", 100)),
        ["dog/1.png"],
    ),
    "empty file": (
        lambda source: (_images(source, "cat", "dog"), os.truncate(source / "dog/1.png", 0)),
        ["dog/1.png"],
    ),
    "too few to split": (lambda source: _images(source, "cat", "dog", count=2), ["3 or more"]),
    "unknown split": (
        lambda source: (_images(source / "train", "a", "b"), _images(source / "tset", "a")),
        ["tset", "test/"],
    ),
    "class only in test": (
        lambda source: (_images(source / "train", "a", "b"), _images(source / "test", "a", "c")),
        ["class c", "train"],
    ),
    "empty test": (
        lambda source: (_images(source / "train", "a", "b"), (source / "test").mkdir()),
        ["test", "no images"],
    ),
}


@pytest.mark.parametrize("case", image_faults)
def test_image_folder(project: Path, tmp_path: Path, case: str) -> None:
    make, expected = image_faults[case]
    make(tmp_path / "images")
    before = snapshot(project)
    command = ("build_dataset.py", "--source", tmp_path / "images", "--data", "data/own")
    result = run(project, *command)
    assert_refused(project, result.returncode, result.stderr, before, *expected)


def test_dataset_is_kept(project: Path) -> None:
    before = snapshot(project)
    result = run(project, "build_dataset.py")
    assert_refused(project, result.returncode, result.stderr, before, "exists", "--overwrite")


@pytest.mark.parametrize("option", ["--image-size=0", "--image-size=x", "--seed=-1", "--sorce=x"])
def test_build_options(project: Path, option: str) -> None:
    before = snapshot(project)
    result = run(project, "build_dataset.py", "--data", "data/own", option)
    name = option.partition("=")[0]
    assert_refused(project, result.returncode, result.stderr, before, name)
