"""Which experiment each was made from (--from), and what was changed."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machinery.experiments import Experiment, read_parameters
from machinery.metrics import Objective
from machinery.parameter_file import Section

if TYPE_CHECKING:
    from machinery.results_table import Row

CHANGES_SHOWN = 6


class Lineage:
    """The parents of experiments.

    Args:
        experiments: all that are known.
        root: the folder that they lie in; None: parents that were not trained are not looked for.
        schema: of params.yaml.
    """

    def __init__(
        self,
        experiments: Sequence[Experiment],
        root: Path | None = None,
        schema: type[Section] = Section,
    ) -> None:
        self.root, self.schema = root, schema
        self.by_name: dict[str, Experiment] = {}
        for experiment in experiments:
            # The seeds and folds of an experiment stand for it.
            self.by_name.setdefault(experiment.whole, experiment)
        self.by_name |= {experiment.name: experiment for experiment in experiments}
        self._untrained: dict[str, Experiment | None] = {}

    def find(self, experiment: Experiment) -> tuple[str, Experiment] | None:
        """Return the name of an experiment's parent, and what is known of it."""
        parts = [part for part in experiment.parent.split("/") if part]
        for i in range(len(parts)):  # It is recorded from another folder than ours.
            name = "/".join(parts[i:])
            if name in self.by_name:
                return name, self.by_name[name]
            if (untrained := self._read(name)) is not None:
                return name, untrained
        return None

    def _read(self, name: str) -> Experiment | None:
        """Return an experiment that has parameters and no run."""
        if self.root is None:
            return None
        if name not in self._untrained:
            found = read_parameters(self.root / name, self.schema)
            self._untrained[name] = Experiment(name, parameters=found) if found else None
        return self._untrained[name]

    def describe(self, rows: Sequence["Row"], objective: Objective) -> list[tuple[str, str]]:
        """Return of each row what it was made from by which changes, and how the metric
        changed on average over the seeds and folds that both have.

        Returns:
            Nothing if no row has a parent.
        """
        place = {e.name: row for row in rows for e in row.experiments}
        found = []
        for row in rows:
            first = row.experiments[0]
            parent = self.find(first)
            if parent is None or place.get(parent[1].name) is row:
                found.append(("", ""))
                continue
            other = parent[1]
            changes = describe_changes(other.parameters, first.parameters)
            # Of a parent on other data, or with other seeds only, no difference is shown.
            theirs = place[other.name].values if other.name in place else {}
            known = theirs.get(objective.metric, {})
            ours = row.values.get(objective.metric, {})
            changed = [ours[unit] - known[unit] for unit in ours if unit in known]
            change = statistics.fmean(changed) if changed else None
            name = other.whole  # The row has all of them.
            text = f"{name}: {changes}" if changes else name
            found.append((text, "" if change is None else f"{change:+.4f}"))
        return found if any(text for text, _ in found) else []


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the parameters that differ: "model.width 8 → 64"."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    shown = [f"{name} {_format(old.get(name))} → {_format(new.get(name))}" for name in names]
    more = len(shown) - CHANGES_SHOWN
    return ", ".join(shown[:CHANGES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _format(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
