"""The curves of a table of results by epoch: the mean over seeds, in a band of one deviation."""

import io
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from machinery.results_table import Row, Table

PANELS_SHOWN = 3
GREY_ROWS = 40  # that are drawn without a colour of their own
COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#17becf", "#bcbd22", "#5a67d8"),
)
GREY = "#a0a4aa"
INK = "#010203"  # A colour that is replaced by that of the page's text, light or dark.


def colour(place: int) -> str:
    """Return the colour of a row: one of ten, or grey."""
    return COLOURS[place] if place < len(COLOURS) else GREY


def plot_curves(table: Table) -> list[str]:
    """Draw the metrics on val by epoch, one line for each row, the best on top.

    Returns:
        A drawing in SVG for each metric; nothing if they could not be drawn, which a warning says.
    """
    metric = table.objective.metric
    found = {n: None for row in table.rows for n in row.values if n.startswith("val_")}
    if not found:
        return []
    rows = table.rows[: len(COLOURS) + GREY_ROWS]
    try:
        return [_draw(rows, name) for name in list({metric: None} | found)[:PANELS_SHOWN]]
    except Exception as error:
        print(f"warning: the curves could not be drawn: {error}", file=sys.stderr)
        return []


def mean_and_deviation(row: Row, metric: str) -> tuple[list[float], list[float], list[float]]:
    """Return the epochs of a row, and of each the mean over seeds and the standard deviation."""
    import numpy as np  # It takes long to import.

    by_epoch: dict[float, dict[str, float]] = {}
    for experiment in row.experiments:
        for line in experiment.rows:
            if metric in line and "epoch" in line:
                by_epoch.setdefault(line["epoch"], {})[experiment.unit] = line[metric]
    # An epoch that some seeds lack, as they were stopped early, would make the curve jump.
    most = max(map(len, by_epoch.values()), default=0)
    epochs = sorted(epoch for epoch, values in by_epoch.items() if len(values) == most)
    values = [[*by_epoch[epoch].values()] for epoch in epochs]
    deviations = [float(np.std(each, ddof=1)) if len(each) > 1 else 0.0 for each in values]
    return epochs, [statistics.fmean(each) for each in values], deviations


def _draw(rows: Sequence[Row], metric: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure  # pyplot would look for a display.
    from matplotlib.ticker import MaxNLocator

    # Names are text: a $ in them begins no formula. The same results are the same file.
    options: Any = {"text.parse_math": False, "svg.hashsalt": metric, "svg.fonttype": "none"}
    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with matplotlib.rc_context(options | dict.fromkeys(ink, INK) | {"font.size": 11}):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        for i in reversed(range(len(rows))):
            epochs, means, deviations = mean_and_deviation(rows[i], metric)
            style = "." if len(epochs) == 1 else "-"
            thick, alpha = (1.8, 1.0) if i < len(COLOURS) else (0.8, 0.4)
            axes.plot(epochs, means, style, color=colour(i), linewidth=thick, alpha=alpha)
            if any(deviations) and i < len(COLOURS):
                low = [mean - spread for mean, spread in zip(means, deviations, strict=True)]
                high = [mean + spread for mean, spread in zip(means, deviations, strict=True)]
                axes.fill_between(epochs, low, high, color=colour(i), alpha=0.18, linewidth=0)
        axes.set(xlabel="epoch", title=metric.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    _, tag, drawing = file.getvalue().partition("<svg")
    return tag + drawing.replace(INK, "currentColor")
