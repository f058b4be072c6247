"""The tables of results as people see them: in Markdown, in a terminal, and as one HTML page.

Names of experiments and values of parameters may hold any character, so each format escapes them.
"""

import html
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machinery.results_table import Row, Table

PANELS_SHOWN = 3
COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>TITLE</title>
<style>
  body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #222 }
  svg { max-width: 100%; height: auto }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums }
  th, td { padding: .35rem .6rem; border-bottom: 1px solid #ddd; text-align: left }
</style>
<h1>TITLE</h1>
SECTIONS</html>
"""


# How the files begin: one that begins otherwise is not ours.
BEGINNINGS = {
    ".md": r"# Results\n\n(## .*\n\n)?\| experiment \| what differs \|",
    ".html": re.escape(PAGE.partition("TITLE")[0]) + "Results of ",
}


def may_be_replaced(path: Path) -> bool:
    """Return whether results.md or results.html does not exist yet, or was written here."""
    if not path.exists():
        return True
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return re.match(BEGINNINGS[path.suffix], text) is not None


def to_markdown(tables: Sequence[Table]) -> str:
    """Return results.md."""
    parts = ["# Results\n"]
    for table in tables:
        if len(tables) > 1:
            parts.append(f"## {_escape(table.heading)}\n")
        parts += [_markdown_table(table), f"{_escape(' '.join(table.notes))}\n"]
    return "\n".join(parts)


def _markdown_table(table: Table) -> str:
    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(texts)} |\n"

    titles = [_escape(title) for title in table.titles]
    lines = [line(titles), line(["---"] * 2 + ["---:"] * (len(titles) - 3) + ["---"])]
    for i, texts in enumerate(table.cells):
        escaped = [_escape(text) for text in texts]
        if table.bold and i == 0:
            escaped[0], escaped[2] = f"**{escaped[0]}**", f"**{escaped[2]}**"
        lines.append(line(escaped))
    return "".join(lines)


def _escape(text: str) -> str:
    # A < before a space begins no tag; between two $, GitHub shows a formula.
    return re.sub(r"([\\`*_\[\]>|~&$]|<(?! ))", r"\\\1", " ".join(text.split()))


def to_text(tables: Sequence[Table]) -> str:
    """Return the tables for a terminal."""
    parts = []
    for table in tables:
        lines = [table.titles, *table.cells]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = [[t.ljust(n) for t, n in zip(texts, widths, strict=True)] for texts in lines]
        parts += [" | ".join(row).rstrip() for row in rows]
        parts += [*table.notes, ""]
    return "\n".join(parts).rstrip("\n")


def to_html(heading: str, tables: Sequence[Table]) -> str:
    """Return results.html, which needs no other file."""
    sections = []
    for table in tables:
        if len(tables) > 1:
            sections.append(f"<h2>{html.escape(table.heading)}</h2>\n")
        notes = html.escape(" ".join(table.notes))
        sections.append(f"{plot_curves(table)}<table>\n{_html_rows(table)}</table>\n")
        sections.append(f"<p>{notes}</p>\n")
    parts = {"TITLE": html.escape(heading), "SECTIONS": "".join(sections)}
    return re.sub("|".join(parts), lambda match: parts[match[0]], PAGE)


def _html_rows(table: Table) -> str:
    lines = ["".join(f"<th>{html.escape(text)}</th>" for text in table.titles)]
    for i, texts in enumerate(table.cells):
        escaped = [html.escape(text) for text in texts]
        if table.bold and i == 0:
            escaped[0], escaped[2] = f"<b>{escaped[0]}</b>", f"<b>{escaped[2]}</b>"
        escaped[0] = f'<span style="color: {_colour(i)}">&#9679;</span> {escaped[0]}'
        lines.append("".join(f"<td>{text}</td>" for text in escaped))
    return "".join(f"<tr>{line}</tr>\n" for line in lines)


def _colour(place: int) -> str:
    """Return the colour of a row: one of ten, or grey."""
    return COLOURS[place] if place < len(COLOURS) else "#c8c8c8"


def plot_curves(table: Table) -> str:
    """Draw the metrics on val by epoch, one line per experiment, the best on top.

    Returns:
        SVG; empty if it could not be drawn, which a warning says.
    """
    metric = table.objective.metric
    found = {n: None for row in table.rows for n in row.values if n.startswith("val_")}
    try:
        return _draw(table.rows, list({metric: None} | found)[:PANELS_SHOWN])
    except Exception as error:
        print(f"warning: the curves could not be drawn: {error}", file=sys.stderr)
        return ""


def _draw(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    import matplotlib
    from matplotlib.figure import Figure  # pyplot would look for a display.
    from matplotlib.ticker import MaxNLocator

    # Names are text: a $ in them begins no formula. The same results are the same file.
    options: Any = {"text.parse_math": False, "svg.hashsalt": "results", "svg.fonttype": "none"}
    with matplotlib.rc_context(options):
        figure = Figure(figsize=(6 * len(metrics), 4), layout="constrained")
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, name in zip(panels, metrics, strict=True):
            for i in reversed(range(len(rows))):
                for experiment in rows[i].experiments:
                    points = [row for row in experiment.rows if name in row and "epoch" in row]
                    epochs, values = [p["epoch"] for p in points], [p[name] for p in points]
                    style = "." if len(points) == 1 else "-"
                    axes.plot(epochs, values, style, color=_colour(i))
            axes.set(xlabel="epoch", title=name.replace("_", " "))
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    _, tag, drawing = file.getvalue().partition("<svg")
    return tag + drawing
