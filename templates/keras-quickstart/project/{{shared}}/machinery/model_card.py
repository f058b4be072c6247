"""What stands beside an exported network for people: a model card, and a list of what is in it.

    exports/onnx/3/MODEL_CARD.md     data, metrics, parameters, how to load it, limits to fill in
    exports/onnx/3/sbom.cdx.json     the packages of requirements.txt, and what wrote the version

The card follows "Model Cards for Model Reporting" (Mitchell et al. 2019,
https://arxiv.org/abs/1810.03993); the list is CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/).
"""

import importlib.metadata
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from machinery import intervals, quantised
from machinery.files import write_atomically
from machinery.records import PROJECT

HOW = (
    "Intervals by the bootstrap: {resamples:,} resamples of {what} (percentiles; Efron and "
    "Tibshirani 1993). They say how far other examples of the same kind would move a metric, and "
    "nothing of another training. Where {narrow}, or follow one another in time, the intervals are "
    "too narrow."
)
ALONE = "the examples of test", "several examples are of one group, such as a patient"
GROUPED = "the {groups:,} groups of test, drawn whole", "examples are of groups that nobody named"
NO_INTERVALS = (
    "No intervals: evaluate.py kept no predictions of this checkpoint (that of an earlier version "
    "of this project kept none), they are too many or lists of many lengths, all are alike, or "
    "their metrics take too long to compute."
)
CARD, BILL = "MODEL_CARD.md", "sbom.cdx.json"

LIMITS = """\
Only a person can say this. Replace each line.

- Meant for: (who uses the predictions, and for what)
- Not meant for: (uses that the data do not support)
- Who or what the data leave out: (groups, places, times, devices)
- What an error costs, and who notices it: (...)
- Whom to ask: (a name or an address)"""


def write_beside(folder: Path, about: Mapping[str, Any], load: str) -> None:
    """Write the model card and the bill of materials of a version.

    Args:
        folder: of the version.
        about: what export.json will say of it.
        load: Python that defines predict(inputs, path).
    """
    write_atomically(folder / CARD, card(about, load).encode())
    bill = json.dumps(bill_of_materials(about), indent=2)
    write_atomically(folder / BILL, bill.encode())


def card(about: Mapping[str, Any], load: str) -> str:
    """Return the model card, in Markdown."""
    dataset = about["dataset"]
    commit = about["git_commit"] or "unknown"
    commit += f" with changes ({about['git_changes']})" if about.get("git_changes") else ""
    example = f'path = "{about["file"]}"\ninputs = {{}}  # arrays by name, as listed above'
    parts = [
        f"# {about['experiment']}: {dataset['task']}",
        f"The {about['checkpoint']} checkpoint, of step {about['step']:,}, as {about['format']}; "
        f"trained by commit {commit}. A fresh process predicted the same "
        f"for {about['examples_compared']} examples of test, to {about['largest_difference']:.1g}.",
        "## Data",
        f"From {dataset['source']}; fingerprint {dataset['fingerprint']}.",
        table(("split", "examples"), [*dataset["examples"].items()]),
        "## Metrics",
        metrics(about),
        *eight_bits(about),
        "## What it takes and gives",
        table(
            ("array", "dtype", "shape"),
            [
                (name, array["dtype"], "(" + ", ".join(str(n or "N") for n in array["shape"]) + ")")
                for name, array in {**about["inputs"], **about["outputs"]}.items()
            ],
        ),
        "## How to load it",
        f"```python{load}\n{example}\noutputs = predict(inputs, path)\n```",
        'What stands where in the arrays, by order and name, is in export.json, under "dataset".',
        "## Limits",
        LIMITS,
        "## Parameters",
        table(("parameter", "value"), [*about["parameters"].items()]),
    ]
    return "\n\n".join(parts) + "\n"


def metrics(about: Mapping[str, Any]) -> str:
    """Return the metrics of val and test, with the number of examples of each."""
    rows, examples = about["metrics"] or {}, about["dataset"]["examples"]
    val = {name[4:]: value for name, value in rows.items() if name.startswith("val_")}
    test = {
        name: value for name, value in (about["test_metrics"] or {}).items() if name != "examples"
    }
    names = dict.fromkeys([*val, *(name for name in test if type(test[name]) in (int, float))])
    found = about.get("test_intervals") or {}
    cells = [
        (
            name,
            *(f"{each[name]:.4g}" if name in each else "" for each in (val, test)),
            intervals.in_words(found.get(name)) if name in test else "",
        )
        for name in names
    ]
    n_val, n_test = (f"{split}, n = {examples[split]:,}" for split in ("val", "test"))
    shown = table(("metric", n_val, n_test, "95 % interval on test"), cells)
    if not test:
        return (
            f"{shown}\n\nNothing of test: this checkpoint was not evaluated (evaluate.py) before."
        )
    groups = about.get("test_groups") or 0
    few = intervals.too_few(groups)
    why = f"No intervals: {few}." if few else NO_INTERVALS
    return f"{shown}\n\n{how(groups) if found else why}"


def how(groups: int) -> str:
    """Return how the intervals came about.

    Args:
        groups: that were drawn; 0: examples were.
    """
    what, narrow = GROUPED if groups else ALONE
    what = what.format(groups=groups)
    return HOW.format(resamples=intervals.RESAMPLES, what=what, narrow=narrow)


def eight_bits(about: Mapping[str, Any]) -> list[str]:
    """Return what the card says of a version in eight bits; of others nothing."""
    if not (int8 := about.get("int8")):
        return []
    head, *rows = quantised.rows_of_table(int8)
    return [
        "## Int8",
        "The metrics of test above are those in int8. Those of val, and the comparison at the top, "
        "are of the float network that it was made from.",
        f"How it was made and measured: {quantised.describe(int8)}.",
        table(head, rows),
    ]


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def bill_of_materials(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the packages that a version was trained and written with, as CycloneDX."""
    versions = {**dict(required()), **about["versions"]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "machine-learning-model",
                "name": about["experiment"],
                "version": f"step {about['step']}",
            }
        },
        "components": [
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{quote(version)}",
            }
            for name, version in sorted(versions.items())
        ],
    }


def required() -> Iterator[tuple[str, str]]:
    """Yield the names that requirements.txt lists, as far as they are installed, and versions."""
    path = PROJECT / "requirements.txt"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    for line in lines:
        if name := re.match(r"[\w.-]+", line):
            try:
                yield name[0], importlib.metadata.version(name[0])
            except importlib.metadata.PackageNotFoundError:  # Of another system.
                continue
