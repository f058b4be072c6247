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
from pathlib import Path
from types import FunctionType
from typing import Any, get_args

from machinery.argument_parser import ArgumentParser
from machinery.errors import InputError, exit_codes

METHODS = ("mean", "rank", "hill-climbing", "stacking")  # of blending


def get(arguments: argparse.Namespace) -> None:
    """Download the competition's files and unpack them, once."""
    from machinery.competition_files import download

    download(arguments.competition, arguments.overwrite)


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
    label_test_rows(experiment, read_rules(), least, device, arguments.overwrite)


def read_rules() -> Any:
    """Return how the competition scores; see machinery/competition_rules.py."""
    from machinery.competition_rules import Rules, read_metric

    return Rules(read_metric())


def check(arguments: argparse.Namespace) -> None:
    """Say whether a file is a valid submission; if not, all that is wrong with it."""
    from machinery.submissions import check

    path, rows = check(arguments.file)
    print(f"{path}: a valid submission of {rows} rows")


def submit(arguments: argparse.Namespace) -> None:
    """Check a file, send it to Kaggle, wait for its score, and note it beside the CV score."""
    from machinery.submissions import submit, submit_notebook

    words = arguments.message, arguments.experiment, arguments.again, arguments.max_minutes
    if arguments.notebook == (arguments.file is not None):
        raise InputError("expected either a FILE to submit, or --notebook.")
    if arguments.notebook:
        submit_notebook(*words)
    else:
        submit(arguments.file, *words)


def scores(_: argparse.Namespace) -> None:
    """Show what was sent, its CV and public scores, and whether the newest gain is noise."""
    from machinery.submissions import show_scores

    show_scores()


def notebook(arguments: argparse.Namespace) -> None:
    """Write competition/notebook: the notebook of a code competition, and its weights."""
    from machinery.notebook_bundle import Options, make_notebook

    make_notebook(Options(*(getattr(arguments, name) for name in Options._fields)))


def simulate(arguments: argparse.Namespace) -> None:
    """Run the notebook here as Kaggle would, and say whether it would score."""
    from machinery.simulation import simulate

    simulate(arguments.minutes, arguments.memory)


def push(arguments: argparse.Namespace) -> None:
    """Send the notebook and its weights to Kaggle, wait until it has run, fetch its output."""
    from machinery.kernel_push import push

    push(arguments.wait)


def package(arguments: argparse.Namespace) -> None:
    """Write what hosts ask of winners: code, weights, settings, and how to run them."""
    from machinery.winners_package import make_package

    make_package(arguments.experiment, arguments.output)


def add_command(commands: Any, run: FunctionType) -> ArgumentParser:
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
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the folds and the datasets"
    )
    kept = "after --: options of build_dataset.py [those of the folds that are there]"
    parser.add_argument("options", nargs="*", help=kept)


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


def add_sending_commands(commands: Any) -> None:
    """Add the commands that lead to a public score."""
    parser = add_command(commands, check)
    parser.add_argument("file", type=Path, metavar="FILE", help="such as submissions/first.csv")
    parser = add_command(commands, submit)
    such = "such as submissions/first.csv"
    parser.add_argument("file", type=Path, metavar="FILE", nargs="?", help=such)
    pushed = "instead of a file: the notebook that was pushed last"
    parser.add_argument("--notebook", action="store_true", help=pushed)
    parser.add_argument("--message", default="", help="to see beside the score on Kaggle")
    origin = "that the file came from [experiments/ and the file's name]"
    parser.add_argument("--experiment", type=Path, metavar="FOLDER", help=origin)
    parser.add_argument("--again", action="store_true", help="although it was sent before")
    wait = "how long to wait for the score [10]"
    parser.add_argument("--max-minutes", type=float, default=10, metavar="MINUTES", help=wait)
    add_command(commands, scores)


def add_code_commands(commands: Any) -> None:
    """Add the commands of code competitions, and of winners."""
    parser = add_command(commands, notebook)
    parser.add_experiment()
    choices = ["folds", "all"]
    parser.add_argument("--with", dest="models", choices=choices, default="folds", help="[folds]")
    parser.add_argument("--minutes", type=float, default=510, help="that it may take [510]")
    where = "Kaggle's name, such as NvidiaTeslaT4, NvidiaL4, TpuV5E8 [none: a CPU]"
    parser.add_argument("--accelerator", default="none", help=where)
    serves = "answer Kaggle's evaluation API; FILE: what its local gateway reads [data/raw]"
    parser.add_argument("--server", nargs="*", metavar="FILE", help=serves)
    trains = "train there, with these options of train.py, instead of predicting"
    parser.add_argument("--train", metavar="OPTIONS", default="", help=trains)
    again = "go on with the output of the version before, which Kaggle has already"
    parser.add_argument("--resume", action="store_true", help=again)
    parser.add_argument("--script", action="store_true", help="write a .py file, no notebook")
    parser = add_command(commands, simulate)
    parser.add_argument("--minutes", type=float, default=5, help="that it may take [5]")
    parser.add_argument("--memory", type=float, default=8, help="GB that it may take [8]")
    parser = add_command(commands, push)
    parser.add_argument("--wait", type=float, default=600, help="minutes, at most [600]")
    parser = add_command(commands, package)
    parser.add_experiment()
    parser.add_argument("--output", type=Path, required=True, help="folder to make")


def main() -> None:
    """Run the command that the command line names."""
    parser = ArgumentParser(__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_data_commands(commands)
    add_model_commands(commands)
    add_sending_commands(commands)
    add_code_commands(commands)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    with exit_codes():
        main()
