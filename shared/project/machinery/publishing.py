"""publish.py: run folders that are sent to an experiment tracker, each part of them once.

Training knows no tracker: what it wrote is read here, in a process of its own. So a server that is
away can neither stop nor slow a run.
"""

import argparse
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock

from machinery import records
from machinery.argument_parser import ArgumentParser
from machinery.command_line import Command
from machinery.errors import InputError, exit_codes, print_error
from machinery.files import write_atomically
from machinery.metrics import read_metrics

LEDGER = "published.json"  # In a run folder: what was sent where.
REFUSED_IN_A_ROW = 2  # So many, and the server is taken to be away.
FILES = ("params.yaml", "run.json", "metrics.jsonl", "metrics_*.json", "*.png")


class PublishedRun(NamedTuple):
    """What the files of a run say."""

    folder: Path
    identity: str  # of its first session: a run that is trained anew is another one
    status: str  # running, finished, stopped, diverged, failed, killed
    started: int  # in milliseconds since 1970
    parameters: dict[str, Any]  # by dotted name
    facts: dict[str, Any]  # device, versions, commit, ...
    rows: list[dict[str, float]]  # one per epoch
    evaluations: dict[str, float]  # such as test_loss
    files: list[Path]  # to look at

    @property
    def name(self) -> str:
        """The path of its folder."""
        return self.folder.as_posix()


class Tracker(Protocol):
    """Where runs are sent to."""

    place: str  # for messages and the ledger: server and project, without a password

    def send(self, run: PublishedRun, first_row: int, rest: bool) -> None:
        """Send the rows from `first_row` on; with `rest` also all that is no row.

        What was sent before must not be there twice, as a kill may come before it is noted.
        """


def read_run(folder: Path) -> PublishedRun:
    """Read the files of a run.

    Raises:
        InputError: they are damaged.
    """
    sessions = records.read_sessions(folder)
    if not sessions:
        raise InputError(f"{folder / records.FILE}: damaged.")
    first, last = sessions[0], sessions[-1]
    place = folder.resolve()  # However it is named: the same run stays the same.
    if place.is_relative_to(records.PROJECT.resolve()):
        place = place.relative_to(records.PROJECT.resolve())
    began = (str(first.get(name)) for name in ("started", "host", "process"))
    words = [place.as_posix(), *began]
    facts = {name: value for name, value in last.items() if isinstance(value, str | int | float)}
    facts |= {f"version of {name}": version for name, version in last.get("versions", {}).items()}
    return PublishedRun(
        folder=folder,
        identity=hashlib.sha256("\0".join(words).encode()).hexdigest()[:16],
        status=_status(folder, last["outcome"]),
        started=round(1000 * datetime.fromisoformat(str(first.get("started"))).timestamp()),
        parameters=last.get("parameters", {}),
        facts=facts,
        rows=read_metrics(folder),
        evaluations=dict(_read_evaluations(folder)),
        files=sorted({path for pattern in FILES for path in folder.glob(pattern)}),
    )


def _status(folder: Path, outcome: str) -> str:
    if outcome != "running":
        return outcome
    return "running" if records.is_running(folder) else "killed"


def _read_evaluations(folder: Path) -> Iterator[tuple[str, float]]:
    """Yield the metrics that evaluate.py wrote, as "test_loss"."""
    for path in sorted(folder.glob("metrics_*.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        split = path.stem.removeprefix("metrics_")
        for name, value in values.items():
            if type(value) in (int, float):
                yield f"{split}_{name}", value


def _read_ledger(path: Path) -> dict[str, dict[str, Any]]:
    """Return what was sent where; of a damaged file nothing, so that all is sent once more."""
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
        return {place: dict(sent) for place, sent in ledger.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        print_error(f"{path}: damaged, so all of the run is sent again.")
        return {}


def publish_run(run: PublishedRun, tracker: Tracker) -> bool:
    """Send what is new of a run; return whether anything was."""
    with FileLock(run.folder / ".published.lock"):
        ledger = _read_ledger(path := run.folder / LEDGER)
        sent = ledger.get(tracker.place, {})
        sent = sent if sent.get("run") == run.identity else {}
        # The record and the pictures are whole once the process has ended.
        digest = hashlib.sha256(run.status.encode())
        for file in run.files if run.status != "running" else ():
            digest.update(file.name.encode() + file.read_bytes())
        now = {"run": run.identity, "rows": len(run.rows), "rest": digest.hexdigest()[:16]}
        if now == sent:
            return False
        first, rest = min(sent.get("rows", 0), len(run.rows)), now["rest"] != sent.get("rest")
        tracker.send(run, first, rest)
        ledger[tracker.place] = now
        write_atomically(path, json.dumps(ledger, indent=2).encode())
    return True


def publish(roots: list[Path], tracker: Tracker) -> int:
    """Send what is new of all runs below some folders; return of how many something was.

    A run that is refused does not keep back those behind it.

    Raises:
        InputError: the tracker refused some runs, or several in a row, as where it cannot be
            reached; those are not waited for one by one.
    """
    folders = sorted({path.parent for root in roots for path in root.rglob(records.FILE)})
    if not folders:
        raise InputError(
            f"{', '.join(map(str, roots))}: no run is there (a folder with run.json). Train one: "
            "python train.py"
        )
    published, refused, in_a_row = 0, [], 0
    for folder in folders:
        try:
            run = read_run(folder)
        except (InputError, OSError, ValueError, AttributeError) as error:  # The others are sent.
            print_error(f"{folder} is left out: {error}")
            continue
        try:
            published += publish_run(run, tracker)
            in_a_row = 0
        except Exception as error:  # Each tracker has errors of its own.
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            reason = re.sub(r"//\S*@", "//", reason)  # An address may hold a password.
            refused.append(f"{folder} could not be sent to {tracker.place}: {reason[:300]}")
            in_a_row += 1
        if in_a_row == REFUSED_IN_A_ROW:
            break
    if refused:
        if published:
            refused.append(f"{published} others were brought up to date.")
        again = "Nothing is lost: run the same command again when the server answers."
        raise InputError("\n".join([*refused, again]))
    return published


def watch(roots: list[Path], tracker: Tracker, seconds: float) -> None:
    """Publish again and again; a server that is away is asked again. Ctrl-C ends it."""
    said = ""
    while True:
        try:
            published, message = publish(roots, tracker), ""
        except InputError as error:
            published, message = 0, str(error)
        if published:
            print(f"{published} runs brought up to date at {tracker.place}.", flush=True)
        if message not in ("", said):
            print_error(message)
        said = message
        time.sleep(seconds)


class PublishCommand(Command):
    """The command line of publish.py."""

    def run(self, trackers: Mapping[str, Callable[[str], Tracker]]) -> None:
        """Publish; end with the exit code of what happened.

        Args:
            trackers: by name, what makes one for a project there.
        """
        if self.arguments is None:
            return
        words = self.arguments
        with exit_codes():
            tracker = trackers[words.to](words.project)
            if words.watch is not None:
                watch(words.experiments, tracker, words.watch)
            published = publish(words.experiments, tracker)
            print(f"{published} runs brought up to date at {tracker.place}.")


def command_line(
    name: str, description: str | None, trackers: Mapping[str, Callable[[str], Tracker]]
) -> PublishCommand:
    """Read the command line of publish.py; end the process where it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
        trackers: by name.
    """
    if name != "__main__":
        return PublishCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        root = Path("experiments")
        parser.add_argument("experiments", type=Path, nargs="*", help=f"folders [{root}]")
        parser.add_argument("--to", choices=[*trackers], required=True, help="the tracker")
        project = records.PROJECT.resolve().name
        parser.add_argument("--project", default=project, help=f"its name there [{project}]")
        meaning = "look for news every so many seconds until Ctrl-C [10]"
        parser.add_argument("--watch", type=float, nargs="?", const=10.0, help=meaning)
        arguments: argparse.Namespace = parser.parse_args()
        if arguments.watch is not None:
            parser.check_range("--watch", arguments.watch, 0.1, 86_400)
        arguments.experiments = arguments.experiments or [root]
        return PublishCommand(arguments)
