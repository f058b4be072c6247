"""Take part in the Kaggle competition that competition/competition.yaml names, step by step.

    python compete.py get                 # download it into data/raw, once
    python compete.py understand          # what is predicted from what: competition/schema.yaml
    python compete.py folds               # who is in which fold, for good; a dataset for each
    python train.py --experiment experiments/first --from experiments/baseline --folds all
    python compete.py predict --experiment experiments/first   # score, submissions/first.csv
    python compete.py submit submissions/first.csv             # checked, sent, noted with its score

`python compete.py COMMAND --help` says more of each; KAGGLE.md tells the whole evening.
"""

import argparse
from collections.abc import Callable
from typing import Any, get_args

from machinery.argument_parser import ArgumentParser
from machinery.errors import exit_codes


def get(arguments: argparse.Namespace) -> None:
    """Download the competition's files and unpack them, once."""
    from machinery.competition_files import download

    download(arguments.overwrite)


def understand(arguments: argparse.Namespace) -> None:
    """Find out what the columns are, look for leaks, and write competition/schema.yaml."""
    from build_dataset import Dataset
    from machinery.competition_schema import understand

    (task,) = get_args(Dataset.model_fields["task"].annotation)
    understand(task, arguments.overwrite)


def folds(arguments: argparse.Namespace) -> None:
    """Choose the fold of each training row, for good, and prepare a dataset for each fold."""
    from machinery.fold_datasets import prepare_folds

    prepare_folds(arguments.count, arguments.seed, arguments.overwrite, arguments.options)


def add_command(commands: Any, run: Callable[[argparse.Namespace], object]) -> ArgumentParser:
    """Add a command named after the function that runs it; return its parser for the options."""
    name = run.__name__.replace("_", "-")
    parser: ArgumentParser = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    parser.set_defaults(run=run)
    return parser


def add_data_commands(commands: Any) -> None:
    """Add the commands that lead to data to train on."""
    parser = add_command(commands, get)
    parser.add_argument("--overwrite", action="store_true", help="download what is there anew")
    parser = add_command(commands, understand)
    parser.add_argument("--overwrite", action="store_true", help="replace schema.yaml")
    parser = add_command(commands, folds)
    parser.add_argument("--count", type=int, default=5, help="of folds [5]")
    parser.add_argument("--seed", type=int, default=0, help="chooses them [0]")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the folds and the datasets"
    )
    parser.add_argument("options", nargs="*", help="after --: options of build_dataset.py")


def main() -> None:
    """Run the command that the command line names."""
    parser = ArgumentParser(__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_data_commands(commands)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    with exit_codes():
        main()
