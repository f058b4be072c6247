"""The options of the commands, the same in every framework and task.

A script reads its command line before it imports its framework, so that --help and bad input are
answered at once. At its end it hands over the function to run:

    command = command_line.training(__name__, __doc__, Parameters)
    ...
    command.run(train, open_dataset)

When the script is only imported, both calls do nothing.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machinery import checkpoints, debugging, histograms, records, rerun, several_evaluations
from machinery.argument_parser import ArgumentParser
from machinery.contents import made_by_builds
from machinery.continuation import EPOCHS
from machinery.errors import InputError, exit_codes
from machinery.parameter_file import (
    Section,
    differences,
    flatten,
    load_parameters,
    name_beside,
    parameter_fields,
)
from machinery.several_runs import train_several
from machinery.stopping import StopRequest, hide_interrupts, ignore_signals
from machinery.trained import check_places, check_training, end_if_finished, trained_parameters


class Command:
    """A command line that was read.

    Args:
        arguments: as argparse gives them; None: the script is only imported.
        parameters: of the experiment.
    """

    def __init__(self, arguments: argparse.Namespace | None = None, parameters: Any = None) -> None:
        self.arguments, self.parameters = arguments, parameters
        if arguments is not None:
            hide_interrupts()
        # From now on signals ask for a stop, also in the seconds that the next imports take.
        minutes = getattr(arguments, "max_minutes", None)
        self.stop = StopRequest(minutes) if hasattr(arguments, "max_minutes") else None


class TrainCommand(Command):
    """The command line of train.py."""

    def run(
        self,
        train: Callable[[Any], object],
        open_dataset: Callable[[Path], Any],
        join: Callable[[str], Any] | None = None,
    ) -> None:
        """Train the experiment with its folder locked; end with the exit code of what happened.

        Args:
            train: trains a Run to its end.
            open_dataset: reads dataset.json in the folder of the data.
            join: joins the processes that a launcher started: see machinery/shared_run.py.
        """
        if self.arguments is None:
            return
        from machinery.shared_run import open_run
        from machinery.terminal import log_to_terminal

        arguments, parameters = self.arguments, self.parameters
        with exit_codes():
            dataset = open_dataset(arguments.data)
            parameters.check_data(dataset)
            if arguments.rerun:
                rerun.refuse_other_data(arguments.rerun, arguments.data, dataset.fingerprint)
            log_to_terminal()
            if arguments.debug:
                debugging.release_interrupts()
            assert self.stop is not None
            with open_run(arguments, parameters, dataset, self.stop, join) as run:
                run.rerun_of = arguments.rerun
                if arguments.histograms and not run.share.number:
                    run.on_epoch = histograms.Histograms(run.folder).write
                train(run)
            if arguments.rerun and not run.share.number:  # Of several processes, the leading one.
                rerun.end_with_comparison(arguments.rerun, arguments.experiment)

    def refuse_to_wait(self) -> None:
        """End the process where it need not wait for others any more.

        They may have finished the run, or a stop was asked for, or the launcher is gone. Whatever
        waits calls this again and again.
        """
        if self.arguments is not None and self.stop is not None:
            self.stop.refuse_to_wait()
            end_if_finished(self.arguments, self.parameters)


class EvaluateCommand(Command):
    """The command line of evaluate.py, or of another script that reads a trained experiment.

    Args:
        runs: arguments and parameters of each run to read; none: the script is only imported.
    """

    def __init__(self, *runs: tuple[argparse.Namespace, Any]) -> None:
        super().__init__(*(runs[0] if runs else ()))
        self.runs = runs

    def run(self, main: Callable[[argparse.Namespace, Any], object]) -> None:
        """Call `main` for each run; end with the exit code of what happened."""
        if not self.runs:
            return
        with exit_codes():
            for arguments, parameters in self.runs:
                main(arguments, parameters)
            for line in several_evaluations.summarize([arguments for arguments, _ in self.runs]):
                print(line)


class CheckupCommand(Command):
    """The command line of doctor.py."""

    def run(
        self,
        describe_machine: Callable[[str, Any], Any],
        open_dataset: Callable[[Path], Any],
        make_subject: Callable[[Any, Any, Path, str], Any],
    ) -> None:
        """Check machine and experiment; end with exit code 0, or with 2 if something is wrong.

        The arguments are those of checkup_stages.examine.
        """
        if self.arguments is None:
            return
        from machinery.checkup_stages import examine

        with exit_codes():
            examine(self.arguments, self.parameters, describe_machine, open_dataset, make_subject)


def training(name: str, description: str | None, schema: type[Section]) -> TrainCommand:
    """Read the command line of train.py; end the process if it is wrong or nothing is left to do.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
    """
    if name != "__main__":
        if name == "__mp_main__":  # What multiprocessing calls it in a process that loads batches.
            ignore_signals()
        return TrainCommand()
    with exit_codes():
        return TrainCommand(*parse_training(description, schema))


def evaluation(
    name: str,
    description: str | None,
    schema: type[Section],
    add_options: Callable[[ArgumentParser], None] | None = None,
) -> EvaluateCommand:
    """Read the command line of a script that reads a trained experiment, such as evaluate.py.

    A wrong one ends the process.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
        add_options: adds the script's own options; without it, those of evaluate.py, which reads
            each run of an experiment with several.
    """
    if name != "__main__":
        return EvaluateCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        parser.add_experiment()
        parser.add_data()
        parser.add_checkpoint()
        (add_options or add_evaluation_options)(parser)
        arguments = parser.parse_args()
        runs = [arguments] if add_options else several_evaluations.split_runs(arguments)
        parameters = [trained_parameters(run, schema) for run in runs]
        for run in runs:
            run.data = run.data or records.data_of(run.experiment)
        return EvaluateCommand(*zip(runs, parameters, strict=True))


def prediction(name: str, description: str | None, schema: type[Section]) -> EvaluateCommand:
    """Read the command line of predict.py, which needs no data but what it names.

    A wrong one ends the process.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
    """
    if name != "__main__":
        return EvaluateCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="what to predict")
        parser.add_experiment()
        parser.add_checkpoint()
        parser.add_device()
        output = Path("predictions.csv")
        parser.add_argument("--output", type=Path, default=output, help=f"CSV file [{output}]")
        parser.add_argument("--skip-bad", action="store_true", help="leave out what is of no use")
        parser.add_argument("--overwrite", action="store_true", help="replace --output")
        arguments = parser.parse_args()
        parameters = trained_parameters(arguments, schema)
        check_places(arguments)
        return EvaluateCommand((arguments, parameters))


def checkup(name: str, description: str | None, schema: type[Section]) -> CheckupCommand:
    """Read the command line of doctor.py; end the process if it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
    """
    if name != "__main__":
        return CheckupCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        parser.add_experiment()
        parser.add_data()
        parser.add_device()
        arguments = parser.parse_args()
        parameters = load_parameters(schema, arguments.experiment / "params.yaml")
        arguments.data = arguments.data or records.data_of(arguments.experiment)
        return CheckupCommand(arguments, parameters)


def parse_training(
    description: str | None, schema: type[Section]
) -> tuple[argparse.Namespace, Any]:
    """Read the command line of train.py, and the parameters that it names.

    Raises:
        InputError: values are wrong.
        SystemExit: the experiment is finished already (0), or was trained as several runs.
    """
    parser = ArgumentParser(description)
    parser.add_experiment()
    parser.add_data()
    parser.add_parts()
    parser.add_device()
    parser.add_argument("--from", type=Path, dest="source", help="new experiment: its parameters")
    parser.add_argument("--overwrite", action="store_true", help="train a finished run anew")
    parser.add_max_minutes()
    rerun.add_option(parser)
    debugging.add_option(parser)
    histograms.add_option(parser)
    parser.add_parameters(schema)
    arguments = parser.parse_args()
    if arguments.debug:
        debugging.start(arguments)
    if arguments.rerun:
        rerun.choose_places(arguments, default=parser.get_default("experiment"))
    train_several(arguments, sys.argv[1:], functools.partial(resolve_parameters, schema))
    parameters = resolve_parameters(schema, arguments)
    end_if_finished(arguments, parameters)
    arguments.data = arguments.data or records.data_of(arguments.experiment, arguments.source)
    check_training(arguments, parameters)
    return arguments, parameters


def add_evaluation_options(parser: ArgumentParser) -> None:
    """Add the options of evaluate.py."""
    parser.add_device()
    parser.add_argument("--split", choices=["train", "val", "test"], default="test", help="[test]")


def read_trained(arguments: argparse.Namespace, fingerprint: str) -> tuple[dict, Path, int]:
    """Read the checkpoint that a command line names; warn if the code has changed since.

    Returns:
        its arrays, its path, its step

    Raises:
        InputError: it is damaged, or was trained on data of another fingerprint.
    """
    path = arguments.experiment / f"{arguments.checkpoint}.safetensors"
    arrays, progress = checkpoints.read_trained(path, fingerprint)
    if notice := records.changed_code(arguments.experiment):
        print(f"warning: {notice}", file=sys.stderr)
    return arrays, path, progress.step


def resolve_parameters(schema: type[Section], arguments: argparse.Namespace) -> Any:
    """Return the parameters to train with: those of --experiment, or new ones made by --from.

    Raises:
        InputError: values are wrong, or options would change an experiment that exists.
    """
    # Unlike Path.exists, this is no error where the name is too long; a later message says so.
    if os.path.exists(arguments.experiment / "train.py") or made_by_builds(arguments.experiment):
        raise InputError(
            f"--experiment: got {str(arguments.experiment)!r}, which holds the project or a "
            "dataset. Expected a folder for the experiment alone, such as experiments/NEW."
        )
    names = [name for name, _ in parameter_fields(schema)]
    given = vars(arguments).items()
    overrides = {name: value for name, value in given if name in names or "." in name}
    path = arguments.experiment / "params.yaml"
    if arguments.source is None and not arguments.rerun:
        if overrides and path.exists():
            parameters = load_parameters(schema, path, overrides)
            if others := [name for name in overrides if name != EPOCHS]:
                raise InputError(
                    f"--{others[0]}: {path} is the record of {arguments.experiment} and stays as "
                    f"it is; only {EPOCHS} may grow. Name a new experiment: --experiment "
                    f"experiments/NEW --from {arguments.experiment} with your options."
                )
            return parameters
        if not path.exists():
            raise InputError(
                f"{path}: not found.{name_beside(path.parent)} To start a new experiment, say from "
                f"which one: --experiment {arguments.experiment} --from experiments/baseline"
            )
        return load_parameters(schema, path)
    if arguments.experiment.exists() and not arguments.experiment.is_dir():
        raise InputError(f"{arguments.experiment}: is a file, expected a folder or nothing.")
    if arguments.rerun:
        parameters = rerun.recorded_parameters(arguments.rerun, schema, [*overrides])
    else:
        parameters = load_parameters(schema, arguments.source / "params.yaml", overrides)
    if path.exists() and not arguments.overwrite:
        changed = differences(flatten(load_parameters(schema, path)), flatten(parameters))
        if changed:
            raise InputError(
                f"{path} exists with other parameters: {changed}. Choose another --experiment, "
                "or add --overwrite to replace the experiment."
            )
    return parameters
