"""Say how each of many repositories stands, and update them by branches.

    trainyard fleet fleet.yml                       # version, behind by, drift, conflicts
    trainyard fleet fleet.yml --json >fleet.json
    trainyard fleet fleet.yml --update --requests requests/

fleet.yml lists paths, relative to it, and URLs:

    repositories:
      - ../leaf
      - https://example.org/laboratory/bark.git
      - ../moss
    opt_out:
      ../moss: the paper is out

A repository opts out itself with `opt_out: why` in its .trainyard.yml. Everything is done in
clones, so no working tree is ever touched. --update pushes a branch with one commit,
trainyard/update-VERSION, and nothing else. It leaves out repositories with uncommitted changes,
those of a path that are not on their default branch (origin's; else main or master), those whose
branch is there already and, without --with-conflicts, those in which somebody would
have to resolve a conflict. For each branch it gives the text of a change request. With --smoke,
each project is trained for two epochs before and after, and the text has the metrics.

exit codes: 0; 65 something has drifted, conflicts or was refused; 2 bad input
"""

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from trainyard.change_request import read_news, write_request
from trainyard.errors import FOUND, InputError
from trainyard.fleet_list import Entry, read_list
from trainyard.members import Member, Wish, look
from trainyard.progress import print_table
from trainyard.templates import distance, history

COLOURS = {"up to date": "green", "branch made": "green", "behind": "yellow", "refused": "red"}
HEADINGS = ("repository", "version", "behind by", "drifted", "conflicts", "state")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("list", type=Path, metavar="LIST-FILE", help="the repositories, in YAML")
    parser.add_argument("--to", metavar="VERSION", help="of the template [the newest]")
    parser.add_argument("--update", action="store_true", help="push a branch to each")
    parser.add_argument(
        "--with-conflicts", action="store_true", help="a branch also where there are conflicts"
    )
    parser.add_argument(
        "--requests", type=Path, metavar="FOLDER", help="for the texts of the change requests"
    )
    parser.add_argument("--smoke", action="store_true", help="train each, before and after")
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="trains them: that of an environment with their requirements [this one]",
    )
    parser.add_argument("--json", action="store_true", help="print it for a program to read")
    jobs = min(4, os.cpu_count() or 1)
    parser.add_argument("--jobs", type=int, default=jobs, help=f"at the same time [{jobs}]")


def run(arguments: argparse.Namespace) -> int:
    """Print how the repositories stand; return the exit code."""
    if arguments.jobs < 1:
        raise InputError(f"--jobs: got {arguments.jobs}, expected 1 or more.")
    if not arguments.update and (arguments.with_conflicts or arguments.requests):
        raise InputError("--with-conflicts and --requests are for --update; add it.")
    entries = read_list(arguments.list)
    if arguments.requests:
        make_folder(arguments.requests)
    python = arguments.python if arguments.smoke else ""
    wish = Wish(arguments.to, arguments.update, arguments.with_conflicts, python)
    members = look_at_all(entries, wish, arguments.jobs)
    behind, news = compare_versions(members)
    if arguments.json:
        told = [
            {**member._asdict(), "changes": [each._asdict() for each in member.changes]}
            | {"behind": far, "conflicts": member.conflicts}
            for member, far in zip(members, behind, strict=True)
        ]
        print(json.dumps(told, indent=2))
    else:
        show(members, behind)
    titles = name_requests(members)
    for member, far, new, title in zip(members, behind, news, titles, strict=True):
        if member.branch and member.state.startswith("branch made"):
            text = write_request(member, far, new)
            path = arguments.requests / title if arguments.requests else None
            tell_request(member, text, path, arguments.json)
    found = (m.drifted or m.conflicts or m.state.startswith("refused") for m in members)
    return FOUND if any(found) else 0


def make_folder(folder: Path) -> None:
    """Make the folder of --requests before anything is pushed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--requests: {folder} cannot be made: {error.strerror}.") from None


def look_at_all(entries: Sequence[Entry], wish: Wish, jobs: int) -> list[Member]:
    """Look at all repositories, several at a time; show the progress on standard error."""
    look_at = functools.partial(look, wish=wish)
    bar = functools.partial(tqdm, total=len(entries), unit="repository", leave=False, disable=None)
    if min(jobs, len(entries)) == 1:
        return [*bar(map(look_at, entries))]
    # Processes, since Copier changes the folder that its process is in. After Ctrl-C, what runs
    # comes to its end, so that no branch is half made, and nothing else begins.
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as caches,
        ProcessPoolExecutor(jobs, context, begin_process, (caches,)) as pool,
    ):
        try:
            return [*bar(pool.map(look_at, entries))]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def begin_process(caches: str) -> None:
    """Let the first process alone hear Ctrl-C, and give Copier a cache of this process's own.

    Where several fetch into one cache while others check out from it, git fails now and then.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["COPIER_CACHE_DIR"] = tempfile.mkdtemp(dir=caches)


def compare_versions(members: Sequence[Member]) -> tuple[list[str], list[str]]:
    """Return how far each repository is behind, and what its template's changelog says of that.

    Both are empty where the template does not tell.
    """
    behind, news = [""] * len(members), [""] * len(members)
    for source in {member.source for member in members if member.version != member.to}:
        with contextlib.suppress(InputError), history(source) as repository:
            for number, member in enumerate(members):
                if member.source != source or member.version == member.to:
                    continue
                with contextlib.suppress(InputError):
                    behind[number] = distance(repository, member.version, member.to)
                    news[number] = read_news(repository, member.version, member.to)
    return behind, news


def show(members: Sequence[Member], behind: Sequence[str]) -> None:
    """Print a table of all repositories, and which files somebody has to look at."""
    rows = [HEADINGS]
    for member, far in zip(members, behind, strict=True):
        counts = [str(len(each) or "") for each in (member.drifted, member.conflicts)]
        rows.append((member.name, member.version, far, *counts, member.state))
    print_table(rows, len(HEADINGS) - 1, [colour_of(member.state) for member in members])
    for member in members:
        for word, paths in (("drifted", member.drifted), ("conflicts", member.conflicts)):
            if paths:
                print(f"{member.name}: {word}: {', '.join(paths)}")


def colour_of(state: str) -> str:
    """Return the colour of a state; those with conflicts are red."""
    if "conflicts" in state:
        return "red"
    return next((colour for start, colour in COLOURS.items() if state.startswith(start)), "")


def name_requests(members: Sequence[Member]) -> list[str]:
    """Return a file's name for the text of each: the last name of the repository if it is enough.

    Args:
        members: all of the list.
    """
    whole = [member.name.rstrip("/").removesuffix(".git") for member in members]
    last = [re.split(r"[/:\\]", name)[-1] for name in whole]
    lower = [name.lower() for name in last]  # Some systems take A.md and a.md for one file.
    shown = [
        name if lower.count(short.lower()) > 1 else short
        for name, short in zip(whole, last, strict=True)
    ]
    return [
        re.sub(r"[^\w.-]+", "-", f"{name}-{member.to}.md")
        for name, member in zip(shown, members, strict=True)
    ]


def tell_request(member: Member, text: str, path: Path | None, quiet: bool) -> None:
    """Write the text of a change request into a file; without one, print it."""
    if path:
        path.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        print(f"{member.name}: {path}", file=sys.stderr if quiet else sys.stdout)
    elif not quiet:
        print(f"\n{text}", end="")
