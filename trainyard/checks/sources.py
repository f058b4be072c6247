"""Python files and notebooks as syntax trees, with the names of what they import."""

import ast
import functools
import json
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from trainyard.checks.definition import Finding

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source:
    """A Python file, or the code of a notebook, that can be read.

    Args:
        path: from the project's folder.
        text: Python; of a notebook, the cells one after the other.
        tree: its syntax tree.
        cells: of a notebook, for each line of the text the cell and the line in it, from 1.
    """

    def __init__(
        self, path: str, text: str, tree: ast.Module, cells: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.path, self.tree, self.lines, self.cells = path, tree, text.splitlines(), cells
        self.nodes = [*ast.walk(tree)]

    @functools.cached_property
    def imports(self) -> dict[str, str]:
        """Return what is imported: the name in this file, and the whole name."""
        found = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for each in node.names:
                    whole = each.name if each.asname else each.name.partition(".")[0]
                    found[each.asname or whole] = whole
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for each in node.names:
                    found[each.asname or each.name] = f"{node.module}.{each.name}"
        return found

    @functools.cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """Return all calls, with the whole name of what is called: "torch.load"."""
        return [(self.name(n.func), n) for n in self.nodes if isinstance(n, ast.Call)]

    @functools.cached_property
    def functions(self) -> list[Function]:
        """Return all functions, methods too."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @functools.cached_property
    def words(self) -> set[str]:
        """Return, in lower case, the names, attributes, parameters and short texts in it."""
        found = set()
        for node in self.nodes:
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.arg | ast.keyword):
                found.add(node.arg or "")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value[:60])
        return {word.lower() for word in found}

    def name(self, node: ast.AST) -> str:
        """Return the whole name of an expression: `np.load` is "numpy.load"; "": it has none."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self.name(node.value)
            return f"{owner}.{node.attr}" if owner else f"().{node.attr}"
        if isinstance(node, ast.Call):
            return f"{self.name(node.func)}()"
        return ""

    def finding(self, node: Any, message: str) -> Finding:
        """Return what is found at a node."""
        if not self.cells:
            return Finding(self.path, node.lineno, message)
        cell, line = self.cells[node.lineno - 1]
        return Finding(self.path, line, message, cell)

    def calls_in(self, node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
        """Yield the calls below a node."""
        for each in ast.walk(node):
            if isinstance(each, ast.Call):
                yield self.name(each.func), each


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return the value of a keyword of a call; None where it has none."""
    return next((each.value for each in call.keywords if each.arg == name), None)


def is_constant(node: ast.AST | None, value: object) -> bool:
    """Return whether a node is a constant of this value."""
    return isinstance(node, ast.Constant) and node.value is value


def has_unpacking(call: ast.Call) -> bool:
    """Return whether a call has `**options`, in which any keyword may be."""
    return any(each.arg is None for each in call.keywords)


def parse(text: str) -> ast.Module:
    """Return a syntax tree, without the warnings of what is only old-fashioned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def read_python(path: str, text: str) -> Source | tuple[int, str]:
    """Return a Python file; where it is not Python 3, the line and what is wrong."""
    try:
        return Source(path, text, parse(text))
    except SyntaxError as error:
        return error.lineno or 1, error.msg
    except (ValueError, RecursionError, MemoryError) as error:
        return 1, str(error)


def notebook_cells(text: str) -> list[dict[str, Any]]:
    """Return the cells of a notebook; of what is none, nothing."""
    try:
        cells = json.loads(text)["cells"]
        return [cell for cell in cells if isinstance(cell, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def read_notebook(path: str, text: str) -> Source | None:
    """Return the code of a notebook, without magics and without cells that are not Python."""
    lines: list[str] = []
    places: list[tuple[int, int]] = []
    for number, cell in enumerate(notebook_cells(text), 1):
        if cell.get("cell_type") != "code":
            continue
        code = cell.get("source", "")
        code = code if isinstance(code, str) else "".join(map(str, code))
        kept = [_without_magic(line) for line in code.splitlines()]
        if not isinstance(read_python(path, "\n".join(kept)), Source):
            continue
        lines += kept
        places += [(number, line) for line in range(1, len(kept) + 1)]
    found = read_python(path, "\n".join(lines))
    return Source(path, "\n".join(lines), found.tree, places) if isinstance(found, Source) else None


def _without_magic(line: str) -> str:
    """Return a line of a cell; one for IPython or the shell does nothing."""
    code = line.lstrip()
    if code.startswith(("%", "!")) or code.rstrip().endswith("?"):
        return f"{line[: len(line) - len(code)]}pass"
    return line
