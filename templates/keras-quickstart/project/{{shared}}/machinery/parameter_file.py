"""Parameter files such as params.yaml, read and written by a typed schema."""

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode

from machinery.errors import InputError

PROBLEMS_SHOWN = 20
LARGEST_FILE = 64  # kB; one of this size is read in half a second.
TEXT = "tag:yaml.org,2002:str"  # What YAML calls a text.


class Section(pydantic.BaseModel):
    """A group of parameters. Unknown names, wrong types and NaN are errors."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )

    def check_data(self, dataset: Any) -> None:
        """Raise InputError if parameters do not fit a dataset. A section may override this."""
        for name in type(self).model_fields:
            if isinstance(section := getattr(self, name), Section):
                section.check_data(dataset)


def parameter_fields(schema: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the pydantic field of every parameter, those in sections too."""
    for name, field in schema.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from parameter_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def flatten(parameters: Section) -> dict[str, Any]:
    """Return the parameters by dotted name: {"model.width": 32, ...}."""
    names = (name for name, _ in parameter_fields(type(parameters)))
    return {name: functools.reduce(getattr, name.split("."), parameters) for name in names}


def change(parameters: Section, values: Mapping[str, Any]) -> Any:
    """Return the parameters with other values for some dotted names, checked by the schema.

    Raises:
        pydantic.ValidationError: the schema refuses a value.
    """
    sections = parameters.model_dump()
    for name, value in values.items():
        *path, last = name.split(".")
        functools.reduce(dict.__getitem__, path, sections)[last] = value
    return type(parameters).model_validate(sections)


def old_names(schema: type[Section]) -> dict[str, str]:
    """Return today's name by old name, of renamed parameters: {"model.drop_rate": "model.dropout"}.

    The field of a renamed parameter says what it was:
    `dropout: float = Field(0.2, json_schema_extra={"was": "drop_rate"})`.
    """
    names = {}
    for name, field in parameter_fields(schema):
        if old := (field.json_schema_extra or {}).get("was"):
            names[".".join([*name.split(".")[:-1], old])] = name
    return names


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the differences of two flat parameter sets in words, or an empty string."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} ({old.get(name)!r} -> {new.get(name)!r})" for name in names)


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)  # pure: YAML 1.2, where 1e-3 is a number and `no` a word.


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a small YAML file of `name: value` lines; raise InputError with file and line."""
    return _read_yaml(path)[0]


def read_yaml_lines(path: Path, largest: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML file of at most `largest` kB; return its values and their lines, by name."""
    values, tree = _read_yaml(path, largest)
    return values, {key.value: key.start_mark.line + 1 for key, _ in tree.value}


def _read_yaml(path: Path, largest: int = LARGEST_FILE) -> tuple[dict[str, Any], Any]:
    """Return what a YAML file holds, by name as written, and its syntax tree with the lines."""
    yaml = _yaml()
    try:
        if path.exists() and not path.is_file():  # Opening a named pipe would wait for ever.
            raise InputError(f"{path}: not a regular file; expected a file to read.")
        if path.stat().st_size > 1000 * largest:
            raise InputError(f"{path}: larger than {largest} kB, expected a few lines.")
        tree: Any = yaml.compose(path.read_text(encoding="utf-8-sig"))
        for key, _ in tree.value if isinstance(tree, MappingNode) else ():
            key.tag = TEXT  # `true` or `1.50` may be the name of a column.
        document = yaml.constructor.construct_document(tree) if tree else None
    except FileNotFoundError:
        raise InputError(f"{path}: not found.{name_beside(path.parent)}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a file to read.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8.") from None
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = str(error.problem).partition("\n")[0]
        raise InputError(f"{path}{line}: not valid YAML: {problem}.") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {error}".partition("\n")[0]) from None
    if not isinstance(document, dict) or not document:
        kind = "nothing" if document is None else type(document).__name__
        raise InputError(f"{path}: got {kind}, expected `name: value` lines.")
    return document, tree


def name_beside(folder: Path) -> str:
    """Return a sentence that names the experiments in a folder, or else those beside it."""
    for place in (folder, folder.parent):
        if names := sorted(str(path.parent) for path in place.glob("*/params.yaml"))[:5]:
            return f" Found: {', '.join(names)}."
    return ""


def load_parameters(
    schema: type[Section],
    path: Path,
    overrides: Mapping[str, str] | None = None,
    advice: str = "`python train.py --help` lists the parameters.",
    context: object = None,
) -> Any:
    """Read and check a parameter file.

    Args:
        schema: what the file must look like.
        path: the file.
        overrides: values from the command line, as typed there, by dotted name.
        advice: the sentence that says what is allowed, for the end of the message.
        context: what the validators of the schema get to know beside the values.

    Raises:
        InputError: listing every unknown, mistyped or out-of-range value at once.
    """
    values, tree = _read_yaml(path)
    for old, name in old_names(schema).items():
        *sections, last = old.split(".")
        section, today = _section(values, sections), name.rpartition(".")[2]
        if last in section and today not in section:
            section[today] = section.pop(last)
    overrides = overrides or {}
    for name, text in overrides.items():
        *sections, last = name.split(".")
        try:
            _section(values, sections)[last] = _yaml().load(text)
        except (YAMLError, ValueError, RecursionError):
            raise InputError(f"--{name}: got {_shorten(text)}, which is no YAML value.") from None
    try:
        return schema.model_validate(values, context=context)
    except pydantic.ValidationError as error:
        problems = list(_describe(error, schema, path, tree, overrides))
        raise InputError("\n  ".join([*problems, f"{advice} Nothing was started."])) from None


def _section(values: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the mapping of a section, and make it if it is missing."""
    for name in names:
        inner = values.setdefault(name, {})
        values = inner if isinstance(inner, dict) else {}  # The schema refuses the rest.
    return values


def _describe(
    error: pydantic.ValidationError,
    schema: type[Section],
    path: Path,
    tree: Any,
    overrides: Mapping[str, str],
) -> Iterator[str]:
    """Yield a line for each problem: where it is, what was found, what was expected."""
    known = [name for name, _ in parameter_fields(schema)] + list(schema.model_fields)
    problems = error.errors(include_url=False)
    if len(problems) > 1:
        yield f"{len(problems)} parameters cannot be used."
    for problem in problems[:PROBLEMS_SHOWN]:
        name = ".".join(str(key) for key in problem["loc"])
        if problem["type"] == "extra_forbidden":  # A section is named by the option that made it.
            name = next((each for each in overrides if each.startswith(f"{name}.")), name)
        where = f"--{name}" if name in overrides else f"{_line(path, tree, problem['loc'])}: {name}"
        yield f"{where}: {_explain(problem, name, known)}"
    if len(problems) > PROBLEMS_SHOWN:
        yield f"and {len(problems) - PROBLEMS_SHOWN} more."


def _line(path: Path, tree: Any, location: Sequence[str | int]) -> str:
    """Return "file:line" of a nested key, or of the last of its parents that the file has."""
    node, line = tree, None
    for key in location:
        pairs = node.value if isinstance(getattr(node, "value", None), list) else []
        found = [p for p in pairs if isinstance(p, tuple) and p[0].value == str(key)]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return f"{path}:{line}" if line else str(path)


def _explain(problem: Any, name: str, known: Sequence[str]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown parameter{nearest(name, known)}."
    if problem["type"] == "missing":
        return "not found, expected a value."
    expected = problem["msg"].replace("Input should be", "expected")
    expected = expected.replace("a finite number", "a number that is neither NaN nor infinite")
    return f"got {_shorten(problem['input'])}, {expected}."


def _shorten(value: Any) -> str:
    """Return a value as the file has it, if it is short enough to show."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__}"
    try:
        return repr(str(value)[:80])
    except ValueError:  # Python writes no whole number beyond 10**4300.
        return "a number of thousands of figures"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return " (did you mean X?)" for the known name that is nearest, if one is near."""
    ends = {}
    for candidate in known:
        end = candidate.rpartition(".")[2]
        initials = "".join(word[0] for word in end.split("_") if word)  # lr for learning_rate
        ends[end] = ends[initials] = candidate
    last = name.rpartition(".")[2]
    close = [ends[last]] if last in ends else [each for each in known if each.startswith(name)]
    close = close or difflib.get_close_matches(name, known, n=1)
    close = close or [ends[end] for end in difflib.get_close_matches(last, ends, n=1)]
    return f" (did you mean {close[0]}?)" if close else ""


def format_parameters(parameters: Section, indent: str = "") -> str:
    """Return parameters as YAML, each with its meaning in a comment."""
    lines = []
    for name, field in type(parameters).model_fields.items():
        value = getattr(parameters, name)
        if isinstance(value, Section):
            lines += [f"\n{indent}{name}:\n{format_parameters(value, indent + '  ')}"]
        else:
            plain = isinstance(value, str) and re.fullmatch(r"[a-z]\w*", value)
            text = value if plain and _yaml().load(value) == value else json.dumps(value)
            if isinstance(value, float):  # In YAML 1.1 1e-05 is a word and 1.0e-05 a number.
                text = re.sub(r"^(-?\d+)e", r"\1.0e", text)
            lines += [f"{indent}{name}: {text}  # {field.description}\n"]
    return "".join(lines)


def format_values(values: Mapping[str, Any]) -> str:
    """Return "model.width 32, training.learning_rate 0.0031"."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
