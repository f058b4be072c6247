"""results.html: the tables of results as one page to send, which needs no other file.

Links lead to the run folders, for whoever has them. Names of experiments and values of parameters
may hold any character, so all texts are escaped.
"""

import base64
import html
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from machinery.experiments import Experiment
from machinery.results_curves import colour, plot_curves
from machinery.results_table import Row, Table

PICTURED_ROWS = 4  # of a table, whose pictures are shown
PICTURED_RUNS = 1  # of a row
LINKED_RUNS = 20  # of a row
THUMBNAIL = (720, 720)  # pixels at most; it is shown at half the size
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE</title>
<style>
  :root { color-scheme: light dark; --line: #d8dbe0; --soft: #f4f5f7; --faint: #6a7280 }
  @media (prefers-color-scheme: dark) {
    :root { --line: #3a3f47; --soft: #22262c; --faint: #9aa3af }
    body { background: #16191d; color: #e4e7eb }
    .picture { background: #fff }
    a { color: #7ab7ff }
  }
  * { box-sizing: border-box }
  body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 90rem }
  h1 { font-size: 1.6rem; margin: .5rem 0 }
  h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
  h3 { font-size: 1rem; margin: 1.5rem 0 .5rem }
  p, figcaption { color: var(--faint); max-width: 60rem }
  svg { width: 100%; height: auto; display: block }
  .curves { display: grid; gap: 1rem; grid-template-columns: 1fr; align-items: start }
  .panels { display: grid; gap: 1rem;
            grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)) }
  @media (min-width: 60rem) { .curves { grid-template-columns: minmax(0, 1fr) 18rem } }
  .legend { list-style: none; margin: 0; padding: 0; font-size: .875rem }
  .legend li { display: flex; gap: .5rem; padding: .125rem 0 }
  .legend span:nth-child(2) { overflow-wrap: anywhere; flex: 1 }
  .legend span:nth-child(3) { white-space: nowrap }
  .dot { flex: none; display: inline-block; width: .75rem; height: .75rem; border-radius: 50%;
         margin-top: .35rem }
  input { font: inherit; padding: .375rem .625rem; width: min(100%, 24rem); margin: 1rem 0 .5rem;
          border: 1px solid var(--line); border-radius: .375rem; background: var(--soft);
          color: inherit }
  .wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .375rem }
  table { border-collapse: collapse; width: 100%; font-size: .875rem;
          font-variant-numeric: tabular-nums }
  th, td { padding: .375rem .625rem; border-bottom: 1px solid var(--line); text-align: left;
           vertical-align: top }
  tr:last-child td { border-bottom: 0 }
  th { background: var(--soft); vertical-align: bottom }
  th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0;
              padding: 0; text-align: inherit; cursor: pointer }
  th[aria-sort=ascending] button::after { content: " \\2191" }
  th[aria-sort=descending] button::after { content: " \\2193" }
  .number { text-align: right }
  td.number, .runs a { white-space: nowrap }
  td > div { width: max-content; max-width: min(20rem, 30vw); overflow-wrap: break-word }
  tbody tr:hover { background: var(--soft) }
  .runs { display: block; margin-left: 1.25rem; font-size: .8125rem; color: var(--faint) }
  .pictures { display: grid; gap: 1rem;
              grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)) }
  figure { margin: 0; overflow-wrap: anywhere; font-size: .875rem }
  .picture { display: block; border: 1px solid var(--line); border-radius: .375rem;
             overflow: hidden }
  .picture img { display: block; width: 100%; height: 18rem; object-fit: contain }
</style>
<h1>TITLE</h1>
SECTIONS<script>
  function key(row, column) {
    const text = row.cells[column].textContent.trim(), number = parseFloat(text.replace("< ", ""));
    return row.cells[column].className == "number" ? number : text;
  }
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") != "descending" ? -1 : 1;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down < 0 ? "descending" : "ascending");
      const rows = [...body.rows].map(row => [key(row, column), row]);
      rows.sort(([a], [b]) => typeof a == "string" ? down * a.localeCompare(b) :
        isNaN(a) - isNaN(b) || (isNaN(a) ? 0 : down * (a - b)));
      body.append(...rows.map(([, row]) => row));
    }));
    table.parentElement.previousElementSibling.addEventListener("input", event => {
      const words = event.target.value.toLowerCase().split(/\\s+/);
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
      }
    });
  }
</script>
</html>
"""


def to_html(heading: str, tables: Sequence[Table], root: Path) -> str:
    """Return results.html.

    Args:
        heading: of the page; begins with "Results of ".
        tables: to show.
        root: the folder of the experiments, where the page lies.
    """
    sections = []
    for table in tables:
        sections.append(f"<section>\n<h2>{html.escape(table.heading)}</h2>\n")
        sections.append(f"<p>{html.escape(' '.join(table.notes))}</p>\n")
        if panels := plot_curves(table):
            drawings = "".join(f"<div>{panel}</div>\n" for panel in panels)
            legend = "".join(_legend(table))
            sections.append(f'<div class="curves">\n<div class="panels">\n{drawings}</div>\n')
            sections.append(f'<ul class="legend">\n{legend}</ul>\n</div>\n')
        sections.append('<input type="search" placeholder="Show rows with ..." ')
        sections.append(
            f'aria-label="Show rows with">\n<div class="wide">\n{_html_table(table)}</div>\n'
        )
        if pictures := "".join(_pictures(table, root)):
            sections.append("<h3>Pictures of the evaluations</h3>\n")
            sections.append(f'<div class="pictures">\n{pictures}</div>\n')
        sections.append("</section>\n")
    parts = {"TITLE": html.escape(heading), "SECTIONS": "".join(sections)}
    return re.sub("|".join(parts), lambda match: parts[match[0]], PAGE)


def _dot(place: int) -> str:
    return f'<span class="dot" style="background: {colour(place)}"></span>'


def _legend(table: Table) -> Iterator[str]:
    """Yield a line for each row that has a colour of its own, and one for the others."""
    metric = next((c for c in table.columns[2:] if c.title == table.titles[2]), None)
    for place, row in enumerate(table.rows):
        if colour(place) == colour(len(table.rows)):
            yield f"<li>{_dot(place)}<span>{len(table.rows) - place} more</span></li>\n"
            return
        value = metric.cells[place] if metric and metric.is_number else ""
        words = f"<span>{html.escape(row.name)}</span><span>{html.escape(value)}</span>"
        yield f"<li>{_dot(place)}{words}</li>\n"


def _html_table(table: Table) -> str:
    kinds = [' class="number"' if column.is_number else "" for column in table.columns]
    heads = "".join(
        f'<th scope="col"{kind}><button>{html.escape(title)}</button></th>'
        for kind, title in zip(kinds, table.titles, strict=True)
    )
    lines = []
    for place, (row, texts) in enumerate(zip(table.rows, table.cells, strict=True)):
        escaped = [_breakable(text) for text in texts]
        if table.bold[place]:
            escaped[0], escaped[2] = f"<b>{escaped[0]}</b>", f"<b>{escaped[2]}</b>"
        escaped[0] = f"{_dot(place)} {_link(row, escaped[0])}"
        lines.append(
            "".join(
                f"<td{kind}>{text}</td>" if kind else f"<td><div>{text}</div></td>"
                for kind, text in zip(kinds, escaped, strict=True)
            )
        )
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def _breakable(text: str) -> str:
    """Return a text for a cell, where long names of parameters may be broken."""
    return re.sub(r"(\w[._/])(?=[^\W\d])", r"\1<wbr>", html.escape(text))


def _link(row: Row, name: str) -> str:
    """Return the name of a row with links to the folders of its runs."""
    linked = row.experiments[:LINKED_RUNS]
    if len(row.experiments) == 1:
        return f'<a href="{quote(linked[0].name)}/">{name}</a>'
    links = [
        f'<a href="{quote(e.name)}/">{html.escape(e.name.rpartition("/")[2])}</a>' for e in linked
    ]
    more = len(row.experiments) - len(linked)
    after = f" and {more} more" if more > 0 else ""
    return f'{name} <span class="runs">{" ".join(links)}{after}</span>'


def _pictures(table: Table, root: Path) -> Iterator[str]:
    """Yield the pictures that evaluations drew of the best rows, such as of the worst mistakes."""
    pictured = 0
    for row in table.rows:
        evaluated = [e for e in row.experiments if any(_list_pictures(e, root))]
        for experiment in evaluated[:PICTURED_RUNS]:
            for path in _list_pictures(experiment, root):
                where = quote(path.relative_to(root).as_posix())
                words = html.escape(f"{experiment.name}: {path.stem.replace('_', ' ')}")
                if thumbnail := _thumbnail(path):
                    picture = f'<img src="{thumbnail}" alt="{words}" loading="lazy">'
                    yield f'<figure><a class="picture" href="{where}">{picture}</a>'
                    yield f"<figcaption>{words}</figcaption></figure>\n"
        pictured += bool(evaluated)
        if pictured == PICTURED_ROWS:
            return


def _list_pictures(experiment: Experiment, root: Path) -> list[Path]:
    folder = root / experiment.name
    paths = [folder / name for name in experiment.written if name.endswith(".png")]
    return [path for path in paths if path.is_file() and path.parent == folder]


def _thumbnail(path: Path) -> str:
    """Return a small copy of a picture as a URL that holds it; empty if it cannot be read."""
    from PIL import Image

    content = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.thumbnail(THUMBNAIL, Image.Resampling.BILINEAR, reducing_gap=2.0)
            picture.convert("RGB").save(content, "JPEG", quality=85)
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
