"""train.py --rerun: a finished run, trained again from its record; its metrics are compared.

    python train.py --rerun experiments/wide

trains experiments/wide-rerun with the parameters, the data, the device and the number of threads
that experiments/wide/run.json holds. A fresh clone of the project has what this takes: run.json and
metrics.jsonl are committed, and checkpoints are not needed. Before training it names the recorded
conditions that differ here. Exit code 0: all metrics are the same, bit for bit; 65: they are not.
"""

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from machinery import records
from machinery.argument_parser import DEVICES, ArgumentParser
from machinery.errors import InputError, ShiftError
from machinery.metrics import read_metrics
from machinery.parameter_file import Section, change, differences, flatten, name_beside, old_names

# What a record holds beside the conditions: about the process, and what is compared elsewhere.
NOT_CONDITIONS = {
    *("started", "ended", "outcome", "command", "process", "host", "seconds"),
    *("examples_per_second", "overwrite", "from_step", "changed_epochs", "rerun_of"),
    *("parameters", "fingerprint", "data", "data_stamp", "objective"),
    *("code", "git_commit", "git_changes"),
}


def add_option(parser: ArgumentParser) -> None:
    """Add --rerun to the options of train.py."""
    meaning = "train this finished run again, into FOLDER-rerun or --experiment, and compare"
    parser.add_argument("--rerun", type=Path, metavar="FOLDER", help=meaning)


def choose_places(arguments: argparse.Namespace, default: Path) -> None:
    """Set what the command line leaves open to what the record says: folders, device, threads.

    This comes before the framework is imported, since that reads the number of threads.

    Args:
        arguments: of train.py.
        default: --experiment where it was not given.

    Raises:
        InputError: there is no finished run, or other options contradict.
    """
    folder = arguments.rerun
    if arguments.source or arguments.folds or arguments.seeds:
        raise InputError(
            f"--rerun: {folder} is trained again as it was, so it goes with none of --from, "
            "--folds and --seeds. Each of their runs has a folder, such as experiments/NAME/seed-0."
        )
    session = finished_sessions(folder)[-1]
    if arguments.experiment == default:
        arguments.experiment = folder.with_name(f"{folder.resolve().name}-rerun")
    if arguments.experiment.resolve() == folder.resolve():
        raise InputError(f"--experiment: {folder} is the run itself, expected another folder.")
    arguments.data = arguments.data or records.data_of(folder)
    device = str(session.get("device", ""))
    kind = re.split(r"\W", device)[0].replace("gpu", "cuda")  # TensorFlow calls it a GPU.
    if arguments.device == "auto" and kind in DEVICES:
        arguments.device = kind
    if threads := re.search(r", (\d+) threads?$", device):
        os.environ.setdefault("OMP_NUM_THREADS", threads[1])


def finished_sessions(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the processes that trained a finished run, from its first step on.

    Raises:
        InputError: there is no such run, or its metrics are missing.
    """
    sessions = records.read_sessions(folder)
    if not sessions:
        raise InputError(
            f"{folder / records.FILE}: not found, or damaged; --rerun takes the folder of a "
            f"finished run.{name_beside(folder)}"
        )
    if not records.is_finished(folder):
        raise InputError(
            f"{folder}: not finished, its last session is {sessions[-1]['outcome']!r}. Train it to "
            f"its end first: python train.py --experiment {folder}"
        )
    if not read_metrics(folder):
        raise InputError(f"{folder / 'metrics.jsonl'}: not found, so there is nothing to compare.")
    first = max(i for i, each in enumerate(sessions) if not each.get("from_step") or i == 0)
    return sessions[first:]


def recorded_parameters(folder: Path, schema: type[Section], overrides: Sequence[str]) -> Any:
    """Return the parameters that a run was trained with.

    Args:
        folder: of the run.
        schema: of params.yaml.
        overrides: the names of the parameters that the command line gives, too.

    Raises:
        InputError: it gives some, or the code of now has no such parameters.
    """
    if overrides:
        raise InputError(
            f"--{overrides[0]}: --rerun takes the parameters of {folder}. For others start a "
            f"new experiment: --experiment experiments/NEW --from {folder}"
        )
    today = old_names(schema)
    written = finished_sessions(folder)[-1].get("parameters", {})
    values = {today.get(name, name): value for name, value in written.items()}
    defaults = schema()
    unknown = [name for name in values if name not in flatten(defaults)]
    try:
        if not unknown:
            return change(defaults, values)
    except pydantic.ValidationError as error:
        unknown = [".".join(map(str, each["loc"])) for each in error.errors()]
    raise InputError(
        f"{folder / records.FILE}: parameters.py does not take the recorded "
        f"{', '.join(unknown)}. {records.changed_code(folder)}".strip()
    )


def refuse_other_data(folder: Path, data: Path, fingerprint: str) -> None:
    """Raise InputError where the dataset is not the one that a run was trained on."""
    then = finished_sessions(folder)[-1].get("fingerprint")
    if then != fingerprint:
        raise InputError(
            f"{folder} was trained on other data (fingerprint {then}) than those of {data} "
            f"({fingerprint}). Bring them back, or name their folder with --data."
        )


def compare_conditions(folder: Path, now: Mapping[str, Any]) -> list[str]:
    """Return sentences that name the recorded conditions of a run that are others now.

    Args:
        folder: of the run.
        now: the record of the process that trains it again.
    """
    sessions = finished_sessions(folder)
    found = [differences(_conditions(each, now), _conditions(now, now)) for each in sessions]
    differing = "; in another session: ".join(filter(None, dict.fromkeys(found)))
    here = f"Recorded conditions of {folder} that differ here: {differing}." if differing else ""
    said = [here, *(each.get("changed_epochs", "") for each in sessions)]
    said.append(records.changed_code(folder))
    return [*filter(None, said)] or [f"All recorded conditions of {folder} are the same here."]


def _conditions(session: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions in a record by name, of those that the record of now has."""
    versions = session.get("versions") or {}
    known = {name: session[name] for name in now if name in session}
    return {n: v for n, v in known.items() if n not in {*NOT_CONDITIONS, "versions"}} | versions


def compare_finished(folder: Path, again: Path) -> None:
    """Compare with a run that was trained again before, and end the process.

    Raises:
        InputError: what lies there is no rerun of the folder, or the code has changed since.
        SystemExit: as end_with_comparison has it.
    """
    known = [each.get("rerun_of") for each in records.read_sessions(again)]
    if not any(each and Path(each).resolve() == folder.resolve() for each in known):
        raise InputError(
            f"{again}: is finished, and no rerun of {folder}. Name another folder: --experiment"
        )
    if changed := records.changed_code(again):
        raise InputError(f"{changed}. Or train it again with the code of now: --overwrite")
    print(f"{again} was trained before; nothing is trained now.")
    end_with_comparison(folder, again)


def end_with_comparison(folder: Path, again: Path) -> None:
    """Say whether two runs have the same metrics, and end the process.

    Raises:
        SystemExit: with 0, they have; with 65, they have not.
    """
    then, now = read_metrics(folder), read_metrics(again)
    if found := next(_differences(then, now), ""):
        print(f"{again} is not the same as {folder}. {found}")
        session = records.read_sessions(again)[-1]
        print("\n".join(compare_conditions(folder, session)))
        raise SystemExit(ShiftError.exit_code)
    print(f"{again} has the same metrics as {folder}, bit for bit: {len(now)} epochs.")
    raise SystemExit(0)


def _differences(
    then: Sequence[Mapping[str, float]], now: Sequence[Mapping[str, float]]
) -> Iterator[str]:
    """Yield where two lists of epochs differ, the first epoch first."""
    for old, new in zip(then, now, strict=False):
        if words := differences(old, new):
            yield f"The first epoch that differs is {old.get('epoch')}: {words}."
    if len(then) != len(now):
        yield f"It has {len(now)} epochs, expected {len(then)}."
