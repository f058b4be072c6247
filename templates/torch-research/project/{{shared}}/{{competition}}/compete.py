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
from typing import Any, get_args

from machinery.argument_parser import ArgumentParser
from machinery.errors import exit_codes

METHODS = ("mean", "rank", "hill-climbing", "stacking")  # of blending


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


def fit_all(arguments: argparse.Namespace) -> None:
    """Train EXPERIMENT/all on all rows, for the mean of the best epochs of the folds."""
    from machinery.fit_on_all import fit_on_all

    fit_on_all(arguments.experiment, arguments.options)


def predict(arguments: argparse.Namespace) -> None:
    """Predict each row by the model that has not seen it, and test; score, write a submission."""
    from machinery.fold_predictions import predict_folds

    experiment, fit = arguments.experiment, arguments.fit
    predict_folds(experiment, read_rules(), fit, arguments.device, arguments.overwrite)


def blend(arguments: argparse.Namespace) -> None:
    """Blend the predictions of experiments, of other projects too, into a new experiment."""
    from machinery.blending import blend

    folder, method = Path("experiments", arguments.name), arguments.method
    blend(arguments.experiments, method, folder, read_rules(), arguments.overwrite)


def trees(arguments: argparse.Namespace) -> None:
    """Train models of scikit-learn on the same folds, to compare and to blend with."""
    from machinery.gradient_boosting import train_trees

    train_trees(Path("experiments", arguments.name), read_rules(), arguments.overwrite)


def pseudo_label(arguments: argparse.Namespace) -> None:
    """Add test rows of which a fold's own model is certain to its data: data/pseudo/NAME."""
    from machinery.pseudo_labels import label_test_rows

    experiment, least, device = arguments.experiment, arguments.least, arguments.device
    options, overwrite = arguments.options, arguments.overwrite
    label_test_rows(experiment, read_rules(), least, device, options, overwrite)


def read_rules() -> Any:
    """Return how the competition scores; see machinery/competition_rules.py."""
    from machinery.competition_rules import Rules, read_metric

    return Rules(read_metric())


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


def add_model_commands(commands: Any) -> None:
    """Add the commands that predict, compare and blend."""
    parser = add_command(commands, fit_all)
    parser.add_experiment()
    parser.add_argument("options", nargs="*", help="after --: more options of train.py")
    parser = add_command(commands, predict)
    parser.add_experiment()
    meaning = "who predicts test: the mean of the folds, or the run `all` [folds]"
    parser.add_argument(
        "--with", dest="fit", choices=["folds", "all"], default="folds", help=meaning
    )
    parser.add_device()
    parser.add_argument("--overwrite", action="store_true", help="replace its predictions")
    parser = add_command(commands, trees)
    parser.add_argument("--name", default="trees", help="of the experiment [trees]")
    parser.add_argument("--overwrite", action="store_true", help="replace its predictions")
    parser = add_command(commands, blend)
    parser.add_argument("experiments", nargs="+", type=Path, help="folders with predictions")
    parser.add_argument("--method", choices=METHODS, default="mean", help="[mean]")
    parser.add_argument("--name", required=True, help="of the new experiment")
    parser.add_argument("--overwrite", action="store_true", help="replace its predictions")
    parser = add_command(commands, pseudo_label)
    parser.add_experiment()
    parser.add_argument("--least", type=float, default=0.95, help="probability [0.95]")
    parser.add_device()
    parser.add_argument("--overwrite", action="store_true", help="replace the datasets")
    parser.add_argument("options", nargs="*", help="after --: those of `compete.py folds`, again")


def main() -> None:
    """Run the command that the command line names."""
    parser = ArgumentParser(__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_data_commands(commands)
    add_model_commands(commands)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    with exit_codes():
        main()
