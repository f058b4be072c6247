"""What a command says of a trained experiment before it imports a framework."""

import argparse
import difflib
from pathlib import Path
from typing import Any

from machinery import records, rerun
from machinery.contents import not_found
from machinery.continuation import EPOCHS, differ_in_epochs
from machinery.errors import InputError
from machinery.files import refuse_to_overwrite
from machinery.parameter_file import (
    Section,
    differences,
    flatten,
    load_parameters,
)
from machinery.shards import remote


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


def check_places(arguments: argparse.Namespace, suffix: str = ".csv") -> None:
    """Raise InputError where a command could not read its input or would write over a file.

    Args:
        arguments: with paths, output and overwrite.
        suffix: of the output's name.
    """
    output = arguments.output
    if output.suffix.lower() != suffix:
        raise InputError(f"--output: got {output}, expected a name that ends in {suffix}.")
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
                f"--output: {output} lies in {path}, which is to be read. Name a file elsewhere."
            )
    if not arguments.overwrite:
        refuse_to_overwrite(output)


def check_training(arguments: argparse.Namespace, parameters: Section) -> None:
    """Refuse to train on a dataset that is not there; say so where the same was trained before."""
    remote.refresh(arguments.data, "dataset.json")
    # Only in the folder data are the default data prepared.
    if arguments.data != Path("data") and not (arguments.data / "dataset.json").exists():
        raise not_found(arguments.data)
    if arguments.source and not arguments.experiment.exists():
        say_same(arguments.source, parameters, arguments.data)


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


def end_if_finished(arguments: argparse.Namespace, parameters: Any) -> None:
    """End the process where the experiment is finished already: there is nothing left to do."""
    if records.is_finished(arguments.experiment) and not arguments.overwrite:
        if arguments.rerun:
            rerun.compare_finished(arguments.rerun, arguments.experiment)
        say_finished(arguments.experiment, parameters, arguments.data)


def say_finished(folder: Path, parameters: Section, data: Path | None) -> None:
    """Say that a run is finished and what can follow, and end the process.

    A run that is asked for more epochs is not: it goes on.

    Args:
        folder: of the run.
        parameters: that are asked for.
        data: the folder of the dataset that is asked for; None: that of the run.

    Raises:
        SystemExit: with 0, the run was trained with these parameters and data: nothing is left to
            do.
        InputError: it was trained with others.
    """
    session = records.read_sessions(folder)[-1]
    trained, now = session.get("parameters", {}), flatten(parameters)
    way_on = (
        "Evaluate it (evaluate.py), train it longer (more training.epochs), start a new experiment "
        f"(--experiment experiments/NEW --from {folder}), or train it anew (--overwrite)."
    )
    then = {name: trained.get(name, now[name]) for name in now}
    if differ_in_epochs(then, now) and now[EPOCHS] > then[EPOCHS]:
        return
    if changed := differences(then, now):
        raise InputError(f"{folder} is finished, with other parameters: {changed}. {way_on}")
    trained_on = session.get("data", "data")
    place = data or remote.data_place(trained_on)
    then, found = session.get("fingerprint"), records.read_fingerprint(place)
    if (data or found) and found != then:
        here = f"fingerprint {found}" if found else "no dataset is there"
        same_place = place == remote.data_place(trained_on)
        other = "those there now" if same_place else f"those of {place}"
        raise InputError(
            f"{folder} is finished, with the data of {trained_on} (fingerprint {then}), not with "
            f"{other} ({here}). {way_on}"
        )
    print(f"{folder} is finished; nothing to do. {way_on}")
    if changed := records.changed_code(folder):
        print(changed)
    raise SystemExit(0)
