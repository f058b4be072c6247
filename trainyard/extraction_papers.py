"""What goes with the code for others: REPRODUCE.md, CITATION.cff, RO-Crate and checksums."""

import hashlib
import json
import mimetypes
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trainyard.extraction import Run, clean_data

GUIDE, CITATION, CRATE = "REPRODUCE.md", "CITATION.cff", "ro-crate-metadata.json"
CHECKSUMS = "checksums.sha256"
# https://www.researchobject.org/ro-crate/specification/1.1/
CRATE_VERSION = "https://w3id.org/ro/crate/1.1"
TYPES = {".py": "text/x-python", ".yaml": "application/yaml", ".md": "text/markdown"}
TYPES |= {".jsonl": "application/jsonl", ".toml": "application/toml", ".cff": "application/yaml"}


class About(NamedTuple):
    """What is cited: its title, its authors, its licence by SPDX or nothing, its version."""

    title: str
    authors: list[str]
    licence: str
    version: str


def describe_project(
    staging: Path, project: Path, title: str | None, authors: Sequence[str]
) -> About:
    """Return what pyproject.toml and the command line say of a project.

    Args:
        staging: the copy of the project.
        project: whose folder's name stands for a title that is missing.
        title: of the command line; None: the project's.
        authors: of the command line; empty: the project's.
    """
    try:
        text = (staging / "pyproject.toml").read_text(encoding="utf-8")
        table = tomllib.loads(text).get("project", {})
    except (OSError, ValueError):
        table = {}
    named = [each["name"] for each in table.get("authors", []) if each.get("name")]
    licence = table.get("license", "")
    name = str(table.get("name") or project.resolve().name)
    described = f"{name}: {table['description']}" if table.get("description") else name
    return About(
        title or described,
        [*authors] or named or [f"The {name} authors"],
        licence if isinstance(licence, str) else str(licence.get("text", "")),
        str(table.get("version", "")),
    )


def write_papers(staging: Path, about: About, runs: Sequence[Run], notes: Sequence[str]) -> None:
    """Write the files that describe a copy, the checksums of all last.

    Args:
        staging: the copy.
        about: it.
        runs: in it.
        notes: sentences on where the code is from.
    """
    today = datetime.now(UTC).date().isoformat()
    guide = "\n".join([*_guide(staging, about, runs, notes), ""])
    (staging / GUIDE).write_text(guide, encoding="utf-8")
    if not (staging / CITATION).exists():
        text = yaml.safe_dump(_citation(about, today), sort_keys=False, allow_unicode=True)
        (staging / CITATION).write_text(text, encoding="utf-8")
    crate = json.dumps(_crate(staging, about, runs, today), indent=2, ensure_ascii=False)
    (staging / CRATE).write_text(crate, encoding="utf-8")
    lines = [f"{_digest(path)}  {name}\n" for name, path in _files(staging)]
    (staging / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _files(staging: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(staging.rglob("*")):
        if path.is_file():
            yield path.relative_to(staging).as_posix(), path


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _guide(staging: Path, about: About, runs: Sequence[Run], notes: Sequence[str]) -> Iterator[str]:
    """Yield the lines of REPRODUCE.md."""
    yield from (f"# {about.title}", "", *notes, "", "## Train again, and compare", "")
    locked = "-c constraints.txt " if (staging / "constraints.txt").exists() else ""
    if (staging / "requirements.txt").exists():
        yield f"    python -m pip install {locked}-r requirements.txt"
    yield from (f"    python train.py --rerun {run.name}" for run in runs)
    yield from (
        "",
        "Each trains beside the recorded run, says which of the recorded conditions differ on your "
        "machine, and ends with exit code 0 where all metrics are the same, bit for bit, else 65. "
        "On other hardware or versions the last digits differ.",
        "",
        "| experiment | Python | device | versions | metrics of the test, or the last epoch |",
        "| --- | --- | --- | --- | --- |",
    )
    for run in runs:
        packages = ", ".join(f"{n} {v}" for n, v in (run.last.get("versions") or {}).items())
        cells = [str(run.last.get(name, "")) for name in ("python", "device")]
        yield f"| {' | '.join([run.name, *cells, packages, _metrics(staging / run.name)])} |"
    yield from ("", "## Data", "")
    for run in {str(run.last.get("fingerprint")): run for run in runs}.values():
        yield from _data(run)
    yield from (
        "",
        "## Check that nothing has changed",
        "",
        f"    sha256sum --check {CHECKSUMS}",
    )


def _metrics(folder: Path) -> str:
    """Return what a run reached: on the test split if it was evaluated, else in its last epoch."""
    try:
        if (folder / "metrics_test.json").exists():
            row = json.loads((folder / "metrics_test.json").read_text(encoding="utf-8"))
        else:
            lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            row = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return ""
    numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
    return ", ".join(f"{name} {value:.6g}" for name, value in numbers.items())


def _data(run: Run) -> Iterator[str]:
    """Yield what is known of a run's dataset, and how it is built."""
    dataset = run.dataset
    folder = clean_data(run.last)
    examples = dataset.get("examples")
    counts = ", ".join(f"{n} {split}" for split, n in examples.items()) if examples else "unknown"
    yield from (
        f"- fingerprint `{run.last.get('fingerprint')}`; `--rerun` refuses any other dataset",
        f"- source: {Path(str(dataset.get('source', 'not recorded'))).name}; examples: {counts}",
        f"- where `--rerun` looks for it: `{folder}`",
        "",
        "`python build_dataset.py --help` and TASK.md say how raw data becomes a dataset. Data "
        "that comes with the project is built by `train.py` itself, where the folder is empty; "
        "for other data give build_dataset.py the same options as then.",
    )


def _citation(about: About, today: str) -> dict[str, Any]:
    """Return a citation by https://citation-file-format.github.io, version 1.2.0."""
    found: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this, please cite it as below.",
        "type": "software",
        "title": about.title,
        "authors": [{"name": name} for name in about.authors],
        "date-released": today,
    }
    found |= {"license": about.licence} if about.licence else {}
    return found | ({"version": about.version} if about.version else {})


def _crate(staging: Path, about: About, runs: Sequence[Run], today: str) -> dict[str, Any]:
    """Return the metadata by RO-Crate 1.1: each file, and each training as an action."""
    files = [_file(name, path) for name, path in _files(staging)]
    people = [
        {"@id": f"#author-{i}", "@type": "Person", "name": name}
        for i, name in enumerate(about.authors, 1)
    ]
    licence = f"https://spdx.org/licenses/{about.licence}" if about.licence else "#no-licence"
    named = {"name": about.licence or "None was given", "description": "The licence of the code"}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": about.title,
        "description": f"Code and {len(runs)} trained experiments: {GUIDE} says how to repeat them",
        "datePublished": today,
        "license": {"@id": licence},
        "author": _refer([each["@id"] for each in people]),
        "hasPart": [{"@id": each["@id"]} for each in files],
        "mentions": _refer([f"#{run.name}" for run in runs]),
    }
    descriptor = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": CRATE_VERSION},
        "about": {"@id": "./"},
    }
    known = {each["@id"] for each in files}
    return {
        "@context": f"{CRATE_VERSION}/context",
        "@graph": [
            descriptor,
            root,
            {"@id": licence, "@type": "CreativeWork", **named},
            *people,
            *files,
            *(_action(run, known) for run in runs),
        ],
    }


def _file(name: str, path: Path) -> dict[str, Any]:
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    return {
        "@id": name.replace(" ", "%20"),
        "@type": "File",
        "name": name,
        "encodingFormat": kind,
        "contentSize": str(path.stat().st_size),
        "sha256": _digest(path),
    }


def _action(run: Run, known: set[str]) -> dict[str, Any]:
    """Return a training as https://schema.org/CreateAction."""
    results = [f"{run.name}/{name}" for name in ("metrics.jsonl", "run.json", "best.safetensors")]
    return {
        "@id": f"#{run.name}",
        "@type": "CreateAction",
        "name": f"Training of {run.name}",
        "startTime": run.sessions[0].get("started"),
        "endTime": run.last.get("ended"),
        "instrument": {"@id": "train.py"},
        "object": {"@id": f"{run.name}/params.yaml"},
        "result": _refer([name for name in results if name in known]),
    }


def _refer(names: Sequence[str]) -> Any:
    """Return references to entities: of one, the specification wants no list."""
    found = [{"@id": name} for name in names]
    return found[0] if len(found) == 1 else found
