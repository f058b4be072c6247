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
from pathlib import Path
from typing import Any

from machinery.argument_parser import ArgumentParser
from machinery.errors import exit_codes


def get(arguments: argparse.Namespace) -> None:
    """Download the competition's files and unpack them, once."""
    from machinery.competition_files import download

    download(arguments.competition, arguments.overwrite)


def understand(arguments: argparse.Namespace) -> None:
    """Find out what the columns are, look for leaks, and write competition/schema.yaml."""
    from machinery.competition_schema import understand

    understand(arguments.overwrite)


def folds(arguments: argparse.Namespace) -> None:
    """Choose the fold of each training row, for good, and prepare a dataset for each fold."""
    from machinery.fold_datasets import prepare_folds

    prepare_folds(arguments.count, arguments.seed, arguments.overwrite, arguments.options)


def check(arguments: argparse.Namespace) -> None:
    """Say whether a file is a valid submission; if not, all that is wrong with it."""
    from machinery.submissions import check

    path, rows = check(arguments.file)
    print(f"{path}: a valid submission of {rows} rows")


def submit(arguments: argparse.Namespace) -> None:
    """Check a file, send it to Kaggle, wait for its score, and note it beside the CV score."""
    from machinery.submissions import submit

    submit(
        *(arguments.file, arguments.message, arguments.experiment),
        *(arguments.again, arguments.max_minutes),
    )


def scores(_: argparse.Namespace) -> None:
    """Show what was sent, its CV and public scores, and whether the newest gain is noise."""
    from machinery.submissions import show_scores

    show_scores()


def add_command(commands: Any, run: Callable[[argparse.Namespace], object]) -> ArgumentParser:
    """Add a command named after the function that runs it; return its parser for the options."""
    name = run.__name__.replace("_", "-")
    parser: ArgumentParser = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    parser.set_defaults(run=run)
    return parser


def add_data_commands(commands: Any) -> None:
    """Add the commands that lead to data to train on."""
    parser = add_command(commands, get)
    parser.add_argument("competition", nargs="?", default="", help="its address [the project's]")
    parser.add_argument("--overwrite", action="store_true", help="download what is there anew")
    parser = add_command(commands, understand)
    parser.add_argument("--overwrite", action="store_true", help="replace schema.yaml")
    parser = add_command(commands, folds)
    parser.add_argument("--count", type=int, default=5, help="of folds [5]")
    parser.add_argument("--seed", type=int, default=0, help="chooses them [0]")
    parser.add_argument("--overwrite", action="store_true", help="replace the datasets")
    parser.add_argument("options", nargs="*", help="after --: options of build_dataset.py")


def add_sending_commands(commands: Any) -> None:
    """Add the commands that lead to a public score."""
    parser = add_command(commands, check)
    parser.add_argument("file", type=Path, metavar="FILE", help="such as submissions/first.csv")
    parser = add_command(commands, submit)
    parser.add_argument("file", type=Path, metavar="FILE", help="such as submissions/first.csv")
    parser.add_argument("--message", default="", help="to see beside the score on Kaggle")
    origin = "that the file came from [experiments/ and the file's name]"
    parser.add_argument("--experiment", type=Path, metavar="FOLDER", help=origin)
    parser.add_argument("--again", action="store_true", help="although it was sent before")
    wait = "how long to wait for the score [10]"
    parser.add_argument("--max-minutes", type=float, default=10, metavar="MINUTES", help=wait)
    add_command(commands, scores)


def main() -> None:
    """Run the command that the command line names."""
    parser = ArgumentParser(__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_data_commands(commands)
    add_sending_commands(commands)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    with exit_codes():
        main()
