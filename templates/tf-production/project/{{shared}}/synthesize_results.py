"""Compare experiments: one table, one page.

    python synthesize_results.py                    # everything below experiments/
    python synthesize_results.py experiments/search --metric val_loss

Writes results.md (the table) and results.html (and the curves) there. Finished
experiments that differ only in `seed` share a row: mean ± standard deviation over the seeds, and
how many there are where some lack the metric. The first row is bold only where Welch's t-test says
that it differs from the second (p < 0.05): otherwise the order may be chance.

Only files are read (params.yaml, run.json, metrics.jsonl, metrics_test.json), so experiments of
different frameworks can lie side by side.
"""

import argparse
import dataclasses
import html
import io
import json
import math
import re
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import command_line
import run_folder
import utils
from parameters import Parameters

COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
P_VALUE = 0.05  # below which a difference is more than chance
LOWER_IS_BETTER = ("loss", "error", "rmse", "mae", "mse", "perplexity")  # ends of metrics' names


@dataclasses.dataclass
class Experiment:
    """What the files of one run folder say."""

    name: str
    status: str = ""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)  # but the seed
    seed: str = ""
    rows: list[dict[str, float]] = dataclasses.field(default_factory=list)  # one an epoch
    test: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


@dataclasses.dataclass
class Row:
    """A line of the table: experiments that differ only in their seed."""

    experiments: list[Experiment]
    values: dict[str, list[float]]  # by metric, of each seed

    @property
    def finished(self) -> bool:
        """Whether the training of these came to its end."""
        return self.experiments[0].status == "finished"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line.ArgumentParser(__doc__)
    folder = Path("experiments")
    parser.add_argument("experiments", type=Path, nargs="?", default=folder, help="[experiments]")
    parser.add_argument("--metric", help="to sort by [val_accuracy, or the first there is]")
    return parser.parse_args()


def find_experiments(root: Path) -> list[Experiment]:
    """Read every run folder below a folder; one that cannot be read says so in its status.

    Raises:
        InputError: there is none.
    """
    folders = sorted(path.parent for path in root.rglob("run.json"))
    if not folders:
        raise utils.InputError(
            f"{root}: holds no trained experiment (a folder with params.yaml and run.json). "
            "Train one: python train.py"
        )
    experiments = []
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        try:
            experiments.append(read_experiment(folder, name))
        except Exception as error:  # Whatever lies in one folder, the others are to be seen.
            reason = str(error).partition("\n")[0] or type(error).__name__
            experiments.append(Experiment(name, f"unreadable: {reason}"))
    return experiments


def read_experiment(folder: Path, name: str) -> Experiment:
    """Read the files of a run folder."""
    sessions = run_folder.read_sessions(folder)
    if not sessions:
        raise ValueError("run.json is damaged")
    parameters = todays_parameters(dict(flatten(utils.read_yaml(folder / "params.yaml"))))
    seed = str(parameters.pop("seed", None))
    # What else makes two runs differ, beside their parameters.
    parameters |= {"framework": sessions[-1].get("framework")}
    parameters |= {"data": sessions[-1].get("fingerprint")}
    parameters |= {"model code": sessions[-1].get("model_code")}
    status = str(sessions[-1]["outcome"])
    if run_folder.is_running(folder):
        status = "running"
    elif status == "running":
        status = "killed"
    rows = [{key: float(row[key]) for key in row} for row in run_folder.read_metrics(folder)]
    path = folder / "metrics_test.json"
    test = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    test = {f"test_{key}": float(value) for key, value in test.items() if math.isfinite(value)}
    seconds = sum(session.get("seconds") or 0 for session in sessions)
    return Experiment(name, status, parameters, seed, rows, test, seconds)


def todays_parameters(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a parameter file says as the schema of today has it.

    An older file has other names and lacks what came later; 2 and 2.0 are one learning rate.
    """
    today = utils.old_names(Parameters)
    parameters = {key: field.default for key, field in utils.parameter_fields(Parameters)}
    for key, value in written.items():
        key = today.get(key, key)
        whole = isinstance(parameters.get(key), float) and type(value) is int
        parameters[key] = float(value) if whole else value
    return parameters


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("model.width", 32) for {"model": {"width": 32}}."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def choose_metric(experiments: Sequence[Experiment], wanted: str | None) -> str:
    """Return the column to compare by.

    Raises:
        InputError: no experiment has the column that is wanted.
    """
    columns = {name: None for e in experiments for row in e.rows for name in row}
    candidates = [name for name in columns if name.startswith("val_")] or ["val_loss"]
    if wanted and wanted not in candidates:
        near = utils.nearest(wanted, candidates)
        raise utils.InputError(
            f"--metric: got {wanted!r}, expected one of {', '.join(candidates)}{near}."
        )
    others = [name for name in candidates if name != "val_loss"]
    return wanted or ("val_accuracy" if "val_accuracy" in others else [*others, "val_loss"][0])


def best_epoch(experiment: Experiment, metric: str) -> dict[str, float]:
    """Return the metrics of the epoch that was best on val, or nothing."""
    sign = 1 if metric.endswith(LOWER_IS_BETTER) else -1
    rows = [row for row in experiment.rows if math.isfinite(row.get(metric, math.nan))]
    best = min(rows, key=lambda row: (sign * row[metric], row.get("val_loss", 0)), default={})
    return {name: value for name, value in best.items() if name.startswith("val_")}


def group(experiments: Sequence[Experiment], metric: str) -> list[Row]:
    """Put finished experiments that differ only in their seed into one row; sort the best first."""
    groups: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        same = json.dumps(experiment.parameters, sort_keys=True, default=str)
        key = same if experiment.status == "finished" else f"only {experiment.name}"
        groups.setdefault(key, []).append(experiment)
    rows = []
    for members in groups.values():
        # A seed that was trained twice is no second observation.
        seeds: dict[str, dict[str, float]] = {}
        for member in members:
            values = best_epoch(member, metric) | member.test
            if len(values) >= len(seeds.get(member.seed, {})):  # With a test result, if one has.
                seeds[member.seed] = values
        names = {name: None for values in seeds.values() for name in values}
        values = {name: [v[name] for v in seeds.values() if name in v] for name in names}
        rows.append(Row(members, values))
    sign = 1 if metric.endswith(LOWER_IS_BETTER) else -1

    def order(row: Row) -> tuple[bool, float]:
        values = row.values.get(metric)
        return not row.finished, sign * statistics.fmean(values) if values else math.inf

    return sorted(rows, key=order)


def is_clear(rows: Sequence[Row], metric: str) -> bool:
    """Say whether the first row differs from the second by more than chance (Welch's t-test)."""
    if len(rows) < 2 or not rows[1].finished:
        return False
    first, second = (row.values.get(metric, []) for row in rows[:2])
    if min(len(first), len(second)) < 2:
        return False
    from scipy.stats import ttest_ind  # Comes with scikit-learn; takes long to import.

    with warnings.catch_warnings(action="ignore"):  # Seeds of one value, as of a perfect score.
        return bool(ttest_ind(first, second, equal_var=False).pvalue < P_VALUE)


def make_table(rows: Sequence[Row], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the cells of the table, as text."""
    parameters = [e.parameters for row in rows for e in row.experiments if e.parameters]
    names = {name: None for flat in parameters for name in flat}
    varying = [n for n in names if len({json.dumps(p.get(n), default=str) for p in parameters}) > 1]
    found = {name: None for row in rows for name in row.values}
    ending = metric.removeprefix("val")
    columns = sorted(found, key=lambda n: (n.startswith("test_"), not n.endswith(ending), n))
    titles = ["experiment", "what differs", *(name.replace("_", " ") for name in columns)]
    titles += ["seeds", "epochs", "seconds", "status"]
    cells = []
    for row in rows:
        first = row.experiments[0]
        more = f" and {len(row.experiments) - 3} more" if len(row.experiments) > 3 else ""
        line = [", ".join(e.name for e in row.experiments[:3]) + more]
        line += [utils.format_values({n: v for n, v in first.parameters.items() if n in varying})]
        seeds = len({e.seed for e in row.experiments})
        line += [format_metric(row.values.get(name, []), seeds) for name in columns]
        done = f"{first.rows[-1].get('epoch', math.nan):.0f}" if first.rows else "0"
        line += [str(seeds), f"{done}/{first.parameters.get('training.epochs', '?')}"]
        seconds = statistics.fmean(e.seconds for e in row.experiments)
        cells.append([*line, f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}", first.status])
    return titles, cells


def format_metric(values: Sequence[float], seeds: int) -> str:
    """Return the mean, the standard deviation of several, and how many where it is not all."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    known = f" ({len(values)})" if len(values) < seeds else ""
    return f"{statistics.fmean(values):.4f}{spread}{known}"


def to_markdown(titles: Sequence[str], cells: Sequence[Sequence[str]], bold: bool) -> str:
    """Return the table in Markdown; names cannot break it."""

    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(texts)} |\n"

    def escape(text: str) -> str:
        return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", " ".join(text.split()))

    lines = [line(titles), line(["---"] * 2 + ["---:"] * (len(titles) - 3) + ["---"])]
    for i, texts in enumerate(cells):
        escaped = [escape(text) for text in texts]
        if bold and i == 0:
            escaped[0], escaped[2] = f"**{escaped[0]}**", f"**{escaped[2]}**"
        lines.append(line(escaped))
    return "".join(lines)


def to_text(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return the table for a terminal."""
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    rows = [[t.ljust(n) for t, n in zip(texts, widths, strict=True)] for texts in (titles, *cells)]
    return "\n".join(" | ".join(row).rstrip() for row in rows)


def colour(place: int) -> str:
    """Return the colour of a row: one of ten, or grey."""
    return COLOURS[place] if place < len(COLOURS) else "#c8c8c8"


def plot_curves(rows: Sequence[Row], metric: str) -> str:
    """Draw the val metrics by epoch, a line an experiment, the best on top, as SVG."""
    import matplotlib
    from matplotlib.figure import Figure  # pyplot would look for a display.

    names = {metric: None} | {n: None for row in rows for n in row.values if n.startswith("val_")}
    panels = list(names)[:3]
    figure = Figure(figsize=(6 * len(panels), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for i in reversed(range(len(rows))):
            for experiment in rows[i].experiments:
                points = [row for row in experiment.rows if name in row and "epoch" in row]
                epochs, values = [p["epoch"] for p in points], [p[name] for p in points]
                style = "." if len(points) == 1 else "-"
                axes.plot(epochs, values, style, color=colour(i))
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "results", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue().partition("<svg")[2]


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
<svgCURVES
<table>
TABLE</table>
<p>NOTE</p>
</html>
"""


def to_html(heading: str, curves: str, table: str, bold: bool) -> str:
    """Return the page."""
    parts = {"TITLE": html.escape(heading), "CURVES": curves, "TABLE": table, "NOTE": note(bold)}
    return re.sub("|".join(parts), lambda match: parts[match[0]], PAGE)


def to_rows(titles: Sequence[str], cells: Sequence[Sequence[str]], bold: bool) -> str:
    """Return the table in HTML; names cannot break it."""
    lines = ["".join(f"<th>{html.escape(text)}</th>" for text in titles)]
    for i, texts in enumerate(cells):
        escaped = [html.escape(text) for text in texts]
        if bold and i == 0:
            escaped[0], escaped[2] = f"<b>{escaped[0]}</b>", f"<b>{escaped[2]}</b>"
        escaped[0] = f'<span style="color: {colour(i)}">&#9679;</span> {escaped[0]}'
        lines.append("".join(f"<td>{text}</td>" for text in escaped))
    return "".join(f"<tr>{line}</tr>\n" for line in lines)


def note(bold: bool) -> str:
    """Say how to read the table."""
    reading = "Metrics of the epoch that was best on val; mean ± standard deviation over seeds."
    news = "Bold: differs from the next" if bold else "Nothing is bold: no first place"
    return f"{reading} {news} beyond chance (Welch's t-test, p < {P_VALUE})."


def main(arguments: argparse.Namespace) -> None:
    """Write the table and the page, and print the table."""
    root = arguments.experiments
    if not root.is_dir():
        raise utils.InputError(f"{root}: expected a folder of experiments.")
    experiments = find_experiments(root)
    metric = choose_metric(experiments, arguments.metric)
    rows = group(experiments, metric)
    bold = is_clear(rows, metric)
    titles, cells = make_table(rows, metric)
    markdown = f"# Results\n\n{to_markdown(titles, cells, bold)}\n{note(bold)}\n"
    heading, curves = f"Results of {root.resolve().name}", plot_curves(rows, metric)
    page = to_html(heading, curves, to_rows(titles, cells, bold), bold)
    utils.write_atomically(root / "results.md", markdown.encode())
    utils.write_atomically(root / "results.html", page.encode())
    print(to_text(titles, cells))
    print(f"{note(bold)}\nWrote {root}/results.md and {root}/results.html.")


if __name__ == "__main__":
    with utils.exit_codes():
        main(parse_arguments())
