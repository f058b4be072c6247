"""The results of all experiments below a folder: tables in the terminal, results.md, results.html.

The script has one line: `results.command_line(__name__, __doc__, Parameters).run()`
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from machinery import results_page
from machinery.argument_parser import ArgumentParser
from machinery.command_line import Command
from machinery.errors import InputError, exit_codes
from machinery.experiments import Experiment, find_experiments
from machinery.files import write_atomically
from machinery.metrics import Objective
from machinery.parameter_file import Section, nearest
from machinery.results_table import Table


class SynthesizeCommand(Command):
    """The command line of synthesize_results.py.

    Args:
        arguments: as argparse gives them.
        schema: of params.yaml.
    """

    def __init__(
        self,
        arguments: argparse.Namespace | None = None,
        schema: type[Section] = Section,
    ) -> None:
        super().__init__(arguments)
        self.schema = schema

    def run(self) -> None:
        """Write and print the results; end with the exit code of what happened."""
        if self.arguments is not None:
            with exit_codes():
                words = self.arguments
                synthesize(words.experiments, words.metric, self.schema, words.minimize)


def command_line(name: str, description: str | None, schema: type[Section]) -> SynthesizeCommand:
    """Read the command line of synthesize_results.py; end the process where it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
    """
    if name != "__main__":
        return SynthesizeCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        root = Path("experiments")
        parser.add_argument("experiments", type=Path, nargs="?", default=root, help=f"[{root}]")
        objective = "a column of metrics.jsonl to compare by [the objective of the task]"
        parser.add_argument("--metric", help=objective)
        direction = "lower is better, where no run says so itself [higher, but for a loss]"
        parser.add_argument("--minimize", action="store_true", help=direction)
        return SynthesizeCommand(parser.parse_args(), schema)


def synthesize(
    root: Path, metric: str | None, schema: type[Section], minimize: bool = False
) -> None:
    """Write results.md and results.html below a folder, and print the tables.

    Args:
        root: the folder.
        metric: the column to compare by; None: the objective that each run was trained for.
        schema: of params.yaml.
        minimize: a metric that is the objective of no run is better when lower.

    Raises:
        InputError: there is no experiment, none has the metric, or a file of the person would be
            overwritten.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of experiments.")
    for name in ("results.md", "results.html"):
        if not results_page.may_be_replaced(root / name):
            raise InputError(
                f"{root / name}: not written by this command, which would replace it. Rename or "
                "move it. Nothing was written."
            )
    groups = split_by_objective(find_experiments(root, schema), metric, minimize)
    tables = [Table.of(members, objective) for objective, members in groups.items()]
    heading = f"Results of {root.resolve().name}"
    with FileLock(root / ".results.lock"):
        write_atomically(root / "results.md", results_page.to_markdown(tables).encode())
        write_atomically(root / "results.html", results_page.to_html(heading, tables).encode())
    print(results_page.to_text(tables))
    print(f"Wrote {root}/results.md and {root}/results.html.")


def split_by_objective(
    experiments: Sequence[Experiment], wanted: str | None = None, minimize: bool = False
) -> dict[Objective, list[Experiment]]:
    """Return the experiments to compare by each objective, the most frequent objective first.

    Args:
        experiments: all of them.
        wanted: the column to compare all by; None: the objective that each was trained for.
        minimize: a metric that is the objective of none is better when lower.

    Raises:
        InputError: no experiment has the column that is wanted.
    """
    objectives = [e.objective for e in experiments if e.objective]
    if wanted:
        columns = list({name: None for e in experiments for name in e.columns}) or ["val_loss"]
        if wanted not in columns:
            near = nearest(wanted, columns)
            raise InputError(
                f"--metric: got {wanted!r}, expected one of {', '.join(columns)}{near}."
            )
        return {_direct(wanted, objectives, minimize): list(experiments)}
    groups = {objective: [] for objective, _ in Counter(objectives).most_common()}
    if not groups:
        groups = {_direct(_guess_metric(experiments), [], minimize): []}
    for experiment in experiments:
        # One without an objective is compared with those whose metric it has.
        metrics = (o for o in groups if o.metric in experiment.columns)
        groups[experiment.objective or next(metrics, next(iter(groups)))].append(experiment)
    return groups


def _direct(metric: str, objectives: Sequence[Objective], minimize: bool) -> Objective:
    """Return the objective of a run that has this metric, else one with the direction given."""
    known = (objective for objective in objectives if objective.metric == metric)
    return next(known, Objective(metric, maximize=not (minimize or metric.endswith("loss"))))


def _guess_metric(experiments: Sequence[Experiment]) -> str:
    """Return the first metric on val other than the loss."""
    columns = {name: None for e in experiments for name in e.columns}
    return next((name for name in columns if name != "val_loss"), "val_loss")
