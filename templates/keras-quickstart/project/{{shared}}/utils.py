"""What every command needs: parameters, exit codes, stopping, seeds, whole files.

A closed list, and no framework in it. What a run writes is in run_folder.py; what knows an image or
a gradient belongs in model/ or in a script.
"""

import contextlib
import difflib
import errno
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import re
import signal
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

process_start = time.monotonic()

# ---------------------------------------------------------------------------------------------
# Exit codes: 0 done, 1 a bug (traceback), and these.


class CommandError(Exception):
    """An end that the person can act on: printed as one message, without a traceback."""

    exit_code = 1


class InputError(CommandError):
    """Bad input. Say the file, the value, what was expected and the next step."""

    exit_code = 2


class DivergedError(CommandError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""

    exit_code = 3
    outcome = "diverged"


class ResourceError(CommandError):
    """Out of memory or of disk."""

    exit_code = 4
    outcome = "out of resources"


class StoppedError(CommandError):
    """Stopped on request, with everything saved: the same command continues."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: "try again later"
    outcome = "stopped"


class CancelledError(StoppedError):
    """Ctrl-C, with everything saved."""

    exit_code = 130


@contextlib.contextmanager
def exit_codes() -> Generator[None, None, None]:
    """End the process with a message and an exit code on the errors above and on a full disk."""
    storage = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
    try:
        yield
    except KeyboardInterrupt:  # Of a command that has nothing to save.
        raise SystemExit(CancelledError.exit_code) from None
    except StoppedError as error:
        _print_error(str(error))
        raise SystemExit(error.exit_code) from None
    except CommandError as error:
        _print_error(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if error.errno not in storage:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _print_error(f"error: {where}cannot be used: {error.strerror}.")
        raise SystemExit(ResourceError.exit_code) from None


def _print_error(message: str) -> None:
    if "tqdm" in sys.modules:  # A progress bar may be left in the line.
        from tqdm import tqdm

        tqdm.write(message, file=sys.stderr)
    else:
        print(message, file=sys.stderr)


class StopRequest:
    """Remembers that the run should save and stop, for the training loop to look at once a step.

    The reasons are SIGTERM, SIGUSR1 (what SLURM's `--signal` sends ahead of its limit), Ctrl-C,
    and `max_minutes` since the process started. A second signal ends the process at once.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        self.error: StoppedError | None = None
        self.deadline = math.inf if max_minutes is None else process_start + 60 * max_minutes
        for name in ("SIGTERM", "SIGUSR1", "SIGINT"):
            if hasattr(signal, name):  # Windows has no SIGUSR1.
                signal.signal(getattr(signal, name), self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self.error:
            os._exit(128 + number)
        name = signal.Signals(number).name
        self.error = CancelledError("Ctrl-C") if name == "SIGINT" else StoppedError(name)

    def __bool__(self) -> bool:
        if not self.error and time.monotonic() > self.deadline:
            self.error = StoppedError("the time limit")
        return self.error is not None

    def stopped(self, folder: Path, step: int) -> StoppedError:
        """Return the error to raise once the run of a folder is saved at a step."""
        assert self.error
        message = f"Stopped by {self.error} at step {step:,}, saved in {folder}."
        return type(self.error)(f"{message} Run the same command again to continue.")


# ---------------------------------------------------------------------------------------------
# Parameters: a file params.yaml and a typed schema for it.


class Section(pydantic.BaseModel):
    """A group of parameters. Unknown names, wrong types and NaN are errors."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


def parameter_fields(schema: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the pydantic field of every parameter, sections opened."""
    for name, field in schema.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from parameter_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def flatten(parameters: Section) -> dict[str, Any]:
    """Return {"model.width": 32, ...}."""
    names = (name for name, _ in parameter_fields(type(parameters)))
    return {name: functools.reduce(getattr, name.split("."), parameters) for name in names}


def old_names(schema: type[Section]) -> dict[str, str]:
    """Return {"model.drop_rate": "model.dropout", ...}: names of older releases and of today.

    A parameter that gets another name says what it was:
    `dropout: float = Field(0.2, json_schema_extra={"was": "drop_rate"})`.
    """
    names = {}
    for name, field in parameter_fields(schema):
        if old := (field.json_schema_extra or {}).get("was"):
            names[".".join([*name.split(".")[:-1], old])] = name
    return names


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what differs between two flat parameter sets, or return an empty string."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} ({old.get(name)!r} -> {new.get(name)!r})" for name in names)


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)  # pure: YAML 1.2, where 1e-3 is a number and `no` a word.


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a small YAML file; raise InputError with file and line otherwise."""
    try:
        if path.stat().st_size > 1_000_000:
            raise InputError(f"{path}: larger than 1 MB, expected a file of parameters.")
        document = _yaml().load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found.{_beside(path.parent)}") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
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
    return document


def _beside(folder: Path) -> str:
    """Name the experiments beside a folder that was not found."""
    names = sorted(str(path.parent) for path in folder.parent.glob("*/params.yaml"))[:5]
    return f" Found: {', '.join(names)}." if names else ""


def _line_of(path: Path, location: Sequence[str | int]) -> str:
    """Return "file:line" of a nested key in a YAML file, as far as the key is there."""
    node, line = _yaml().compose(path), None
    for key in location:
        pairs = node.value if isinstance(getattr(node, "value", None), list) else []
        found = [p for p in pairs if isinstance(p, tuple) and p[0].value == str(key)]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return f"{path}:{line}" if line else str(path)


def _section(values: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the mapping of a section, made where it is missing."""
    for name in names:
        inner = values.setdefault(name, {})
        values = inner if isinstance(inner, dict) else {}  # The schema refuses the rest.
    return values


def load_parameters(
    schema: type[Section], path: Path, overrides: Mapping[str, str] | None = None
) -> Any:
    """Read and check a parameter file.

    Args:
        schema: what params.yaml must look like.
        path: the file.
        overrides: values from the command line, as typed there, by dotted name.

    Raises:
        InputError: listing every unknown, mistyped or out-of-range value at once.
    """
    values = read_yaml(path)
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
        except (YAMLError, ValueError):
            raise InputError(f"--{name}: got {text!r}, which is not a YAML value.") from None
    try:
        return schema.model_validate(values)
    except pydantic.ValidationError as error:
        known = [name for name, _ in parameter_fields(schema)] + list(schema.model_fields)
        problems = []
        for problem in error.errors(include_url=False):
            name = ".".join(str(key) for key in problem["loc"])
            line = _line_of(path, problem["loc"])
            where = f"--{name}" if name in overrides else f"{line}: {name}"
            problems.append(f"{where}: {_explain(problem, name, known)}")
        if len(problems) > 1:
            problems.insert(0, f"{len(problems)} parameters cannot be used.")
        problems.append("`python train.py --help` lists the parameters. Nothing was started.")
        raise InputError("\n  ".join(problems)) from None


def _explain(problem: Any, name: str, known: Sequence[str]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown parameter{nearest(name, known)}."
    expected = problem["msg"].replace("Input should be", "expected")
    return f"got {str(problem['input'])[:80]!r}, {expected}."


def nearest(name: str, known: Sequence[str]) -> str:
    """Return " (did you mean X?)" for the known name that is nearest, if one is near."""
    ends = {}
    for candidate in known:
        end = candidate.rpartition(".")[2]
        ends[end] = ends["".join(word[0] for word in end.split("_") if word)] = candidate  # lr too
    last = name.rpartition(".")[2]
    close = [ends[last]] if last in ends else difflib.get_close_matches(name, known, n=1)
    close = close or [ends[end] for end in difflib.get_close_matches(last, ends, n=1)]
    return f" (did you mean {close[0]}?)" if close else ""


def format_parameters(parameters: Section, indent: str = "") -> str:
    """Write parameters as YAML, the meaning of each behind its value."""
    lines = []
    for name, field in type(parameters).model_fields.items():
        value = getattr(parameters, name)
        if isinstance(value, Section):
            lines += [f"\n{indent}{name}:\n{format_parameters(value, indent + '  ')}"]
        else:
            plain = isinstance(value, str) and re.fullmatch(r"[a-z]\w*", value)
            text = value if plain and _yaml().load(value) == value else json.dumps(value)
            if isinstance(value, float):  # YAML 1.1 takes 1e-05 for a word, 1.0e-05 for a number.
                text = re.sub(r"^(-?\d+)e", r"\1.0e", text)
            lines += [f"{indent}{name}: {text}  # {field.description}\n"]
    return "".join(lines)


# ---------------------------------------------------------------------------------------------
# Randomness: everything random is a function of (seed, epoch or step, index).


def fold_seed(*position: int) -> int:
    """Mix a seed and a position, such as (seed, step), into one seed of 63 bits."""
    digest = hashlib.blake2b(repr(position).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


# ---------------------------------------------------------------------------------------------
# Files.


def write_atomically(path: Path, content: bytes, keep: Path | None = None) -> None:
    """Write a file so that a kill at any moment leaves the old content or the new, whole.

    Where `keep` is given, the old file goes there.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # A fixed name: litter is overwritten.
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if keep and path.exists():
        os.replace(path, keep)
    os.replace(temporary, path)
    if os.name == "posix":  # Windows cannot open a folder.
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def format_values(values: Mapping[str, Any]) -> str:
    """Return "model.width 32, training.learning_rate 0.0031"."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages, to record with a run."""
    return {package: importlib.metadata.version(package) for package in packages}
