"""The results of all experiments below a folder: what their files say, and what to compare by.

results_table makes tables of them, and results_page a page.
"""

import argparse
import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machinery import records
from machinery.command_line import ArgumentParser, Command
from machinery.errors import InputError, exit_codes
from machinery.files import write_atomically
from machinery.metrics import Objective, read_metrics
from machinery.parameter_file import Section, nearest, old_names, parameter_fields, read_yaml

if TYPE_CHECKING:
    from machinery.results_table import Table

# How the names of metrics end that are better when lower, where no run says which way is better.
LOWER_IS_BETTER = ("loss", "error", "rmse", "mae", "mse", "perplexity")


@dataclasses.dataclass
class Experiment:
    """What the files of one run folder say."""

    name: str
    status: str = ""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)  # but the seed
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)  # framework and data
    code: dict[str, str] = dataclasses.field(default_factory=dict)  # digests by file
    seed: str = ""
    rows: list[dict[str, float]] = dataclasses.field(default_factory=list)  # one an epoch
    test: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    objective: Objective | None = None  # None: the run does not say.

    @property
    def columns(self) -> list[str]:
        """The metrics on val."""
        return list({name: None for row in self.rows for name in row if name.startswith("val_")})

    @property
    def settings(self) -> str:
        """All that makes two runs differ by more than chance, as text."""
        return json.dumps([self.parameters, self.origin, self.code], sort_keys=True, default=str)


# ---------------------------------------------------------------------------------------------
# Reading.


def find_experiments(root: Path, schema: type[Section]) -> list[Experiment]:
    """Read every run folder below a folder; one that cannot be read says so in its status.

    Args:
        root: the folder.
        schema: of params.yaml.

    Raises:
        InputError: there is none.
    """
    folders = sorted(path.parent for path in root.rglob(records.FILE))
    if not folders:
        raise InputError(
            f"{root}: holds no trained experiment (a folder with params.yaml and run.json). "
            "Train one: python train.py"
        )
    experiments = []
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        try:
            experiments.append(_read_experiment(folder, name, schema))
        except Exception as error:  # Whatever lies in one folder, the others are to be seen.
            reason = str(error).partition("\n")[0] or type(error).__name__
            experiments.append(Experiment(name, f"unreadable: {reason}"))
    return experiments


def _read_experiment(folder: Path, name: str, schema: type[Section]) -> Experiment:
    """Read the files of a run folder; raise whatever comes where they are damaged."""
    sessions = records.read_sessions(folder)
    if not sessions:
        raise ValueError(f"{records.FILE} is damaged")
    session = sessions[-1]
    written = dict(_flatten(read_yaml(folder / "params.yaml")))
    parameters = todays_parameters(written, schema)
    seed = str(parameters.pop("seed", None))
    status = str(session["outcome"])
    if records.is_running(folder):
        status = "running"
    elif status == "running":
        status = "killed"
    objective = session.get("objective")
    return Experiment(
        name=name,
        status=status,
        parameters=parameters,
        origin={"framework": session.get("framework"), "data": session.get("fingerprint")},
        code={str(file): str(digest) for file, digest in (session.get("code") or {}).items()},
        seed=seed,
        rows=[{key: float(row[key]) for key in row} for row in read_metrics(folder)],
        test=_read_test_metrics(folder),
        seconds=sum(session.get("seconds") or 0 for session in sessions),
        objective=Objective(str(objective["metric"]), bool(objective["maximize"]))
        if objective
        else None,
    )


def _read_test_metrics(folder: Path) -> dict[str, float]:
    path = folder / "metrics_test.json"
    test = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {f"test_{key}": float(value) for key, value in test.items() if math.isfinite(value)}


def todays_parameters(written: Mapping[str, Any], schema: type[Section]) -> dict[str, Any]:
    """Return what a parameter file says as the schema of today has it.

    An older file has other names and lacks what came later; 2 and 2.0 are one learning rate.
    """
    today = old_names(schema)
    parameters = {key: field.default for key, field in parameter_fields(schema)}
    for key, value in written.items():
        key = today.get(key, key)
        whole = isinstance(parameters.get(key), float) and type(value) is int
        parameters[key] = float(value) if whole else value
    return parameters


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("model.width", 32) for {"model": {"width": 32}}."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# ---------------------------------------------------------------------------------------------
# What to compare by.


def split_by_objective(
    experiments: Sequence[Experiment], wanted: str | None = None
) -> dict[Objective, list[Experiment]]:
    """Return what to compare by, and which experiments; the most frequent objective first.

    Args:
        experiments: all of them.
        wanted: the column to compare all by; None: each by the objective that it was trained for.

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
        return {_direct(wanted, objectives): list(experiments)}
    groups = {objective: [] for objective, _ in Counter(objectives).most_common()}
    silent = [e for e in experiments if not e.objective]
    if not groups:
        groups = {_direct(_guess_metric(silent), []): []}
    for experiment in experiments:
        # One that does not say is compared with those whose metric it has.
        metrics = (o for o in groups if o.metric in experiment.columns)
        groups[experiment.objective or next(metrics, next(iter(groups)))].append(experiment)
    return groups


def _direct(metric: str, objectives: Sequence[Objective]) -> Objective:
    """Return a metric with its direction: that of a run which has it as objective, else by name."""
    known = (objective for objective in objectives if objective.metric == metric)
    return next(known, Objective(metric, not metric.endswith(LOWER_IS_BETTER)))


def _guess_metric(experiments: Sequence[Experiment]) -> str:
    """Return the first metric beside the loss."""
    columns = {name: None for e in experiments for name in e.columns}
    return next((name for name in columns if name != "val_loss"), "val_loss")


# ---------------------------------------------------------------------------------------------
# The command.


class Synthesis(Command):
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
        """Write the tables and the page, print the tables, and end with the exit code that fits."""
        if self.arguments is not None:
            with exit_codes():
                synthesize(self.arguments.experiments, self.arguments.metric, self.schema)


def command_line(name: str, description: str | None, schema: type[Section]) -> Synthesis:
    """Read the command line of synthesize_results.py; end the process where it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
    """
    if name != "__main__":
        return Synthesis()
    parser = ArgumentParser(description)
    folder = Path("experiments")
    parser.add_argument("experiments", type=Path, nargs="?", default=folder, help="[experiments]")
    objective = "a column of metrics.jsonl to compare by [the objective of the task]"
    parser.add_argument("--metric", help=objective)
    return Synthesis(parser.parse_args(), schema)


def synthesize(root: Path, metric: str | None, schema: type[Section]) -> None:
    """Write results.md and results.html below a folder, and print the tables.

    Args:
        root: the folder.
        metric: the column to compare by; None: the objective that each run was trained for.
        schema: of params.yaml.

    Raises:
        InputError: there is no experiment, or none has the metric.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of experiments.")
    groups = split_by_objective(find_experiments(root, schema), metric)
    from machinery import results_page
    from machinery.results_table import Table

    tables = [Table.of(members, objective) for objective, members in groups.items()]
    heading = f"Results of {root.resolve().name}"
    write_atomically(root / "results.md", results_page.to_markdown(tables).encode())
    write_atomically(root / "results.html", results_page.to_html(heading, tables).encode())
    print(results_page.to_text(tables))
    print(f"Wrote {root}/results.md and {root}/results.html.")
