"""search.yaml: the experiment that a search starts from, what it varies, what it compares by."""

import contextlib
import dataclasses
import functools
import math
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

import pydantic
from pydantic import BeforeValidator, Field, ValidationInfo, ValidatorFunctionWrapHandler
from pydantic_core import InitErrorDetails, PydanticCustomError

from machinery.errors import InputError
from machinery.parameter_file import (
    Section,
    change,
    flatten,
    load_parameters,
    nearest,
    parameter_fields,
    read_yaml,
)
from machinery.search_space import LARGEST_GRID, Dimension, Space

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    from machinery.metrics import Objective

FILE = "search.yaml"
ADVICE = (
    f"{FILE} may hold: from (the experiment to vary), trials (how many), maximize and minimize (a "
    "column of metrics.jsonl, or several), sampler, pruner, seeds (of each trial), and space (for "
    "each parameter {low, high}, also with log or step, or {choices: [...]}; with when: {OTHER: "
    "[...]} only where another has one of these values). The parameters, with their ranges, are in "
    "parameters.py and model/parameters.py."
)
Sampler = Literal["tpe", "gp", "botorch", "cmaes", "random", "grid"]
Pruner = Literal["median", "hyperband", "successive_halving", "none"]
# What some samplers need beside Optuna: requirements/search.txt installs it.
PACKAGES = {"gp": ["torch"], "botorch": ["botorch", "optuna_integration"], "cmaes": ["cmaes"]}
WEIGHTS = "weights"  # How many a network has: an objective that is the same in each epoch.


def _as_list(columns: object) -> object:
    return [columns] if isinstance(columns, str) else columns


Columns = Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]


class Base(NamedTuple):
    """The experiment that a search starts from, for the checks of search.yaml."""

    parameters: Section | None
    refusal: str  # why there are none


class SearchSettings(Section):
    """What search.yaml holds."""

    source: str = Field(alias="from", description="the experiment to vary")
    maximize: Columns = Field([], description="columns of metrics.jsonl")
    minimize: Columns = Field([], description="and these, or weights [the task's objective]")
    sampler: Sampler = Field("tpe", description="what chooses the values, as Optuna names it")
    trials: int | None = Field(
        None,
        ge=1,
        le=100_000,
        validate_default=True,
        description="how many in total, pruned ones included [of a grid: all]",
    )
    seeds: int = Field(1, ge=1, le=1000, description="trainings of each trial; their mean counts")
    pruner: Pruner | None = Field(
        None,
        validate_default=True,
        description="what ends trials early [median; of several objectives: none]",
    )
    space: dict[str, Dimension] = Field(min_length=1, description="what to try of which parameter")

    @pydantic.field_validator("source")
    @classmethod
    def check_source(cls, source: str, info: ValidationInfo) -> str:
        """Refuse an experiment that cannot be read."""
        if info.context and info.context.refusal:
            raise PydanticCustomError("source", "{why}", {"why": info.context.refusal})
        return source

    @pydantic.field_validator("minimize")
    @classmethod
    def check_columns(cls, minimize: list[str], info: ValidationInfo) -> list[str]:
        """Refuse a column that is given twice."""
        columns = [*(info.data.get("maximize") or []), *minimize]
        if len({*columns}) < len(columns):
            raise PydanticCustomError("twice", "expected no column twice in maximize and minimize")
        if columns == [WEIGHTS]:
            raise PydanticCustomError(
                "weights", "expected a column of metrics.jsonl beside weights"
            )
        return minimize

    @pydantic.field_validator("sampler")
    @classmethod
    def check_sampler(cls, sampler: str, info: ValidationInfo) -> str:
        """Refuse a sampler that is not installed, or that takes one objective alone."""
        packages = [name for name in PACKAGES.get(sampler, ()) if not _is_installed(name)]
        if packages:
            raise PydanticCustomError(
                "package",
                "which needs {packages}: python -m pip install -r requirements/search.txt",
                {"packages": " and ".join(packages)},
            )
        if sampler == "cmaes" and _has_several(info):
            raise PydanticCustomError("one", "expected another, because of several objectives")
        return sampler

    @pydantic.field_validator("trials")
    @classmethod
    def check_trials(cls, trials: int | None, info: ValidationInfo) -> int | None:
        """Refuse a search without an end."""
        if trials is None and info.data.get("sampler") != "grid":
            raise PydanticCustomError("missing", "expected a value")
        return trials

    @pydantic.field_validator("pruner")
    @classmethod
    def check_pruner(cls, pruner: str | None, info: ValidationInfo) -> str:
        """Return the pruner; refuse one where several objectives say different things."""
        several = _has_several(info)
        if several and pruner not in (None, "none"):
            raise PydanticCustomError("pruner", "expected none, because of several objectives")
        return pruner or ("none" if several else "median")

    @pydantic.field_validator("space", mode="wrap", json_schema_input_type=dict[str, Dimension])
    @classmethod
    def check_space(
        cls, space: object, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, Dimension]:
        """Refuse what is malformed, and beside it what the schema of the parameters refuses."""
        problems: list[InitErrorDetails] = []
        checked: dict[str, Dimension] = {}
        try:
            checked = check(space)
        except pydantic.ValidationError as error:
            problems += map(_again, error.errors(include_url=False))
            checked = _well_formed(space)
        if info.context and info.context.parameters:
            grid = info.data.get("sampler") == "grid"
            problems += _find_problems(checked, info.context.parameters, grid)
        if problems:
            raise pydantic.ValidationError.from_exception_data(cls.__name__, problems)
        return checked

    def choose_objectives(self, of_task: "Objective") -> "list[Objective]":
        """Return what to compare trials by: what the file says, else the objective of the task."""
        from machinery.metrics import Objective

        found = [Objective(column, maximize=True) for column in self.maximize]
        found += [Objective(column, maximize=False) for column in self.minimize]
        return found or [of_task]


@dataclasses.dataclass(frozen=True)
class Search:
    """All that the worker processes of a search have to know."""

    folder: Path  # of search.yaml, the study and the trials
    data: Path
    device: str  # the name that was asked for
    settings: SearchSettings
    base: Any  # the parameters to vary
    dataset: Any
    objectives: "list[Objective]"
    storage: str | None = dataclasses.field(default=None, repr=False)  # It may hold a password.

    @property
    def file(self) -> Path:
        """The search.yaml that messages name."""
        return self.folder / FILE

    @property
    def objective(self) -> "Objective":
        """The first of the objectives that changes with the epoch: it says which epoch counts."""
        return next(each for each in self.objectives if each.metric != WEIGHTS)

    @functools.cached_property
    def space(self) -> Space:
        """What is varied."""
        return space_of(self.settings.space, self.base)

    @functools.cached_property
    def grid(self) -> list[dict[str, Any]]:
        """The points of the grid, if the search is one."""
        return [*self.space.grid()] if self.settings.sampler == "grid" else []

    @property
    def trial_count(self) -> int:
        """How many trials to make in total."""
        wanted = self.settings.trials
        if self.settings.sampler == "grid":
            return min(wanted or len(self.grid), len(self.grid))
        assert wanted is not None
        return wanted


def space_of(dimensions: Mapping[str, Dimension], base: Section) -> Space:
    """Return the space of some dimensions; raise ValueError where they depend in a circle."""
    fractions = frozenset(name for name in dimensions if takes_fractions(base, name))
    return Space(dimensions, flatten(base), fractions)


def load_settings(path: Path, schema: type[Section]) -> tuple[SearchSettings, Any]:
    """Read search.yaml and the parameters that it starts from.

    Args:
        path: of search.yaml.
        schema: of params.yaml.

    Raises:
        InputError: listing everything that is wrong in the file, also what the schema of the
            parameters refuses.
    """
    source, base, refusal = read_yaml(path).get("from"), None, ""
    if isinstance(source, str):
        try:
            base = load_parameters(schema, Path(source) / "params.yaml", advice="")
        except InputError as error:
            refusal = str(error).removesuffix("Nothing was started.").rstrip(" .\n")
    return load_parameters(SearchSettings, path, None, ADVICE, Base(base, refusal)), base


def _is_installed(package: str) -> bool:
    return package in sys.modules or find_spec(package) is not None


def _has_several(info: ValidationInfo) -> bool:
    """Return whether a search has several objectives."""
    return sum(len(info.data.get(key) or ()) for key in ("maximize", "minimize")) > 1


def _again(problem: Any) -> InitErrorDetails:
    """Return a problem that pydantic has found in the form in which it takes one."""
    kind = PydanticCustomError(problem["type"], problem["msg"])
    return {"type": kind, "loc": problem["loc"], "input": problem["input"]}


def _well_formed(space: object) -> dict[str, Dimension]:
    """Return those entries of a space that can be used."""
    found = {}
    for name, entry in space.items() if isinstance(space, dict) else ():
        with contextlib.suppress(pydantic.ValidationError):
            found[str(name)] = Dimension.model_validate(entry)
    return found


def _find_problems(
    dimensions: Mapping[str, Dimension], base: Section, grid: bool
) -> Iterator[InitErrorDetails]:
    """Check every bound, choice and condition against the schema; yield what it refuses."""

    def problem(message: str, value: Any, *location: str) -> InitErrorDetails:
        kind = PydanticCustomError("refused", "{expected}", {"expected": message})
        return {"type": kind, "loc": location, "input": value}

    names = [name for name, _ in parameter_fields(type(base))]
    known = {name: found for name, found in dimensions.items() if name in names}
    for name in dimensions.keys() - known.keys():
        near = nearest(name, names)
        yield problem(f"expected a parameter of params.yaml{near}", name, name)
    for name, dimension in known.items():
        for key, value in dimension.limits():
            try:
                change(base, {name: value})
            except pydantic.ValidationError as error:
                expected = error.errors()[0]["msg"].replace("Input should be", "expected")
                yield problem(expected, value, name, key)
        if isinstance(dimension.step, float) and not takes_fractions(base, name):
            yield problem("expected a whole number", dimension.step, name, "step")
    try:
        space = space_of(known, base)
    except ValueError as error:
        yield problem(f"expected no circle of conditions ({error})", [*known])
        return
    for name, dimension in known.items():
        for other, wanted in dimension.when.items():
            if other not in known:
                near = nearest(other, [*known])
                expected = f"expected a parameter that is searched, too{near}"
                yield problem(expected, other, name, "when", other)
            elif (values := space.all_values(other)) is None:
                expected = "expected a parameter with choices, a step or whole numbers"
                yield problem(expected, other, name, "when", other)
            else:
                for value in wanted:
                    of_base = known[other].when and value == space.base[other]
                    if value not in values and not of_base:
                        expected = f"expected a value that is tried of {other}"
                        yield problem(expected, value, name, "when", other)
        if grid and (dimension.log or space.all_values(name) is None):
            yield problem("expected choices or a step, because of the grid", name, name)
    if grid and LARGEST_GRID < space.grid_size() < math.inf:
        expected = f"expected a grid of at most {LARGEST_GRID:,} points"
        yield problem(expected, f"{space.grid_size():,}")


def find_misfit(search: Search, values: Mapping[str, Any]) -> str:
    """Return why some values cannot be trained together, or an empty string."""
    try:
        change(search.base, values).check_data(search.dataset)
    except pydantic.ValidationError as error:
        return str(error.errors()[0]["msg"])
    except InputError as error:
        return str(error)
    return ""


def check_data(search: Search) -> None:
    """Check every bound and choice against the data, one at a time.

    Whether a value fits may depend on the other parameters. So each is tried with the others as in
    the base, at their lowest, and at their highest, where these fit the data themselves.

    Raises:
        InputError: listing the values that never fit.
    """
    space = search.space
    limits = {name: found.limits() for name, found in space.dimensions.items()}
    lowest = {name: found[0][1] for name, found in limits.items()}
    highest = {name: found[-1][1] for name, found in limits.items()}
    corners = [c for c in ({}, lowest, highest) if not find_misfit(search, space.settle(c))]
    problems = []
    for name, found in limits.items():
        for key, value in found:
            tried = [{**c, **w, name: value} for c in corners for w in space.where_searched(name)]
            misfits = [find_misfit(search, space.settle(values)) for values in tried]
            if misfits and all(misfits):
                problems.append(f"{name}: {key}: got {value!r}: {misfits[0]}")
    if problems:
        problems.append("Nothing was started.")
        raise InputError("\n  ".join([f"{search.file}: space:", *problems]))


def takes_fractions(parameters: Section, name: str) -> bool:
    """Return whether a parameter takes any number, not only whole ones."""
    annotation = dict(parameter_fields(type(parameters)))[name].annotation
    return float in (annotation, *get_args(annotation))
