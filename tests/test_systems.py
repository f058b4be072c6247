"""What would fail on a system that is not here: encodings, signals, and shells."""

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import root, tracked_files

# What Windows lacks.
POSIX = {"SIGKILL", "SIGTERM", "SIGUSR1", "fork", "killpg", "send_signal"}


def python_files() -> list[Path]:
    """The projects' files, without the copies of what they share, and the tools."""
    files = [path for path in tracked_files(root) if path.suffix == ".py"]
    names = [path.relative_to(root).parts for path in files]
    return [
        path
        for path, parts in zip(files, names, strict=True)
        if parts[0] in ("shared", "templates", "tools") and "{{shared}}" not in parts
    ]


def opens_text(call: ast.Call) -> bool:
    """Return whether a call reads or writes text and names no encoding."""
    arguments = [*call.args, *(word.value for word in call.keywords if word.arg == "encoding")]
    match call.func:
        case ast.Attribute(attr="read_text"):
            return not arguments
        case ast.Attribute(attr="write_text"):
            return len(arguments) < 2
        case ast.Name(id="open"):
            named = any(word.arg == "encoding" for word in call.keywords)
            return not named and not any("b" in ast.unparse(mode) for mode in call.args[1:])
    return False


def test_files_are_read_and_written_in_utf_8() -> None:
    """Windows has an encoding of its own, unless one is named."""
    found = []
    for path in python_files():
        calls = [node for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
        found += [f"{path}: {ast.unparse(call)}" for call in calls if opens_text(call)]
    assert found == []


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef))


def test_the_projects_tests_skip_what_windows_lacks() -> None:
    skipped = 0
    for path in [*root.glob("shared/project/**/tests/*.py"), *root.glob("templates/**/tests/*.py")]:
        for function in functions(path):
            names = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
            if names & POSIX:
                marks = [ast.unparse(decorator) for decorator in function.decorator_list]
                assert any("skipif(os.name == 'nt'" in mark for mark in marks), (
                    path,
                    function.name,
                )
                skipped += 1
    assert skipped


def test_commands_in_the_documents_are_one_line_each() -> None:
    """Neither cmd nor PowerShell continues a line after a backslash."""
    for path in tracked_files(root):
        if path.suffixes[:1] == [".md"]:
            lines = path.read_text(encoding="utf-8").splitlines()
            assert not [line for line in lines if line.endswith("\\")], path
