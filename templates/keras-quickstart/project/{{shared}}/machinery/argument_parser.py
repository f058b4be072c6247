"""The options that commands share, and errors in one form."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, get_args

from machinery import places
from machinery.errors import InputError
from machinery.files import check_name
from machinery.parameter_file import Section, nearest, parameter_fields
from machinery.shards.remote import data_place

DEVICES = ("auto", "cuda", "mps", "cpu")
LARGEST_MINUTES = 1_000_000  # of --max-minutes: two years
LARGEST_SEED = 2**32 - 1  # NumPy takes no larger one.


class ArgumentParser(argparse.ArgumentParser):
    """argparse, with errors in our form that name the option nearest to an unknown one."""

    def __init__(self, description: str | None, prog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.has_parameters = self.builds_data = False

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:
        for word in sys.argv[1:] if args is None else args:
            check_name(word)
        arguments, unknown = self.parse_known_args(args, namespace)
        others = unknown
        if self.has_parameters:
            others = self._take_misspelled_parameters(arguments, unknown)
        if others:
            self._refuse(unknown)
        if (minutes := getattr(arguments, "max_minutes", None)) is not None:
            self.check_range("--max-minutes", minutes, 0, LARGEST_MINUTES)
        if self.builds_data and arguments.data is None:
            own = arguments.source is not None
            arguments.data = places.folder_to_write() if own else places.DEFAULT_FOLDER
        return arguments

    def _refuse(self, unknown: list[str]) -> None:
        """End the process with a message that names the unknown options, misspelled parameters too.

        Args:
            unknown: the words that are left over, values of options among them.
        """
        options = [option for action in self._actions for option in action.option_strings]
        names = [word.partition("=")[0] for word in unknown if re.match(r"--?[^\W\d]", word)]
        said = [f"{name}: unknown option{nearest(name, options)}" for name in names]
        self.error("; ".join(said) or f"{unknown[0]}: expected no such word here")

    def check_range(self, option: str, value: float, low: float, high: float) -> None:
        """End the process with a message where the value of an option is not in a range."""
        if not low <= value <= high:
            self.error(f"{option}: got {value}, expected {low} to {high}")

    def _take_misspelled_parameters(
        self, arguments: argparse.Namespace, unknown: list[str]
    ) -> list[str]:
        """Keep misspelled parameters, so the schema can refuse all at once; return other words."""
        others, words = [], list(unknown)
        while words:
            word = words.pop(0)
            option, equals, value = word.partition("=")
            if not re.fullmatch(r"--\w+\.\w+", option):
                others.append(word)
                continue
            if not equals and words and not words[0].startswith("--"):
                value = words.pop(0)
            setattr(arguments, option[2:], value)
        return others

    def error(self, message: str) -> Any:
        print(f"error: {message}. See --help.", file=sys.stderr)
        raise SystemExit(InputError.exit_code)

    def add_experiment(self) -> None:
        folder = Path("experiments/baseline")
        self.add_argument("--experiment", type=Path, default=folder, help=f"folder [{folder}]")

    def add_data(self, first: str = "that of the experiment, or of --from") -> None:
        where = f"dataset folder [{first}; else {places.usual()}]"
        self.add_argument("--data", type=_data_place, help=where.replace("%", "%%"))

    def add_data_to_write(self) -> None:
        """Add --data of build_dataset.py; data of one's own go to the project's usual place."""
        self.builds_data = True
        usual = places.folder_to_write().as_posix()
        where = (
            usual if Path(usual) == places.DEFAULT_FOLDER else f"{usual}; without --source, data"
        )
        meaning = f"where to write [{where}]".replace("%", "%%")
        self.add_argument("--data", type=Path, help=meaning)

    def add_parts(self) -> None:
        meaning = "all, or numbers: train EXPERIMENT/fold-0 on DATA/fold-0, and so on"
        self.add_argument("--folds", "--fold", nargs="+", metavar="FOLD", help=meaning)
        meaning = "how many, or which (0,3,7): train EXPERIMENT/seed-0 with seed 0, and so on"
        self.add_argument("--seeds", metavar="SEEDS", help=meaning)

    def add_checkpoint(self) -> None:
        self.add_argument("--checkpoint", choices=["best", "last"], default="best", help="[best]")

    def add_device(self) -> None:
        self.add_argument("--device", choices=DEVICES, default="auto", help="[auto]")

    def add_max_minutes(self) -> None:
        self.add_argument("--max-minutes", type=float, help="save and stop after so many minutes")

    def add_parameters(self, schema: type[Section]) -> None:
        """Add every parameter as an option, such as --training.epochs."""
        self.has_parameters = True
        group = self.add_argument_group("parameters, to change in a new experiment (--from)")
        for name, field in parameter_fields(schema):
            default = str(field.default)
            if isinstance(field.default, bool):
                default = default.lower()
            group.add_argument(
                f"--{name}",
                dest=name,
                default=argparse.SUPPRESS,
                metavar=_describe_values(field.annotation),
                help=f"{field.description} [{default}]".replace("%", "%%"),
            )


def _data_place(text: str) -> Path:
    try:
        return data_place(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _describe_values(annotation: Any) -> str:
    """Return what --help shows for the value of a parameter: its choices or its type."""
    choices = ("true", "false") if annotation is bool else get_args(annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"{{{','.join(choices)}}}"
    return getattr(annotation, "__name__", "VALUE").upper()
