"""A table of experiments: which share a row, which is the best, and whether beyond chance."""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from machinery.differences import describe_differences
from machinery.experiments import Experiment
from machinery.lineage import Lineage
from machinery.metrics import Objective
from machinery.noise import P_VALUE, compare_paired, correct_for_many, differ_clearly

NAMES_SHOWN = 3  # experiments of a row that are named


@dataclasses.dataclass
class Row:
    """A line of the table: experiments that differ only in their seed, and in their fold."""

    experiments: list[Experiment]
    values: dict[str, dict[str, float]]  # by metric, then by unit: the seed, on folds with the fold
    lost: list[str] = dataclasses.field(default_factory=list)  # Of the same, how others ended.

    @property
    def finished(self) -> bool:
        """Whether the training of these experiments came to its end."""
        return self.experiments[0].status == "finished"

    @property
    def name(self) -> str:
        """The folder of all, "wide (3 seeds)", or the names of the first."""
        names = [experiment.name for experiment in self.experiments]
        above = {name.rpartition("/")[0] for name in names}
        if len(names) > 1 and len(above) == 1 and all(names):
            parts = {name.rpartition("/")[2].partition("-")[0] for name in names}
            if parts in ({"seed"}, {"fold"}):
                return f"{above.pop()} ({len(names)} {parts.pop()}s)"
        others = len(names) - NAMES_SHOWN
        return ", ".join(names[:NAMES_SHOWN]) + (f" and {others} more" if others > 0 else "")

    @property
    def repeated(self) -> list[str]:
        """The names of the experiments that share their seed and fold with another."""
        counts = Counter(e.unit for e in self.experiments)
        return [e.name for e in self.experiments if counts[e.unit] > 1]

    @property
    def status(self) -> str:
        """How the experiments ended, also those of the same settings that did not finish."""
        counts = Counter(status.partition(":")[0] for status in self.lost)
        lost = [f"{count} {status}" for status, count in counts.items()]
        return "; ".join([self.experiments[0].status, *lost])

    def list_values(self, metric: str) -> list[float]:
        """Return the values of a metric, one for each unit."""
        return [*self.values.get(metric, {}).values()]


class Column(NamedTuple):
    """A title and a cell for each row, as text."""

    title: str
    cells: list[str]
    is_number: bool = True
    places: int = 0  # The higher, the sooner it is left out where there is no place for all.


@dataclasses.dataclass
class Table:
    """Experiments compared by one objective on one dataset, best first."""

    objective: Objective
    rows: list[Row]
    columns: list[Column]
    bold: list[bool]  # by row: it is better beyond chance
    data: str = ""  # the name of the dataset
    baseline: str = ""  # what to compare with; empty: the first row with the next
    has_baseline: bool = False  # It is in this table, and finished.

    @classmethod
    def of(
        cls,
        experiments: Sequence[Experiment],
        objective: Objective,
        data: str = "",
        baseline: str = "",
        lineage: Lineage | None = None,
    ) -> Self:
        """Return the table of some experiments.

        Args:
            experiments: on one dataset.
            objective: to compare by.
            data: the name of the dataset.
            baseline: the experiment to compare with; empty: none.
            lineage: of all experiments; None: of these.
        """
        rows = group(experiments, objective)
        lineage = lineage or Lineage(experiments)
        base = next(
            (row for row in rows if baseline and row.finished and is_named(row, baseline)), None
        )
        columns, bold = _make_columns(rows, objective, lineage), [False] * len(rows)
        if base:
            comparison, bold = _compare(rows, base, objective, baseline)
            columns[3:3] = comparison
        elif rows:
            bold[0] = is_clear(rows, objective)
        return cls(objective, rows, columns, bold, data, baseline, base is not None)

    @property
    def titles(self) -> list[str]:
        """The titles of the columns."""
        return [column.title for column in self.columns]

    @property
    def cells(self) -> list[list[str]]:
        """The cells of each row."""
        return [list(row) for row in zip(*(column.cells for column in self.columns), strict=True)]

    @property
    def heading(self) -> str:
        """What the table compares by, and on what."""
        on_data = f" on {self.data}" if self.data else ""
        return f"{_plain(self.objective.metric)}{on_data}"

    @property
    def notes(self) -> list[str]:
        """Sentences that say how to read the table."""
        way = "higher" if self.objective.maximize else "lower"
        notes = [
            f"Compared by {_plain(self.objective.metric)}, {way} is better. Metrics of the epoch "
            "that was best on val; mean ± standard deviation over seeds, and n, how many.",
            self._note_on_the_test(),
        ]
        if len(self.rows) > 2:
            notes.append("What most rows have in common is not named as a difference.")
        for row in self.rows:
            if row.repeated:
                notes.append(f"Runs of one seed count once: {', '.join(row.repeated)}.")
        return notes

    def _note_on_the_test(self) -> str:
        if any(map(has_folds, self.rows)):
            return "Nothing is bold: folds share training rows, so there is no test of them."
        if self.has_baseline:
            return (
                f"Against {self.baseline}: the mean difference over common seeds, its 95 % "
                f"interval, and p of the paired t-test. Bold is what is better with p < {P_VALUE}, "
                "corrected for the number of rows (Holm)."
            )
        if self.baseline:
            return f"Nothing is bold: {self.baseline} is not here with these data, or not finished."
        if not can_be_tested(self.rows, self.objective):
            return "Nothing is bold: the first two rows need two seeds each, or there is no test."
        news = "The first is bold: it differs"
        if not self.bold[0]:
            news = "Nothing is bold: the first does not differ"
        return f"{news} from the next beyond chance (Welch's t-test, p < {P_VALUE})."


def is_named(row: Row, name: str) -> bool:
    """Return whether a row is an experiment, or the experiment's seeds or folds."""
    return any(name in (e.name, e.whole) for e in row.experiments)


def best_epoch(experiment: Experiment, objective: Objective) -> dict[str, float]:
    """Return the metrics of the epoch that was best on val, or nothing."""
    best = objective.best(experiment.rows) or {}
    return {name: v for name, v in best.items() if name.startswith("val_") and math.isfinite(v)}


def group(experiments: Sequence[Experiment], objective: Objective) -> list[Row]:
    """Put finished experiments that differ only in their seed into one row; the best row first."""
    groups: dict[str, list[Experiment]] = {}
    lost: dict[str, list[str]] = {}
    for experiment in experiments:
        if experiment.status == "finished":
            groups.setdefault(experiment.settings, []).append(experiment)
        else:
            groups[f"only {experiment.name}"] = [experiment]
            if experiment.parameters:
                lost.setdefault(experiment.settings, []).append(experiment.status)
    rows = []
    for key, members in groups.items():
        # A seed that was trained twice is no second observation.
        units: dict[str, dict[str, float]] = {}
        for member in members:
            values = best_epoch(member, objective) | member.test
            if len(values) >= len(units.get(member.unit, {})):  # Prefer one with test metrics.
                units[member.unit] = values
        names = {name: None for values in units.values() for name in values}
        values = {
            name: {unit: units[unit][name] for unit in units if name in units[unit]}
            for name in names
        }
        rows.append(Row(members, values, lost.get(key, [])))

    def order(row: Row) -> tuple[bool, bool, tuple[float, ...]]:
        means = {name: statistics.fmean(values.values()) for name, values in row.values.items()}
        known = objective.metric in means
        return row.finished, known, objective.score(means) if known else ()

    return sorted(rows, key=order, reverse=True)  # Equal rows stay in the order of their names.


def is_clear(rows: Sequence[Row], objective: Objective) -> bool:
    """Return whether the first row differs from the second beyond chance."""
    values = (row.list_values(objective.metric) for row in rows[:2])
    return can_be_tested(rows, objective) and differ_clearly(*values)


def can_be_tested(rows: Sequence[Row], objective: Objective) -> bool:
    """Return whether the first two rows have two seeds each, and no folds."""
    return (
        len(rows) > 1
        and all(row.finished and len(row.list_values(objective.metric)) > 1 for row in rows[:2])
        and not any(map(has_folds, rows[:2]))
    )


def has_folds(row: Row) -> bool:
    """Return whether a row is trained on folds, which no test compares.

    Folds share training rows, so a t-test would find too many differences. (Dietterich,
    Approximate statistical tests for comparing supervised classification learning algorithms, 1998)
    """
    return any(experiment.fold for experiment in row.experiments)


def _compare(
    rows: Sequence[Row], base: Row, objective: Objective, name: str
) -> tuple[list[Column], list[bool]]:
    """Return the columns that compare each row with the baseline, and which rows are better."""
    known = base.values.get(objective.metric, {})
    is_tested = not any(map(has_folds, rows))
    found = [
        compare_paired(row.values.get(objective.metric, {}), known, is_tested=is_tested)
        if row is not base and row.finished
        else None
        for row in rows
    ]
    p_values = correct_for_many([each.p if each else math.nan for each in found])
    sign = 1 if objective.maximize else -1
    better = [
        each is not None and sign * each.mean > 0 and p < P_VALUE
        for each, p in zip(found, p_values, strict=True)
    ]
    cells = []
    for row, each in zip(rows, found, strict=True):
        nothing = ["baseline" if row is base else "no common seed" * row.finished, "", ""]
        cells.append(each.describe(len(row.list_values(objective.metric))) if each else nothing)
    titles = (f"against {name}", "95 % interval", "p")
    columns = [
        Column(title, [line[i] for line in cells], places=min(i, 1))
        for i, title in enumerate(titles)
    ]
    return columns, better


def _make_columns(rows: Sequence[Row], objective: Objective, lineage: Lineage) -> list[Column]:
    """Return all columns but those that compare with a baseline."""
    known = [row.experiments[0] for row in rows if row.experiments[0].parameters]
    names_of = [experiment.name for experiment in known]
    differences = dict(zip(names_of, describe_differences(known), strict=True))
    found = {name: None for row in rows for name in row.values}
    ending = objective.metric.removeprefix("val")
    metrics = sorted(
        found, key=lambda n: (n != objective.metric, n.startswith("test_"), n != f"test{ending}", n)
    )
    firsts = [row.experiments[0] for row in rows]
    units = [len({e.unit for e in row.experiments}) for row in rows]
    columns = [
        Column("experiment", [row.name for row in rows], is_number=False),
        Column("what differs", [differences.get(e.name, "") for e in firsts], is_number=False),
    ]
    for place, name in enumerate(metrics):
        cells = [
            _format_metric(row.list_values(name), count)
            for row, count in zip(rows, units, strict=True)
        ]
        columns.append(Column(_plain(name), cells, places=3 + place if place else 0))
    if objective.metric in found and max(units) > 1:
        choose = max if objective.maximize else min
        values = [row.list_values(objective.metric) for row in rows]
        best = [f"{choose(each):.4f}" if each else "" for each in values]
        columns.insert(3, Column("best", best, places=2))
    columns.append(Column("n", [*map(str, units)]))
    if parents := lineage.describe(rows, objective):
        columns.append(Column("made from", [text for text, _ in parents], False, places=1))
        columns.append(Column("against parent", [change for _, change in parents], places=1))
    epochs = [f"{_epochs_done(e)}/{e.parameters.get('training.epochs', '?')}" for e in firsts]
    seconds = [statistics.fmean(e.seconds for e in row.experiments) for row in rows]
    statuses = [row.status for row in rows]
    return [
        *columns,
        Column("epochs", epochs, places=len(metrics) + 3),
        Column("seconds", [f"{s:.1f}" if s < 100 else f"{s:.0f}" for s in seconds], places=99),
        Column("status", statuses, False, places=int({*statuses} == {"finished"})),
    ]


def _epochs_done(experiment: Experiment) -> str:
    return f"{experiment.rows[-1].get('epoch', math.nan):.0f}" if experiment.rows else "0"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _format_metric(values: Sequence[float], units: int) -> str:
    """Return the mean, the standard deviation, and the number of values where seeds lack some."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    known = f" ({len(values)})" if len(values) < units else ""
    return f"{statistics.fmean(values):.4f}{spread}{known}"


def describe_values(values: Mapping[str, float], maximize: bool) -> dict[str, float | int]:
    """Return mean, deviation, n and best of a metric, as numbers."""
    numbers = [*values.values()]
    described: dict[str, float | int] = {"n": len(numbers)}
    if numbers:
        described |= {"mean": statistics.fmean(numbers)}
        described |= {"best": max(numbers) if maximize else min(numbers)}
    if len(numbers) > 1:
        described |= {"deviation": statistics.stdev(numbers)}
    return described
