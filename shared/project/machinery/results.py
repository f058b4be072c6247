"""The results of all experiments below a folder: tables in the terminal and in files.

The script has one line: `results.command_line(__name__, __doc__, Parameters).run()`
"""

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from machinery import results_files, results_page
from machinery.argument_parser import ArgumentParser
from machinery.command_line import Command
from machinery.errors import InputError, exit_codes
from machinery.experiments import Experiment, find_experiments
from machinery.files import write_atomically
from machinery.lineage import Lineage
from machinery.metrics import Objective
from machinery.parameter_file import Section, nearest
from machinery.results_table import Table
from machinery.results_terminal import to_text
from machinery.spreadsheets import write_csv

FILES = ("results.md", "results.csv", "results.tex", "results.html")


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
                synthesize(
                    words.experiments, words.metric, self.schema, words.minimize, words.baseline
                )


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
        baseline = "an experiment to compare all others with, seed by seed"
        parser.add_argument("--baseline", metavar="NAME", help=baseline)
        return SynthesizeCommand(parser.parse_args(), schema)


def synthesize(
    root: Path,
    metric: str | None,
    schema: type[Section],
    minimize: bool = False,
    baseline: str | None = None,
) -> None:
    """Write results.md, .csv, .tex and .html below a folder, and print the tables.

    Args:
        root: the folder.
        metric: the column to compare by; None: the objective that each run was trained for.
        schema: of params.yaml.
        minimize: a metric that is the objective of no run is better when lower.
        baseline: the experiment to compare with; None: each row is compared with the next.

    Raises:
        InputError: there is no experiment, none has the metric or the baseline's name, or a file
            of the person would be overwritten.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of experiments.")
    for name in FILES:
        if not results_files.may_be_replaced(root / name):
            raise InputError(
                f"{root / name}: not written by this command, which would replace it. Rename or "
                "move it. Nothing was written."
            )
    experiments = find_experiments(root, schema)
    name = find_baseline(baseline, root, experiments) if baseline else ""
    lineage = Lineage(experiments, root, schema)
    tables = [
        Table.of(members, objective, data, name, lineage)
        for objective, group in split_by_objective(experiments, metric, minimize).items()
        for data, members in split_by_data(group).items()
    ]
    heading = f"Results of {root.resolve().name}"
    with FileLock(root / ".results.lock"):
        write_atomically(root / "results.md", results_files.to_markdown(tables).encode())
        titles, rows = results_files.csv_titles(tables), results_files.csv_rows(tables)
        write_csv(root / "results.csv", titles, rows)
        write_atomically(root / "results.tex", results_files.to_latex(tables).encode())
        page = results_page.to_html(heading, tables, root)
        write_atomically(root / "results.html", page.encode())
    print(to_text(tables))
    print(f"Wrote {root}/results.md, .csv, .tex and .html.")


def find_baseline(wanted: str, root: Path, experiments: Sequence[Experiment]) -> str:
    """Return the name of the baseline: of a run, or of the folder of its seeds or folds.

    Args:
        wanted: the name, or the path of its folder.
        root: the folder of the experiments.
        experiments: all of them.

    Raises:
        InputError: there is no such experiment.
    """
    names = {name: None for e in experiments for name in (e.name, e.whole)}
    path = wanted.rstrip("/")
    for name in (path, path.removeprefix(f"{root.as_posix()}/")):
        if name in names:
            return name
    near = nearest(wanted, list(names))
    raise InputError(f"--baseline: {wanted!r} is no experiment below {root}{near}.")


def split_by_data(experiments: Sequence[Experiment]) -> dict[str, list[Experiment]]:
    """Return the experiments that can be compared by the name of their dataset.

    Different data never share a table, whatever their names; the same data do, wherever they lie.
    The folds of one dataset are one, as long as all experiments have the same folds. What cannot be
    read is shown with the first.
    """
    known = [e for e in experiments if e.parameters]
    prints: dict[str, set[str]] = {}
    for experiment in known:
        prints.setdefault(experiment.data, set()).add(experiment.fingerprint)
    mixed = {_above_folds(data) for data, found in prints.items() if len(found) > 1}
    groups: dict[str, list[Experiment]] = {}
    for experiment in known:
        above = _above_folds(experiment.data)
        whole = above if above and above not in mixed else experiment.fingerprint
        groups.setdefault(whole, []).append(experiment)
    named: dict[str, list[Experiment]] = {}
    for key, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        name = f"{key}/fold-*" if key and key == _above_folds(members[0].data) else members[0].data
        if name in named:
            name = f"{name} ({members[0].fingerprint[:8] or 'unknown data'})"
        named[name] = members
    unread = [e for e in experiments if not e.parameters]
    if unread:
        first = next(iter(named), "")
        named[first] = sorted([*named.get(first, []), *unread], key=lambda e: e.name)
    return named


def _above_folds(data: str) -> str:
    """Return the folder of the folds that a dataset is one of; empty: it is no fold."""
    above, _, last = data.rpartition("/")
    return above if re.fullmatch(r"fold-\d+", last) else ""


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
