"""Versions of exported networks: their numbers, what is written about them, and a check elsewhere.

    exports/onnx/.last-version     the highest number that was ever given
    exports/onnx/3/model.onnx      the network of version 3
    exports/onnx/3/export.json     where it came from, what it takes and gives; SHA-256 of the files

A version appears only when a new process, with nothing of this project, has loaded it and given the
predictions of the network. Then it gets its number, in one piece: a kill leaves no half version.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from machinery import intervals, model_card, quantised
from machinery.argument_parser import ArgumentParser
from machinery.command_line import EvaluateCommand, evaluation
from machinery.elsewhere import compare, predict_elsewhere
from machinery.errors import InputError, exit_codes
from machinery.files import replace, sync_folder, sync_tree, write_atomically
from machinery.metrics import read_metrics
from machinery.parameter_file import Section, flatten
from machinery.quantised import Quantising
from machinery.records import read_sessions
from machinery.sampling import evaluation_batch_size

FILE = "export.json"
LAST_VERSION = ".last-version"  # The file beside the versions that holds the highest number given.
EXAMPLES = 256  # Of test at most so many are compared.


class Format(NamedTuple):
    """A kind of file to export to."""

    runtime: str  # what loads it, for messages
    load: str  # Python that defines predict(inputs, path): see machinery/elsewhere.py
    packages: tuple[str, ...] = ()  # of its requirements, as Python imports them
    refusal: str = ""  # why this project cannot write it, where it cannot
    int8: bool = False  # whether --int8 writes it
    requirements: str = "export.txt"  # the file in requirements/ that names its packages
    takes: int | None = None  # examples at a time; None: any number


ONNX_LOAD = """
import onnxruntime
session = None
def predict(inputs, path):
    global session
    session = session or onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))
"""


LITERT_LOAD = """
from ai_edge_litert.interpreter import Interpreter
run = None
def predict(inputs, path):
    global run
    run = run or Interpreter(model_path=path).get_signature_runner()
    return run(**inputs)
"""
LITERT = Format("LiteRT", LITERT_LOAD, ("ai_edge_litert",), int8=True)


def onnx(*packages: str) -> Format:
    """Return the format of ONNX; `packages` write it, beside those that every framework needs."""
    return Format("ONNX Runtime", ONNX_LOAD, ("onnx", "onnxruntime", *packages), int8=True)


class Examples(NamedTuple):
    """Examples of test with what the network predicts of them, by name, each (N, ...)."""

    inputs: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]


def command_line(
    name: str, description: str | None, schema: type[Section], formats: Mapping[str, Format]
) -> EvaluateCommand:
    """Read the command line of export.py; end the process if it is wrong or a package is missing.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
        formats: by name; the first that this project can write is the default.
    """

    def add_options(parser: ArgumentParser) -> None:
        default = next(name for name in formats if not formats[name].refusal)
        parser.add_argument("--format", choices=[*formats], default=default, help=f"[{default}]")
        parser.add_argument(
            "--exports", type=Path, default=Path("exports"), help="folder [exports]"
        )
        quantised.add_options(parser)

    command = evaluation(name, description, schema, add_options)
    if command.arguments is not None:
        with exit_codes():
            check_int8(command.arguments, formats)
            check_format(command.arguments.format, formats[command.arguments.format])
    return command


def check_format(format_name: str, form: Format) -> None:
    """Raise InputError where a format is not to be had, or a package that it needs is missing."""
    if form.refusal:
        raise InputError(f"--format {format_name}: {form.refusal}")
    if missing := [name for name in form.packages if not importlib.util.find_spec(name)]:
        raise InputError(
            f"--format {format_name}: needs {' and '.join(missing)}. Install what is missing: "
            f"python -m pip install -c constraints.txt -r requirements/{form.requirements}"
        )


def check_int8(arguments: argparse.Namespace, formats: Mapping[str, Format]) -> None:
    """Raise InputError where --int8 or --margin cannot be."""
    if arguments.margin is not None:
        if not arguments.int8:
            raise InputError("--margin: says what --int8 may cost, and --int8 is not there.")
        if not arguments.margin >= 0:
            raise InputError(f"--margin: got {arguments.margin:g}, expected 0 or more.")
    if arguments.int8 and not formats[arguments.format].int8:
        able = [name for name, form in formats.items() if form.int8 and not form.refusal]
        other = f"Choose --format {' or '.join(able)}." if able else "No format here has."
        raise InputError(f"--int8: --format {arguments.format} has no eight bits. {other}")


def rows_to_compare(dataset: Any) -> np.ndarray:
    """Return the numbers of the examples of test that a version is compared on."""
    return np.arange(
        min(dataset.examples["test"], EXAMPLES, evaluation_batch_size(dataset.positions))
    )


def collect_facts(
    arguments: argparse.Namespace,
    parameters: Section,
    dataset: Any,
    step: int,
    packages: Iterable[str],
    new_evaluation: Callable[[Any], Any],
) -> dict[str, Any]:
    """Return what export.json says of where a version came from.

    Args:
        arguments: of the command line.
        parameters: of the experiment.
        dataset: what it was trained on.
        step: of the checkpoint.
        packages: that write the version, as Python imports them.
        new_evaluation: returns an Evaluation of a dataset.
    """
    rows = {row.get("step"): row for row in read_metrics(arguments.experiment)}
    test, evaluated = None, {}
    if not arguments.int8:  # The metrics in eight bits are other ones, and measured later.
        test, evaluated = intervals.read_evaluation(
            arguments.experiment, arguments.checkpoint, step
        )
    measure = intervals.measuring(lambda: new_evaluation(dataset))
    return {
        "format": arguments.format,
        "experiment": arguments.experiment.as_posix(),
        "checkpoint": arguments.checkpoint,
        "step": step,
        "metrics": rows.get(step),
        "test_metrics": test,
        "test_intervals": intervals.metric_intervals(measure, evaluated),
        "test_groups": intervals.count_groups(evaluated),
        "parameters": flatten(parameters),
        "dataset": dataset.model_dump(mode="json"),
        **trained_by(arguments.experiment),
        "versions": installed(packages),
    }


def trained_by(experiment: Path) -> dict[str, str | None]:
    """Return the commit that trained an experiment, and the file of what it had changed since."""
    session = next(reversed(read_sessions(experiment)), {})
    return {name: session.get(name) for name in ("git_commit", "git_changes")}


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages that Python imports under other names than pip installs them.

    Such as tensorflow, which tensorflow-cpu brings.
    """
    names = importlib.metadata.packages_distributions()
    found = {name for package in packages for name in names.get(package, ())}
    return {name: importlib.metadata.version(name) for name in sorted(found)}


def write_version(
    exports: Path,
    facts: Mapping[str, Any],
    form: Format,
    examples: Examples,
    write: Callable[..., str],
    quantising: Quantising | None = None,
) -> Path:
    """Write the next version of a format, compare it, and give it its number.

    Args:
        exports: the folder of all formats.
        facts: of collect_facts.
        form: the format.
        examples: to compare on.
        write: writes the files of a version into a folder, in eight bits if it gets a calibration,
            too; returns the name of the one to load.
        quantising: what makes and measures eight bits; None: stay in float32.

    Returns:
        the folder of the version

    Raises:
        ExportError: it does not load elsewhere, or predicts something else there. It is deleted.
        InputError: the highest number given cannot be read.
    """
    folder = exports / facts["format"]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # Several exports write one after the other.
        for killed in folder.glob(".unfinished-*/"):
            shutil.rmtree(killed)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as temporary:
            unchecked = Path(temporary, "version")
            unchecked.mkdir()
            about = {**facts, **write_checked(unchecked, form, examples, write, quantising)}
            where = (Path(facts["experiment"]), facts["checkpoint"], facts["step"])
            evaluated = quantising.evaluated if quantising else intervals.read_evaluation(*where)[1]
            if evaluated:
                intervals.write_examples(unchecked / intervals.FILE, evaluated)
            model_card.write_beside(unchecked, about, form.load)
            about["sha256"] = digests(unchecked)
            del about["sha256"][model_card.CARD]  # People fill in what it leaves open.
            write_atomically(unchecked / FILE, json.dumps(about, indent=2).encode())
            sync_tree(unchecked)
            version = folder / str(next_version(folder))
            replace(unchecked, version)
            sync_folder(folder)
    print(
        f"{version}: {facts['experiment']}/{facts['checkpoint']}.safetensors of step "
        f"{facts['step']:,}. A fresh process with bare {form.runtime} gave the same predictions "
        f"for {about['examples_compared']} examples of test, to {about['largest_difference']:.1g}"
        f"{', before it was rounded to int8' if quantising else ''}."
    )
    if quantising:
        print(f"Int8 is {quantised.describe(about['int8'])}:")
        quantised.print_table(about["int8"])
    return version


def write_checked(
    folder: Path,
    form: Format,
    examples: Examples,
    write: Callable[..., str],
    quantising: Quantising | None,
) -> dict[str, Any]:
    """Write the files of a version into a folder and check them; return what came of it.

    The arguments are those of write_version.

    Raises:
        ExportError: they do not load elsewhere, or predict something else there.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary if quantising else folder)
        file = write(path)
        found = predict_elsewhere(form.load, path / file, examples.inputs)
        about = {
            "file": file,
            "inputs": describe(examples.inputs, form.takes),
            "outputs": describe(found, form.takes),
            "largest_difference": compare(found, examples.predictions),
            "examples_compared": len(next(iter(examples.inputs.values()))),
        }
        if quantising:
            write(folder, quantising.calibration)
            int8 = quantising.compare(form.load, path / file, folder / file)
            about |= {"int8": int8, "test_metrics": int8["int8"]["metrics"]}
            about["test_intervals"] = quantising.intervals()
            about["test_groups"] = intervals.count_groups(quantising.evaluated)
    return about


def describe(
    arrays: Mapping[str, np.ndarray], examples: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return dtype and shape of arrays (N, ...), by name.

    Args:
        arrays: inputs or outputs; text has the dtype "str".
        examples: how many a call takes; None: any number.
    """
    return {
        name: {
            "dtype": "str" if array.dtype.kind in "SUO" else str(array.dtype),
            "shape": [examples, *array.shape[1:]],
        }
        for name, array in arrays.items()
    }


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder, by its path from there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found


def next_version(folder: Path) -> int:
    """Return a number that no version in a folder has had, and record that it is taken.

    Raises:
        InputError: the highest number given cannot be read.
    """
    path = folder / LAST_VERSION
    text = path.read_text("utf-8", errors="replace").strip() if path.exists() else "0"
    if not text.isdecimal():
        raise InputError(f"{path}: got {text[:20]!r}, expected the highest number ever exported.")
    numbers = [int(text)]
    numbers += [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    number = max(numbers) + 1
    write_atomically(path, f"{number}\n".encode())
    return number
