"""The experiments below a folder, read from their files.

Only files are read (params.yaml, run.json, metrics.jsonl, metrics_test.json), so experiments of
different frameworks can lie side by side.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from machinery import records
from machinery.errors import InputError
from machinery.metrics import Objective, read_metrics
from machinery.parameter_file import Section, old_names, parameter_fields, read_yaml

# How a session ends that says why in its log.
WITH_MESSAGES = ("diverged", "stopped", "out of resources")

FROM = re.compile(r"""--from[ =]('[^']*'|"[^"]*"|\S+)""")  # In a command as run.json has it.


@dataclasses.dataclass
class Experiment:
    """What the files of one run folder say."""

    name: str
    status: str = ""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)  # without the seed
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)  # framework, task, ...
    code: dict[str, str] = dataclasses.field(default_factory=dict)  # digests by file
    seed: str = ""
    rows: list[dict[str, float]] = dataclasses.field(default_factory=list)  # one per epoch
    test: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    objective: Objective | None = None  # None: the run has recorded none.
    data: str = ""  # the folder of its dataset, as run.json has it
    fingerprint: str = ""  # of the dataset
    parent: str = ""  # the folder of the experiment that it was made from (--from)
    written: list[str] = dataclasses.field(default_factory=list)  # files of evaluate.py

    @property
    def fold(self) -> str:
        """The name of the fold that it was trained on, such as "fold-0"; empty: on none."""
        last = self.data.rpartition("/")[2]
        return last if re.fullmatch(r"fold-\d+", last) else ""

    @property
    def whole(self) -> str:
        """The name of the experiment whose seeds or folds this is one of; else its own."""
        return re.sub(r"(?<=.)/(seed|fold)-\d+$", "", self.name)

    @property
    def unit(self) -> str:
        """What is the same in two runs that are compared as a pair: seed and fold."""
        return f"{self.fold} {self.seed}".strip()

    @property
    def columns(self) -> list[str]:
        """The names of the metrics on val."""
        return list({name: None for row in self.rows for name in row if name.startswith("val_")})

    @property
    def settings(self) -> str:
        """All that makes two runs differ by more than chance, as text."""
        settings = [self.parameters, self.origin, self.code]
        return json.dumps(settings, sort_keys=True, default=str)


def find_experiments(root: Path, schema: type[Section]) -> list[Experiment]:
    """Read every run folder below a folder; the status of one that cannot be read says why.

    Args:
        root: the folder.
        schema: of params.yaml.

    Raises:
        InputError: there is none.
    """
    folders = sorted(path.parent for path in root.rglob(records.FILE))
    if not folders:
        raise InputError(
            f"{root}: holds no trained experiment (a folder with params.yaml and run.json). "
            "Train one: python train.py"
        )
    experiments = []
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        try:
            experiments.append(_read_experiment(folder, name, schema))
        except Exception as error:  # Whatever is wrong with one folder, the others are shown.
            reason = str(error).partition("\n")[0] or type(error).__name__
            experiments.append(Experiment(name, f"unreadable: {reason}"))
    return experiments


def _read_experiment(folder: Path, name: str, schema: type[Section]) -> Experiment:
    """Read the files of a run folder; damaged ones raise errors of many types."""
    sessions = records.read_sessions(folder)
    if not sessions:
        raise ValueError(f"{records.FILE} is damaged")
    session = sessions[-1]
    if not (folder / "params.yaml").is_file():
        raise ValueError("params.yaml is missing")
    # The record is what it was trained with, and quicker to read.
    written = session.get("parameters") or dict(_flatten(read_yaml(folder / "params.yaml")))
    parameters = todays_parameters(written, schema)
    seed = str(parameters.pop("seed", None))
    status = str(session["outcome"])
    if status != "finished" and records.is_running(folder):
        status = "running"
    elif status == "running":
        status = "killed"
    status = _add_reason(status, folder)
    objective = session.get("objective")
    rows = [{key: float(row[key]) for key in row} for row in read_metrics(folder)]
    return Experiment(
        name=name,
        status=status,
        parameters=parameters,
        origin={
            "framework": session.get("framework"),
            "task": session.get("task"),
            "optimizer": str(session.get("optimizer", "")).partition("(")[0],
        },
        code=_trained_by(sessions, int(rows[-1].get("step", 0)) if rows else 0),
        seed=seed,
        rows=rows,
        test=_read_test_metrics(folder),
        seconds=sum(session.get("seconds") or 0 for session in sessions),
        objective=Objective(str(objective["metric"]), bool(objective["maximize"]))
        if objective
        else None,
        data=str(session.get("data", "")),
        fingerprint=str(session.get("fingerprint") or ""),
        parent=_made_from(sessions),
        written=records.evaluation_files(folder),
    )


def _made_from(sessions: Sequence[Mapping[str, Any]]) -> str:
    """Return the folder that --from names in the newest command that has it; empty: none has."""
    for session in reversed(sessions):
        if found := FROM.search(str(session.get("command", ""))):
            return Path(found[1].strip("'\"")).as_posix()
    return ""


def _add_reason(status: str, folder: Path) -> str:
    """Return the status of a run that did not finish with the message that it ended with."""
    path = folder / "train.log"
    if status not in WITH_MESSAGES or not path.is_file():
        return status
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    # A message begins with the time and may have several lines.
    begins = [i for i, line in enumerate(lines) if re.match(r"\d{4}-\d\d-\d\d [\d:,]+ ", line)]
    message = " ".join(lines[begins[-1] :]).split(" ", 2)[2] if begins else ""
    return f"{status}: {message}" if message else status


def _trained_by(sessions: Sequence[Mapping[str, Any]], last_step: int) -> dict[str, str]:
    """Return the digest of each file of code that trained a run; of a file that changed, all.

    Args:
        sessions: of run.json.
        last_step: of the run.
    """
    begins = [int(session.get("from_step", 0)) for session in sessions]
    digests: dict[str, list[str]] = {}
    for session, begin, end in zip(sessions, begins, [*begins[1:], last_step], strict=True):
        if begin == 0:  # What trained before this session is gone.
            digests = {}
        if begin < end:  # It took steps that were kept.
            for name, digest in session.get("code", {}).items():
                digests.setdefault(name, []).append(digest)
    return {name: "+".join(dict.fromkeys(found)) for name, found in digests.items()}


def _read_test_metrics(folder: Path) -> dict[str, float]:
    path = folder / "metrics_test.json"
    test = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not isinstance(test, dict):
        raise ValueError(f"{path.name} is damaged")
    numbers = {key: value for key, value in test.items() if type(value) in (int, float)}
    return {f"test_{key}": float(v) for key, v in numbers.items() if math.isfinite(v)}


def read_parameters(folder: Path, schema: type[Section]) -> dict[str, Any]:
    """Return the parameters of an experiment that may not be trained, but the seed.

    Nothing is returned where there are none to be read.
    """
    try:
        written = dict(_flatten(read_yaml(folder / "params.yaml")))
    except (OSError, InputError):
        return {}
    return {key: v for key, v in todays_parameters(written, schema).items() if key != "seed"}


def todays_parameters(written: Mapping[str, Any], schema: type[Section]) -> dict[str, Any]:
    """Return the parameters of a file under today's names, with defaults for those it lacks.

    An older file has old names and lacks newer parameters. A whole number becomes a float where
    the schema has one, so that 2 and 2.0 are the same.
    """
    today = old_names(schema)
    parameters = {key: field.default for key, field in parameter_fields(schema)}
    for key, value in written.items():
        key = today.get(key, key)
        whole = isinstance(parameters.get(key), float) and type(value) is int
        parameters[key] = float(value) if whole else value
    return parameters


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("model.width", 32) for {"model": {"width": 32}}."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
