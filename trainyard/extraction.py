"""The runs that are extracted: what is read of them, copied, and taken out."""

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from trainyard.checks.of_secrets import MACHINE, secrets_in, usually_holds_secrets
from trainyard.checks.repository import decode
from trainyard.errors import InputError

RECORD = "run.json"
COPIED = ("params.yaml", "metrics*.jsonl", "metrics*.json", "learning_curves.png", "changes-*.diff")
CLEANED = (RECORD, "dataset.json")
WITH_CHECKPOINT = ("best.safetensors", "statistics.json")  # What predicting and checking data take.
OF_THE_MACHINE = ("host", "process")
# A path from the root, of two names or more, that is no part of a URL.
PATH = re.compile(r"(?<![\w.:/~-])(?:[A-Za-z]:)?[/\\](?:[\w.@+-]+[/\\])+([\w.@+-]*)")
# Up to the name of a person, which may have blanks in it where a path goes on.
HOME = re.compile(
    r"(?<![\w./~-])(?:[A-Za-z]:|/(?:mnt/|cygdrive/)?[a-z](?=/))?[/\\]+(?:Users|home)[/\\]+"
    r"(?:[^/\\\n\"']+[/\\]|[^/\\\s\"']+)"
)
LARGEST_HEADER = 100_000_000  # Bytes, which is the format's own limit.
FILE_URL = re.compile(r"\bfile://(?:localhost(?=/)|/(?=[A-Za-z]:))?")
OF_A_MACHINE = "/.../"  # Stands for a folder whose name is taken out; PATH takes it out, too.


class Run(NamedTuple):
    """A finished run.

    Args:
        name: its path from the project's folder, with forward slashes.
        folder: it.
        sessions: of its run.json, oldest first.
        dataset: of its dataset.json; empty: it has none.
    """

    name: str
    folder: Path
    sessions: list[dict[str, Any]]
    dataset: dict[str, Any]

    @property
    def last(self) -> dict[str, Any]:
        """Return the record of the process that finished it."""
        return self.sessions[-1]

    @property
    def project(self) -> Path:
        """Return the project's folder."""
        return _absolute(self.folder).parents[len(PurePosixPath(self.name).parts) - 1]


def read_runs(project: Path, folders: Sequence[Path]) -> list[Run]:
    """Return the runs in some folders; those of several seeds or folds are runs of their own.

    Raises:
        InputError: one is no finished run of the project.
    """
    found = []
    for folder in folders:
        if not _absolute(folder).is_relative_to(_absolute(project) / "experiments"):
            raise InputError(f"{folder}: expected a folder below {project / 'experiments'}.")
        below = [path.parent for path in sorted(folder.glob(f"*/{RECORD}"))]
        for each in [folder] if (folder / RECORD).exists() or not below else below:
            found.append(read_run(project, each))
    return list({each.name: each for each in found}.values())


def read_run(project: Path, folder: Path) -> Run:
    """Return the run in a folder.

    Raises:
        InputError: there is none, or it is not finished.
    """
    name = _absolute(folder).relative_to(_absolute(project)).as_posix()
    record = _read_json(folder / RECORD)
    sessions = record.get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(each, dict) for each in sessions):
        raise InputError(f"{folder / RECORD}: not found, or damaged. Expected a finished run.")
    if not sessions or sessions[-1].get("outcome") != "finished":
        raise InputError(
            f"{folder}: its run is not finished. Train it to its end first: python train.py "
            f"--experiment {name}"
        )
    return Run(name, folder, sessions, _read_json(folder / "dataset.json"))


def _absolute(path: Path) -> Path:
    """Return a whole path as it was given: experiments/ may be a link to another disk."""
    return Path(os.path.abspath(path))


def _read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def copy_run(run: Run, staging: Path, with_checkpoint: bool) -> None:
    """Copy what a paper needs of a run: no names and no paths of a machine.

    Args:
        run: to copy.
        staging: the copy of the project.
        with_checkpoint: the network of the best epoch, too.

    Raises:
        InputError: it has no such checkpoint.
    """
    target = staging / run.name
    target.mkdir(parents=True, exist_ok=True)
    patterns = (*COPIED, *(WITH_CHECKPOINT if with_checkpoint else ()))
    for path in sorted({path for pattern in patterns for path in run.folder.glob(pattern)}):
        shutil.copy(path, target / path.name)
    settings = target / "params.yaml"
    if settings.exists():
        text = clean(settings.read_text(encoding="utf-8"), run.project)
        settings.write_bytes(text.encode())
    if with_checkpoint and not (target / WITH_CHECKPOINT[0]).exists():
        raise InputError(f"{run.folder / WITH_CHECKPOINT[0]}: not found. Leave out --checkpoint.")
    sessions = [_clean_session(session, run.project) for session in run.sessions]
    dataset = clean(run.dataset, run.project)
    for name, content in zip(CLEANED, ({"sessions": sessions}, dataset), strict=True):
        if content:
            text = json.dumps(content, indent=2, ensure_ascii=False)
            (target / name).write_text(text, encoding="utf-8")


def _clean_session(session: dict[str, Any], project: Path) -> dict[str, Any]:
    """Return a record without what is the machine's; --rerun reads the rest."""
    kept = {name: value for name, value in session.items() if name not in OF_THE_MACHINE}
    return {**clean(kept, project), "data": clean_data(session)}


def clean_data(session: dict[str, Any]) -> str:
    """Return where a dataset belongs: one that lay anywhere on the machine, into "data"."""
    data = PurePosixPath(str(session.get("data", "data")).replace("\\", "/"))
    is_elsewhere = data.is_absolute() or ".." in data.parts or ":" in data.as_posix()
    return "data" if is_elsewhere else data.as_posix()


def clean(value: Any, project: Path | None = None) -> Any:
    """Return a value of JSON in which each whole path is its last name alone.

    Args:
        value: any.
        project: a folder whose path may have any names in it, as the person's home may.
    """
    if isinstance(value, str):
        value = FILE_URL.sub("", value)
        home = Path(os.path.expanduser("~"))  # Nobody's in some containers: then it stays "~".
        for folder in filter(None, (project, home)):
            if len(folder.parts) > 1:
                ends = r"(?:[/\\]|(?![\w@+-]))"
                value = re.sub(re.escape(str(folder)) + ends, OF_A_MACHINE, value)
        value = HOME.sub(OF_A_MACHINE, value)
        return PATH.sub(lambda found: found[1] or ".", value)
    if isinstance(value, list):
        return [clean(each, project) for each in value]
    if isinstance(value, dict):
        return {name: clean(each, project) for name, each in value.items()}
    return value


def refuse_secrets(staging: Path, project: Path, no_secrets: Collection[str] = ()) -> list[str]:
    """Return notes on paths of a machine in the copy.

    Args:
        staging: the copy.
        project: its folder on this machine.
        no_secrets: what looks like a secret, which the person has looked at: all of a line,
            "train.py:2", or a file that is refused by its name, ".env.local".

    Raises:
        InputError: a secret lies in the copy, or one of `no_secrets` names nothing.
    """
    own = (str(_absolute(project)), str(project.resolve()))
    secrets: dict[str, list[str]] = {}
    machines = []
    for name, path in _files(staging):
        if usually_holds_secrets(name) and path.stat().st_size:
            secrets[name] = ["a file that usually holds secrets"]
        text = _text_of(path)
        # A comment that leaves out a check is for a private repository, not for a publication.
        for number, kind in secrets_in(text, name):
            secrets.setdefault(f"{name}:{number}", []).append(kind)
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE.search(line) or any(folder in line for folder in own):
                machines.append(f"{name}:{number}")
    _judge(secrets, no_secrets)
    if not machines:
        return []
    return [
        "Paths of a machine are left in code and records, as they were written: "
        f"{', '.join(machines)}. Look at these lines before you publish."
    ]


def _judge(secrets: Mapping[str, Sequence[str]], no_secrets: Collection[str]) -> None:
    """Refuse secrets, and exceptions that name none.

    Args:
        secrets: of each place that holds some, all their kinds.
        no_secrets: places that only look like it.

    Raises:
        InputError: there are any.
    """
    # All of a line is named, so that who leaves the line out has read of each.
    left = [
        f"{place} ({', '.join(secrets[place])})" for place in secrets if place not in no_secrets
    ]
    unknown = [place for place in no_secrets if place not in secrets]
    said = []
    if unknown:
        said.append(
            f"--not-secret {', '.join(unknown)}: nothing there looks like a secret. Expected "
            "a place as the refusal names it, FILE:LINE or FILE. Leave it out, or correct it."
        )
    if left:
        said.append(
            f"secrets would leave with the copy: {', '.join(left)}. Revoke "
            "them, since git's history holds them; then commit, train and extract again. If all "
            "that is named of a place only looks like it, say --not-secret and the place, "
            f"such as --not-secret {left[0].partition(' (')[0]}"
        )
    if said:
        raise InputError(" ".join([*said, "Nothing was written."]))


def _files(staging: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(staging.rglob("*")):
        if path.is_file():
            yield path.relative_to(staging).as_posix(), path


def _text_of(path: Path) -> str:
    """Return the text of a file: of weights, their header; of other binary files, nothing.

    The format: https://huggingface.co/docs/safetensors/index#format
    """
    with open(path, "rb") as file:
        if path.suffix == ".safetensors":
            size = int.from_bytes(file.read(8), "little")
            return file.read(min(size, LARGEST_HEADER)).decode("utf-8", "replace")
        start = file.read(8192)
        return decode(start + file.read()) if decode(start) else ""
