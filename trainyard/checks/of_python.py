"""TY2: Python and its packages."""

import ast
import re
from collections.abc import Iterator

from trainyard.checks.definition import Finding, check
from trainyard.checks.repository import Repository

LOCKS = (
    *("uv.lock", "poetry.lock", "pdm.lock", "pixi.lock", "pipfile.lock", "conda-lock.y*ml"),
    *("pylock*.toml", "*constraints*.txt", "*requirements*.lock", "*requirements.lock.txt"),
)
REQUIREMENTS = ("*requirements*.txt", "requirements/*.txt")
DEBUGGERS = {
    *("breakpoint", "pdb.set_trace", "ipdb.set_trace", "pudb.set_trace", "IPython.embed"),
    *("code.interact",),
}


def has_python(repository: Repository) -> bool:
    """Return whether there is Python in the repository."""
    return bool(repository.sources)


@check(
    "TY201",
    "The Python version is not declared",
    why="Packages and results depend on it, and an error of another version names something else.",
    mend='Add requires-python = ">=3.11" to [project] in pyproject.toml, or a .python-version.',
    doubt="It looks in pyproject.toml, setup.py, setup.cfg, .python-version, runtime.txt, Pipfile, "
    "conda's environment files and Docker files.",
    applies=has_python,
)
def no_python_version(repository: Repository) -> Iterator[Finding]:
    places = {
        "pyproject.toml": r"requires-python|^python\s*=",
        "setup.py": "python_requires",
        "setup.cfg": "python_requires",
        "*.python-version": r"\d",
        "runtime.txt": r"python-\d",
        "pipfile": "python_(full_)?version",
        "*environment*.y*ml": r"-\s*[\"']?python\s*[=<>]",
        "*dockerfile*": r"(?i)^FROM\s.*python:?\d",
    }
    for pattern, words in places.items():
        for name in repository.find(pattern):
            if re.search(words, repository.text(name), re.MULTILINE):
                return
    yield Finding("", 0, "no requires-python, .python-version or the like")


@check(
    "TY202",
    "No lock or constraints file",
    why="In a year the same command installs other versions, and the code or its results differ.",
    mend="Commit uv.lock or the like, or constraints.txt (pip freeze) and install with -c.",
    doubt="Requirements that all have exact versions count as a lock. A library leaves them open "
    "on purpose.",
    applies=has_python,
)
def no_lock(repository: Repository) -> Iterator[Finding]:
    if repository.find(*LOCKS):
        return
    for name in repository.find(*REQUIREMENTS):
        lines = [line.partition("#")[0].strip() for _, line in repository.lines(name)]
        wanted = [line for line in lines if line and not line.startswith("-")]
        if wanted and all(re.search(r"===?|@", line) for line in wanted):
            return
    for name in repository.find("*environment*.y*ml"):
        wanted = re.findall(r"^\s*-\s*([\w.-]+\S*)\s*$", repository.text(name), re.MULTILINE)
        if sum(bool(re.search(r"=\d[^*]*$", line)) for line in wanted) > len(wanted) / 2:
            return
    yield Finding("", 0, "no file pins the versions of all packages")


@check(
    "TY203",
    "Wildcard import",
    why="Nobody sees where a name comes from, and a later version of the other file may replace "
    "one of yours.",
    mend="Import the names, or the module.",
    doubt="An __init__.py that gathers a package's names is left alone.",
    applies=has_python,
)
def wildcard_imports(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        if source.path.endswith("__init__.py"):
            continue
        for node in source.nodes:
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                yield source.finding(node, f"from {'.' * node.level}{node.module or ''} import *")


@check(
    "TY204",
    "Bare except",
    why="It hides every error, also a misspelled name and Ctrl-C: the training goes on with what "
    "is wrong.",
    mend="Name the error that you expect: except FileNotFoundError.",
    doubt="One that raises again is left alone.",
    applies=has_python,
)
def bare_excepts(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        for node in source.nodes:
            if not isinstance(node, ast.ExceptHandler) or node.type is not None:
                continue
            if not any(isinstance(each, ast.Raise) for each in ast.walk(node)):
                yield source.finding(node, "except: without a kind of error")


@check(
    "TY205",
    "Not Python 3",
    why="The file ends with a SyntaxError as soon as something imports it, and no other check can "
    "read it.",
    mend="Mend or delete it; 2to3 helps with Python 2.",
    doubt="It is read by the Python that runs the check, so newer syntax needs a newer one. Files "
    "with placeholders of a template are no Python.",
    applies=lambda repository: bool(repository.sources or repository.broken),
)
def not_python(repository: Repository) -> Iterator[Finding]:
    for path, line, message in repository.broken:
        yield Finding(path, line, message)


@check(
    "TY206",
    "Debugger left in the code",
    why="A training in the queue stops there and waits for somebody to type.",
    mend="Delete the line.",
    doubt="A command whose purpose is debugging calls one on purpose.",
    applies=has_python,
)
def debuggers(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        for name, call in source.calls:
            if name in DEBUGGERS:
                yield source.finding(call, f"{name}()")
