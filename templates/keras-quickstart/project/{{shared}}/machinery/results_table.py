"""A table of experiments: which share a row, which is the best, and whether beyond chance."""

import dataclasses
import math
import statistics
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Self

from machinery.differences import describe_differences
from machinery.experiments import Experiment
from machinery.metrics import Objective

P_VALUE = 0.05  # below which a difference is more than chance
NAMES_SHOWN = 3  # experiments of a row that are named


@dataclasses.dataclass
class Row:
    """A line of the table: experiments that differ only in their seed."""

    experiments: list[Experiment]
    values: dict[str, list[float]]  # by metric, of each seed

    @property
    def finished(self) -> bool:
        """Whether the training of these experiments came to its end."""
        return self.experiments[0].status == "finished"

    @property
    def repeated(self) -> list[str]:
        """The names of the experiments that share their seed with another."""
        counts = Counter(e.seed for e in self.experiments)
        return [e.name for e in self.experiments if counts[e.seed] > 1]


@dataclasses.dataclass
class Table:
    """Experiments compared by one objective, best first."""

    objective: Objective
    rows: list[Row]
    titles: list[str]
    cells: list[list[str]]  # by row
    bold: bool  # The first row is better than the second beyond chance.

    @classmethod
    def of(cls, experiments: Sequence[Experiment], objective: Objective) -> Self:
        """Return the table of some experiments."""
        rows = group(experiments, objective)
        titles, cells = _make_cells(rows, objective)
        return cls(objective, rows, titles, cells, is_clear(rows, objective))

    @property
    def heading(self) -> str:
        """What the table compares by."""
        return self.objective.metric.replace("_", " ")

    @property
    def notes(self) -> list[str]:
        """Sentences that say how to read the table."""
        way = "higher" if self.objective.maximize else "lower"
        news = "Nothing is bold: the first does not differ"
        if self.bold:
            news = "The first is bold: it differs"
        test = f"{news} from the next beyond chance (Welch's t-test, p < {P_VALUE})."
        if all(len(row.values.get(self.objective.metric, [])) < 2 for row in self.rows):
            test = "Nothing is bold: one seed each, so no test."
        notes = [
            f"Compared by {self.heading}, {way} is better. Metrics of the epoch that was best on "
            "val; mean ± standard deviation over seeds.",
            test,
        ]
        if len(self.rows) > 2:
            notes.append("What most rows have in common is not named as a difference.")
        for row in self.rows:
            if row.repeated:
                names = ", ".join(row.repeated)
                notes.append(f"Runs of one seed count once: {names}.")
        return notes


def best_epoch(experiment: Experiment, objective: Objective) -> dict[str, float]:
    """Return the metrics of the epoch that was best on val, or nothing."""
    best = objective.best(experiment.rows) or {}
    return {name: v for name, v in best.items() if name.startswith("val_") and math.isfinite(v)}


def group(experiments: Sequence[Experiment], objective: Objective) -> list[Row]:
    """Put finished experiments that differ only in their seed into one row; the best row first."""
    groups: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        finished = experiment.status == "finished"
        key = experiment.settings if finished else f"only {experiment.name}"
        groups.setdefault(key, []).append(experiment)
    rows = []
    for members in groups.values():
        # A seed that was trained twice is no second observation.
        seeds: dict[str, dict[str, float]] = {}
        for member in members:
            values = best_epoch(member, objective) | member.test
            if len(values) >= len(seeds.get(member.seed, {})):  # Prefer one with test metrics.
                seeds[member.seed] = values
        names = {name: None for values in seeds.values() for name in values}
        values = {name: [v[name] for v in seeds.values() if name in v] for name in names}
        rows.append(Row(members, values))

    def order(row: Row) -> tuple[bool, bool, tuple[float, ...]]:
        means = {name: statistics.fmean(values) for name, values in row.values.items()}
        known = objective.metric in means
        return row.finished, known, objective.score(means) if known else ()

    return sorted(rows, key=order, reverse=True)  # Equal rows stay in the order of their names.


def is_clear(rows: Sequence[Row], objective: Objective) -> bool:
    """Return whether the first row differs from the second beyond chance (Welch's t-test)."""
    if len(rows) < 2 or not rows[1].finished:
        return False
    first, second = (row.values.get(objective.metric, []) for row in rows[:2])
    if min(len(first), len(second)) < 2:
        return False
    from scipy.stats import ttest_ind  # Comes with scikit-learn; takes long to import.

    with warnings.catch_warnings(action="ignore"):  # All seeds may have one value: a perfect score.
        return bool(ttest_ind(first, second, equal_var=False).pvalue < P_VALUE)


def _make_cells(rows: Sequence[Row], objective: Objective) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the cells of the table, as text."""
    known = [row.experiments[0] for row in rows if row.experiments[0].parameters]
    names_of = [experiment.name for experiment in known]
    differences = dict(zip(names_of, describe_differences(known), strict=True))
    found = {name: None for row in rows for name in row.values}
    ending = objective.metric.removeprefix("val")
    columns = sorted(found, key=lambda n: (n.startswith("test_"), not n.endswith(ending), n))
    titles = ["experiment", "what differs", *(name.replace("_", " ") for name in columns)]
    titles += ["seeds", "epochs", "seconds", "status"]
    cells = []
    for row in rows:
        first, others = row.experiments[0], len(row.experiments) - NAMES_SHOWN
        names = ", ".join(e.name for e in row.experiments[:NAMES_SHOWN])
        line = [f"{names} and {others} more" if others > 0 else names]
        line += [differences.get(first.name, "")]
        seeds = len({e.seed for e in row.experiments})
        line += [_format_metric(row.values.get(name, []), seeds) for name in columns]
        done = f"{first.rows[-1].get('epoch', math.nan):.0f}" if first.rows else "0"
        line += [str(seeds), f"{done}/{first.parameters.get('training.epochs', '?')}"]
        seconds = statistics.fmean(e.seconds for e in row.experiments)
        cells.append([*line, f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}", first.status])
    return titles, cells


def _format_metric(values: Sequence[float], seeds: int) -> str:
    """Return the mean, the standard deviation, and the number of values where seeds lack some."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    known = f" ({len(values)})" if len(values) < seeds else ""
    return f"{statistics.fmean(values):.4f}{spread}{known}"
