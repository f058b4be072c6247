"""run.json: what was run, when, by which code, on which data and machine."""

import ast
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic
from filelock import FileLock, Timeout

from machinery import places
from machinery.files import remove, write_atomically
from machinery.shards.remote import data_place
from machinery.terminal import quote

FILE = "run.json"
EVALUATIONS_FILE = "evaluations.json"  # Which files evaluate.py wrote into a run folder.
MACHINERY = Path(__file__).parent
PROJECT = MACHINERY.parent
# The files that decide how a run trains, and with them those that they import,
CODE = ("train.py", "model/**/*.py")
# but these: run.json holds the fingerprint of the data and all parameters.
NOT_CODE = ("build_dataset.py", "parameters.py", "model/parameters.py")


class Session(pydantic.BaseModel):
    """The types of what is read of a session; it holds more."""

    model_config = pydantic.ConfigDict(strict=True)

    outcome: str
    parameters: dict[str, Any] = {}
    data: str = ""
    code: dict[str, str] = {}
    git_commit: str | None = None
    git_changes: str | None = None


class Record:
    """A session: the part of run.json that one process writes.

    Args:
        folder: of the run.
        facts: what to record about this session.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder, self._earlier = folder, read_sessions(folder)
        commit, changes = git_state()
        diff = f"changes-{hashlib.sha256(changes).hexdigest()[:8]}.diff" if changes else None
        if diff:  # Named by its content: what an earlier session trained with stays.
            write_atomically(folder / diff, changes)
        self.session: dict[str, Any] = {
            "started": now(),
            "ended": None,
            "outcome": "running",
            "command": quote(Path(sys.executable).name, *sys.argv),
            "process": os.getpid(),
            "host": platform.node(),
            "git_commit": commit,
            "git_changes": diff,
            "code": code_digests(),
            "machinery": machinery_digest(),
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            **facts,
        }
        self.update()

    def update(self, **facts: Any) -> None:
        """Add facts about this session."""
        self.session.update(facts)
        content = json.dumps({"sessions": [*self._earlier, self.session]}, indent=2)
        write_atomically(self.folder / FILE, content.encode())


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, to record with a run."""
    return {package: importlib.metadata.version(package) for package in packages}


def processor() -> str:
    """Return the name of the processor: what it computes may depend on its instructions."""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^model name\s*: (.+)", text, re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def now() -> str:
    """Return the time, as run.json has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the processes that worked on a run, oldest first.

    A damaged file holds none.
    """
    try:
        sessions = json.loads((folder / FILE).read_text(encoding="utf-8"))["sessions"]
        for session in sessions:
            Session.model_validate(session)  # A pydantic.ValidationError is a ValueError.
        return list(sessions)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def data_of(*folders: Path | None) -> Path:
    """Return the dataset folder that the first of these experiments was trained on.

    Where none was trained, it is the usual one.
    """
    for folder in folders:
        for session in reversed(read_sessions(folder) if folder else []):
            if "data" in session:
                return data_place(session["data"])
    return data_place(places.usual())


def read_fingerprint(data: Path) -> str | None:
    """Return the fingerprint of the dataset in a folder; None where there is none to be read."""
    try:
        return str(json.loads((data / "dataset.json").read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_finished(folder: Path) -> bool:
    """Return whether the run in a folder came to its end, with all its files written."""
    return [session["outcome"] for session in read_sessions(folder)][-1:] == ["finished"]


def is_running(folder: Path) -> bool:
    """Return whether a process is working on the run in a folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        FileLock(folder / ".lock", timeout=0).acquire().lock.release()
    except Timeout:
        return True
    return False


# ---------------------------------------------------------------------------------------------
# The code.


def code_digests() -> dict[str, str]:
    """Return a digest of the syntax tree of each file that trains: comments change nothing."""
    found: set[Path] = set()
    for pattern in CODE:
        for path in PROJECT.glob(pattern):
            _add_with_imports(path, found)
    return {path.relative_to(PROJECT).as_posix(): _digest(path) for path in sorted(found)}


def machinery_digest() -> str:
    """Return a digest of the machinery, which an update of the template may change."""
    digest = hashlib.sha256()
    for path in sorted(MACHINERY.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _add_with_imports(path: Path, found: set[Path]) -> None:
    """Add a file to those found, and the files of the project that it imports."""
    if path in found or path.relative_to(PROJECT).as_posix() in NOT_CODE:
        return
    found.add(path)
    for name in _imported_names(path):
        place = PROJECT.joinpath(*name.split("."))
        for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if file.is_file() and not file.is_relative_to(MACHINERY):
                _add_with_imports(file, found)


def _imported_names(path: Path) -> Iterator[str]:
    """Yield "package.module" for what a file imports, and for the names that it takes from it."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = path.relative_to(PROJECT).parts[: -node.level] if node.level else ()
            module = [*around, *filter(None, [node.module])]
            yield from (".".join([*module, alias.name]) for alias in node.names)
            yield from [".".join(module)] if module else []


def _digest(path: Path) -> str:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # Not Python that runs here, such as a copied notebook cell.
        return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            del node.body[0]  # Docstrings change nothing, either.
    return hashlib.sha256(repr(_to_lists(tree)).encode()).hexdigest()[:8]


def _to_lists(node: Any) -> Any:
    """Return a syntax tree as lists, the same in each version of Python.

    What is empty is left out: a later version may know a field more.
    """
    if isinstance(node, list):
        return [_to_lists(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    fields = [(name, _to_lists(value)) for name, value in ast.iter_fields(node)]
    return [type(node).__name__, *(field for field in fields if field[1] not in (None, []))]


def diffs(folder: Path) -> list[str]:
    """Return the names of the diffs that the sessions of a run wrote."""
    names = {session.get("git_changes") for session in read_sessions(folder)}
    return [name for name in names if name and re.fullmatch(r"changes-[0-9a-f]{8}\.diff", name)]


def changed_code(folder: Path) -> str:
    """Return a warning that names the code changed since the last session, or an empty string."""
    sessions = [session for session in read_sessions(folder) if session.get("code")]
    if not sessions:
        return ""
    then, now = sessions[-1]["code"], code_digests()
    names = [name for name in sorted({**then, **now}) if then.get(name) != now.get(name)]
    if not names:
        return ""
    message = f"{folder} was trained with other code than that of now: {', '.join(names)}"
    commit, diff = sessions[-1].get("git_commit"), sessions[-1].get("git_changes")
    if commit and (ways := _ways_back(names, commit, folder / diff if diff else None)):
        message += ". Commit what you have now, then bring it back: "
        message += ", then ".join(quote(*way) for way in ways)
    return message


def _ways_back(names: Sequence[str], commit: str, diff: Path | None) -> list[list[str]]:
    """Return the commands that bring back some files as they were, one after the other.

    Args:
        names: of the files, from the project's folder; what is there is committed.
        commit: that was checked out then.
        diff: the changes to it then; None: there were none.
    """
    committed = os.fsdecode(_git("ls-tree", "-rz", "--name-only", commit, "--", *names)).split("\0")
    later = [name for name in names if name not in committed and (PROJECT / name).exists()]
    ways = [["git", "rm", "--quiet", "--", *later]] if later else []
    if old := [name for name in names if name in committed]:
        ways.append(["git", "checkout", commit[:12], "--", *old])
    if diff:  # It holds all changes of then, also those of files that are still the same.
        above = _git("rev-parse", "--show-prefix").decode().strip()
        words = [f"--directory={above}"] if above else []
        words += [f"--include={above}{name}" for name in names]
        ways.append(["git", "apply", *words, str(diff)])
    return ways if old or diff else []


def _git(*command: str) -> bytes:
    """Return what git prints in the project's folder; nothing where there is no git."""
    try:
        return subprocess.run(
            ["git", *command], cwd=PROJECT, capture_output=True, check=False
        ).stdout
    except OSError:
        return b""


def git_state() -> tuple[str | None, bytes]:
    """Return the commit of the code, and the diff to it: empty without changes or without git."""
    if not _git("ls-files", "train.py"):  # No repository, or one that does not hold this project.
        return None, b""
    commit = _git("rev-parse", "HEAD")
    code = ("--", "*.py", "*.toml", "*.txt")
    # A patch that `git apply` takes, whatever the person's settings make `git diff` show.
    diff = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--text", "--unified=3")
    diff += ("--src-prefix=a/", "--dst-prefix=b/")
    changes = [_git(*diff, "--relative", "HEAD", *code)]
    for name in _git("ls-files", "-z", "--others", "--exclude-standard", *code).split(b"\0")[:-1]:
        changes.append(_git(*diff, "--no-index", os.devnull, os.fsdecode(name)))
    return commit.decode().strip(), b"".join(changes)


# ---------------------------------------------------------------------------------------------
# The files that evaluate.py wrote.


@contextlib.contextmanager
def writing_evaluation(folder: Path, files: Iterable[str], step: int) -> Generator[None]:
    """Remember the files that an evaluation writes in the block; others wait.

    Args:
        folder: of the run.
        files: their names.
        step: of the checkpoint that is evaluated.
    """
    with FileLock(folder / ".evaluations.lock"):
        before, files = evaluated_steps(folder), [*files]
        for name in files:
            if before.get(name, step) != step:  # Or a kill would leave it as if of this step.
                remove(folder / name)
        steps = {**before, **dict.fromkeys(files, step)}
        content = json.dumps({"files": steps}, indent=2, sort_keys=True)
        write_atomically(folder / EVALUATIONS_FILE, content.encode())
        yield


def delete_evaluations(folder: Path) -> list[str]:
    """Delete what evaluations wrote, and no other file, as training goes on; return the names."""
    names = [name for name in evaluation_files(folder) if Path(name).name == name]
    names = [name for name in names if name != "params.yaml" and (folder / name).is_file()]
    for name in (*names, EVALUATIONS_FILE):  # params.yaml is the person's.
        remove(folder / name)
    return names


def evaluation_files(folder: Path) -> list[str]:
    """Return the names of the files that evaluations wrote into a run folder."""
    return [*evaluated_steps(folder)]


def evaluated_steps(folder: Path) -> dict[str, int | None]:
    """Return the step of the checkpoint that each file of an evaluation is of.

    An older version of this file noted the names alone; their step is None.
    """
    try:
        files = json.loads((folder / EVALUATIONS_FILE).read_text(encoding="utf-8"))["files"]
        steps = files if isinstance(files, dict) else dict.fromkeys(files)
        return {name: step for name, step in steps.items() if isinstance(name, str)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
