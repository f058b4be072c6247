"""Sending a submission: checked before, followed until it is scored, noted in the ledger."""

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

from machinery.competition import read_slug
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.kaggle_client import NotOfferedError, call, error_description
from machinery.kernel_push import read_pushed
from machinery.records import git_state, now
from machinery.scores import COLUMNS, Row, changing_ledger, read_cv, read_ledger, report
from machinery.submission_check import check_submission

WAITING = ("sent", "pending")  # What becomes of these is not known yet.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # Seconds between two questions.
PUT_RIGHT = ".put-right"  # Stands in the name of the file that is sent instead.
SIGNS = 12  # Of a digest, where a person sees it.


def check(path: Path) -> tuple[Path, int]:
    """Check a submission; return the file to send, put right where that was needed, and its rows.

    Raises:
        InputError: it is not valid.
    """
    content, rows, notices = check_submission(path)
    if notices:
        path = path.with_name(f"{path.stem}{PUT_RIGHT}.csv")
        write_atomically(path, content)
        print(f"{path}: written, for {'; '.join(notices)}")
    return path, rows


def submit(path: Path, message: str, experiment: Path | None, again: bool, minutes: float) -> None:
    """Check a file, send it, note it in the ledger, and wait for its score.

    Args:
        path: the file.
        message: what Kaggle's list shows beside the scores.
        experiment: folder of the experiment that it came from; None: by the file's name.
        again: send a file that was sent before.
        minutes: how long to wait for the score.

    Raises:
        InputError: the file is not valid or was sent already, no submission is left today, Kaggle
            refuses it, or it could not be scored.
    """
    to_send, _ = check(path)
    digest = hashlib.sha256(to_send.read_bytes()).hexdigest()
    origin = experiment or Path("experiments", path.stem.removesuffix(PUT_RIGHT))
    row = {"file": path.as_posix(), "sha256": digest, **read_cv(origin)}
    _send(row, ["-f", str(to_send)], message, again, minutes)


def submit_notebook(message: str, experiment: Path | None, again: bool, minutes: float) -> None:
    """Let Kaggle score the notebook that `compete.py push` sent last; the rest is as in submit.

    Raises:
        InputError: as submit; or no notebook was sent.
    """
    notebook = read_pushed()
    name = f"{notebook['id']} version {notebook['version']}"
    digest = hashlib.sha256(name.encode()).hexdigest()
    row = {"file": name, "sha256": digest}
    row |= read_cv(experiment or Path("experiments", notebook["experiment"]))
    words = ["-k", notebook["id"], "-v", str(notebook["version"]), "-f", "submission.csv"]
    _send(row, words, message, again, minutes)


def _send(row: Row, words: list[str], message: str, again: bool, minutes: float) -> None:
    """Send what a line of the ledger tells of, note it, and wait for its score.

    Args:
        row: "file", "sha256" and the cells of the CV score.
        words: of Kaggle's client, that say what to send.
        message: to see beside the score.
        again: send what was sent before.
        minutes: how long to wait.
    """
    slug, digest = read_slug(), row["sha256"]
    if not again:
        _refuse_twice(row["file"], digest)
    commit, changes = git_state()
    row = {**dict.fromkeys(COLUMNS, ""), **row, "time": now(), "status": "sent"}
    row["commit"] = (commit or "")[:SIGNS] + ("+" if changes else "")
    _refuse_beyond_limit(slug)
    # The line is found again by the digest, so a long message stands behind it.
    facts = [f"cv={row['cv']}"] if row["cv"] else []
    facts += [f"sha256={digest[:SIGNS]}", f"commit={row['commit'] or 'none'}", message]
    with changing_ledger() as rows:  # Before it is sent: a kill then leaves no gap.
        rows.append(row)
    try:
        said = call("competitions", "submit", slug, *words, "-m", " ".join(facts).strip())
    except InputError as error:
        if not _has_arrived(digest):
            with changing_ledger() as rows:
                rows[:] = [
                    each for each in rows if (each["time"], each["sha256"]) != (row["time"], digest)
                ]
            raise
        said = f"{error}\nKaggle's list has it all the same."  # Only the answer was lost.
    print(said.strip())
    _follow(digest, minutes)


def _has_arrived(digest: str) -> bool:
    """Return whether Kaggle lists what was sent last, though the client failed."""
    try:
        refresh()
    except InputError:
        return False
    return bool([row for row in read_ledger() if row["sha256"] == digest][-1]["ref"])


def _refuse_twice(name: str, digest: str) -> None:
    """Raise InputError where the same content was sent before."""
    for row in reversed(read_ledger()):
        if row["sha256"] == digest and row["status"] != "error":
            raise InputError(
                f"{name}: this content was sent at {row['time']} as {row['file']} "
                f"({row['public_score'] or row['status']}). Send it once more: --again"
            )


def _refuse_beyond_limit(slug: str) -> None:
    """Raise InputError where no submission is left today; say nothing where it is not known."""
    try:
        found = _read_json(call("competitions", "submission-limits", slug, "--json"), {})
    except NotOfferedError:
        return
    sent, left = found.get("numToday", 0), found.get("numAllowedNow", 0)
    if found.get("limitedByTotal") and not left:
        raise InputError(f"{slug}: no submission is left, of all that a team may send.")
    if sent and not left:  # Both are 0 for a person who has not joined yet.
        raise InputError(f"{slug}: none of today's submissions is left. Wait until 0:00 UTC.")


def _read_json(printed: str, otherwise: Any) -> Any:
    """Return what the client printed as JSON, below what else it may say, or another value."""
    found = re.search(r"^[\[{].*", printed, re.DOTALL | re.MULTILINE)
    try:
        return json.loads(found.group()) if found else otherwise
    except ValueError:
        return otherwise


def _follow(digest: str, minutes: float) -> None:
    """Ask for the score of the file sent last, until it is there.

    Args:
        digest: of its content.
        minutes: how long.
    """
    end, pause = time.monotonic() + 60 * minutes, FIRST_PAUSE
    print(f"Waiting at most {minutes:g} minutes for the score. Ctrl-C does no harm.", flush=True)
    while True:
        try:
            refresh()
        except InputError as error:  # Of the network, perhaps; the submission is sent.
            print(error)
        rows = read_ledger()
        row = [each for each in rows if each["sha256"] == digest][-1]
        if row["status"] not in WAITING or time.monotonic() + pause > end:
            break
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)
    if row["status"] == "error":
        reason = row["note"] or "Kaggle's page of the submissions says why"
        raise InputError(f"{row['file']}: Kaggle could not score it: {reason}.")
    report(rows)
    if row["status"] in WAITING:
        print("Kaggle has not scored it yet. Ask again: python compete.py scores")


def refresh() -> None:
    """Bring into the ledger what Kaggle says of the submissions that were not scored yet.

    Raises:
        InputError: Kaggle cannot be asked.
    """
    if not any(row["status"] in WAITING for row in read_ledger()):
        return
    listed = _list_submissions()
    with changing_ledger() as rows:
        known = {row["ref"] for row in rows}
        for row in rows:
            if row["status"] not in WAITING:
                continue
            for each in listed:
                new = row["sha256"][:SIGNS] in each["description"] and each["ref"] not in known
                if each["ref"] == row["ref"] or (not row["ref"] and new):
                    row |= {name: each[name] for name in ("ref", "status", "public_score")}
                    known.add(each["ref"])
                    if row["status"] == "error":
                        row["note"] = error_description(read_slug(), row["ref"])
                    break


def _list_submissions() -> list[Row]:
    """Return what Kaggle's list of the team's submissions tells, the newest first."""
    printed = call("competitions", "submissions", read_slug(), "--format", "json")
    return [
        {
            "ref": str(each["ref"]),
            "description": each.get("description") or "",
            "status": str(each["status"]).rpartition(".")[2].lower(),  # SubmissionStatus.PENDING
            "public_score": str(each.get("publicScore") or ""),
        }
        for each in _read_json(printed, [])
    ]


def show_scores() -> None:
    """Print the ledger, with what Kaggle has said in the meantime."""
    try:
        refresh()
    except InputError as error:
        print(f"not brought up to date: {error}")
    report(read_ledger())
