"""Pictures of a search, and its trials as CSV, beside search.yaml."""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from machinery.errors import InputError
from machinery.pictures import draw
from machinery.search_study import Study
from machinery.spreadsheets import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_TRIALS = 4  # From fewer, nothing can be said about what matters.
# What files that a search wrote begin with, or have near their beginning.
OURS = {".csv": b"trial,state,", ".png": b"Matplotlib"}
PICTURES = ("history.png", "importances.png", "parallel_coordinate.png", "pareto_front.png")


def draw_search(study: Study) -> list[str]:
    """Draw what happened, what mattered and which values were good; return the pictures' names."""
    trials, objectives = study.trials("COMPLETE"), study.search.objectives
    panels, parameters = len(objectives), len(study.search.space.dimensions)
    if len(trials) < LEAST_TRIALS:
        return []
    plots: list[tuple[Callable[[Any], None], float, float]] = [
        (lambda figure: _plot_history(figure, study, trials), 6 * panels, 4),
        (lambda figure: _plot_importances(figure, study), 6 * panels, 1.5 + 0.4 * parameters),
        (lambda figure: _plot_coordinates(figure, study, trials), 3 + 1.6 * parameters, 4.5),
    ]
    if pairs := [*itertools.combinations(range(panels), 2)]:
        plots.append((lambda figure: _plot_front(figure, study, trials, pairs), 6 * len(pairs), 4))
    pictures = list(PICTURES[: len(plots)])
    for picture, (plot, width, height) in zip(pictures, plots, strict=True):
        draw(study.search.folder / picture, plot, width, height)
    return pictures


def check_files(folder: Path) -> None:
    """Refuse a folder with a table or a picture that no search wrote, and the search would replace.

    Raises:
        InputError: there is one.
    """
    for name in ("trials.csv", *PICTURES):
        path = folder / name
        begin = path.read_bytes()[:1024] if path.exists() else b""
        if begin and OURS[path.suffix] not in begin:
            raise InputError(
                f"{path}: is not of a search, which would replace it. Move or rename it."
            )


def write_trials(study: Study) -> None:
    """Write trials.csv: a row for each trial with its state, its objectives and its values."""
    search = study.search
    columns, names = [each.metric for each in search.objectives], [*search.space.dimensions]
    several = len(columns) > 1
    front = {trial.number for trial in study.front()}
    deviations = [f"{column} deviation" for column in columns if search.settings.seeds > 1]
    titles = ["trial", "state", *["pareto_front"] * several, *columns, *deviations, *names]
    rows = []
    for trial in study.optuna.get_trials(deepcopy=False):
        row: list[Any] = [study.folder_of(trial).name, trial.state.name.lower()]
        row += [int(trial.number in front)] * several
        # To Optuna, the value of a pruned trial is that of its last epoch.
        best = trial.user_attrs.get("best") or dict(zip(columns, trial.values or (), strict=False))
        row += [best.get(column, "") for column in columns]
        if deviations:
            row += [trial.user_attrs.get("deviation", {}).get(c, "") for c in columns]
        rows.append([*row, *(trial.params.get(name, "") for name in names)])
    write_csv(search.folder / "trials.csv", titles, rows)


def _plot_history(figure: "Figure", study: Study, trials: Sequence[FrozenTrial]) -> None:
    """Plot each objective by trial, and the best so far."""
    for place, objective in enumerate(study.search.objectives):
        axes = figure.add_subplot(1, len(study.search.objectives), place + 1)
        numbers = [trial.number for trial in trials]
        values = [_value(trial, place) for trial in trials]
        better = max if objective.maximize else min
        axes.plot(numbers, values, "o", color="tab:blue", alpha=0.7, label="trial")
        best = [*itertools.accumulate(values, better)]
        axes.step(numbers, best, where="post", color="tab:red", label="best so far")
        _finish(axes, "trial", objective.metric)
        axes.legend()
    figure.suptitle(f"{study.search.folder}: history")


def _plot_importances(figure: "Figure", study: Study) -> None:
    """Plot how much each parameter decides of each objective.

    PED-ANOVA says how much the values of the best trials differ from those of all: Watanabe et
    al. 2023, https://arxiv.org/abs/2304.10255.
    """
    for place, objective in enumerate(study.search.objectives):
        axes = figure.add_subplot(1, len(study.search.objectives), place + 1)
        sign = -1 if objective.maximize else 1  # Given a target, PED-ANOVA takes less for better.
        with warnings.catch_warnings(action="ignore"):  # Optuna calls it experimental.
            shares = get_param_importances(
                study.optuna,
                evaluator=PedAnovaImportanceEvaluator(),
                target=lambda trial, place=place, sign=sign: sign * _value(trial, place),
            )
        names = sorted(shares, key=lambda name: shares[name])
        bars = axes.barh(names, [shares[name] for name in names], color="tab:blue")
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set_xlim(0, 1.15 * max(*shares.values(), 1e-9))
        _finish(axes, f"importance for {objective.metric}", "")
    figure.suptitle(f"{study.search.folder}: which parameter matters")


def _plot_coordinates(figure: "Figure", study: Study, trials: Sequence[FrozenTrial]) -> None:
    """Plot a line for each trial through its values; the colour shows the first objective."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    objective, names = study.search.objectives[0], [*study.search.space.dimensions]
    axes = figure.add_subplot()
    scales = [_scale(study, name) for name in names]
    values = [_value(trial, 0) for trial in trials]
    colours = ScalarMappable(Normalize(min(values), max(values)), colormaps["viridis"])
    order = sorted(trials, key=lambda trial: _value(trial, 0), reverse=not objective.maximize)
    for trial in order:  # The best come last, above the others.
        heights = [
            scale(trial.params[name]) if name in trial.params else math.nan
            for name, scale in zip(names, scales, strict=True)
        ]
        colour = colours.to_rgba(np.asarray(_value(trial, 0)))
        axes.plot(range(len(names)), heights, ".-", color=colour, alpha=0.8)
    for place, name in enumerate(names):
        tried = {trial.params[name] for trial in trials if name in trial.params}
        dimension = study.search.space.dimensions[name]
        shown = tried if dimension.choices or len(tried) < 6 else {min(tried), max(tried)}
        for value in shown:
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            height = scales[place](value)
            axes.annotate(text, (place, height), (4, 0), textcoords="offset points", va="center")
        axes.axvline(place, color="grey", linewidth=0.5)
    axes.set_xticks(range(len(names)), names, rotation=15, ha="right")
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(names) - 0.5)
    figure.colorbar(colours, ax=axes, label=objective.metric)
    figure.suptitle(f"{study.search.folder}: the values of each trial")


def _scale(study: Study, name: str) -> Callable[[Any], float]:
    """Return a function that gives the height, from 0 to 1, of a value of a parameter."""
    dimension = study.search.space.dimensions[name]
    if dimension.choices is not None:
        places = {value: place for place, value in enumerate(dimension.choices)}
        return lambda value: places[value] / max(len(places) - 1, 1)
    bend = math.log if dimension.log else float
    low, high = bend(dimension.low or 0), bend(dimension.high or 0)
    return lambda value: (bend(value) - low) / ((high - low) or 1)


def _plot_front(
    figure: "Figure", study: Study, trials: Sequence[FrozenTrial], pairs: Sequence[tuple[int, int]]
) -> None:
    """Plot each pair of objectives against each other, with the Pareto front marked."""
    front = {trial.number for trial in study.front()}
    for place, (x, y) in enumerate(pairs):
        axes = figure.add_subplot(1, len(pairs), place + 1)
        for chosen, colour, meaning in ((False, "lightgrey", "others"), (True, "tab:red", "front")):
            shown = [trial for trial in trials if (trial.number in front) == chosen]
            points = ([_value(t, x) for t in shown], [_value(t, y) for t in shown])
            axes.plot(*points, "o", color=colour, markeredgecolor="grey", label=meaning)
            for trial in shown if chosen else ():
                where = (_value(trial, x), _value(trial, y))
                axes.annotate(str(trial.number), where, (5, 5), textcoords="offset points")
        objectives = study.search.objectives
        words = [f"{objectives[i].metric} ({_direction(objectives[i])})" for i in (x, y)]
        _finish(axes, *words)
        axes.legend()
    figure.suptitle(f"{study.search.folder}: Pareto front, by number of trial")


def _value(trial: FrozenTrial, place: int) -> float:
    """Return one of the objectives of a trial that is complete."""
    return trial.values[place] if trial.values else math.nan


def _direction(objective: Any) -> str:
    return "more is better" if objective.maximize else "less is better"


def _finish(axes: "Axes", x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
