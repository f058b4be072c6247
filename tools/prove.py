"""Plant defects in copies of this repository, one at a time, and see which test notices each.

    python3 tools/bootstrap.py prove                           # all of tools/defects.toml
    python3 tools/bootstrap.py prove lightning "weight decay"  # those with such words in their name
    python3 tools/bootstrap.py prove --all-tests               # survivors meet the whole suite

That a test suite is green says little until it was seen to turn red. A defect is a small slip, such
as a later change might make. It is planted in a copy of the working tree, uncommitted changes
included, and the tests that should notice it run there. Before that, the same tests run without a
defect and have to pass. At the end a table says for each defect which test failed first, or that it
SURVIVED. BROKEN is one that proves nothing, since its tests did not run.

The exit code is 0 if every defect was caught but those that have an explanation.
"""

import argparse
import contextlib
import dataclasses
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

root = Path(__file__).resolve().parent.parent
list_of_defects = root / "tools" / "defects.toml"
MINUTES = 30  # Selected tests that take longer hang.

# Tests that fail whatever is changed: they compare files with copies, records and rules of style.
NOT_COUNTED = (
    *("tests/test_copies.py", "tests/test_lint.py", "tests/test_prove.py", "tests/test_version.py"),
    "tests/test_rooms.py::test_the_readme_says_how_much_there_is_to_read",
    "tests/test_upkeep.py::test_the_test_workflow",
    "tests/test_upkeep.py::test_the_hooks",
)


@dataclasses.dataclass(frozen=True)
class Defect:
    """A change of one file that makes it wrong."""

    name: str
    file: str  # from the top of the repository
    old: str  # stands in the file exactly once
    new: str
    tests: str  # The words for pytest that select the tests which should fail.
    project: str = ""  # Whose own tests these are: a template and answers; empty: they are ours.
    explanation: str = ""  # Why no test can fail.

    def plant(self, text: str) -> str:
        """The text of the file with the defect in it."""
        if (times := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: `old` stands {times} times in {self.file}, expected 1")
        return text.replace(self.old, self.new)


def read_defects() -> list[Defect]:
    return [Defect(**each) for each in tomllib.loads(list_of_defects.read_text("utf-8"))["defect"]]


class Outcome(NamedTuple):
    """What became of tests: which failed first, or why they did not run."""

    state: str  # one of the three below
    what: str = ""


PASSED, FAILED, BROKEN = "passed", "failed", "BROKEN"


class Copy:
    """A copy of the working tree to plant defects in: a repository of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "trainyard"
        settings = folder / "settings.yml"  # Copier shall not take a person's own.
        self.environment = {
            **os.environ,
            "COPIER_SETTINGS_PATH": str(settings),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # A defect may be as long as what it replaces.
        }
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=root, check=True, capture_output=True).stdout
        for name in os.fsdecode(names).split("\0"):
            if name and (root / name).is_file():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, target)
        settings.write_text("{}\n", encoding="utf-8")
        identity = ["-c", "user.name=Prover", "-c", "user.email=prover@example.org"]
        for words in (["init"], ["add", "--all"], [*identity, "commit", "--message", "A copy"]):
            subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True)

    @contextlib.contextmanager
    def planted(self, defect: Defect) -> Generator[None]:
        """Plant a defect, in the copies of a shared file too, and take it out at the end."""
        path = self.folder / defect.file
        whole = path.read_text(encoding="utf-8")
        try:
            self._write(path, defect.plant(whole))
            yield
        finally:
            self._write(path, whole)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8", newline="\n")
        if path.is_relative_to(self.folder / "shared"):
            command = [sys.executable, "tools/sync_shared.py"]
            subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def run_tests(self, tests: str, project: str = "", minutes: float | None = MINUTES) -> Outcome:
        """Run tests until the first that fails: ours, or those of a project rendered for them."""
        with tempfile.TemporaryDirectory(prefix="prove-") as temporary:
            folder = self.folder
            options = ["-x", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
            if project:
                folder = Path(temporary, "leaf")
                self._render(project, folder)
            elif tests.startswith("tests"):  # They run in the deeper tier: in every way.
                options.append("--deep")
            command = [sys.executable, "-m", "pytest", *options, *shlex.split(tests)]
            return read_outcome(*run(command, folder, self.environment, minutes))

    def _render(self, project: str, target: Path) -> None:
        name, *answers = project.split()
        template, data = self.folder / "templates" / name, [f"--data={word}" for word in answers]
        words = ["copier", "copy", "--defaults", "--quiet", *data, template, target]
        subprocess.run([sys.executable, "-m", *words], env=self.environment, check=True)


running: set[subprocess.Popen] = set()  # The processes of pytest that have not ended.


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], minutes: float | None
) -> tuple[int | None, str]:
    """The exit code of a command and what it printed; None where it took too long."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # So that it can be killed with all that it has started.
    )
    running.add(process)
    try:
        output, _ = process.communicate(timeout=60 * minutes if minutes else None)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        kill(process)
        running.discard(process)


def kill(process: subprocess.Popen) -> None:
    """Kill a process, and what it has started and left."""
    if hasattr(os, "killpg"):  # Not on Windows.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def read_outcome(code: int | None, output: str) -> Outcome:
    """What pytest's exit code and summary say."""
    if code is None:
        return Outcome(BROKEN, f"no end after {MINUTES} minutes")
    failed = re.search(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", output, re.MULTILINE)
    if code == 1 and failed and "::" in failed[1]:
        return Outcome(FAILED, failed[1])
    if code == 0 and re.search(r"\b\d+ passed", output):
        return Outcome(PASSED)
    # A module could not be imported, nothing was selected, or all of it was skipped.
    last = output.strip().rpartition("\n")[2]
    return Outcome(BROKEN, f"pytest ended with {code}: {failed[0] if failed else last}")


def try_defect(copy: Copy, defect: Defect, all_tests: bool) -> Outcome:
    """Run the tests that should catch a defect; if they do not, and it is asked for, all others."""
    with copy.planted(defect):
        outcome = copy.run_tests(defect.tests, defect.project)
        if outcome.state == PASSED and all_tests:
            words = ["tests", *(f"--deselect={name}" for name in NOT_COUNTED)]
            outcome = copy.run_tests(shlex.join(words), minutes=None)
        return outcome


def do_all(
    tasks: Mapping[str, Callable[[Copy], Outcome]], copies: queue.SimpleQueue
) -> dict[str, Outcome]:
    """Do tasks, one in each copy at a time; say the outcome of each by its name."""

    def in_a_copy(task: Callable[[Copy], Outcome]) -> Outcome:
        copy = copies.get()
        try:
            return task(copy)
        finally:
            copies.put(copy)

    outcomes: dict[str, Outcome] = {}
    pool = ThreadPoolExecutor(copies.qsize())
    futures = {pool.submit(in_a_copy, task): name for name, task in tasks.items()}
    try:
        for future in as_completed(futures):
            name = futures[future]
            outcomes[name] = future.result()
            words = ": ".join(filter(None, [name, *outcomes[name]]))
            print(f"[{len(outcomes)}/{len(tasks)}] {words}", flush=True)
    finally:  # Ctrl-C reaches none of the processes, so they are killed here.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in [*running]:
            kill(process)
        pool.shutdown()
    return outcomes


def table(defects: Sequence[Defect], outcomes: Mapping[str, Outcome]) -> str:
    """What caught each defect, in Markdown."""
    lines = ["| defect | file | caught by |", "| --- | --- | --- |"]
    for defect in defects:
        state, what = outcomes[defect.name]
        if state != FAILED:
            word = "SURVIVED" if state == PASSED else BROKEN
            what = ": ".join(filter(None, [word, what or defect.explanation]))
        elif defect.project:
            what = f"{what} of {defect.project}"
        lines.append(f"| {defect.name} | {defect.file} | {what} |")
    return "\n".join(lines)


def prove(defects: Sequence[Defect], workers: int, all_tests: bool) -> int:
    """Try defects in so many copies, and report; return the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(workers):
            copies.put(Copy(Path(folder, str(number))))
        selections = {(defect.project, defect.tests) for defect in defects}
        print(f"The {len(selections)} selections of tests, without a defect:", flush=True)
        whole = {
            f"{project} {tests}".strip(): lambda copy, p=project, t=tests: copy.run_tests(t, p)
            for project, tests in sorted(selections)
        }
        if any(outcome.state != PASSED for outcome in do_all(whole, copies).values()):
            print("Without a defect, all of these have to pass. Nothing was planted.")
            return 1
        print(f"\nThe {len(defects)} defects, one at a time:", flush=True)
        planted = {
            defect.name: lambda copy, d=defect: try_defect(copy, d, all_tests) for defect in defects
        }
        outcomes = do_all(planted, copies)
    caught = [defect for defect in defects if outcomes[defect.name].state == FAILED]
    unexplained = [
        defect
        for defect in defects
        if outcomes[defect.name].state == BROKEN
        or (outcomes[defect.name].state == PASSED and not defect.explanation)
    ]
    minutes = (time.monotonic() - began) / 60
    print(f"\n{table(defects, outcomes)}\n")
    print(
        f"{len(caught)} of {len(defects)} defects were caught, in {minutes:.0f} minutes; "
        f"{len(unexplained)} of the others have no explanation."
    )
    return 1 if unexplained else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only the defects with one of these in their name")
    cores = min(os.cpu_count() or 1, 8)
    parser.add_argument("--workers", type=int, default=cores, help=f"defects at a time [{cores}]")
    parser.add_argument("--all-tests", action="store_true", help="survivors meet the whole suite")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # As on Ctrl-C: nothing is left behind.
    words = [word.lower() for word in options.words] or [""]
    defects = [each for each in read_defects() if any(word in each.name.lower() for word in words)]
    if not defects or options.workers < 1:
        parser.error(f"expected a word of a name in {list_of_defects}, and 1 worker or more")
    return prove(defects, options.workers, options.all_tests)


if __name__ == "__main__":
    sys.exit(main())
