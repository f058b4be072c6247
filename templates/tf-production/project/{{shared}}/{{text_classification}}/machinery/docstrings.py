"""Texts that are on every machine: what the docstrings of SciPy and scikit-learn begin with.

They are read from the source files, which are not imported: BSD-3-Clause, https://scipy.org and
https://scikit-learn.org.
"""

import ast
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from machinery.words import split_words

# The packages whose docstrings are read: the classes.
SUBJECTS = (
    *("scipy.interpolate", "scipy.linalg", "scipy.optimize", "scipy.signal", "scipy.sparse"),
    *("scipy.stats", "sklearn.linear_model", "sklearn.metrics"),
)
FEWEST_WORDS = 8
# Names that would say which package it is: scipy.stats.norm, sklearn.
GIVEAWAY = re.compile(r"\b(numpy|scipy|sklearn|scikit-learn)(\.\w+)*", re.IGNORECASE)
UNDERLINE = re.compile(r"\s*[-=~]{3,}\s*")


class Docstring(NamedTuple):
    """The description of a function, a class or a method."""

    subject: int  # the place in SUBJECTS
    name: str  # such as scipy.stats.fit, for a method too
    place: str  # the file and the line, such as _fit.py:120
    text: str


def read_docstrings() -> list[Docstring]:
    """Return the descriptions that are long enough, each once, those of two subjects not at all."""
    found: dict[tuple[str, ...], list[Docstring]] = {}
    for subject in range(len(SUBJECTS)):
        for docstring in _read_subject(subject):
            words = tuple(split_words(docstring.text))
            if len(words) >= FEWEST_WORDS:
                found.setdefault(words, []).append(docstring)
    return [same[0] for same in found.values() if len({each.subject for each in same}) == 1]


def _read_subject(subject: int) -> Iterator[Docstring]:
    package, _, folder = SUBJECTS[subject].partition(".")
    spec = importlib.util.find_spec(package)
    assert spec
    assert spec.origin
    root = Path(spec.origin).parent / folder
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).parts):
        if "tests" in path.relative_to(root).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (
                text := ast.get_docstring(node)
            ):
                name, place = f"{SUBJECTS[subject]}.{node.name}", f"{path.name}:{node.lineno}"
                yield Docstring(subject, name, place, _describe(text))


def _describe(docstring: str) -> str:
    """Return what stands before the first heading or example, in one line, without giveaways."""
    lines = inspect.cleandoc(docstring).splitlines()
    last = len(lines)
    for number, line in enumerate(lines):
        if line.startswith(">>>"):
            last = number
        elif number and UNDERLINE.fullmatch(line):
            last = number - 1
        if last < len(lines):
            break
    return " ".join(GIVEAWAY.sub("", " ".join(lines[:last])).split())
