"""The command lines of train.py and evaluate.py, the same in every framework."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import run_folder
import utils
from parameters import Parameters

DEVICES = ("auto", "cuda", "mps", "cpu")


def parse_training(description: str | None) -> tuple[argparse.Namespace, Parameters]:
    """Read the command line of train.py, and the parameters that it names.

    Raises:
        InputError: values are wrong, or the experiment is finished.
    """
    parser = ArgumentParser(description)
    parser.add_experiment()
    parser.add_device()
    parser.add_argument("--from", type=Path, dest="source", help="start a new experiment from this")
    parser.add_argument("--overwrite", action="store_true", help="train a finished run anew")
    parser.add_argument("--max-minutes", type=float, help="save and stop after so many minutes")
    parser.add_parameters(Parameters)
    arguments = parser.parse_args()
    if arguments.max_minutes is not None and not arguments.max_minutes >= 0:
        parser.error(f"--max-minutes: got {arguments.max_minutes}, expected 0 or more")
    parameters = resolve_parameters(Parameters, arguments)
    arguments.data = arguments.data or run_folder.data_of(arguments.experiment, arguments.source)
    if run_folder.is_finished(arguments.experiment) and not arguments.overwrite:
        raise utils.InputError(
            f"{arguments.experiment} is finished. Evaluate it (evaluate.py), start a new one "
            f"(--experiment experiments/NEW --from {arguments.experiment}), or train it anew "
            "(--overwrite)."
        )
    return arguments, parameters


def parse_evaluation(description: str | None) -> tuple[argparse.Namespace, Parameters]:
    """Read the command line of evaluate.py, and the parameters of the experiment.

    Raises:
        InputError: values are wrong, or the experiment is not trained.
    """
    parser = ArgumentParser(description)
    parser.add_experiment()
    parser.add_device()
    parser.add_argument("--split", choices=["train", "val", "test"], default="test", help="[test]")
    parser.add_argument("--checkpoint", choices=["best", "last"], default="best", help="[best]")
    arguments = parser.parse_args()
    return arguments, trained_parameters(arguments)


def trained_parameters(arguments: argparse.Namespace) -> Parameters:
    """Read the parameters of --experiment; raise InputError where it lacks --checkpoint."""
    parameters = utils.load_parameters(Parameters, arguments.experiment / "params.yaml")
    path = arguments.experiment / f"{arguments.checkpoint}.safetensors"
    if not path.exists():
        anew = " --overwrite" if run_folder.is_finished(arguments.experiment) else ""
        raise utils.InputError(
            f"{path}: not found. Train: python train.py --experiment {arguments.experiment}{anew}"
        )
    arguments.data = arguments.data or run_folder.data_of(arguments.experiment)
    return parameters


class ArgumentParser(argparse.ArgumentParser):
    """argparse with the nearest name for an unknown option and errors in our form."""

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.has_parameters = False

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:
        arguments, unknown = self.parse_known_args(args, namespace)
        options = [option for action in self._actions for option in action.option_strings]
        while self.has_parameters and len(unknown) > 1 and re.match(r"--\w+\.\w+$", unknown[0]):
            # A misspelled parameter: to be said together with what the schema refuses.
            setattr(arguments, unknown.pop(0)[2:], unknown.pop(0))
        if unknown:
            name = unknown[0].partition("=")[0]
            self.error(f"{name}: unknown option{utils.nearest(name, options)}")
        return arguments

    def error(self, message: str) -> Any:
        print(f"error: {message}. See --help.", file=sys.stderr)
        raise SystemExit(utils.InputError.exit_code)

    def add_experiment(self) -> None:
        """Offer where to work: --experiment and --data."""
        folder = Path("experiments/baseline")
        self.add_argument("--experiment", type=Path, default=folder, help=f"folder [{folder}]")
        where = "dataset folder [that of the experiment, or of --from; else data]"
        self.add_argument("--data", type=Path, help=where)

    def add_device(self) -> None:
        self.add_argument("--device", choices=DEVICES, default="auto", help="[auto]")

    def add_parameters(self, schema: type[utils.Section]) -> None:
        """Offer every parameter as an option, such as --model.width."""
        self.has_parameters = True
        group = self.add_argument_group("parameters, to change in a new experiment (--from)")
        for name, field in utils.parameter_fields(schema):
            group.add_argument(
                f"--{name}",
                dest=name,
                default=argparse.SUPPRESS,
                metavar=getattr(field.annotation, "__name__", "VALUE").upper(),
                help=f"{field.description} [{field.default}]".replace("%", "%%"),
            )


def resolve_parameters(schema: type[utils.Section], arguments: argparse.Namespace) -> Any:
    """Return the parameters that a command names: those of --experiment, or new ones by --from.

    Raises:
        InputError: values are wrong, or options would change an experiment that exists.
    """
    names = [name for name, _ in utils.parameter_fields(schema)]
    given = vars(arguments).items()
    overrides = {name: value for name, value in given if name in names or "." in name}
    path = arguments.experiment / "params.yaml"
    if arguments.source is None:
        if overrides and path.exists():
            utils.load_parameters(schema, path, overrides)  # Says what is misspelled first.
            raise utils.InputError(
                f"--{next(iter(overrides))}: {path} is the record of {arguments.experiment} and "
                "stays as it is. Name a new experiment: "
                f"--experiment experiments/NEW --from {arguments.experiment} with your options."
            )
        return utils.load_parameters(schema, path)
    if arguments.experiment.exists() and not arguments.experiment.is_dir():
        raise utils.InputError(f"{arguments.experiment}: is a file, expected a folder or nothing.")
    parameters = utils.load_parameters(schema, arguments.source / "params.yaml", overrides)
    if path.exists() and not arguments.overwrite:
        changed = utils.differences(
            utils.flatten(utils.load_parameters(schema, path)), utils.flatten(parameters)
        )
        if changed:
            raise utils.InputError(
                f"{path} exists with other parameters: {changed}. Choose another --experiment, "
                "or add --overwrite to replace the experiment."
            )
    return parameters
