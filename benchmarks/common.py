"""What the benchmarks share: a rendered project, the machine in words, ratios, tables."""

import datetime
import importlib.metadata
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import copier

root = Path(__file__).resolve().parent.parent
template = root / "templates" / "torch-research"


def render(folder: Path) -> Path:
    """Render torch-research with its defaults, as `copier copy --defaults` does."""
    copier.run_copy(str(template), folder, defaults=True, quiet=True)
    return folder


def import_project(folder: Path) -> None:
    """Let the modules of a rendered project be imported: train, evaluate, ..."""
    sys.path.insert(0, str(folder))
    sys.stderr.isatty = lambda: False  # ty: ignore[invalid-assignment]  # No progress bars.


def machine(*packages: str) -> str:
    """Return the date, the processor, its cores, and the versions of Python and packages."""
    processor = platform.processor() or platform.machine()
    capabilities = set()
    if Path("/proc/cpuinfo").exists():
        facts = dict(
            line.partition(":")[::2] for line in Path("/proc/cpuinfo").read_text().splitlines()
        )
        facts = {name.strip(): value.strip() for name, value in facts.items()}
        processor = facts.get("model name", processor)
        capabilities = {"avx512_bf16", "amx_bf16"} & set(facts.get("flags", "").split())
    described = f"{processor} ({', '.join(sorted(capabilities)) or 'no bfloat16 known'})"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{datetime.date.today()}, {described}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return "median (smallest to largest)"."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return value / other of each round: what slowed a whole round down cancels out."""
    return [value / other for value, other in zip(values, others, strict=True)]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> None:
    """Print a Markdown table, text aligned to the left and the numbers after it to the right."""
    print(f"| {' | '.join(head)} |")
    print("|" + " --- |" * text_columns + " ---: |" * (len(head) - text_columns))
    for row in rows:
        print(f"| {' | '.join(row)} |")
