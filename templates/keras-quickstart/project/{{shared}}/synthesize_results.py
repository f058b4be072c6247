"""Compare experiments: one table, one page.

    python synthesize_results.py                    # everything below experiments/
    python synthesize_results.py experiments/search --metric val_loss

Writes results.md (the table) and results.html (the table, to sort, and the curves) there. Finished
experiments that differ only in `seed` share a row: mean ± standard deviation over the seeds. The
first row is bold only where it beats the second by more than two standard errors of their
difference, with two seeds or more in each: otherwise the order may be chance.

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
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import command_line
import run_folder
import utils

LOWER_IS_BETTER = ("loss", "error", "rmse", "mae", "mse", "perplexity")  # ends of metrics' names


@dataclasses.dataclass
class Experiment:
    """What the files of one run folder say."""

    name: str
    status: str = ""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)  # but the seed
    seed: Any = None
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


# ---------------------------------------------------------------------------------------------
# Read.


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
    sessions = json.loads((folder / "run.json").read_text(encoding="utf-8"))["sessions"]
    parameters = dict(flatten(utils.read_yaml(folder / "params.yaml")))
    seed = parameters.pop("seed", None)
    # What else makes two runs differ, beside their parameters.
    packages = sorted({*sessions[-1].get("versions", {})} - {"numpy"})
    parameters |= {"framework": " ".join(packages), "data": sessions[-1].get("fingerprint")}
    status = str(sessions[-1]["outcome"])
    if run_folder.is_running(folder):
        status = "running"
    elif status == "running":
        status = "killed"
    rows = [{key: float(row[key]) for key in row} for row in run_folder.read_metrics(folder)]
    path = folder / "metrics_test.json"
    test = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    test = {f"test_{key}": float(value) for key, value in test.items()}
    seconds = sum(session.get("seconds") or 0 for session in sessions)
    return Experiment(name, status, parameters, seed, rows, test, seconds)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("model.width", 32) for {"model": {"width": 32}}."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# ---------------------------------------------------------------------------------------------
# Compare.


def lower_is_better(metric: str) -> bool:
    """Say so for losses and errors."""
    return metric.endswith(LOWER_IS_BETTER)


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
    sign = 1 if lower_is_better(metric) else -1
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
        seeds = {member.seed: best_epoch(member, metric) | member.test for member in members}
        names = {name: None for values in seeds.values() for name in values}
        values = {name: [v[name] for v in seeds.values() if name in v] for name in names}
        rows.append(Row(members, values))
    return sorted(rows, key=lambda row: sort_key(row, metric))


def sort_key(row: Row, metric: str) -> tuple[bool, float]:
    """Finished ones first, the best of them first; then those without a value."""
    mean = statistics.fmean(row.values[metric]) if metric in row.values else math.inf
    return not row.finished, mean if lower_is_better(metric) or mean == math.inf else -mean


def is_clear(rows: Sequence[Row], metric: str) -> bool:
    """Say whether the first row beats the second by more than the noise between seeds.

    The standard error is Welch's, of two means with variances of their own
    (https://doi.org/10.1093/biomet/34.1-2.28).
    """
    if len(rows) < 2 or not rows[1].finished:
        return False
    first, second = (row.values.get(metric, []) for row in rows[:2])
    if min(len(first), len(second)) < 2:
        return False
    error = math.sqrt(sum(statistics.variance(v) / len(v) for v in (first, second)))
    return abs(statistics.fmean(first) - statistics.fmean(second)) > 2 * error


# ---------------------------------------------------------------------------------------------
# Show.


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
        line = [shorten([e.name for e in row.experiments]), describe(first.parameters, varying)]
        line += [format_values(row.values.get(name, [])) for name in columns]
        seeds = len({e.seed for e in row.experiments})
        done = f"{first.rows[-1].get('epoch', math.nan):.0f}" if first.rows else "0"
        line += [str(seeds), f"{done}/{first.parameters.get('training.epochs', '?')}"]
        seconds = statistics.fmean(e.seconds for e in row.experiments)
        cells.append([*line, f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}", first.status])
    return titles, cells


def shorten(names: Sequence[str]) -> str:
    """Name the first three."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def describe(parameters: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return "width 64, learning_rate 0.002" for some names, whole ones where ends are alike."""
    ends = [name.rpartition(".")[2] for name in names]
    parts = []
    for name, end in zip(names, ends, strict=True):
        if name in parameters:
            value = parameters[name]
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            parts.append(f"{end if ends.count(end) == 1 else name} {text}")
    return ", ".join(parts)


def format_values(values: Sequence[float]) -> str:
    """Return the mean, and the standard deviation where there are several."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


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


def to_text(titles: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> str:
    """Return the table for a terminal: columns that say less go, names are cut."""
    columns = list(zip(titles, *cells, strict=True))
    limits = [max(map(len, column)) for column in columns]
    limits = [min(limits[0], 28), min(limits[1], 60), *limits[2:-1], min(limits[-1], 16)]
    for title in ("seconds", "test loss", "val loss", "seeds"):
        if sum(limits) + 2 * len(limits) > width and title in titles and titles[2] != title:
            i = [column[0] for column in columns].index(title)
            del columns[i], limits[i]
    limits[1] = max(limits[1] - max(sum(limits) + 2 * len(limits) - width, 0), 12)
    lines = []
    for texts in zip(*columns, strict=True):
        cut = [t if len(t) <= n else f"{t[: n - 1]}…" for t, n in zip(texts, limits, strict=True)]
        sides = "<<" + ">" * (len(cut) - 3) + "<"
        aligned = [f"{t:{side}{n}}" for t, side, n in zip(cut, sides, limits, strict=True)]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def plot_curves(rows: Sequence[Row], colours: Sequence[str], metric: str) -> str:
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
                axes.plot(epochs, values, style, color=colours[i], gid=f"curve-{i}")
        if name.endswith("loss") and all(min(row.values.get(name, [1])) > 0 for row in rows):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "results", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    # For the page's script; an id could stand there only once.
    return re.sub(r'id="(curve-\d+)"', r'class="\1"', svg[svg.index("<svg") :])


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>TITLE</title>
<style>
  body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem;
         padding: 0 1rem; color: #222 }
  svg { width: 100%; height: auto; margin-bottom: 1rem }
  div { overflow-x: auto }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
  th, td { padding: .35rem .6rem; border-bottom: 1px solid #ddd; text-align: right;
           white-space: nowrap }
  th { cursor: pointer; vertical-align: bottom; border-bottom: 2px solid #888 }
  :is(th, td):is(:first-child, :nth-child(2), :last-child) { text-align: left;
           white-space: normal }
  td { overflow-wrap: break-word }
  td:first-child { min-width: 10.5rem }
  td:nth-child(2) { min-width: 13rem }
  tbody tr:hover { background: #f2f6fb }
  i { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em }
  .faint { opacity: .15 }
  small { color: #666 }
</style>
<h1>TITLE</h1>
CURVES
<div><table><thead>HEAD</thead><tbody>
BODY
</tbody></table></div>
<p><small>NOTE</small></p>
<script>
  document.querySelectorAll("th").forEach((head, column) => head.onclick = () => {
    const body = document.querySelector("tbody"), text = row => row.cells[column].innerText;
    const sign = head.ascending ? -1 : 1;
    head.ascending = !head.ascending;
    [...body.rows].sort((a, b) => sign * (parseFloat(text(a)) - parseFloat(text(b))
      || text(a).localeCompare(text(b)))).forEach(row => body.append(row));
  });
  const curves = document.querySelectorAll("[class^=curve-]");
  document.querySelectorAll("tbody tr").forEach(row => {
    row.onmouseenter = () => curves.forEach(curve =>
      curve.classList.toggle("faint", !curve.classList.contains(row.dataset.curve)));
    row.onmouseleave = () => curves.forEach(curve => curve.classList.remove("faint"));
  });
</script>
</html>
"""


def to_html(
    heading: str,
    rows: Sequence[Row],
    titles: Sequence[str],
    cells: Sequence[Sequence[str]],
    metric: str,
    bold: bool,
) -> str:
    """Return the page."""
    from matplotlib.colors import TABLEAU_COLORS

    colours = [*map(str, TABLEAU_COLORS.values()), *["#c8c8c8"] * len(rows)][: len(rows)]
    head = "".join(f"<th>{html.escape(text)}</th>" for text in titles)
    lines = []
    for i, (texts, colour) in enumerate(zip(cells, colours, strict=True)):
        escaped = [html.escape(text) for text in texts]
        if bold and i == 0:
            escaped[0], escaped[2] = f"<b>{escaped[0]}</b>", f"<b>{escaped[2]}</b>"
        escaped[0] = f'<i style="background: {colour}"></i>{escaped[0]}'
        data = "".join(f"<td>{text}</td>" for text in escaped)
        lines.append(f'<tr data-curve="curve-{i}">{data}</tr>')
    parts = {
        "TITLE": html.escape(heading),
        "CURVES": plot_curves(rows, colours, metric),
        "HEAD": f"<tr>{head}</tr>",
        "BODY": "\n".join(lines),
        "NOTE": html.escape(note(bold)),
    }
    return re.sub("TITLE|CURVES|HEAD|BODY|NOTE", lambda match: parts[match[0]], PAGE)


def note(bold: bool) -> str:
    """Say how to read the table."""
    return "Metrics of the epoch that was best on val; mean ± standard deviation over seeds. " + (
        "Bold: better than the next by more than two standard errors."
        if bold
        else "Nothing is bold: no first place that is clear of the noise between seeds."
    )


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
    page = to_html(f"Results of {root.resolve().name}", rows, titles, cells, metric, bold)
    utils.write_atomically(root / "results.md", markdown.encode())
    utils.write_atomically(root / "results.html", page.encode())
    print(to_text(titles, cells, shutil.get_terminal_size((120, 24)).columns))
    print(f"{note(bold)}\nWrote {root}/results.md and {root}/results.html.")


if __name__ == "__main__":
    with utils.exit_codes():
        main(parse_arguments())
