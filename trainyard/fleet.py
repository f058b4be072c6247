"""Say how each of many repositories stands, and update them by branches.

    trainyard fleet fleet.yml                       # version, behind by, drift, conflicts
    trainyard fleet fleet.yml --json >fleet.json
    trainyard fleet fleet.yml --data-file house.yml # what would these answers change?
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
each project that gets a branch is trained for two epochs before and after, and the text has the
metrics. That runs the new code of the template and of the repository, which nobody may have read
yet: it gets no token from your environment and a HOME of its own, but can read what you can.

A project in a folder of a repository is listed as {repository: ../mono, folder: leaf}.

exit codes: 0; 65 something has drifted, conflicts, was refused, or a text could not be written;
2 bad input
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
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from trainyard.answers import add_data, read_data
from trainyard.change_request import read_news, write_request
from trainyard.errors import FOUND, InputError
from trainyard.fleet_list import Entry, read_list, tell_apart
from trainyard.members import Member, Wish, end_of, look
from trainyard.progress import print_table
from trainyard.templates import distance, history

COLOURS = {
    **{"up to date": "green", "branch made": "green", "refused": "red"},
    **{"behind": "yellow", "answers differ": "yellow"},
}
HEADINGS = ("repository", "version", "behind by", "drifted", "conflicts", "state")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("list", type=Path, metavar="LIST-FILE", help="the repositories, in YAML")
    parser.add_argument("--to", metavar="VERSION", help="of the template [the newest]")
    parser.add_argument("--update", action="store_true", help="push a branch to each")
    parser.add_argument(
        "--with-conflicts", action="store_true", help="a branch also where there are conflicts"
    )
    add_data(parser)
    parser.add_argument(
        "--requests", type=Path, metavar="FOLDER", help="for the texts of the change requests"
    )
    meaning = "train each of them, before and after: runs the new code of template and repository"
    parser.add_argument("--smoke", action="store_true", help=meaning)
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
    refuse_options(arguments)
    entries = read_list(arguments.list)
    data = read_data(arguments.data, arguments.data_file)
    if arguments.requests:
        make_folder(arguments.requests)
    python = arguments.python if arguments.smoke else ""
    wish = Wish(arguments.to, arguments.update, arguments.with_conflicts, python, data)
    with Report([entry.name for entry in entries], arguments.requests) as report:
        look_at_all(entries, wish, arguments.jobs, report.add)
    members, behind = report.in_order()
    if arguments.json:
        told = [
            {**member._asdict(), "changes": [each._asdict() for each in member.changes]}
            | {"behind": far, "conflicts": member.conflicts}
            for member, far in zip(members, behind, strict=True)
        ]
        print(json.dumps(told, indent=2))
    else:
        show(members, behind)
    report.tell(sys.stderr if arguments.json else sys.stdout)
    found = (m.drifted or m.conflicts or m.state.startswith("refused") for m in members)
    return FOUND if report.failed or any(found) else 0


def refuse_options(arguments: argparse.Namespace) -> None:
    """Raise InputError where an option is of no use without another one."""
    if arguments.jobs < 1:
        raise InputError(f"--jobs: got {arguments.jobs}, expected 1 or more.")
    if not arguments.update and (arguments.with_conflicts or arguments.requests or arguments.smoke):
        raise InputError("--with-conflicts, --requests and --smoke are for --update; add it.")
    if arguments.update and arguments.json and not arguments.requests:
        raise InputError(
            "--update --json: the texts of the change requests would be lost. Add --requests "
            "FOLDER, into which they are written."
        )


def make_folder(folder: Path) -> None:
    """Make the folder of --requests before anything is pushed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--requests: {folder} cannot be made: {error.strerror}.") from None


def look_at_all(
    entries: Sequence[Entry], wish: Wish, jobs: int, arrived: Callable[[int, Member], None]
) -> None:
    """Look at all repositories, several at a time; show the progress on standard error.

    Args:
        entries: of the list.
        wish: what is to be done.
        jobs: how many at a time.
        arrived: called with the number of each entry and its result, as soon as it is there.
    """
    bar = functools.partial(tqdm, total=len(entries), unit="repository", leave=False, disable=None)
    if min(jobs, len(entries)) == 1:
        for number, entry in enumerate(bar(entries)):
            arrived(number, look(entry, wish))
        return
    # Processes, since Copier changes the folder that its process is in. After Ctrl-C, what runs
    # comes to its end, so that no branch is half made, and nothing else begins.
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as caches,
        ProcessPoolExecutor(jobs, context, begin_process, (caches,)) as pool,
    ):
        numbers = {pool.submit(look, entry, wish): n for n, entry in enumerate(entries)}
        left = {*numbers}
        try:
            for done in bar(as_completed(numbers)):
                arrived(numbers[done], done.result())
                left.remove(done)
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            for done in left:
                if not done.cancelled():
                    arrived(numbers[done], done.result())
            raise


def begin_process(caches: str) -> None:
    """Let the first process alone hear Ctrl-C, and give Copier a cache of this process's own.

    Where several fetch into one cache while others check out from it, git fails now and then.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["COPIER_CACHE_DIR"] = tempfile.mkdtemp(dir=caches)


class Report:
    """Takes the results as they arrive, and writes the text of each branch at once.

    So neither Ctrl-C nor a file that cannot be written loses the texts of branches that are made:
    where the program ends early, it prints the branches and what it has to tell of them.
    """

    def __init__(self, names: Sequence[str], requests: Path | None) -> None:
        self.titles = name_requests(names)
        self.requests = requests
        self.members: dict[int, tuple[Member, str]] = {}  # And how far each is behind.
        self.told: list[str] = []  # Where the texts are; without a folder for them, the texts.
        self.failed: list[str] = []  # Which texts could not be written.
        self.histories: dict[str, Path | None] = {}  # Of the templates, each cloned once.
        self.clones = contextlib.ExitStack()

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.clones.close()
        if kind:
            for member, _far in self.members.values():
                if member.branch:
                    print(f"{member.name}: {member.branch}: {member.state}", file=sys.stderr)
            self.tell(sys.stderr)

    def tell(self, file: TextIO) -> None:
        """Print the texts, or where they are, and on standard error which were not written."""
        for line in self.told:
            print(line, file=file)
        for line in self.failed:
            print(line, file=sys.stderr)

    def add(self, number: int, member: Member) -> None:
        """Take the result of an entry of the list."""
        behind, news = self.compare_versions(member)
        self.members[number] = member, behind
        if not member.branch:
            return
        text = write_request(member, behind, news)
        if not self.requests:
            self.told.append(f"\n{text.rstrip()}")
            return
        path = self.requests / f"{self.titles[number]}-{end_of(member.branch)}.md"
        try:
            # The text of a branch that was there before may have metrics that this one has not.
            if member.state.startswith("branch made") or not path.is_file():
                path.write_text(text, encoding="utf-8", errors="replace", newline="\n")
            self.told.append(f"{member.name}: {path}")
        except OSError as error:
            self.failed.append(
                f"error: {path}: cannot be written: {error.strerror}. {member.branch} is there; "
                "name another folder for its text: --requests FOLDER"
            )

    def compare_versions(self, member: Member) -> tuple[str, str]:
        """Return how far a repository is behind, and what its template's changelog says of that.

        Both are empty where the template does not tell.
        """
        if member.version == member.to:
            return "", ""
        if member.source not in self.histories:
            self.histories[member.source] = None
            with contextlib.suppress(InputError):
                found = self.clones.enter_context(history(member.source))
                self.histories[member.source] = found
        behind = news = ""
        if repository := self.histories[member.source]:
            with contextlib.suppress(InputError):
                behind = distance(repository, member.version, member.to)
                news = read_news(repository, member.version, member.to)
        return behind, news

    def in_order(self) -> tuple[list[Member], list[str]]:
        """Return the results in the order of the list, and how far each is behind."""
        members, behind = zip(*(self.members[n] for n in range(len(self.titles))), strict=True)
        return [*members], [*behind]


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


def name_requests(names: Sequence[str]) -> list[str]:
    """Return a file's name for the text of each: the last name of the repository if it is enough.

    Args:
        names: all of the list.
    """
    whole = [name.rstrip("/").removesuffix(".git") for name in names]
    last = [re.split(r"[/:\\]", name)[-1] for name in whole]
    lower = [name.lower() for name in last]  # Some systems take A.md and a.md for one file.
    shown = [
        name if lower.count(short.lower()) > 1 else short
        for name, short in zip(whole, last, strict=True)
    ]
    return tell_apart(shown)
