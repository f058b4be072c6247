"""What a command says of a trained experiment before it imports a framework."""

import argparse
import difflib
from pathlib import Path
from typing import Any

from machinery import records
from machinery.errors import InputError
from machinery.files import refuse_to_overwrite
from machinery.parameter_file import (
    Section,
    differences,
    flatten,
    load_parameters,
)


def trained_parameters(arguments: argparse.Namespace, schema: type[Section]) -> Any:
    """Read the parameters of --experiment; raise InputError if its checkpoint is missing."""
    parameters = load_parameters(schema, arguments.experiment / "params.yaml")
    path = arguments.experiment / f"{arguments.checkpoint}.safetensors"
    if not path.exists():
        anew = " --overwrite" if records.is_finished(arguments.experiment) else ""
        raise InputError(
            f"{path}: not found. Train: python train.py --experiment {arguments.experiment}{anew}"
        )
    return parameters


def check_places(arguments: argparse.Namespace) -> None:
    """Raise InputError where predict.py could not read its input or would write over a file."""
    output = arguments.output
    if output.suffix.lower() != ".csv":
        raise InputError(f"--output: got {output}, expected a name that ends in .csv.")
    for path in arguments.paths:
        if not path.exists():
            names = [each.name for each in path.parent.glob("*")]
            close = difflib.get_close_matches(path.name, names, n=1)
            beside = f" (did you mean {path.with_name(close[0])}?)" if close else ""
            raise InputError(f"{path}: not found{beside}.")
        if not path.is_file() and not path.is_dir():
            raise InputError(f"{path}: neither a file nor a folder.")
        # A picture of the first examples may lie beside the output.
        if path.resolve() in (output.resolve(), output.with_suffix(".png").resolve()):
            raise InputError(f"--output: {output} would replace {path}. Name another file.")
        if path.resolve() in output.resolve().parents:
            raise InputError(
                f"--output: {output} lies in {path}, which is to be predicted. Name a file "
                "elsewhere."
            )
    if not arguments.overwrite:
        refuse_to_overwrite(output)


def refuse_missing(data: Path) -> None:
    """Raise InputError where no dataset is, and train.py would not prepare one."""
    if data != Path("data") and not (data / "dataset.json").exists():
        from machinery.arrays import not_found  # It takes long to import.

        raise not_found(data)


def say_same(source: Path, parameters: Section, data: Path) -> None:
    """Say so if a new experiment has the parameters and the data of a trained one.

    Args:
        source: the trained one.
        parameters: of the new one.
        data: the folder of its dataset.
    """
    for session in records.read_sessions(source)[-1:]:
        trained, now = session.get("parameters", {}), flatten(parameters)
        same = trained and not differences(now | trained, now)
        if same and session.get("fingerprint") == records.read_fingerprint(data):
            print(f"Parameters and data are those of {source}: this trains the same again.")
