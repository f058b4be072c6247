"""JSON Schemas of params.yaml and search.yaml, by which an editor completes and checks them.

They refuse what the schema of the parameters refuses of a file alone. What depends on the data, on
packages or on two values at once is left to the commands, which check all of it.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machinery.files import write_atomically
from machinery.parameter_file import (
    Section,
    format_parameters,
    load_parameters,
    parameter_fields,
)

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = "schemas"
PARAMETERS, SEARCH = "params.json", "search.json"
DIALECT = "http://json-schema.org/draft-07/schema#"  # The newest that all editors read.


def command_line(description: str | None, schema: type[Section]) -> None:
    """Write the schemas of a project and say so; refuse any argument."""
    from machinery.argument_parser import ArgumentParser

    ArgumentParser(description).parse_args()
    for name, text in texts(schema).items():
        path = PROJECT / FOLDER / name
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, text.encode())
        print(f"written: {FOLDER}/{name}")


def texts(schema: type[Section]) -> dict[str, str]:
    """Return the content of each file of schemas/, by its name."""
    found = {PARAMETERS: of_parameters(schema), SEARCH: of_search(schema)}
    return {name: _format(each) + "\n" for name, each in found.items()}


def _format(node: Any, indent: str = "") -> str:
    """Return JSON in which what fits into a line has one."""
    short, inner = json.dumps(node), indent + " "
    if len(indent + short) < 100 or not isinstance(node, dict | list):
        return short
    if isinstance(node, list):
        lines, ends = [_format(each, inner) for each in node], "[]"
    else:
        lines, ends = [f"{json.dumps(key)}: {_format(node[key], inner)}" for key in node], "{}"
    return ends[0] + "\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}{ends[1]}"


def first_line(path: Path) -> str:
    """Return the comment by which an editor finds the schema of a params.yaml.

    It is empty outside the project, where no short path leads to the schema, and without one.
    """
    target, folder = PROJECT / FOLDER / PARAMETERS, path.parent.resolve()
    if not target.is_file() or not folder.is_relative_to(PROJECT):
        return ""
    return f"# yaml-language-server: $schema={Path(os.path.relpath(target, folder)).as_posix()}\n"


def write_parameters(path: Path, parameters: Section, anew: bool) -> None:
    """Write params.yaml for people and editors, unless it holds these parameters already."""
    if anew or not path.exists() or load_parameters(type(parameters), path) != parameters:
        write_atomically(path, (first_line(path) + format_parameters(parameters)).encode())


def of_parameters(schema: type[Section]) -> dict[str, Any]:
    """Return the schema of params.yaml."""
    found = schema.model_json_schema()
    return {"$schema": DIALECT, **_plain(found, found.pop("$defs", {}))}


def of_search(schema: type[Section]) -> dict[str, Any]:
    """Return the schema of search.yaml, where each parameter has its own range."""
    from machinery.search_settings import SearchSettings

    found = SearchSettings.model_json_schema()
    found = _plain(found, found.pop("$defs"))
    parameters = dict(_by_name(schema))
    found["properties"]["space"] |= {
        "properties": {name: _dimension(name, each) for name, each in parameters.items()},
        "additionalProperties": False,
        "minProperties": 1,
    }
    # A grid alone has an end without a number of trials.
    grid = {"properties": {"sampler": {"const": "grid"}}, "required": ["sampler"]}
    conditions = {
        name: {"anyOf": [_value(name), {"type": "array", "items": _value(name)}]}
        for name in parameters
    }
    definitions = {
        "range": _range(),
        "when": {"type": "object", "properties": conditions, "additionalProperties": False},
        **{
            name: {key: each[key] for key in each if key not in ("default", "description")}
            for name, each in parameters.items()
        },
    }
    ends = {"if": grid, "else": {"required": ["trials"]}}
    return {"$schema": DIALECT, **found, **ends, "definitions": definitions}


def _plain(node: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema of pydantic with its sections in their place, without titles and null.

    A renamed parameter (`was`) is there under its old name, too.
    """
    if isinstance(node, list):
        return [_plain(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if reference := node.get("$ref"):
        return _plain(definitions[reference.rpartition("/")[2]], definitions)
    others = [each for each in node.get("anyOf", ()) if each != {"type": "null"}]
    if len(others) == 1:  # A value that may be left out: its default is no value to write.
        rest = {key: node[key] for key in node if key not in ("anyOf", "default")}
        return _plain(others[0] | rest, definitions)
    found = {
        key: _plain(value, definitions)
        for key, value in node.items()
        if key not in ("title", "properties", "was")
    }
    if properties := node.get("properties"):
        found["properties"] = {}
        for name, each in properties.items():
            found["properties"][name] = _plain(each, definitions)
            if old := each.get("was"):
                renamed = {"description": f"today: {name}", "deprecated": True}
                found["properties"][old] = found["properties"][name] | renamed
    return found


def _by_name(schema: type[Section]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted name and the schema of every parameter."""
    top = of_parameters(schema)
    for name, _ in parameter_fields(schema):
        node = top
        for part in name.split("."):
            node = node["properties"][part]
        yield name, node


def _value(name: str) -> dict[str, str]:
    """Return the schema of a value of a parameter in search.yaml."""
    return {"$ref": f"#/definitions/{name}"}


def _dimension(name: str, parameter: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what to try of one parameter."""
    properties: dict[str, Any] = {
        "choices": {"type": "array", "minItems": 1, "items": _value(name)},
        "when": {"$ref": "#/definitions/when"},
    }
    found = {"description": parameter.get("description", ""), "type": "object"}
    kind = parameter.get("type")
    if kind not in ("integer", "number"):
        rest = {"required": ["choices"], "additionalProperties": False}
        return {**found, "properties": properties, **rest}
    properties |= {
        "low": _value(name),
        "high": _value(name),
        "log": {"type": "boolean", "description": "spread evenly over orders of magnitude"},
        "step": {"type": kind, "exclusiveMinimum": 0},
    }
    return {**found, "properties": properties, "allOf": [{"$ref": "#/definitions/range"}]}


def _range() -> dict[str, Any]:
    """Return what every range or list of choices of a number has to be."""
    forms = (["choices"], ["when"]), (["low", "high"], ["log", "step", "when"])
    either = [
        {"required": needed, "propertyNames": {"enum": needed + more}} for needed, more in forms
    ]
    return {
        "oneOf": either,
        "if": {"properties": {"log": {"const": True}}, "required": ["log"]},
        "then": {"properties": {"low": {"exclusiveMinimum": 0}, "step": False}},
    }
