"""The tables of results as files for other programs: Markdown, LaTeX, CSV.

Names of experiments and values of parameters may hold any character, so each format escapes them.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from machinery.results_table import Row, Table, describe_values

CSV_TITLES = ["data", "objective", "experiment", "what differs", "status", "seconds"]
LATEX_TITLE = "% Results, for a document with \\usepackage{booktabs}."
# Characters that LaTeX gives a meaning, and some that its fonts may lack.
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "[": "{[}",  # At the start of a row it would be an option of the row before.
    "]": "{]}",
    "*": "{*}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
}

# How the files begin: one that begins otherwise is not ours.
BEGINNINGS = {
    ".md": r"# Results\n\n(## .*\n\n)?\| experiment \| what differs \|",
    ".tex": re.escape(LATEX_TITLE),
    ".csv": re.escape(",".join(CSV_TITLES)),
    ".html": r'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n(<meta .*\n)?'
    "<title>Results of ",
}


def may_be_replaced(path: Path) -> bool:
    """Return whether a file of results does not exist yet, or was written by this command."""
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

    lines = [line([_escape(title) for title in table.titles])]
    lines.append(line(["---:" if column.is_number else "---" for column in table.columns]))
    for texts, bold in zip(table.cells, table.bold, strict=True):
        escaped = [_escape(text) for text in texts]
        if bold:
            escaped[0], escaped[2] = f"**{escaped[0]}**", f"**{escaped[2]}**"
        lines.append(line(escaped))
    return "".join(lines)


def _escape(text: str) -> str:
    # A < before a space begins no tag; between two $, GitHub shows a formula.
    return re.sub(r"([\\`*_\[\]>|~&$]|<(?! ))", r"\\\1", " ".join(text.split()))


def to_latex(tables: Sequence[Table]) -> str:
    """Return results.tex: a table of each, in the style of booktabs."""
    parts = [LATEX_TITLE]
    for table in tables:
        shown = [
            (place, column)
            for place, column in enumerate(table.columns)
            if column.title not in ("made from", "epochs", "seconds", "status")
        ]
        aligned = "".join("r" if column.is_number else "l" for _, column in shown)
        lines = [" & ".join(escape_latex(column.title) for _, column in shown)]
        for row, texts, bold in zip(table.rows, table.cells, table.bold, strict=True):
            if row.finished:
                escaped = [escape_latex(texts[place]) for place, _ in shown]
                if bold:
                    escaped[0], escaped[2] = (f"\\textbf{{{escaped[i]}}}" for i in (0, 2))
                lines.append(" & ".join(escaped))
        notes = escape_latex(" ".join(table.notes))
        parts += [
            "\n\\begin{table}\n\\centering",
            f"\\caption{{{escape_latex(table.heading)}. {notes}}}",
            f"\\begin{{tabular}}{{{aligned}}}\n\\toprule\n{lines[0]} \\\\\n\\midrule",
            *(f"{line} \\\\" for line in lines[1:]),
            "\\bottomrule\n\\end{tabular}\n\\end{table}",
        ]
    return "\n".join(parts) + "\n"


def escape_latex(text: str) -> str:
    """Return a text that LaTeX sets as it is."""
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))


def csv_titles(tables: Sequence[Table]) -> list[str]:
    """Return the titles of results.csv: mean, deviation, n and best of each metric."""
    metrics = {name: None for table in tables for row in table.rows for name in row.values}
    return [*CSV_TITLES, *(f"{name} {what}" for name in metrics for what in DESCRIBED)]


DESCRIBED = ("mean", "deviation", "n", "best")


def csv_rows(tables: Sequence[Table]) -> Iterator[list[object]]:
    """Yield the rows of results.csv, with numbers that are not rounded."""
    metrics = list({name: None for table in tables for row in table.rows for name in row.values})
    for table in tables:
        for row, texts in zip(table.rows, table.cells, strict=True):
            cells: list[object] = [table.data, table.objective.metric, row.name, texts[1]]
            cells += [row.status, sum(e.seconds for e in row.experiments)]
            for name in metrics:
                described = _describe(row, name, table)
                cells += [described.get(what, "") for what in DESCRIBED]
            yield cells


def _describe(row: Row, name: str, table: Table) -> dict[str, float | int]:
    """Return mean, deviation, n and best of a metric; nothing where the row lacks it."""
    if name not in row.values:
        return {}
    described = describe_values(row.values[name], table.objective.maximize)
    objective = table.objective.metric
    if name not in (objective, f"test{objective.removeprefix('val')}"):
        described.pop("best", None)  # Which direction is better is known of the objective alone.
    return described
