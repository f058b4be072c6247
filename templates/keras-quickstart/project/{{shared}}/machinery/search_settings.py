"""search.yaml: the experiment that a search starts from, what it varies, what it compares by."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from machinery.errors import InputError
from machinery.parameter_file import (
    Section,
    change,
    load_parameters,
    nearest,
    parameter_fields,
)

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    from machinery.metrics import Objective

FILE = "search.yaml"
ADVICE = (
    f"{FILE} may hold: from (the experiment to vary), trials (how many), maximize or minimize (a "
    "column of metrics.jsonl), and space (for each parameter {low, high}, also with log or step, "
    "or {choices: [...]})."
)


class Dimension(Section):
    """The values to try of one parameter: from low to high, or one of the choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = Field(False, description="spread evenly over orders of magnitude")
    step: int | float | None = Field(None, gt=0)
    choices: list[bool | int | float | str] | None = Field(None, min_length=1)

    @pydantic.model_validator(mode="after")
    def check(self) -> Self:
        """Refuse anything but a range or a list of choices."""
        if self.choices is not None and self.model_fields_set == {"choices"}:
            return self
        if self.choices is not None or self.low is None or self.high is None:
            raise PydanticCustomError("form", "expected {low, high} or {choices: [...]}")
        if self.low > self.high:
            raise PydanticCustomError("order", "expected low to be at most high")
        if self.log and (self.low <= 0 or self.step):
            raise PydanticCustomError("log", "expected low above 0 and no step, because of log")
        if self.step and self.step > self.high - self.low:
            raise PydanticCustomError("step", "expected step to be at most high - low")
        return self

    def limits(self) -> list[tuple[str, Any]]:
        """Return the values to check, each with its key: every choice, or low and high."""
        if self.choices is not None:
            return [("choices", value) for value in self.choices]
        return [("low", self.low), ("high", self.high)]


class SearchSettings(Section):
    """What search.yaml holds."""

    source: str = Field(alias="from", description="the experiment to vary")
    trials: int = Field(ge=1, le=100_000, description="how many in total, pruned ones included")
    maximize: str | None = Field(None, description="a column of metrics.jsonl")
    minimize: str | None = Field(None, description="or this one [the objective of the task]")
    space: dict[str, Dimension] = Field(min_length=1, description="what to try of which parameter")

    @pydantic.model_validator(mode="after")
    def check(self) -> Self:
        """Refuse two objectives."""
        if self.maximize and self.minimize:
            raise PydanticCustomError("objective", "expected maximize or minimize, not both")
        return self

    def choose_objective(self, of_task: "Objective") -> "Objective":
        """Return what to compare trials by: what the file says, else the objective of the task."""
        from machinery.metrics import Objective

        if column := self.maximize or self.minimize:
            return Objective(column, maximize=bool(self.maximize))
        return of_task


@dataclasses.dataclass(frozen=True)
class Search:
    """All that the worker processes of a search have to know."""

    folder: Path  # of search.yaml, the study and the trials
    data: Path
    device: str  # the name that was asked for
    settings: SearchSettings
    base: Any  # the parameters to vary
    dataset: Any
    objective: "Objective"

    @property
    def file(self) -> Path:
        """The search.yaml that messages name."""
        return self.folder / FILE


def load_settings(path: Path, schema: type[Section]) -> tuple[SearchSettings, Any]:
    """Read search.yaml and the parameters that it starts from.

    Args:
        path: of search.yaml.
        schema: of params.yaml.

    Raises:
        InputError: listing everything in `space` that the schema of the parameters refuses.
    """
    settings = load_parameters(SearchSettings, path, advice=ADVICE)
    try:
        base = load_parameters(schema, Path(settings.source) / "params.yaml")
    except InputError as error:
        raise InputError(f"{path}: from: {error}") from None
    _refuse(path, list(_find_problems(settings.space, base)))
    return settings, base


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
    limits = {name: found.limits() for name, found in search.settings.space.items()}
    lowest = {name: found[0][1] for name, found in limits.items()}
    highest = {name: found[-1][1] for name, found in limits.items()}
    corners = [c for c in ({}, lowest, highest) if not find_misfit(search, c)]
    problems = []
    for name, found in limits.items():
        for key, value in found:
            misfits = [find_misfit(search, {**corner, name: value}) for corner in corners]
            if misfits and all(misfits):
                problems.append(f"{name}: {key}: got {value!r}: {misfits[0]}")
    _refuse(search.file, problems)


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        problems.append(
            "Parameters, with their ranges, are in parameters.py and model/parameters.py. Nothing "
            "was started."
        )
        raise InputError("\n  ".join([f"{path}: space:", *problems]))


def _find_problems(space: Mapping[str, Dimension], base: Section) -> Iterator[str]:
    """Check every bound and choice against the schema; yield a line for each that it refuses."""
    known = [name for name, _ in parameter_fields(type(base))]
    for name, dimension in space.items():
        if name not in known:
            yield f"{name}: unknown parameter{nearest(name, known)}."
            continue
        for key, value in dimension.limits():
            try:
                change(base, {name: value})
            except pydantic.ValidationError as error:
                expected = error.errors()[0]["msg"].replace("Input should be", "expected")
                yield f"{name}: {key}: got {value!r}, {expected}."
        if isinstance(dimension.step, float) and not takes_fractions(base, name):
            yield f"{name}: step: got {dimension.step}, expected a whole number."


def takes_fractions(parameters: Section, name: str) -> bool:
    """Return whether a parameter takes any number, not only whole ones."""
    annotation = dict(parameter_fields(type(parameters)))[name].annotation
    return float in (annotation, *get_args(annotation))
